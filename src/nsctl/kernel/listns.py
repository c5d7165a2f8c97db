"""The kernel's own list of namespaces: listns(2), since 6.19."""

from __future__ import annotations

import ctypes
import struct

from nsctl.kernel.libc import syscall

# struct ns_id_req of linux/nsfs.h: size, spare, last id, types, spare, user namespace's id.
_REQUEST = struct.Struct("=IIQIIQ")


def listns(last: int = 0, types: int = 0, limit: int = 64) -> tuple[int, ...]:
    """List namespaces that are in use, as far as the caller may see them.

    Args:
        last: 64-bit id after which the list goes on, 0 for its beginning.
        types: CLONE_NEW* bits of the types wanted, 0 for all.
        limit: ids at most.

    Returns:
        64-bit ids, ascending; () at the end.

    Raises:
        OSError: ENOSYS where the kernel lacks the call.
    """
    request = ctypes.create_string_buffer(
        _REQUEST.pack(_REQUEST.size, 0, last, types, 0, 0), _REQUEST.size
    )
    buffer = (ctypes.c_uint64 * limit)()
    count = syscall("listns", request, buffer, limit, 0)
    return tuple(buffer[:count])
