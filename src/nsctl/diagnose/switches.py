"""The switches that an administrator has over user namespaces (user_namespaces(7), sysctl)."""

from __future__ import annotations

import errno

from nsctl.kernel.procfs import ProcFs, parse_status

_SWITCHES: tuple[tuple[str, bytes, str], ...] = (
    ("sys/user/max_user_namespaces", b"0", "sysctl user.max_user_namespaces is 0"),
    ("sys/kernel/unprivileged_userns_clone", b"0", "sysctl kernel.unprivileged_userns_clone is 0"),
    (
        "sys/kernel/apparmor_restrict_unprivileged_userns",
        b"1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns is 1",
    ),
)


def why_no_user_namespace(number: int, proc: ProcFs | None = None) -> str:
    """Say what may have refused a user namespace, and so what would mend it.

    Args:
        number: what the kernel answered.
        proc: the procfs to look in; None for the machine's.

    Returns:
        A sentence without its full stop: the switches that are set against it, else what the
        error number stands for.
    """
    looked = proc or ProcFs()
    against = [words for name, value, words in _SWITCHES if _is(looked, name, value)]
    if parse_status(looked.read("self/status")).credentials.seccomp == 2:
        against.append("a seccomp filter is in force")
    if against:
        return f"look at: {', '.join(against)}"
    if number == errno.ENOSPC:
        return "a limit is reached: sysctl user.max_user_namespaces, or 32 levels"
    if number in {errno.EPERM, errno.EACCES}:
        return "no sysctl speaks against it: a chroot, ids without a map, or a security module"
    return ""


def _is(proc: ProcFs, name: str, value: bytes) -> bool:
    try:
        return proc.read(name).rstrip(b"\n") == value
    except OSError:  # a switch that this kernel does not have, or shows to others only
        return False
