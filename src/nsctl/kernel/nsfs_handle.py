"""Namespaces by file handle: a name that leads to a namespace without anything that holds it.

Sources: name_to_handle_at(2), open_by_handle_at(2), linux/nsfs.h, linux/fcntl.h. Since 6.18.
"""

from __future__ import annotations

import ctypes
import os
import struct

from nsctl.kernel.libc import syscall
from nsctl.model.namespace import NamespaceType

_AT_EMPTY_PATH = 0x1000
_FD_NSFS_ROOT = -10003
# struct file_handle: length of the rest, type; behind it the 64-bit id, type and inode.
_HEADER = struct.Struct("=Ii")
_LARGEST = 128
# struct nsfs_file_handle: the 64-bit id, the type as its CLONE_NEW* flag, the inode.
_BODY = struct.Struct("=QII")
_FILEID_NSFS = 0xF1


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


def handle(ns_id: int, kind: NamespaceType, ino: int) -> bytes:
    """Make the handle of a namespace of which all three numbers are known.

    Args:
        ns_id: its 64-bit id.
        kind: its type.
        ino: its inode.

    Returns:
        A struct file_handle.
    """
    body = _BODY.pack(ns_id, kind.clone_flag, ino)
    return _HEADER.pack(len(body), _FILEID_NSFS) + body


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
