"""The seccomp filters of a process: read from the kernel, or compiled from a configuration.

The kernel gives filters only of a process that is stopped (ptrace(2)), and only to whoever has
CAP_SYS_ADMIN in the initial user namespace and is under no filter. The stop lasts well under a
millisecond. A call that the kernel does not restart then returns EINTR, as under any debugger, so a
member of the same container with the same filters that waits in another call is stopped instead,
where there is one.
"""

from __future__ import annotations

import errno
import os

from nsctl.child.plan import Filter
from nsctl.child.readers import read_filters
from nsctl.confine.confinement import Confinement
from nsctl.errors import KernelRefusal, NsctlError, UsageError, Vanished
from nsctl.kernel import procfs, procstatus
from nsctl.kernel.pidfd import has_ended
from nsctl.model.record import NamedTuple

KERNEL, DECLARED, NONE = "kernel", "declared", "none"
CHOICES = (KERNEL, DECLARED, NONE)
"""Where filters are taken from: the process itself, its container's configuration, nowhere."""

_MODE_FILTER = 2
_MEMBERS_MOST = 64
_USER_NOTIF = 0x7FC00000
_RETURN = 0x06
# What signal(7) says of calls that fail with EINTR after a stop, by machine: epoll_wait,
# epoll_pwait, epoll_pwait2, semop, semtimedop, rt_sigtimedwait, io_getevents, io_pgetevents,
# io_uring_enter; and of those that a timeout makes so, accept, accept4 and the receiving ones.
_NOT_RESTARTED = {
    "x86_64": {232, 281, 441, 65, 220, 128, 208, 333, 426, 43, 288, 45, 47, 299},
    "aarch64": {22, 441, 193, 192, 137, 4, 292, 426, 202, 242, 207, 212, 243},
}


class Found(NamedTuple):
    """Filters, and what is to be said of them.

    Attributes:
        filters: oldest first.
        lacks: what of them cannot be taken over.
        remarks: what reading them did besides.
    """

    filters: tuple[Filter, ...] = ()
    lacks: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class _Member(NamedTuple):
    """A process whose filters are read."""

    pid: int
    pidfd: int
    restarts: bool


def find(
    program: int, confinement: Confinement, proc_fd: int, pidfd: int, choice: str, profile: object
) -> Found:
    """Get the filters that a command in a process's container has to be under.

    Args:
        program: from `nsctl.child.stage2.open_stage2`.
        confinement: of the process.
        proc_fd: descriptor of its /proc/PID.
        pidfd: of the process.
        choice: one of `CHOICES`.
        profile: linux.seccomp of its container's configuration, "default" for our own default,
            the filter itself where its runtime keeps that, None for none.

    Returns:
        The filters.

    Raises:
        KernelRefusal: they may not be read, or the process does not stop.
        UsageError: "declared" where nothing is declared.
        Vanished: the process has ended.
    """
    mode = confinement.credentials.seccomp
    if choice == NONE:
        return Found(lacks=("its seccomp filters, as was asked for",) if mode else ())
    if choice == DECLARED:
        if profile is None and mode:
            raise UsageError(
                "the container's configuration has no seccomp profile, and yet it has a filter",
                "leave out --filters declared",
            )
        return Found((compiled(profile, confinement),) if profile is not None else ())
    if not mode:
        return Found()
    if mode != _MODE_FILTER:
        return Found(lacks=("seccomp's strict mode, in which no command could start",))
    return _read(program, confinement, proc_fd, pidfd, profile)


def compiled(profile: object, confinement: Confinement) -> Filter:
    """Compile the profile of a configuration for who has the capabilities of a process.

    A filter that is one already stays as it is.
    """
    if isinstance(profile, bytes):
        return Filter(profile)
    from nsctl.kernel.seccomp import compile_profile, default_filter

    bounding = confinement.credentials.caps.bounding
    if profile == "default":
        result = default_filter(bounding)
    else:
        result = compile_profile(profile, bounding)
    return Filter(result.program, result.flags)


def _read(
    program: int, confinement: Confinement, proc_fd: int, pidfd: int, profile: object
) -> Found:
    if confinement.extra.tracer:
        raise KernelRefusal(
            "read",
            "the seccomp filters",
            f"process {confinement.pid} is being traced by process {confinement.extra.tracer}",
            "end that, or give --filters declared or --filters none",
            errno=errno.EPERM,
        )
    member = _choose(confinement, proc_fd, pidfd)
    try:
        filters = read_filters(
            program, member.pid, member.pidfd, spec_allow=not confinement.extra.mitigated
        )
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM} and profile is not None:
            return _from_profile(confinement, profile)
        raise _refusal(error, confinement) from error
    finally:
        if member.pidfd != pidfd:
            os.close(member.pidfd)
    remarks = () if member.restarts else (_DISTURBED.format(member.pid),)
    return Found(filters, tuple(_lacks(filters, confinement)), remarks)


_DISTURBED = (
    "process {} was stopped for an instant while it waited in a call that the kernel does not"
    " restart: it sees EINTR (--filters declared does without)"
)


def _from_profile(confinement: Confinement, profile: object) -> Found:
    """Whoever may not read the kernel's copy takes the configuration's, and only a single one."""
    count = confinement.credentials.seccomp_filters
    lacks: tuple[str, ...] = ()
    if count is not None and count > 1:
        lacks = (
            f"{count - 1} of its {count} seccomp filters, which the kernel shows only to root",
        )
    return Found((compiled(profile, confinement),), lacks)


def _refusal(error: OSError, confinement: Confinement) -> NsctlError:
    hint = "--filters declared takes the configuration's, --filters none does without"
    subject = f"the seccomp filters of process {confinement.pid}"
    number = error.errno or 0
    if number == errno.ESRCH:
        return Vanished("read", subject, "it has ended")
    causes = {
        errno.ETIMEDOUT: "it did not stop in time",
        errno.EACCES: "the kernel shows them only to who has CAP_SYS_ADMIN in the initial user "
        "namespace and is under no filter",
        errno.EPERM: "it may not be traced: another process does, or a right is missing "
        "(CAP_SYS_PTRACE)",
        errno.EINVAL: "this kernel cannot show them (it lacks CONFIG_CHECKPOINT_RESTORE)",
        errno.EIO: "this kernel cannot show them (it lacks CONFIG_CHECKPOINT_RESTORE)",
    }
    cause = causes.get(number, os.strerror(number))
    return KernelRefusal("read", subject, cause, hint, errno=number)


def _lacks(filters: tuple[Filter, ...], confinement: Confinement) -> list[str]:
    lacks = []
    count = confinement.credentials.seccomp_filters
    if count is not None and count != len(filters):
        lacks.append(
            f"its seccomp filters as they are by now: {count} were told, {len(filters)} read"
        )
    if any(_notifies(one) for one in filters):
        lacks.append(
            "the supervisor of a notifying seccomp filter: what it would decide fails with ENOSYS"
        )
    return lacks


def _notifies(one: Filter) -> bool:
    for at in range(0, len(one.program), 8):
        code = int.from_bytes(one.program[at : at + 2], "little")
        value = int.from_bytes(one.program[at + 4 : at + 8], "little")
        if code == _RETURN and value & 0xFFFF0000 == _USER_NOTIF:
            return True
    return False


# --- Which process is stopped --------------------------------------------------------------------


def _choose(confinement: Confinement, proc_fd: int, pidfd: int) -> _Member:
    if _restarts(proc_fd):
        return _Member(confinement.pid, pidfd, restarts=True)
    for pid in _members(confinement):
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        if _is_alike(pid, fd, confinement):
            return _Member(pid, fd, restarts=True)
        os.close(fd)
    return _Member(confinement.pid, pidfd, restarts=False)


def _members(confinement: Confinement) -> list[int]:
    """Other processes of the same control group, in the hierarchy that has the fewest."""
    from nsctl.kernel import cgroupfs  # where the target itself must not be stopped

    groups = [cgroupfs.processes(os.fsdecode(place.directory)) for place in confinement.places]
    fewest = min(groups, key=len, default=[])
    return [pid for pid in fewest if pid not in {0, confinement.pid}][:_MEMBERS_MOST]


def _is_alike(pid: int, pidfd: int, confinement: Confinement) -> bool:
    """Whether a process descends with the same single filter, and waits where it is no harm.

    Filters are only ever added and children inherit them, so that one filter here and there, in
    one control group and one PID namespace, is the same one.
    """
    wanted = confinement.credentials
    if wanted.seccomp_filters != 1:
        return False
    try:
        proc = procfs.ProcFs().open(pid)
    except OSError:
        return False
    try:
        status = procfs.read_file("status", proc)
        found = procfs.parse_status(status).credentials
        same = (found.seccomp, found.seccomp_filters, found.caps.bounding) == (
            wanted.seccomp,
            wanted.seccomp_filters,
            wanted.caps.bounding,
        )
        leader = procfs.read_ns_links(proc), _links(confinement.pid)
        untraced = not procstatus.parse_extra(status).tracer
        return (
            same
            and untraced
            and leader[0][:8] == leader[1][:8]
            and _restarts(proc)
            and not has_ended(pidfd)
        )
    except (OSError, ValueError):
        return False
    finally:
        os.close(proc)


def _links(pid: int) -> tuple[int, ...]:
    fd = procfs.ProcFs().open(pid)
    try:
        return procfs.read_ns_links(fd)
    finally:
        os.close(fd)


def _restarts(proc_fd: int) -> bool:
    """Whether a stop changes nothing for a process: it runs, or waits in a call that restarts."""
    try:
        number = procstatus.parse_syscall(procfs.read_file("syscall", proc_fd))
    except (OSError, ValueError):
        return False
    return number is None or number not in _NOT_RESTARTED.get(os.uname().machine, ())
