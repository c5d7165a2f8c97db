"""Mounts as the kernel itself lists them, by mount namespace: no process, no path, no chroot.

A mountinfo shows only what lies below the root directory of the process that is asked. Sources:
listmount(2), statmount(2), linux/mount.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

from nsctl.errors import Suppressed
from nsctl.kernel.libc import syscall
from nsctl.model.mount import Mount
from nsctl.model.namespace import IdExtent
from nsctl.model.record import NamedTuple

LSMT_ROOT = (1 << 64) - 1

STATMOUNT_SB_BASIC = 0x01
STATMOUNT_MNT_BASIC = 0x02
STATMOUNT_PROPAGATE_FROM = 0x04
STATMOUNT_MNT_ROOT = 0x08
STATMOUNT_MNT_POINT = 0x10
STATMOUNT_FS_TYPE = 0x20
STATMOUNT_MNT_OPTS = 0x80
STATMOUNT_FS_SUBTYPE = 0x100
STATMOUNT_SB_SOURCE = 0x200
STATMOUNT_OPT_SEC_ARRAY = 0x800
STATMOUNT_MNT_UIDMAP = 0x2000
STATMOUNT_MNT_GIDMAP = 0x4000

# struct mnt_id_req, whose last field came with 6.11.
_REQUEST = struct.Struct("=IIQQQ")
# struct statmount up to mnt_point; strings lie behind its 512 bytes.
_HEADER = struct.Struct("=IIQIIQIIQQIIQQQQQII")
# The same up to sb_source, which came with 6.13, and to mnt_gidmap, which came with 6.15; on older
# kernels what was added later is zero, and its bit in the mask is not set.
_WHOLE = struct.Struct("=IIQIIQIIQQIIQQQQQIIQIIIIIIQIIII")
_STRINGS = 512
_RDONLY = 1
# Per-mount options as mountinfo spells them, in its order: bits of MOUNT_ATTR_*.
_ATIME, _NOATIME, _RELATIME = 0x70, 0x10, 0x00
_MOUNT_WORDS = ((0x2, b"nosuid"), (0x4, b"nodev"), (0x8, b"noexec"))
_NODIRATIME, _NOSYMFOLLOW, _IDMAP = 0x80, 0x200000, 0x100000
# Options of the file system: bits of SB_*.
_SUPER_WORDS = ((0x10, b"sync"), (0x80, b"dirsync"), (0x40, b"mand"), (1 << 25, b"lazytime"))
# Bits of MS_* in mnt_propagation.
_UNBINDABLE, _SLAVE, _SHARED = 1 << 17, 1 << 19, 1 << 20
_ESCAPED = {byte: b"\\%03o" % byte for byte in b" \t\n\\"}
_FIRST_SIZE = 4096
_LARGEST_SIZE = 1 << 20
_IDS = 512


class KernelMount(NamedTuple):
    """One mount, as far as it was asked for.

    Attributes:
        mnt_id: unique id, never used again in a boot.
        old_id: the id that mountinfo and fdinfo show, used again after unmounting.
        fs_type: file system type.
        root: which path of the file system is mounted.
        point: where, from the root of its mount namespace.
    """

    mnt_id: int
    old_id: int
    fs_type: bytes
    root: bytes
    point: bytes


def listmount(ns_id: int) -> Iterator[int]:
    """List all mounts of a mount namespace (since 6.8; of another than the own, since 6.11).

    Args:
        ns_id: its 64-bit id.

    Yields:
        Their unique ids, in the order in which they were made.

    Raises:
        OSError: ENOENT (EPERM since 7.0) without CAP_SYS_ADMIN in the user namespace that owns
            it; ENOSYS where the kernel lacks the call.
    """
    buffer = (ctypes.c_uint64 * _IDS)()
    last = 0
    while True:
        request = ctypes.create_string_buffer(
            _REQUEST.pack(_REQUEST.size, 0, LSMT_ROOT, last, ns_id), _REQUEST.size
        )
        count = syscall("listmount", request, buffer, _IDS, 0)
        ids = buffer[:count]
        yield from ids
        if count < _IDS:
            return
        last = ids[-1]


def statmount(mnt_id: int, ns_id: int) -> KernelMount:
    """Ask for one mount.

    Args:
        mnt_id: unique id, from `listmount`.
        ns_id: 64-bit id of its mount namespace.

    Returns:
        What the kernel says of it.

    Raises:
        OSError: ENOENT when it is gone, else as `listmount`.
    """
    mask = STATMOUNT_MNT_BASIC | STATMOUNT_FS_TYPE | STATMOUNT_MNT_ROOT | STATMOUNT_MNT_POINT
    return parse_statmount(_ask(mnt_id, ns_id, mask))


def mount_point(mnt_id: int, ns_id: int) -> bytes:
    """Ask where one mount is, as `statmount`.

    Returns:
        Its mount point, from the root of its mount namespace.
    """
    return parse_statmount(_ask(mnt_id, ns_id, STATMOUNT_MNT_POINT)).point


def table(ns_id: int) -> tuple[Mount, ...] | None:
    """Read all mounts of a mount namespace, as its mountinfo shows them to who is at its root.

    Args:
        ns_id: its 64-bit id.

    Returns:
        Its mounts, in the order in which they were made; None where this kernel does not tell
        all that mountinfo does.

    Raises:
        OSError: as `listmount`.
    """
    mask = (
        STATMOUNT_SB_BASIC
        | STATMOUNT_MNT_BASIC
        | STATMOUNT_PROPAGATE_FROM
        | STATMOUNT_FS_TYPE
        | STATMOUNT_FS_SUBTYPE
        | STATMOUNT_MNT_ROOT
        | STATMOUNT_MNT_POINT
        | STATMOUNT_MNT_OPTS
        | STATMOUNT_SB_SOURCE
        | STATMOUNT_OPT_SEC_ARRAY
        | STATMOUNT_MNT_UIDMAP
        | STATMOUNT_MNT_GIDMAP
    )
    rows = []
    tells = 0
    for mnt_id in listmount(ns_id):
        with Suppressed(FileNotFoundError):  # unmounted meanwhile
            told, row = parse_mount(_ask(mnt_id, ns_id, mask))
            tells |= told
            rows.append(row)
    return tuple(rows) if tells & STATMOUNT_SB_SOURCE else None


def parse_mount(raw: bytes) -> tuple[int, Mount]:
    """Parse what statmount(2) filled in for `table`.

    Args:
        raw: the buffer.

    Returns:
        What the kernel told (STATMOUNT_* bits), and the mount.

    Raises:
        ValueError: it is cut short, a string lies outside of it, or a number is none.
    """
    if len(raw) < _STRINGS:
        raise ValueError("statmount cut short")
    (
        _, options, mask, major, minor, _, sb_flags, fs_type, unique, parent_unique, old_id,
        old_parent, attributes, propagation, peers, master, origin, root, point, _, subtype,
        source, _, _, security_count, security, _, uid_count, uid_map, gid_count, gid_map,
    ) = _WHOLE.unpack_from(raw)  # fmt: skip
    if not (major < 1 << 12 and minor < 1 << 20):
        raise ValueError("statmount tells no device number")
    kind = _string(raw, fs_type) if mask & STATMOUNT_FS_TYPE else b""
    if mask & STATMOUNT_FS_SUBTYPE:
        kind += b"." + _string(raw, subtype)
    extra: list[bytes] = []
    if mask & STATMOUNT_OPT_SEC_ARRAY:
        extra += map(_escape, _strings(raw, security, security_count))
    if mask & STATMOUNT_MNT_OPTS:
        extra.append(_string(raw, options))
    idmapped = attributes & _IDMAP
    return mask, Mount(
        id=old_id,
        parent=old_parent,
        dev=os.makedev(major, minor),
        root=_string(raw, root) if mask & STATMOUNT_MNT_ROOT else b"",
        point=_string(raw, point) if mask & STATMOUNT_MNT_POINT else b"",
        read_only=bool((attributes | sb_flags) & _RDONLY),
        fs_type=kind.decode("utf-8", "surrogateescape"),
        source=_string(raw, source) if mask & STATMOUNT_SB_SOURCE else b"none",
        options=_mount_options(attributes),
        fields=_fields(propagation, peers, master, origin),
        super_options=_super_options(sb_flags, extra),
        unique_id=unique,
        parent_unique_id=parent_unique,
        uid_map=_extents(raw, uid_map, uid_count)
        if idmapped and mask & STATMOUNT_MNT_UIDMAP
        else None,
        gid_map=_extents(raw, gid_map, gid_count)
        if idmapped and mask & STATMOUNT_MNT_GIDMAP
        else None,
    )


def _mount_options(attributes: int) -> bytes:
    """Spell a mount's own options as mountinfo does."""
    words = [b"ro" if attributes & _RDONLY else b"rw"]
    words += [word for bit, word in _MOUNT_WORDS if attributes & bit]
    access = attributes & _ATIME
    if access == _NOATIME:
        words.append(b"noatime")
    if attributes & _NODIRATIME:
        words.append(b"nodiratime")
    if access == _RELATIME:
        words.append(b"relatime")
    if attributes & _NOSYMFOLLOW:
        words.append(b"nosymfollow")
    if attributes & _IDMAP:
        words.append(b"idmapped")
    return b",".join(words)


def _fields(propagation: int, peers: int, master: int, origin: int) -> bytes:
    """Spell how a mount propagates as mountinfo does."""
    words = []
    if propagation & _SHARED:
        words.append(b"shared:%d" % peers)
    if propagation & _SLAVE:
        words.append(b"master:%d" % master)
        # The nearest peer group above it that the reader can see, where that is not its master.
        if origin not in {0, master}:
            words.append(b"propagate_from:%d" % origin)
    if propagation & _UNBINDABLE:
        words.append(b"unbindable")
    return b" ".join(words)


def _super_options(sb_flags: int, extra: list[bytes]) -> bytes:
    """Spell the options of a file system as mountinfo does."""
    words = [b"ro" if sb_flags & _RDONLY else b"rw"]
    words += [word for bit, word in _SUPER_WORDS if sb_flags & bit]
    return b",".join([*words, *filter(None, extra)])


def _escape(text: bytes) -> bytes:
    """Escape an option as the kernel does in mountinfo."""
    return b"".join([_ESCAPED.get(byte, b"%c" % byte) for byte in text])


def _extents(raw: bytes, offset: int, count: int) -> tuple[IdExtent, ...]:
    """Parse the id map of a mount: inner, outer and count, one extent a string."""
    rows = []
    for text in _strings(raw, offset, count):
        inner, outer, length = map(int, text.split(b" "))
        rows.append(IdExtent(inner, outer, length))
    return tuple(rows)


def _strings(raw: bytes, offset: int, count: int) -> list[bytes]:
    """Take strings that lie one behind the other."""
    found = []
    for _ in range(count):
        text = _string(raw, offset)
        found.append(text)
        offset += len(text) + 1
    return found


def _ask(mnt_id: int, ns_id: int, mask: int) -> bytes:
    """Fill a buffer with what is asked of a mount."""
    request = ctypes.create_string_buffer(
        _REQUEST.pack(_REQUEST.size, 0, mnt_id, mask, ns_id), _REQUEST.size
    )
    size = _FIRST_SIZE
    while True:
        buffer = ctypes.create_string_buffer(size)
        try:
            syscall("statmount", request, buffer, size, 0)
        except OSError as error:
            if error.errno != errno.EOVERFLOW or size >= _LARGEST_SIZE:
                raise
            size *= 4
        else:
            return buffer.raw


def parse_statmount(raw: bytes) -> KernelMount:
    """Parse what statmount(2) filled in.

    Args:
        raw: the buffer.

    Returns:
        The mount; b"" for a string that the kernel did not give.

    Raises:
        ValueError: it is cut short, or a string lies outside of it.
    """
    if len(raw) < _STRINGS:
        raise ValueError("statmount cut short")
    fields = _HEADER.unpack_from(raw)
    mask, fs_type, root, point = fields[2], fields[7], fields[-2], fields[-1]
    return KernelMount(
        mnt_id=fields[8],
        old_id=fields[10],
        fs_type=_string(raw, fs_type) if mask & STATMOUNT_FS_TYPE else b"",
        root=_string(raw, root) if mask & STATMOUNT_MNT_ROOT else b"",
        point=_string(raw, point) if mask & STATMOUNT_MNT_POINT else b"",
    )


def _string(raw: bytes, offset: int) -> bytes:
    start = _STRINGS + offset
    end = raw.find(b"\0", start)
    if end < 0:
        raise ValueError("a string of statmount lies outside of it")
    return raw[start:end]
