"""What a file is, without asking its file system: statx(2) with AT_STATX_DONT_SYNC.

stat(2) on a file of a dead server or of a hostile FUSE hangs; what the kernel has in memory is
enough to tell a namespace, a socket and a device.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

from nsctl.kernel.libc import syscall

AT_EMPTY_PATH = 0x1000
AT_STATX_DONT_SYNC = 0x4000
STATX_TYPE = 0x1
STATX_INO = 0x100

# linux/stat.h: stx_mode at 28, stx_ino at 32, the four device numbers at 128.
_SIZE = 256
_MODE = struct.Struct("=H2xQ")
_DEVICES = struct.Struct("=IIII")


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
