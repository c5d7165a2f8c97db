"""Which rows of a mount table findmnt shows, and below which: findmnt(8), and libmount's rules.

Pure: what paths and tags stand for is asked through `Names`. Nothing here recurses, as mounts may
be stacked as high as their number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence

from nsctl.model.mount import Mount
from nsctl.model.record import NamedTuple
from nsctl.relate.mount_options import matches, matches_type, merged, unescaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Names(Protocol):
        """Says what names of files and devices stand for."""

        def canonical(self, path: bytes) -> bytes:
            """The path without symbolic links, or as it is where it leads nowhere."""

        def device(self, tag: bytes, value: bytes) -> bytes | None:
            """The device with a tag (UUID, LABEL ..), None where there is none."""

        def exists(self, path: bytes) -> bool:
            """Whether a path leads to something."""

        def absolute(self, path: bytes) -> bytes:
            """A relative path from the working directory."""


_TAGS = frozenset({b"ID", b"UUID", b"LABEL", b"PARTUUID", b"PARTLABEL"})
_NOT_SWAPPED = (b"LABEL=", b"UUID=", b"PARTLABEL=", b"PARTUUID=")
_MAJOR_MINOR = re.compile(rb"[ \t\n\v\f\r]*([+-]?[0-9]+):[ \t\n\v\f\r]*([+-]?[0-9]+)")
_SLASHES = re.compile(rb"/+")
_NET = frozenset(
    {"cifs", "smb3", "smbfs", "afs", "ncpfs", "glusterfs", "fuse.curlftpfs", "fuse.sshfs"}
)
_PSEUDO = frozenset(
    [
        "anon_inodefs",
        "apparmorfs",
        "autofs",
        "bdev",
        "binder",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "cpuset",
        "debugfs",
        "devfs",
        "devpts",
        "devtmpfs",
        "dlmfs",
        "dmabuf",
        "drm",
        "efivarfs",
        "fuse",
        "fuse.archivemount",
        "fuse.avfsd",
        "fuse.dumpfs",
        "fuse.encfs",
        "fuse.gvfs-fuse-daemon",
        "fuse.gvfsd-fuse",
        "fuse.lxcfs",
        "fuse.rofiles-fuse",
        "fuse.vmware-vmblock",
        "fuse.xwmfs",
        "fusectl",
        "hugetlbfs",
        "ipathfs",
        "mqueue",
        "nfsd",
        "none",
        "nsfs",
        "overlay",
        "pipefs",
        "proc",
        "pstore",
        "ramfs",
        "resctrl",
        "rootfs",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "smackfs",
        "sockfs",
        "spufs",
        "sysfs",
        "tmpfs",
        "tracefs",
        "vboxsf",
        "virtiofs",
    ]
)


class Wanted(NamedTuple):
    """What is looked for, as findmnt's options say it.

    Attributes:
        source: device, tag or whatever else a source may be; None for any.
        device: major and minor number in place of a source.
        target: mount point, or a path below one.
        types: see `nsctl.relate.mount_options.matches_type`.
        options: see `nsctl.relate.mount_options.matches`.
        id: number of the mount.
        unique_id: 64-bit id of the mount.
        invert: what does not match.
        every: no built-in choice at all.
        df: what df(1) would show.
        real: no pseudo file systems.
        pseudo: these alone.
        shadowed: only what something is mounted over.
        first: the first one only.
        submounts: also all below what matches.
        backward: search from the end of the table.
        literal: names are compared as they are, without following links.
        strict: the target is a mount point, not a path below one.
        exact: the source is no target.
        tree: whole tree, in which what matches is shown.
    """

    source: bytes | None = None
    device: tuple[int, int] | None = None
    target: bytes | None = None
    types: bytes | None = None
    options: bytes | None = None
    id: int | None = None
    unique_id: int | None = None
    invert: bool = False
    every: bool = False
    df: bool = False
    real: bool = False
    pseudo: bool = False
    shadowed: bool = False
    first: bool = False
    submounts: bool = False
    backward: bool = False
    literal: bool = False
    strict: bool = False
    exact: bool = False
    tree: bool = False

    @property
    def lists_all(self) -> bool:
        """Nothing chooses among the mounts."""
        if (self.df or self.real or self.pseudo) and not self.every:
            return False
        return not (
            self.searches
            or self.types is not None
            or self.options is not None
            or self.id is not None
            or self.unique_id is not None
        )

    @property
    def searches(self) -> bool:
        """A place or a source is looked for."""
        return self.source is not None or self.target is not None or self.device is not None


class Found(NamedTuple):
    """Rows in the order in which they were found.

    Attributes:
        mounts: the rows.
        parents: for each the index of the row that it is shown below, -1 for none.
        failed: nothing was found where something was looked for.
    """

    mounts: list[Mount]
    parents: list[int]
    failed: bool


def source_or_device(text: bytes) -> tuple[bytes | None, tuple[int, int] | None]:
    """Tell whether a source is written as "MAJOR:MINOR"."""
    match = _MAJOR_MINOR.match(text)
    return (text, None) if match is None else (None, (int(match[1]), int(match[2])))


def may_be_target(source: bytes) -> bool:
    """Tell whether what is written as a source may be meant as a mount point."""
    return not source.startswith(_NOT_SWAPPED)


def is_pseudo(mount: Mount) -> bool:
    """Tell whether libmount counts a file system as one without a device of its own."""
    return mount.fs_type in _PSEUDO


def same_path(one: bytes, other: bytes) -> bool:
    """Compare paths, whatever slashes are doubled or stand at the end."""
    return one == other or _plain(one) == _plain(other)


def _plain(path: bytes) -> bytes:
    return _SLASHES.sub(b"/", path).rstrip(b"/")


def unique_targets(table: Sequence[Mount]) -> list[Mount]:
    """Keep of mounts at the same place the last one.

    Args:
        table: see `search`.

    Returns:
        The others in order; what was mounted on one that was left out hangs on what that hung on.
    """
    seen: set[bytes] = set()
    parents: dict[int, int] = {}
    kept: list[Mount] = []
    for mount in reversed(table):
        place = _plain(mount.point)
        if place in seen:
            parents[mount.id] = mount.parent
        else:
            seen.add(place)
            kept.append(mount)
    kept.reverse()
    return [mount._replace(parent=_resolved(parents, mount.parent)) for mount in kept]


def _resolved(parents: dict[int, int], parent: int) -> int:
    met = set()
    while parent in parents and parent not in met:
        met.add(parent)
        parent = parents[parent]
    return parent


def search(
    table: Sequence[Mount],
    wanted: Wanted,
    names: Names,
    keep: Callable[[Mount], bool] | None = None,
) -> Found:
    """Find what findmnt shows.

    Args:
        table: a mount table in its order.
        wanted: what is looked for.
        names: says what names stand for.
        keep: a filter of what was found; what hangs on a row that it drops hangs on that one's
            parent.

    Returns:
        The rows.
    """
    searcher = _Searcher(table, wanted, names, keep)
    if wanted.tree and not wanted.submounts:
        return searcher.tree()
    found = searcher.matching(wanted)
    if found.failed and wanted.exact and not wanted.strict and wanted.target is not None:
        above = _mount_point_above(table, wanted.target, names, literal=wanted.literal)
        return searcher.matching(wanted if above is None else wanted._replace(target=above))
    return found


def _mount_point_above(
    table: Sequence[Mount], target: bytes, names: Names, *, literal: bool
) -> bytes | None:
    """Find the mount point that a path lies below; None where it leads to nothing."""
    path = target if literal else names.canonical(target)
    if not names.exists(path):
        return None
    current = path
    while current:
        found = _find_target(table, current, names, literal=literal, backward=True)
        if found is not None:
            return found.point
        if b"/" not in current:
            break
        current = current.rpartition(b"/")[0]
    root = _find_target(table, b"/", names, literal=literal, backward=True)
    return None if root is None else root.point


def _find_target(
    table: Sequence[Mount], path: bytes, names: Names, *, literal: bool, backward: bool
) -> Mount | None:
    """Find the mount at a place, as mount(8) does."""
    ways = [path, names.absolute(path)]
    if not literal:
        ways.append(names.canonical(path))
    for way in ways:
        for mount in reversed(table) if backward else table:
            if same_path(mount.point, way):
                return mount
    return None


class _Searcher:
    """Searches one table."""

    def __init__(
        self,
        table: Sequence[Mount],
        wanted: Wanted,
        names: Names,
        keep: Callable[[Mount], bool] | None,
    ) -> None:
        self._table = table
        self._wanted = wanted
        self._names = names
        self._keep = keep
        self._children: dict[int, list[int]] = {}
        for index, mount in enumerate(table):
            if mount.parent != mount.id:
                self._children.setdefault(mount.parent, []).append(index)
        for below in self._children.values():
            below.sort(key=lambda index: table[index].id)
        self._line: dict[int, int] = {}
        self._mounts: list[Mount] = []
        self._parents: list[int] = []

    def tree(self) -> Found:
        """The whole tree, and then what does not hang in it."""
        root = self._root()
        if root is None:
            return Found([], [], failed=True)
        self._grow(root, self._wanted)
        if len(self._table) > len(self._mounts):
            for index in range(len(self._table)):
                if index not in self._line and self._fits(index, self._wanted):
                    self._grow(index, self._wanted)
        return Found(self._mounts, self._parents, failed=False)

    def matching(self, wanted: Wanted) -> Found:
        """What matches, and where it is asked for all below."""
        found = False
        for index in self._candidates(wanted):
            if wanted.tree or wanted.submounts:
                self._grow(index, wanted)
            elif not self._add(index, -1):
                continue
            found = True
            if wanted.first:
                break
        return Found(self._mounts, self._parents, failed=not found)

    def _candidates(self, wanted: Wanted) -> Iterator[int]:
        order = range(len(self._table))
        if wanted.backward:
            order = range(len(self._table) - 1, -1, -1)
        if wanted.lists_all:
            yield from order
            return
        if self._is_as_mount(wanted):
            mount = self._as_mount(wanted)
            if mount is not None:
                yield next(index for index in order if self._table[index] is mount)
            return
        met = False
        for index in order:
            if self._fits(index, wanted):
                met = True
                yield index
        if not met and not wanted.exact and wanted.target is None and wanted.source is not None:
            swapped = wanted._replace(target=wanted.source, source=None)
            for index in order:
                if self._fits(index, swapped):
                    yield index

    @staticmethod
    def _is_as_mount(wanted: Wanted) -> bool:
        """``--first-only SOURCE`` searches as mount(8) does."""
        others = (wanted.types, wanted.options, wanted.id, wanted.unique_id)
        return wanted.first and wanted.source is not None and all(each is None for each in others)

    def _as_mount(self, wanted: Wanted) -> Mount | None:
        assert wanted.source is not None  # noqa: S101  (as _is_as_mount says)
        mount = self._find_source(wanted.source, backward=wanted.backward)
        if mount is None and not wanted.exact:
            mount = _find_target(
                self._table,
                wanted.source,
                self._names,
                literal=wanted.literal,
                backward=wanted.backward,
            )
        return mount

    def _find_source(self, source: bytes, *, backward: bool) -> Mount | None:
        tag = parse_tag(source)
        literal = self._wanted.literal
        if tag is not None and literal:
            return None
        path = source if tag is None else self._names.device(*tag)
        if path is None:
            return None
        table = list(reversed(self._table)) if backward else self._table
        ways = [path] if literal else [path, self._names.canonical(path)]
        for way in ways:
            for mount in table:
                if _has_source(mount, way):
                    return mount
        for mount in () if literal else table:
            net = is_pseudo(mount) or _is_net(mount)
            if not net and self._names.canonical(mount.source) == ways[-1]:
                return mount
        return None

    def _root(self) -> int | None:
        """The mount that the tree begins with: what has the lowest parent, or what is above."""
        if not self._table:
            return None
        index = min(range(len(self._table)), key=lambda each: self._table[each].parent)
        by_id: dict[int, int] = {}
        for place, mount in enumerate(self._table):
            by_id.setdefault(mount.id, place)
        met = {index}
        while (above := by_id.get(self._table[index].parent)) is not None and above not in met:
            met.add(above)
            index = above
        return index

    def _grow(self, start: int, wanted: Wanted) -> None:
        """Add a mount and all below it, as far as they match."""
        stack = [(start, -1)]
        met: set[int] = set()
        while stack:
            index, parent = stack.pop()
            if index in met:
                continue
            met.add(index)
            line = parent
            if wanted.submounts or self._fits(index, wanted):
                if index in self._line:
                    continue
                if self._add(index, parent):
                    line = self._line[index]
            below = self._children.get(self._table[index].id, ())
            stack.extend([(child, line) for child in reversed(below)])

    def _add(self, index: int, parent: int) -> bool:
        mount = self._table[index]
        if self._keep is not None and not self._keep(mount):
            return False
        self._line[index] = len(self._mounts)
        self._mounts.append(mount)
        self._parents.append(parent)
        return True

    def _fits(self, index: int, wanted: Wanted) -> bool:
        mount = self._table[index]
        if self._is_meant(mount, wanted):
            if wanted.df and not wanted.every:
                if "tmpfs" in mount.fs_type:
                    return not wanted.invert
                if is_pseudo(mount):
                    return wanted.invert
            if (
                (wanted.real and is_pseudo(mount))
                or (wanted.pseudo and not is_pseudo(mount))
                or (wanted.shadowed and not self._is_shadowed(mount))
            ):
                return wanted.invert
            return not wanted.invert
        return wanted.invert

    def _is_meant(self, mount: Mount, wanted: Wanted) -> bool:
        return not (
            (wanted.id is not None and mount.id != wanted.id)
            or (wanted.unique_id is not None and mount.unique_id != wanted.unique_id)
            or (
                wanted.types is not None
                and not matches_type(mount.fs_type.encode("utf-8", "surrogateescape"), wanted.types)
            )
            or (wanted.options is not None and not matches(all_options(mount), wanted.options))
            or (wanted.device is not None and _device(mount) != wanted.device)
            or (wanted.target is not None and not self._is_at(mount, wanted.target))
            or (wanted.source is not None and not self._is_of(mount, wanted.source))
        )

    def _is_at(self, mount: Mount, target: bytes) -> bool:
        if same_path(mount.point, target):
            return True
        return not self._wanted.literal and same_path(mount.point, self._names.canonical(target))

    def _is_of(self, mount: Mount, source: bytes) -> bool:
        if _has_source(mount, source) or (parse_tag(mount.source) and mount.source == source):
            return True
        unique = not (self._wanted.literal or is_pseudo(mount) or _is_net(mount))
        if not unique or not mount.source:
            return False
        tag = parse_tag(source)
        path = self._names.device(*tag) if tag else self._names.canonical(source)
        if path is None or parse_tag(mount.source):
            return False
        return _has_source(mount, path) or self._names.canonical(mount.source) == path

    def _is_shadowed(self, mount: Mount) -> bool:
        below = self._children.get(mount.id, ())
        return any(same_path(self._table[child].point, mount.point) for child in below)


def all_options(mount: Mount) -> bytes:
    """The options of a mount and of its file system in one list, as libmount joins them."""
    return merged(unescaped(mount.options), unescaped(mount.super_options))


def _device(mount: Mount) -> tuple[int, int]:
    return os.major(mount.dev), os.minor(mount.dev)


def _is_net(mount: Mount) -> bool:
    return mount.fs_type in _NET or mount.fs_type.startswith(("nfs", "9p"))


def _has_source(mount: Mount, path: bytes) -> bool:
    if parse_tag(mount.source):
        return False
    if is_pseudo(mount):
        return mount.source == path
    return same_path(mount.source, path)


def parse_tag(text: bytes) -> tuple[bytes, bytes] | None:
    """Take a tag apart, as libblkid does.

    Args:
        text: "UUID=..", maybe with quotes.

    Returns:
        Its name and value; None for what is no tag.
    """
    name, equals, value = text.partition(b"=")
    if not equals or name not in _TAGS:
        return None
    if value[:1] in {b'"', b"'"}:
        quote, value = value[:1], value[1:]
        if quote not in value:
            return None
        value = value[: value.rindex(quote)]
    return (name, value) if value else None
