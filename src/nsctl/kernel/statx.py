"""What a file is, without asking its file system: statx(2) with AT_STATX_DONT_SYNC.

stat(2) on a file of a dead server or of a hostile FUSE hangs; what the kernel has in memory is
enough to tell a namespace, a socket and a device.
"""

from __future__ import annotations

import ctypes
import os
import struct

from nsctl.kernel.libc import syscall
from nsctl.model.record import NamedTuple

AT_EMPTY_PATH = 0x1000
AT_STATX_DONT_SYNC = 0x4000
STATX_TYPE = 0x1
STATX_INO = 0x100
STATX_MNT_ID = 0x1000
_ATTR_MOUNT_ROOT = 0x2000

# linux/stat.h: stx_mode at 28, stx_ino at 32, the four device numbers at 128.
_SIZE = 256
_MODE = struct.Struct("=H2xQ")
_DEVICES = struct.Struct("=IIII")
# stx_attributes at 8, stx_attributes_mask at 56.
_ATTRIBUTES = struct.Struct("=Q")
_MASK = struct.Struct("=I")


class FileKind(NamedTuple):
    """What a file is.

    Attributes:
        mode: its type, as stat.S_IFMT gives it.
        ino: inode number.
        dev: device that its file system is on, as os.makedev gives it.
        rdev: major and minor number, for a device file.
    """

    mode: int
    ino: int
    dev: int
    rdev: tuple[int, int]


def file_kind(fd: int) -> FileKind:
    """Tell what a descriptor refers to, from what the kernel has in memory.

    Args:
        fd: any descriptor, also of O_PATH.

    Returns:
        Type, inode and devices.

    Raises:
        OSError: the call's errno.
    """
    buffer = ctypes.create_string_buffer(_SIZE)
    flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC
    syscall("statx", fd, b"", flags, STATX_TYPE | STATX_INO, buffer)
    mode, ino = _MODE.unpack_from(buffer, 28)
    rdev_major, rdev_minor, major, minor = _DEVICES.unpack_from(buffer, 128)
    return FileKind(mode & 0o170000, ino, os.makedev(major, minor), (rdev_major, rdev_minor))


def is_mount_root(fd: int) -> bool | None:
    """Tell whether a directory is the root of a mount (STATX_ATTR_MOUNT_ROOT, since 5.8).

    Args:
        fd: any descriptor of it, also of O_PATH.

    Returns:
        None where the kernel does not say.
    """
    buffer = ctypes.create_string_buffer(_SIZE)
    syscall("statx", fd, b"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, buffer)
    (attributes,) = _ATTRIBUTES.unpack_from(buffer, 8)
    (known,) = _ATTRIBUTES.unpack_from(buffer, 56)
    return bool(attributes & _ATTR_MOUNT_ROOT) if known & _ATTR_MOUNT_ROOT else None


def mount_id(fd: int) -> int:
    """Tell through which mount a file was opened (STATX_MNT_ID, since 5.8).

    Args:
        fd: any descriptor, also of O_PATH.

    Returns:
        The mount's number, as mountinfo and fdinfo have it; 0 where the kernel does not say.

    Raises:
        OSError: the call's errno.
    """
    buffer = ctypes.create_string_buffer(_SIZE)
    syscall("statx", fd, b"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, buffer)
    (mask,) = _MASK.unpack_from(buffer, 0)
    (number,) = _ATTRIBUTES.unpack_from(buffer, 0x90)
    return int(number) if mask & STATX_MNT_ID else 0
