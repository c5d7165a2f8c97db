"""Layers of overlayfs as one tree, and what the uppermost one changes: pure, over any layers.

It looks names up as the kernel does (fs/overlayfs/namei.c): whiteouts, opaque directories,
redirects that are absolute or a name, and files that have only their attributes in the layer where
they are found. Nothing recurses: directories nest as deep as a hostile container makes them.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence

from nsctl.model.layer import Entry
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, Protocol

    Kind = Literal["A", "C", "D"]

    class Layer(Protocol):
        """What is asked of a layer."""

        def entry(self, path: bytes) -> Entry | None:
            """What lies at a path from the layer's root, which is b""; None for nothing."""

        def names(self, path: bytes) -> list[bytes]:
            """What a directory holds."""


UPPER = 0
# A chain of redirects longer than the layers are many is no tree.
_SECOND = 1_000_000_000


class Place(NamedTuple):
    """A path of one layer.

    Attributes:
        layer: its index, 0 for the upper one.
        path: from the layer's root.
    """

    layer: int
    path: bytes


class Node(NamedTuple):
    """A file of the merged tree.

    Attributes:
        entry: what it is, from the topmost layer that has it.
        places: where it lies, topmost first: for a directory in each layer that it is merged
            from; for a file in one, and behind it where its content is, if that is elsewhere.
    """

    entry: Entry
    places: tuple[Place, ...]

    @property
    def is_directory(self) -> bool:
        """It is one."""
        return stat.S_ISDIR(self.entry.mode)


class Change(NamedTuple):
    """What differs between the lower layers and the merged tree.

    Attributes:
        kind: "A" added, "C" changed, "D" deleted.
        path: from the overlay's root, which is b"/".
        new: what is there now, None for what was deleted.
        old: what the lower layers have there, None for what was added.
        why: what says so in the upper layer: "whiteout", "opaque", "redirect", "metacopy", "".
    """

    kind: Kind
    path: bytes
    new: Entry | None
    old: Entry | None
    why: str = ""


class Same(NamedTuple):
    """A file that lies in the upper layer and does not differ in what is compared."""

    path: bytes
    entry: Entry


class Unread(NamedTuple):
    """What could not be looked at.

    Attributes:
        path: from the overlay's root.
        errno: why, as in errno(3).
    """

    path: bytes
    errno: int


class Overlay:
    """Layers, looked at as one tree.

    Args:
        layers: the upper one first, then the lower ones, topmost first; None in the first place
            where there is no upper one.
        data: data-only layers, which have no names of their own.
    """

    def __init__(self, layers: Sequence[Layer | None], data: Sequence[Layer] = ()) -> None:
        self._layers = [*layers, *data]
        self._named = len(layers)

    def root(self, *, lower: bool = False) -> Node:
        """The root of the merged tree.

        Args:
            lower: leave the upper layer out.

        Raises:
            ValueError: there is no layer, or none with a root directory.
        """
        places, top = [], None
        for index in range(1 if lower else 0, self._named):
            layer = self._layers[index]
            entry = layer.entry(b"") if layer is not None else None
            if entry is not None:
                top = top or entry
                places.append(Place(index, b""))
        if top is None:
            raise ValueError("no layer")
        return Node(top, tuple(places))

    def lookup(self, parent: Node, name: bytes) -> Node | None:
        """Look a name up in a directory of the merged tree.

        Args:
            parent: the directory.
            name: one name.

        Returns:
            None where there is nothing, or it was deleted.
        """
        top: Entry | None = None
        places: list[Place] = []
        wanted = name
        queue = list(parent.places)
        at = 0
        while at < len(queue):
            layer, base = queue[at]
            at += 1
            step = self._step(layer, base, wanted)
            if step.entry is None:
                if step.stop:
                    break
                if step.wanted != wanted:
                    wanted, queue, at = step.wanted, self._below(layer), 0
                continue
            if top is None:
                top = step.entry
            elif stat.S_ISDIR(top.mode) != stat.S_ISDIR(step.entry.mode):
                break
            places.append(step.place)
            if step.stop:
                break
            if step.wanted != wanted:
                wanted = step.wanted
                if wanted.startswith(b"/"):
                    queue, at = self._below(layer), 0
        if top is None:
            return None
        if not stat.S_ISDIR(top.mode):
            places = self._file_places(places, wanted)
        return Node(top, tuple(places))

    def find(self, path: bytes, *, lower: bool = False) -> Node | None:
        """Look a path up from the root; links are not followed.

        Args:
            path: names with b"/" between.
            lower: leave the upper layer out.
        """
        node: Node | None = self.root(lower=lower)
        for name in path.split(b"/"):
            if name and node is not None:
                node = self.lookup(node, name) if node.is_directory else None
        return node

    def names(self, directory: Node) -> list[bytes]:
        """All names that any layer of a directory has, sorted; those of whiteouts too."""
        found: set[bytes] = set()
        for layer, path in directory.places:
            source = self._layers[layer]
            found.update(source.names(path) if source is not None else ())
        return sorted(found)

    def own_names(self, directory: Node) -> list[bytes]:
        """The names that its topmost layer has, sorted."""
        layer, path = directory.places[0]
        source = self._layers[layer]
        return sorted(source.names(path)) if source is not None else []

    def _below(self, layer: int) -> list[Place]:
        return [Place(index, b"") for index in range(layer + 1, self._named)]

    def _file_places(self, places: list[Place], wanted: bytes) -> list[Place]:
        """A file lies in one layer, and its content behind it where that has attributes only."""
        last = self._entry(places[-1])
        if last is not None and last.metacopy and wanted.startswith(b"/"):
            for index in range(self._named, len(self._layers)):
                place = Place(index, wanted.lstrip(b"/"))
                if self._entry(place) is not None:
                    return [places[0], place]
        return places if len(places) == 1 else [places[0], places[-1]]

    def _entry(self, place: Place) -> Entry | None:
        layer = self._layers[place.layer]
        return layer.entry(place.path) if layer is not None else None

    def _step(self, layer: int, base: bytes, wanted: bytes) -> _Step:
        """Look a name, or a path from the root, up in one layer."""
        absolute = wanted.startswith(b"/")
        names = wanted[1:].split(b"/") if absolute else [wanted]
        path, deeper = (b"", b"") if absolute else (base, b"")
        entry: Entry | None = None
        stop = False
        for position, name in enumerate(names):
            path = path + b"/" + name if path else name
            deeper = deeper + b"/" + name if absolute else name
            entry = self._entry(Place(layer, path))
            last = position == len(names) - 1
            is_directory = entry is not None and stat.S_ISDIR(entry.mode)
            if entry is None or entry.whiteout or not (last or is_directory):
                rest = b"".join(b"/" + each for each in names[position + 1 :])
                return _Step(None, Place(layer, path), deeper + rest, stop or entry is not None)
            stop |= entry.opaque if is_directory else not entry.metacopy
            if entry.redirect:
                deeper = _redirected(entry.redirect, deeper)
        return _Step(entry, Place(layer, path), deeper, stop)


class _Step(NamedTuple):
    """What one layer says: the entry there, where, what to look for below it, and whether to."""

    entry: Entry | None
    place: Place
    wanted: bytes
    stop: bool


def _redirected(redirect: bytes, wanted: bytes) -> bytes:
    """Where lower layers have what is wanted: at a path, or beside it under another name."""
    if redirect.startswith(b"/"):
        return redirect
    above, slash, _ = wanted.rpartition(b"/")
    return above + slash + redirect


# --- Changes -------------------------------------------------------------------------------------


class _Frame:
    """A directory that is being compared."""

    def __init__(
        self, path: bytes, new: Node, old: Node | None, names: Iterator[bytes], said: bool
    ) -> None:
        self.path = path
        self.new = new
        self.old = old
        self.names = names
        self.said = said


def changes(
    overlay: Overlay, start: bytes = b"", go_on: Callable[[], bool] = lambda: True
) -> Iterator[Change | Same | Unread]:
    """Compare the merged tree with its lower layers, as docker-diff(1) does.

    A directory has changed when its mode, owner, group or capabilities have, or something in it; a
    file when its size or time of change has too. What a deleted directory held is not listed.

    Args:
        overlay: with an upper layer.
        start: compare this directory of the tree only; paths are from there.
        go_on: asked before each name; False ends it.

    Yields:
        Changes, a directory before what is in it, names in the order of their bytes; what was
        copied up but does not differ; and what could not be looked at.
    """
    new, old = overlay.find(start), overlay.find(start, lower=True)
    if new is None:
        return
    stack = [_Frame(b"", new, old, iter(_to_compare(overlay, new, old)), said=True)]
    while stack:
        frame = stack[-1]
        name = next(frame.names, None)
        if name is None:
            stack.pop()
            continue
        if not go_on():
            return
        path = frame.path + b"/" + name
        try:
            after = overlay.lookup(frame.new, name)
            before = overlay.lookup(frame.old, name) if frame.old is not None else None
        except OSError as error:
            yield Unread(path, error.errno or 0)
            continue
        change = _compared(path, frame, after, before)
        if isinstance(change, Change):
            yield from _directories_above(stack)
        if change is not None:
            yield change
        if after is not None and after.is_directory:
            below = before if before is not None and before.is_directory else None
            try:
                names = _to_compare(overlay, after, below)
            except OSError as error:
                yield Unread(path, error.errno or 0)
                continue
            stack.append(_Frame(path, after, below, iter(names), isinstance(change, Change)))


def _to_compare(overlay: Overlay, new: Node, old: Node | None) -> list[bytes]:
    """The names at which two forms of a directory can differ."""
    if old is None or not old.is_directory:
        return overlay.names(new)
    is_upper = new.places[0].layer == UPPER
    if new.places[is_upper:] == old.places:
        return overlay.own_names(new) if is_upper else []
    return sorted({*overlay.names(new), *overlay.names(old)})


def _compared(
    path: bytes, frame: _Frame, after: Node | None, before: Node | None
) -> Change | Same | None:
    if after is None:
        if before is None:
            return None
        gone = "opaque" if frame.new.entry.opaque else "redirect"
        is_merged = frame.old is not None and frame.new.places[1:] == frame.old.places
        return Change("D", path, None, before.entry, "whiteout" if is_merged else gone)
    why = "metacopy" if after.entry.metacopy else "redirect" if after.entry.redirect else ""
    if before is None:
        return Change("A", path, after.entry, None, why)
    if differs(before.entry, after.entry):
        return Change("C", path, after.entry, before.entry, "opaque" if after.entry.opaque else why)
    if not after.is_directory and after.places != before.places:
        return Same(path, after.entry)
    return None


def _directories_above(stack: list[_Frame]) -> Iterator[Change]:
    for frame in stack:
        if not frame.said:
            frame.said = True
            old = frame.old.entry if frame.old is not None else None
            why = "opaque" if frame.new.entry.opaque else ""
            yield Change("C", frame.path, frame.new.entry, old, why)


def differs(old: Entry, new: Entry) -> bool:
    """Tell whether a file has changed, by what docker-diff(1) compares.

    Content is not read; a time that one of two file systems keeps in whole seconds is compared so.
    """
    if (old.mode, old.uid, old.gid, old.rdev, old.capability) != (
        *(new.mode, new.uid, new.gid, new.rdev, new.capability),
    ):
        return True
    return not stat.S_ISDIR(new.mode) and (
        old.size != new.size or not _same_time(old.mtime, new.mtime)
    )


def _same_time(one: int, other: int) -> bool:
    if one // _SECOND != other // _SECOND:
        return False
    return one == other or not one % _SECOND or not other % _SECOND
