"""Namespaces by file handle: a name that leads to a namespace without anything that holds it.

Sources: name_to_handle_at(2), open_by_handle_at(2), linux/nsfs.h, linux/fcntl.h. Since 6.18.
"""

from __future__ import annotations

import ctypes
import os
import struct

from nsctl.kernel.libc import syscall

_AT_EMPTY_PATH = 0x1000
_FD_NSFS_ROOT = -10003
# struct file_handle: length of the rest, type; behind it the 64-bit id, type and inode.
_HEADER = struct.Struct("=Ii")
_LARGEST = 128


def name_to_handle(fd: int) -> bytes:
    """Make the handle of a namespace.

    Args:
        fd: descriptor of the namespace.

    Returns:
        A struct file_handle, valid as long as the namespace lives.

    Raises:
        OSError: EOPNOTSUPP where nsfs has no handles.
    """
    buffer = ctypes.create_string_buffer(_HEADER.pack(_LARGEST, 0), _HEADER.size + _LARGEST)
    mount_id = ctypes.c_int()
    syscall("name_to_handle_at", fd, b"", buffer, ctypes.byref(mount_id), _AT_EMPTY_PATH)
    length, _ = _HEADER.unpack_from(buffer.raw)
    return buffer.raw[: _HEADER.size + length]


def open_by_handle(handle: bytes) -> int:
    """Open a namespace by its handle.

    Args:
        handle: from `name_to_handle`.

    Returns:
        A descriptor, close-on-exec, which the caller closes.

    Raises:
        OSError: ESTALE where the namespace is gone, and also where the caller may not open it
            (another than its own takes CAP_SYS_ADMIN).
    """
    buffer = ctypes.create_string_buffer(handle, len(handle))
    return syscall("open_by_handle_at", _FD_NSFS_ROOT, buffer, os.O_CLOEXEC)
