"""Processes: one row, whatever source filled it."""

from __future__ import annotations

from nsctl.model.record import NamedTuple


class CapabilitySets(NamedTuple):
    """The five sets of capabilities(7), each a bit mask."""

    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int


class Credentials(NamedTuple):
    """What a process may do, in the reader's numbers (credentials(7), proc_pid_status(5)).

    Attributes:
        uids: real, effective, saved, file-system user id.
        gids: real, effective, saved, file-system group id.
        groups: supplementary groups.
        caps: the five capability sets.
        no_new_privs: PR_SET_NO_NEW_PRIVS, or None where the kernel does not say.
        seccomp: 0 off, 1 strict, 2 filter, or None where the kernel does not say.
        seccomp_filters: number of filters, or None where the kernel does not say.
    """

    uids: tuple[int, int, int, int]
    gids: tuple[int, int, int, int]
    groups: tuple[int, ...]
    caps: CapabilitySets
    no_new_privs: bool | None
    seccomp: int | None
    seccomp_filters: int | None


class Task(NamedTuple):
    """One process (a thread group), by its leader.

    Attributes:
        pid: process id as the /proc that was read numbers it.
        ppid: parent's process id there, 0 where it has none there.
        start: clock ticks (1/100 s) since boot, in the initial time namespace; a tick off where
            the reader's own time namespace is set off by a fraction of one.
        state: one letter, as in proc_pid_stat(5).
        kernel: a kernel thread.
        comm: command name as the kernel keeps it, raw bytes.
        owner: who owns /proc/PID: the effective uid, or root for a process that is not dumpable.
        threads: number of threads; 1 for a zombie, more for one whose other threads live on.
        ns: inodes in the order of `nsctl.model.namespace.NS_LINKS`; `ABSENT` or `UNREADABLE`
            in place of one. The first eight together are the process's isolation.
        cgroup: all of /proc/PID/cgroup, raw; None where not read or not asked.
        command: command line, arguments ended by NUL, raw; None where not read or not asked,
            empty for a kernel thread or zombie.
        nspids: its process id in each nested PID namespace, outermost first; () where not asked.
        credentials: None where not read or not asked.
    """

    pid: int
    ppid: int
    start: int
    state: str
    kernel: bool
    comm: bytes
    owner: int
    threads: int
    ns: tuple[int, ...]
    cgroup: bytes | None = None
    command: bytes | None = None
    nspids: tuple[int, ...] = ()
    credentials: Credentials | None = None
