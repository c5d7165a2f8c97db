"""The namespaces of a process through its pidfd, without /proc (linux/pidfd.h, since 6.11)."""

from __future__ import annotations

from fcntl import ioctl

from nsctl.model.namespace import NamespaceType

_GET_NAMESPACE = {
    NamespaceType.CGROUP: 0xFF01,
    NamespaceType.IPC: 0xFF02,
    NamespaceType.MNT: 0xFF03,
    NamespaceType.NET: 0xFF04,
    NamespaceType.PID: 0xFF05,
    NamespaceType.TIME: 0xFF07,
    NamespaceType.USER: 0xFF09,
    NamespaceType.UTS: 0xFF0A,
}


def open_namespace(pidfd: int, kind: NamespaceType) -> int:
    """Open one of a process's namespaces.

    Args:
        pidfd: the process.
        kind: which.

    Returns:
        A descriptor, close-on-exec, which the caller closes.

    Raises:
        OSError: EACCES without the right to look at the process, ESRCH when it is gone, ENOTTY
            or EINVAL where the kernel lacks the request.
    """
    return ioctl(pidfd, _GET_NAMESPACE[kind], 0)
