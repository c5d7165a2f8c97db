"""Mounts as the kernel itself lists them, by mount namespace: no process, no path, no chroot.

A mountinfo shows only what lies below the root directory of the process that is asked. Sources:
listmount(2), statmount(2), linux/mount.h.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator
from typing import NamedTuple

from nsctl.kernel.libc import syscall

LSMT_ROOT = (1 << 64) - 1

STATMOUNT_MNT_BASIC = 0x02
STATMOUNT_MNT_ROOT = 0x08
STATMOUNT_MNT_POINT = 0x10
STATMOUNT_FS_TYPE = 0x20

# struct mnt_id_req, whose last field came with 6.11.
_REQUEST = struct.Struct("=IIQQQ")
# struct statmount up to mnt_point; strings lie behind its 512 bytes.
_HEADER = struct.Struct("=IIQIIQIIQQIIQQQQQII")
_STRINGS = 512
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
            return parse_statmount(buffer.raw)


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
