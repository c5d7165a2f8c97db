"""Questions to a namespace's own descriptor: ioctl_nsfs(2).

Numbers are those of x86 and arm; mips, powerpc and sparc encode ioctls differently.
"""

from __future__ import annotations

import errno
import os
import struct
from fcntl import ioctl

from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.record import NamedTuple

NS_GET_USERNS = 0xB701
NS_GET_PARENT = 0xB702
NS_GET_NSTYPE = 0xB703
NS_GET_OWNER_UID = 0xB704
NS_GET_MNTNS_ID = 0x8008B705
NS_MNT_GET_INFO = 0x8010B70A
NS_MNT_GET_NEXT = 0x8010B70B
NS_MNT_GET_PREV = 0x8010B70C
NS_GET_ID = 0x8008B70D

_TYPE_OF_FLAG = {kind.clone_flag: kind for kind in TYPES}
_MNT_INFO = struct.Struct("=IIQ")
_U64 = struct.Struct("=Q")
_U32 = struct.Struct("=I")
# What a kernel says that does not know the request, or not for this type of namespace.
_UNKNOWN_REQUEST = frozenset({errno.ENOTTY, errno.EINVAL})


class MountNamespaceInfo(NamedTuple):
    """What a mount namespace says of itself.

    Attributes:
        mounts: how many mounts it has.
        ns_id: its 64-bit id.
    """

    mounts: int
    ns_id: int


def get_userns(fd: int) -> int:
    """Open the user namespace that owns a namespace; for a user namespace, its parent.

    Returns:
        A descriptor which the caller closes.

    Raises:
        OSError: EPERM where it lies outside the caller's scope, or there is none.
    """
    return ioctl(fd, NS_GET_USERNS)


def get_parent(fd: int) -> int:
    """Open the parent of a user or PID namespace.

    Returns:
        A descriptor which the caller closes.

    Raises:
        OSError: EPERM where it lies outside the caller's scope, or there is none.
    """
    return ioctl(fd, NS_GET_PARENT)


def get_nstype(fd: int) -> NamespaceType:
    """Tell what type of namespace a descriptor refers to.

    Raises:
        OSError: ENOTTY for a descriptor of anything else.
        ValueError: a type that nsctl does not know.
    """
    flag = ioctl(fd, NS_GET_NSTYPE)
    kind = _TYPE_OF_FLAG.get(flag)
    if kind is None:
        raise ValueError(f"there is no type of namespace with the flag {flag:#x}")
    return kind


def get_owner_uid(fd: int) -> int:
    """Ask a user namespace for the uid of its creator, in the caller's numbers.

    Returns:
        The uid; 65534 (the overflow uid) also stands for one that is not mapped here.
    """
    (uid,) = _U32.unpack(ioctl(fd, NS_GET_OWNER_UID, bytes(_U32.size)))
    return int(uid)


def get_id(fd: int) -> int | None:
    """Ask a namespace for its 64-bit id, which is never used again in a boot.

    Returns:
        The id, or None where this kernel has none for this type (before 6.18 only mount
        namespaces had one, since 6.11).
    """
    for request in (NS_GET_ID, NS_GET_MNTNS_ID):
        try:
            (number,) = _U64.unpack(ioctl(fd, request, bytes(_U64.size)))
        except OSError as error:
            if error.errno not in _UNKNOWN_REQUEST:
                raise
        else:
            return int(number)
    return None


def inode(fd: int) -> int:
    """The inode of a namespace's descriptor."""
    return os.fstat(fd).st_ino


def get_mnt_info(fd: int) -> MountNamespaceInfo:
    """Ask a mount namespace's descriptor for its size (since 6.12).

    Raises:
        OSError: ENOTTY or EINVAL where the kernel lacks the request.
    """
    _, mounts, ns_id = _MNT_INFO.unpack(ioctl(fd, NS_MNT_GET_INFO, bytes(_MNT_INFO.size)))
    return MountNamespaceInfo(mounts, ns_id)


def open_neighbour(fd: int, request: int) -> int | None:
    """Open the next or previous mount namespace in the kernel's list (since 6.12).

    Args:
        fd: descriptor of one.
        request: `NS_MNT_GET_NEXT` or `NS_MNT_GET_PREV`.

    Returns:
        A descriptor, close-on-exec, which the caller closes; None at the end of the list.

    Raises:
        OSError: EPERM for who has not CAP_SYS_ADMIN in the initial user namespace, or is in
            another than the initial PID namespace; ENOTTY or EINVAL where the kernel lacks it.
    """
    try:
        return ioctl(fd, request, 0)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
