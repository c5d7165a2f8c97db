"""Leaving and joining namespaces, and the process attributes that go with it.

One thin wrapper a call. All of them act on the calling thread or process: they belong into
single-threaded helpers, never into a program that uses nsctl. Sources: unshare(2), setns(2),
prctl(2), user_namespaces(7), time_namespaces(7).
"""

from __future__ import annotations

import os

from nsctl.kernel.libc import syscall

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def unshare(flags: int) -> None:
    """Move the caller into new namespaces (unshare(2)).

    Args:
        flags: CLONE_NEW* bits; NEWPID and NEWTIME take effect for the next child.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN (or, for a user namespace, see
            user_namespaces(7)), ENOSPC at a limit, EINVAL in a threaded process.
    """
    syscall("unshare", flags)


def setns(fd: int, flags: int = 0) -> None:
    """Join namespaces (setns(2)).

    Args:
        fd: descriptor of a namespace, or a pidfd (since 5.8).
        flags: CLONE_NEW* bits: which type it must be, or which to join of a pidfd's process.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN in it, EINVAL for the caller's own user namespace.
    """
    syscall("setns", fd, flags)


def set_parent_death_signal(signal: int) -> None:
    """Ask for a signal when the thread that forked the caller ends; 0 for none (prctl(2)).

    A change of credentials clears it.
    """
    syscall("prctl", _PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_dumpable(dumpable: bool) -> None:
    """Say whether others of the same user may look into the caller (prctl(2)).

    A change of credentials and exec set it back.
    """
    syscall("prctl", _PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)


def write_id_map(proc_fd: int, kind: str, lines: str) -> None:
    """Write the uid or gid map of a process's user namespace (user_namespaces(7)).

    Args:
        proc_fd: descriptor of /proc/PID.
        kind: "uid" or "gid".
        lines: the whole map, "inside outside length" a line; it can be written once.

    Raises:
        OSError: EPERM for ids that the caller may not give away.
    """
    _write(proc_fd, f"{kind}_map", lines)


def deny_setgroups(proc_fd: int) -> None:
    """Forbid setgroups(2) for good in a process's user namespace (user_namespaces(7)).

    Args:
        proc_fd: descriptor of /proc/PID.
    """
    _write(proc_fd, "setgroups", "deny")


def _write(proc_fd: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def open_time_offsets() -> int:
    """Open the caller's own timens_offsets for writing (time_namespaces(7)).

    The kernel asks for CAP_SYS_TIME of whoever opened the file, so that it is opened before
    the caller becomes somebody else.

    Returns:
        A descriptor which the caller closes.
    """
    return os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)


def write_time_offset(fd: int, clock: str, nanoseconds: int) -> None:
    """Set one offset of the caller's time namespace for children, before its first member.

    Args:
        fd: from `open_time_offsets`.
        clock: "monotonic" or "boottime".
        nanoseconds: offset against the initial time namespace.

    Raises:
        OSError: EACCES once the namespace has a member, ERANGE for an offset that would make
            the clock negative.
    """
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    os.write(fd, f"{clock} {seconds} {rest}\n".encode())
