r"""What a mount of overlayfs says of its layers, and what lies at one path of a layer.

mountinfo and statmount(2) show the options as whoever mounted it wrote them: paths from its root
directory, or from the directory where it stood. Layers are directories of any file system; overlayfs
clones their mounts, so what is mounted below one of them is no part of it. Sources: the kernel's
Documentation/filesystems/overlayfs.rst, fs/overlayfs/params.c, xattr(7).
"""

from __future__ import annotations

import errno
import os
import stat

from nsctl.kernel.mount import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)
from nsctl.kernel.mountinfo import unescape
from nsctl.model.layer import Entry
from nsctl.model.namespace import IdExtent
from nsctl.model.record import NamedTuple

TRUSTED = b"trusted.overlay."
USER = b"user.overlay."

_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_CAPABILITY = b"security.capability"
# openat2(2) takes less than PATH_MAX at once; a tree can be deeper.
_PIECE = 3500
# What is shown of an id that is not mapped (user_namespaces(7)).
_OVERFLOW = 65534
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_NO_ATTRIBUTE = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT})


class Layers(NamedTuple):
    """The directories that a mount of overlayfs is made of.

    Attributes:
        lower: the lower ones, topmost first, raw bytes.
        data: data-only ones behind them, which have content and no names (since 6.6).
        upper: the one that is written to, b"" for none.
        work: its work directory, b"" for none.
        prefix: of the extended attributes that overlayfs keeps there, as `TRUSTED`.
    """

    lower: tuple[bytes, ...]
    data: tuple[bytes, ...]
    upper: bytes
    work: bytes
    prefix: bytes


class Maps(NamedTuple):
    """How an id-mapped mount shows owners (mount_setattr(2)): inside as stored, outside as shown.

    Attributes:
        uids: rows of a uid_map.
        gids: rows of a gid_map.
    """

    uids: tuple[IdExtent, ...]
    gids: tuple[IdExtent, ...]


def _shown(number: int, rows: tuple[IdExtent, ...]) -> int:
    for row in rows:
        if row.inside <= number < row.inside + row.length:
            return row.outside + number - row.inside
    return _OVERFLOW


def parse_layers(options: bytes) -> Layers:
    r"""Find the layers in the options of a superblock.

    Args:
        options: as mountinfo shows them: separated by commas, ``\NNN`` for what is not shown raw.

    Returns:
        The layers; those given one by one (``lowerdir+=``, since 6.7) behind the others.
    """
    lower: list[bytes] = []
    data: list[bytes] = []
    single = {b"upperdir": b"", b"workdir": b""}
    prefix = TRUSTED
    for option in options.split(b","):
        key, _, raw = option.partition(b"=")
        value = unescape(raw)
        if key == b"lowerdir":
            named, only_data = _split_lower(value)
            lower += named
            data += only_data
        elif key == b"lowerdir+":
            lower.append(value)
        elif key == b"datadir+":
            data.append(value)
        elif key in single:
            single[key] = value
        elif key == b"userxattr":
            prefix = USER
    return Layers(tuple(lower), tuple(data), single[b"upperdir"], single[b"workdir"], prefix)


def _split_lower(value: bytes) -> tuple[list[bytes], list[bytes]]:
    r"""Split ``a:b::c``: colons between, two before data-only layers, ``\:`` for one in a name."""
    parts = [b""]
    at = 0
    while at < len(value):
        piece = value[at : at + 1]
        if piece == b"\\" and at + 1 < len(value):
            parts[-1] += value[at + 1 : at + 2]
            at += 1
        elif piece == b":":
            parts.append(b"")
        else:
            parts[-1] += piece
        at += 1
    if b"" not in parts:
        return parts, []
    first = parts.index(b"")
    return parts[:first], [part for part in parts[first:] if part]


def spellings(path: bytes) -> tuple[bytes, ...]:
    r"""The paths that an upper or work directory's option may mean: mount(2) drops backslashes."""
    if b"\\" not in path:
        return (path,)
    plain, at = bytearray(), 0
    while at < len(path):
        at += path[at : at + 1] == b"\\" and at + 1 < len(path)
        plain += path[at : at + 1]
        at += 1
    return (path, bytes(plain))


class LayerDirectory:
    """One layer, looked at without opening anything in it but directories.

    Args:
        fd: of its directory, O_PATH will do; the caller closes it.
        prefix: see `Layers`.
        limit: names of one directory after which listing stops.
        maps: how owners are shown, None as they are.

    Attributes:
        fd: as given.
        cut: a directory had more names than the limit.
    """

    def __init__(
        self, fd: int, prefix: bytes, limit: int = 1_000_000, maps: Maps | None = None
    ) -> None:
        self.fd = fd
        self.cut = False
        self._limit = limit
        self._prefix = prefix
        self._maps = maps

    def entry(self, path: bytes) -> Entry | None:
        """Tell what lies at a path.

        Args:
            path: from the layer's directory, b"" for that itself; no link is followed.

        Returns:
            None where nothing does.

        Raises:
            OSError: it cannot be looked at: EXDEV where something is mounted there, EACCES.
        """
        try:
            fd = self.open(path)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        try:
            return self._describe(fd)
        finally:
            os.close(fd)

    def names(self, path: bytes) -> list[bytes]:
        """List a directory.

        Args:
            path: as for `entry`.

        Returns:
            Names in no useful order; [] where there is no directory.

        Raises:
            OSError: it cannot be read.
        """
        try:
            fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise
        found: list[bytes] = []
        try:
            with os.scandir(fd) as entries:
                for each in entries:
                    if len(found) >= self._limit:
                        self.cut = True
                        break
                    found.append(os.fsencode(each.name))
        finally:
            os.close(fd)
        return found

    def open(self, path: bytes, flags: int = os.O_PATH | os.O_NOFOLLOW) -> int:
        """Open what lies at a path, in pieces where it is long.

        Args:
            path: as for `entry`.
            flags: of open(2) for the last part.

        Returns:
            A descriptor, which the caller closes.

        Raises:
            OSError: see openat2(2).
        """
        pieces = _pieces(path)
        at = self.fd
        try:
            for piece in pieces[:-1]:
                deeper = openat2(at, os.fsdecode(piece), os.O_PATH | os.O_DIRECTORY, _BENEATH)
                if at != self.fd:
                    os.close(at)
                at = deeper
            return openat2(at, os.fsdecode(pieces[-1]), flags, _BENEATH)
        finally:
            if at != self.fd:
                os.close(at)

    def _describe(self, fd: int) -> Entry:
        status = os.fstat(fd)
        # Not the descriptor: one of O_PATH has no attributes of its own.
        link = f"/proc/self/fd/{fd}"
        names = _attributes(link)
        kind = stat.S_IFMT(status.st_mode)
        found: dict[bytes, bytes] = {}
        if kind in {stat.S_IFDIR, stat.S_IFREG}:
            for name in (b"opaque", b"redirect", b"metacopy", b"whiteout"):
                if self._prefix + name in names:
                    found[name] = _attribute(link, self._prefix + name)
        maps = self._maps
        is_device = kind == stat.S_IFCHR and status.st_rdev == 0
        is_marked = kind == stat.S_IFREG and not status.st_size and b"whiteout" in found
        return Entry(
            mode=status.st_mode,
            uid=_shown(status.st_uid, maps.uids) if maps else status.st_uid,
            gid=_shown(status.st_gid, maps.gids) if maps else status.st_gid,
            rdev=status.st_rdev,
            size=status.st_size,
            mtime=status.st_mtime_ns,
            nlink=status.st_nlink,
            capability=_attribute(link, _CAPABILITY) if _CAPABILITY in names else b"",
            whiteout=is_device or is_marked,
            opaque=kind == stat.S_IFDIR and found.get(b"opaque") == b"y",
            redirect=found.get(b"redirect", b""),
            metacopy=kind == stat.S_IFREG and b"metacopy" in found,
        )


def _pieces(path: bytes) -> list[bytes]:
    if len(path) <= _PIECE:
        return [path or b"."]
    pieces: list[bytes] = []
    current = b""
    for name in path.split(b"/"):
        if current and len(current) + len(name) >= _PIECE:
            pieces.append(current)
            current = name
        else:
            current = current + b"/" + name if current else name
    return [*pieces, current]


def _attributes(link: str) -> set[bytes]:
    try:
        return set(map(os.fsencode, os.listxattr(link)))
    except OSError as error:
        if error.errno in _NO_ATTRIBUTE:
            return set()
        raise


def _attribute(link: str, name: bytes) -> bytes:
    try:
        return os.getxattr(link, name)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTE:
            return b""
        raise
