"""Questions to a process through its pidfd: pidfd_getfd(2), ioctl_pidfd(2)."""

from __future__ import annotations

import os
import select
from fcntl import ioctl

PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE = 0xFF06


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """Duplicate a descriptor of another process into the calling one (pidfd_getfd(2), since 5.6).

    Closing the duplicate may ask the file system of the file, as close(2) does for any: a hostile
    one never answers. Call it where a hanging process does no harm.

    Args:
        pidfd: the process.
        fd: the number of the descriptor in the table of the process's first thread.

    Returns:
        A descriptor, close-on-exec, which the caller closes.

    Raises:
        OSError: EPERM without the right to attach to the process (ptrace(2)), EBADF for a number
            that is not open, ESRCH when the process is gone.
    """
    from nsctl.kernel.libc import syscall  # few ask for descriptors, and it takes 2 ms

    return syscall("pidfd_getfd", pidfd, fd, 0)


def has_ended(pidfd: int) -> bool:
    """Tell whether the process of a pidfd has ended (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def inode(pidfd: int) -> int:
    """The inode of a pidfd, which no other process of this boot has (since 6.9).

    Returns:
        It; 0 in a kernel where all pidfds share one.
    """
    status = os.fstat(pidfd)
    other = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        # Before there was pidfs, both were on the file system of anonymous inodes.
        return 0 if os.fstat(other).st_dev == status.st_dev else status.st_ino
    finally:
        os.close(other)


def open_pid_for_children(pidfd: int) -> int:
    """Open the PID namespace that a process's next child will be in (since 6.11).

    Unlike /proc/PID/ns/pid_for_children it opens a namespace that never had a process.

    Returns:
        A descriptor, close-on-exec, which the caller closes.

    Raises:
        OSError: EACCES without the right to look at the process, ESRCH when it is gone, ENOTTY,
            EINVAL or EOPNOTSUPP where the kernel lacks the request.
    """
    return ioctl(pidfd, PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE, 0)
