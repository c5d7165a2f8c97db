"""Tar archives, written to a `Tree`: a root file system whole, or one layer of an image.

`tarfile` takes headers apart and never writes. A layer says by names that something below it is
gone: ".wh.NAME" for a name, ".wh..wh..opq" for all that a directory had in lower layers (OCI image
specification, layer.md).
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from nsctl.errors import NsctlError
from nsctl.images.stream import Reader
from nsctl.images.tree import Owner, Tree, split

_CHUNK = 1 << 18
_HEADER_LIMIT = 1 << 20
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
_XATTR = "SCHILY.xattr."
_LONG_HEADERS = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)
_ID_LIMIT = 0xFFFFFFFE
_LATEST = float(1 << 33)


class _Member(tarfile.TarInfo):
    """A header; one that claims to have a huge name is not read into memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_HEADERS and self.size > _HEADER_LIMIT:
            raise NsctlError("unpack", "a header", f"its names take {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]  # not in the stubs


def unpack(source: Reader, tree: Tree, what: str, *, is_layer: bool) -> None:
    """Write what a tar archive holds.

    Args:
        source: the archive, not compressed; read to the end of its last entry.
        tree: where to.
        what: what it is, for errors.
        is_layer: names that begin with ".wh." take away what is there.

    Raises:
        NsctlError: it is no tar archive, damaged, or holds what cannot be; what was written until
            then is the caller's to remove.
    """
    written: set[tuple[str, ...]] = set()
    try:
        with tarfile.open(
            fileobj=cast("BinaryIO", source), mode="r|", tarinfo=_Member, errorlevel=1
        ) as archive:
            for member in archive:
                if is_layer and _take_away(tree, member.name, written):
                    continue
                _add(tree, archive, member)
                if is_layer:
                    written.add(split(member.name))
    except tarfile.TarError as error:
        raise NsctlError("unpack", what, f"it is no tar archive, or damaged: {error}") from error
    except (ValueError, OverflowError, UnicodeError) as error:
        raise NsctlError("unpack", what, f"an entry makes no sense: {error}") from error


def _take_away(tree: Tree, path: str, written: set[tuple[str, ...]]) -> bool:
    """Obey a whiteout; tell whether it is one."""
    parts = split(path)
    if not parts or not parts[-1].startswith(_WHITEOUT):
        return False
    directory, name = "/".join(parts[:-1]), parts[-1]
    if name == _OPAQUE:
        tree.empty(directory, frozenset(written))
    elif not name.startswith(_RESERVED):
        gone = name.removeprefix(_WHITEOUT)
        if gone in {"", ".", ".."}:
            raise NsctlError("unpack", path, "it takes away nothing that could be there")
        target = f"{directory}/{gone}"
        # What this layer has itself is not below it.
        if split(target) not in written:
            tree.remove(target)
    return True


def _add(tree: Tree, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    owner = Owner(
        uid=_id(member.uid, member.name),
        gid=_id(member.gid, member.name),
        mode=member.mode & 0o7777,
        mtime=min(max(float(member.mtime), 0.0), _LATEST),
    )
    if member.isdir():
        tree.directory(member.name, owner)
    elif member.isfile():
        tree.file(member.name, owner, _content(archive, member))
    elif member.issym():
        tree.symlink(member.name, member.linkname, owner)
        return
    elif member.islnk():
        tree.hard_link(member.name, member.linkname)
        return
    elif member.isfifo():
        tree.fifo(member.name, owner)
        return
    elif member.isdev():
        tree.device(member.name)
        return
    else:
        raise NsctlError("unpack", member.name, f"it is of an unknown type {member.type!r}")
    attributes = {
        key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    }
    if attributes:
        tree.attributes(member.name, attributes)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = archive.extractfile(member)
    if file is None:
        return
    left = member.size
    while left:
        data = file.read(min(_CHUNK, left))
        if not data:
            raise NsctlError("unpack", member.name, "the archive ends within it")
        left -= len(data)
        yield data


def _id(number: int, path: str) -> int:
    if not 0 <= number <= _ID_LIMIT:
        raise NsctlError("unpack", path, f"{number} is no id of a user or group")
    return number
