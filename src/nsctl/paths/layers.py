"""The layers of a mounted overlay as directories that are open.

The kernel shows their paths as whoever mounted it wrote them, from a root directory that it does not
show. So the paths are tried from the roots of those who could have mounted it, first of those who have
it mounted too, and believed where the root of the overlay has the very times of its topmost layer, which
overlayfs passes on.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence

from nsctl.kernel.mountinfo import MountLine, parse_line
from nsctl.kernel.overlay import LayerDirectory, Layers, Maps, parse_layers, spellings
from nsctl.kernel.procfs import parse_id_map, read_file
from nsctl.model.record import NamedTuple
from nsctl.paths.views import (
    O_PATH,
    View,
    device,
    lines_on,
    mount_of,
    namespace_root,
    open_in,
    options_of,
)
from nsctl.relate.layers import Node, Overlay

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_LOWER_LIMIT = 1 << 16
_TRIES = 3
# Names in the root of what is mounted that are looked for in the layers.
_NAMES = 256


class Opened(NamedTuple):
    """An overlay whose layers are open.

    Attributes:
        view: from whose root their paths lead to them.
        paths: from there, in the order of ``directories``; b"" for an upper one that is not.
        directories: the upper layer, None for none, then the lower ones, then data-only ones.
        named: how many of these have names, the upper one's place counted.
        line: of the mount.
        verified: the topmost layer was seen to be the one that is mounted.
    """

    view: View
    paths: tuple[bytes, ...]
    directories: tuple[LayerDirectory | None, ...]
    named: int
    line: MountLine
    verified: bool

    @property
    def overlay(self) -> Overlay:
        """The layers as one tree."""
        named = self.directories[: self.named]
        data = [each for each in self.directories[self.named :] if each is not None]
        return Overlay(named, data)

    def name_of(self, layer: int) -> str:
        """What a layer is called: "upper", "lower 1" for the topmost lower one, "data 1" ..."""
        if not layer:
            return "upper"
        return f"lower {layer}" if layer < self.named else f"data {layer - self.named + 1}"


def open_layers(
    line: MountLine,
    target: View,
    views: Sequence[View],
    parents: Sequence[int],
    image: bytes = b"",
) -> Opened | None:
    """Open the layers of an overlay.

    Where its lower layers are mounts that were undone afterwards, as id-mapped ones are, their
    paths lead to an empty place. What engines wrote down then tells where they were mounted from:
    the file ``lower`` beside the upper layer (Docker and Podman), or the container's image.

    Args:
        line: of its mount in the target's table.
        target: who has it mounted.
        views: of other mount namespaces, the caller's own first.
        parents: processes that the target's descends from: one of them may have mounted it.
        image: path of the directory that a container was made from, b"" where that is not known.

    Returns:
        Them; None where no root leads to directories that can be believed.
    """
    layers = parse_layers(options_of(target, line.mount_id))
    with contextlib.ExitStack() as stack:
        top: int | None = None
        with contextlib.suppress(OSError):
            opened = open_in(target, line.mount_point)
            stack.callback(os.close, opened)
            top = opened
        if top is not None and mount_of(top) != line.mount_id:
            top = None  # something is mounted over it
        for view in _mounters(line, target, views, parents):
            has_it = view is not target and any(True for _ in lines_on(view, device(line)))
            if top is None and not has_it:
                continue
            for start in _starts(line, view, layers):
                bare: Opened | None = None
                for each in _written(layers, view, start, image):
                    for ids in (None, maps_of(target.pid)):
                        found = _open(line, each, view, start, top, ids)
                        if found is None:
                            continue
                        # Where the upper layer has every name, the empty place of a mount that
                        # was undone explains as much as what had been mounted there.
                        if bare is None and _is_bare(found):
                            bare = found
                            break
                        if bare is not None:
                            _close([kept.fd for kept in bare.directories if kept is not None])
                        return found
                if bare is not None:
                    return bare
    return None


def _is_bare(opened: Opened) -> bool:
    """Tell whether no lower layer has any name in it."""
    for directory in opened.directories[1:]:
        if directory is None:
            continue
        try:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory.fd)
        except OSError:
            return False
        try:
            with os.scandir(fd) as names:
                if next(names, None) is not None:
                    return False
        except OSError:
            return False
        finally:
            os.close(fd)
    return True


def _written(layers: Layers, view: View, start: bytes, image: bytes) -> Iterator[Layers]:
    """The layers as the mount says, and as others wrote down where they are mounted from."""
    yield layers
    if not layers.upper:
        return
    upper = layers.upper if layers.upper.startswith(b"/") else start + b"/" + layers.upper
    above = upper.rstrip(b"/").rpartition(b"/")[0]
    home = above.rpartition(b"/")[0]
    try:
        fd = open_in(view, above + b"/lower", _FILE)
        try:
            is_file = stat.S_ISREG(os.fstat(fd).st_mode)
            names = os.read(fd, _LOWER_LIMIT).strip(b"\n").split(b":") if is_file else []
        finally:
            os.close(fd)
    except OSError:
        names = []
    if names and all(names):
        yield layers._replace(lower=tuple(home + b"/" + name for name in names))
    if image.startswith(b"/"):
        yield layers._replace(lower=(image,))


def maps_of(pid: int) -> Maps | None:
    """The id maps of a process's user namespace, in the caller's numbers; None for the caller's."""
    if not pid:
        return None
    try:
        uids = parse_id_map(read_file(f"/proc/{pid}/uid_map"))
        gids = parse_id_map(read_file(f"/proc/{pid}/gid_map"))
    except (OSError, ValueError):
        return None
    return Maps(uids, gids)


def _mounters(
    line: MountLine, target: View, views: Sequence[View], parents: Sequence[int]
) -> Iterator[View]:
    having = [
        view
        for view in views
        if view.pid != target.pid and any(True for _ in lines_on(view, device(line)))
    ]
    yield from having
    yield target
    if target.base and (root := namespace_root(target)):
        yield root
    by_pid = {view.pid: view for view in views if view not in having}
    yield from (by_pid[pid] for pid in parents if pid in by_pid)
    yield from (view for view in views if view not in having)


def _starts(line: MountLine, view: View, layers: Layers) -> Iterator[bytes]:
    """Directories that the paths may start from: a mounter may have stood above its mount point."""
    paths = [path for path in (layers.upper, *layers.lower) if path]
    if all(path.startswith(b"/") for path in paths):
        yield b""
        return
    seen = set()
    for mount in lines_on(view, device(line)):
        at = mount.mount_point
        while at not in {b"", b"/"}:
            at = at.rpartition(b"/")[0]
            if at not in seen:
                seen.add(at)
                yield at


def _open(
    line: MountLine,
    layers: Layers,
    view: View,
    start: bytes,
    top: int | None,
    ids: Maps | None,
) -> Opened | None:
    """Open all layers from one root and one directory there; None where that is not it.

    Args:
        line: of the mount.
        layers: their paths.
        view: from whose root.
        start: directory that those begin at which do not begin with "/".
        top: descriptor of what is mounted, None where that is not to be seen.
        ids: how the lower layers' owners were mapped where they were mounted.
    """
    paths: list[bytes] = []
    directories: list[LayerDirectory | None] = []
    fds: list[int] = []
    try:
        for position, path in enumerate((layers.upper, *layers.lower, *layers.data)):
            if not position and not path:
                paths.append(b"")
                directories.append(None)
                continue
            for spelling in spellings(path) if not position else (path,):
                whole = spelling if spelling.startswith(b"/") else start + b"/" + spelling
                try:
                    fds.append(open_in(view, whole, _DIRECTORY, links=True))
                except OSError:
                    continue
                if top is not None and os.fstat(fds[-1]).st_dev == os.fstat(top).st_dev:
                    continue  # it is mounted over one of its own layers, which this hides
                paths.append(whole)
                mapped = ids if position else None
                directories.append(LayerDirectory(fds[-1], layers.prefix, maps=mapped))
                break
            else:
                _close(fds)
                return None
    except BaseException:
        _close(fds)
        raise
    named = 1 + len(layers.lower)
    found = Opened(view, tuple(paths), tuple(directories), named, line, top is not None)
    if top is not None and not (_is_that(found, top) and _explains(found, top)):
        _close(fds)
        return None
    return found


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _is_that(opened: Opened, top: int) -> bool:
    """Tell whether what is mounted is what lies in the topmost layer that has its root."""
    for _ in range(_TRIES):  # it may be written to meanwhile
        try:
            node = opened.overlay.find(opened.line.root)
            if node is None:
                return False
            layer, path = node.places[0]
            directory = opened.directories[layer]
            fd = directory.open(path) if directory is not None else -1
        except (OSError, ValueError):
            return False
        one, other = os.fstat(fd), os.fstat(top)
        os.close(fd)
        if (one.st_mode, one.st_mtime_ns, one.st_ctime_ns) == (
            *(other.st_mode, other.st_mtime_ns, other.st_ctime_ns),
        ):
            return True
    return False


def _explains(opened: Opened, top: int) -> bool:
    """Tell whether all names in what is mounted lie in some layer, with their owners."""
    for _ in range(_TRIES):  # it may be written to meanwhile
        try:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=top)
            try:
                names = [os.fsencode(name) for name in os.listdir(fd)[:_NAMES]]
            finally:
                os.close(fd)
            parent = opened.overlay.find(opened.line.root)
            if parent is not None and all(_has(opened, parent, top, name) for name in names):
                return True
        except OSError:
            return False
    return False


def _has(opened: Opened, parent: Node, top: int, name: bytes) -> bool:
    """Tell whether the layers have a name of the mounted root, as it shows it there."""
    try:
        node = opened.overlay.lookup(parent, name)
    except OSError:  # something is mounted on the layer there: it says nothing of the others
        return True
    if node is None or not node.places[0].layer:
        return node is not None
    if b"idmapped" in opened.line.options:
        return True  # what is mounted shows other owners than its layers have
    try:
        fd = os.open(name, O_PATH, dir_fd=top)
    except FileNotFoundError:
        return True
    try:
        status = os.fstat(fd)
        if mount_of(fd) != opened.line.mount_id:
            return True  # something is mounted there
        return (status.st_uid, status.st_gid) == (node.entry.uid, node.entry.gid)
    finally:
        os.close(fd)


def overlays(view: View) -> Iterator[MountLine]:
    """The rows of all overlays in a view's table."""
    for line in view.table.split(b"\n"):
        if b" - overlay " in line and (row := parse_line(line)).fs_type == b"overlay":
            yield row
