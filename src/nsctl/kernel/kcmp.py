"""Whether two threads share a kernel object: kcmp(2)."""

from __future__ import annotations

from nsctl.kernel.libc import syscall

_KCMP_FILES = 2


def files_order(one: int, other: int) -> int:
    """Compare two threads' tables of descriptors, which are one with CLONE_FILES (clone(2)).

    Args:
        one: thread id in the caller's PID namespace.
        other: likewise.

    Returns:
        0 when it is one table; else -1 or 1, as the kernel orders all tables of a boot.

    Raises:
        OSError: EPERM without the right to look at both, ESRCH when one is gone, ENOSYS in a
            kernel built without the call.
    """
    return (0, -1, 1, 1)[syscall("kcmp", one, other, _KCMP_FILES, 0, 0)]
