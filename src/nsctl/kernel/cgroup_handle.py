"""Control groups of version 2 by their id, which sockets and BPF programs name.

The id is the handle of the group's directory (name_to_handle_at(2), kernfs): with it the directory
is opened without a search. Opening by handle takes CAP_DAC_READ_SEARCH in the initial user
namespace.
"""

from __future__ import annotations

import errno
import os
import struct

from nsctl.kernel.libc import syscall

_FILEID_KERNFS = 0xFE
# struct file_handle: length of the rest, type, the id.
_HANDLE = struct.Struct("=IiQ")
_ID_SIZE = 8


def cgroup_path(mount: int, number: int) -> str | None:
    """Find where a control group is.

    Args:
        mount: descriptor of a directory of a mounted hierarchy of version 2.
        number: the group's id.

    Returns:
        Its path, as the caller's mount namespace has it; None where it is gone.

    Raises:
        OSError: EPERM without the capability; EOPNOTSUPP where it is no such hierarchy.
    """
    handle = _HANDLE.pack(_ID_SIZE, _FILEID_KERNFS, number)
    try:
        fd = syscall("open_by_handle_at", mount, handle, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return None
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return None if path.endswith(" (deleted)") else path
