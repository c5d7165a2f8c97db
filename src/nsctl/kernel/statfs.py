"""Of which type the file system of an open file is: statfs(2), linux/magic.h."""

from __future__ import annotations

import ctypes
import os
import sys

_libc = ctypes.CDLL(None, use_errno=True)
# struct statfs is smaller everywhere; its first member is f_type, a word.
_SIZE = 256

NAMES = {
    0x01021994: "tmpfs",
    0x858458F6: "ramfs",
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x1CD1: "devpts",
    0x794C7630: "overlay",
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x4D44: "vfat",
    0x73717368: "squashfs",
    0xE0F5E1E2: "erofs",
    0x65735546: "fuse",
    0x6969: "nfs",
    0x01021997: "9p",
    0x63677270: "cgroup2",
    0x27E0EB: "cgroup",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0xCAFE4A11: "bpf",
    0x19800202: "mqueue",
    0x958458F6: "hugetlbfs",
    0x6E736673: "nsfs",
    0x50494446: "pidfs",
    0x9660: "iso9660",
}
"""Names of file systems by their magic numbers, as far as a detached mount is likely to be of one."""


def magic(fd: int) -> int:
    """Tell the type of the file system that a file is on.

    Args:
        fd: any descriptor, also of O_PATH.

    Returns:
        Its magic number.

    Raises:
        OSError: the call's errno. A file system in user space is asked, and may never answer.
    """
    buffer = ctypes.create_string_buffer(_SIZE)
    if _libc.fstatfs(fd, buffer) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    word = ctypes.sizeof(ctypes.c_long)
    return int.from_bytes(buffer.raw[:word], sys.byteorder) & 0xFFFFFFFF
