"""Reading what confines a process: control groups, ids, powers, label, limits.

Sources: cgroups(7), credentials(7), capabilities(7), user_namespaces(7), proc_pid_status(5),
proc_pid_limits(5), proc_pid_attr(5).
"""

from __future__ import annotations

from nsctl.errors import NsctlError, Vanished, translate
from nsctl.kernel import cgroup, mountinfo, procfs, procstatus
from nsctl.kernel.pidfd import has_ended
from nsctl.model.namespace import IdExtent, IdMaps
from nsctl.model.record import NamedTuple
from nsctl.model.task import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _Value = TypeVar("_Value")

_WHOLE = (1 << 32) - 1
_MOUNTS_LIMIT = 1 << 28


class Confinement(NamedTuple):
    """What confines one process.

    Attributes:
        pid: the process, in the reader's numbers.
        memberships: its control groups, one a hierarchy.
        places: those that can be reached as directories.
        credentials: ids in the reader's numbers, groups, capability sets, no_new_privs, and mode
            and number of the seccomp filters.
        maps: of its user namespace, ``outside`` in the reader's numbers.
        label: security label as its module writes it, b"" for none.
        limits: soft and hard resource limit by RLIMIT_* number.
        extra: state, tracer, umask, threads.
        frozen: its control group is frozen: nothing of it runs.
        lacks: what cannot be taken over, each in words.
    """

    pid: int
    memberships: tuple[cgroup.Membership, ...]
    places: tuple[cgroup.Place, ...]
    credentials: Credentials
    maps: IdMaps
    label: bytes
    limits: dict[int, tuple[int, int]]
    extra: procstatus.Extra
    frozen: bool
    lacks: tuple[str, ...] = ()

    def uid_inside(self, uid: int) -> int | None:
        """Translate a user id of the reader's into the process's user namespace."""
        return _inside(self.maps.uids, uid)

    def gid_inside(self, gid: int) -> int | None:
        """Translate a group id of the reader's into the process's user namespace."""
        return _inside(self.maps.gids, gid)

    def uid_outside(self, uid: int) -> int | None:
        """Translate a user id of the process's user namespace into the reader's numbers."""
        return _outside(self.maps.uids, uid)

    def gid_outside(self, gid: int) -> int | None:
        """Translate a group id of the process's user namespace into the reader's numbers."""
        return _outside(self.maps.gids, gid)

    def is_mapped(self, uid: int) -> bool:
        """Tell whether the process's user namespace has a user id."""
        return self.uid_outside(uid) is not None


def _outside(extents: tuple[IdExtent, ...], number: int) -> int | None:
    for row in extents:
        if row.inside <= number < row.inside + row.length:
            return row.outside + number - row.inside
    return None


def _inside(extents: tuple[IdExtent, ...], number: int) -> int | None:
    for row in extents:
        if row.outside <= number < row.outside + row.length and row.outside != _WHOLE:
            return row.inside + number - row.outside
    return None


def read(pid: int, proc_fd: int, pidfd: int) -> Confinement:
    """Read what confines a process.

    Args:
        pid: its number.
        proc_fd: descriptor of its /proc/PID.
        pidfd: of the same process, by which it is seen at the end that all of it was its.

    Returns:
        The value.

    Raises:
        Vanished: the process has ended.
        KernelRefusal: it may not be looked at.
    """
    lacks: list[str] = []
    status = _read(proc_fd, "status", procfs.read_file)
    credentials = _parsed(procfs.parse_status, status, "status").credentials
    extra = _parsed(procstatus.parse_extra, status, "status")
    memberships = _parsed(cgroup.parse, _read(proc_fd, "cgroup", procfs.read_file), "cgroup")
    where = _places(memberships)
    unreached = len(memberships) - len(where)
    if unreached:
        lacks.append(f"{unreached} of its control groups, which no mount here leads to")
    found = Confinement(
        pid=pid,
        memberships=memberships,
        places=where,
        credentials=credentials,
        maps=_maps(proc_fd),
        label=_read(proc_fd, "attr/current", lambda _, fd: procstatus.read_label(fd)),
        limits=_parsed(
            procstatus.parse_limits, _read(proc_fd, "limits", procfs.read_file), "limits"
        ),
        extra=extra,
        frozen=bool(cgroup.is_frozen(where)),
        lacks=(*lacks, *_thread_differences(proc_fd, credentials, extra.threads)),
    )
    if has_ended(pidfd):
        raise Vanished("look at", f"process {pid}", "it has ended")
    return found


def _read(proc_fd: int, name: str, reader: Callable[[str, int], bytes]) -> bytes:
    try:
        return reader(name, proc_fd)
    except OSError as error:
        raise translate(error, "read", f"{name} of the process") from error


def _parsed(parser: Callable[[bytes], _Value], raw: bytes, name: str) -> _Value:
    try:
        return parser(raw)
    except ValueError as error:
        raise NsctlError("understand", f"{name} of the process", str(error)) from error


def _places(memberships: tuple[cgroup.Membership, ...]) -> tuple[cgroup.Place, ...]:
    """The groups as directories of the reader's own mounts, of which there may be thousands."""
    try:
        raw = procfs.read_file("/proc/self/mountinfo", limit=_MOUNTS_LIMIT)
    except OSError as error:
        raise translate(error, "read", "/proc/self/mountinfo") from error
    lines = [line for line in raw.split(b"\n") if b" - cgroup" in line]
    mounts = _parsed(mountinfo.parse, b"\n".join([*lines, b""]), "mountinfo")
    return cgroup.places(memberships, mounts)


def _maps(proc_fd: int) -> IdMaps:
    maps = [
        _parsed(procfs.parse_id_map, _read(proc_fd, f"{kind}_map", procfs.read_file), "id map")
        for kind in ("uid", "gid")
    ]
    setgroups = _read(proc_fd, "setgroups", procfs.read_file).removesuffix(b"\n")
    return IdMaps(maps[0], maps[1], setgroups.decode("ascii", "replace"))


def _thread_differences(proc_fd: int, leader: Credentials, threads: int) -> list[str]:
    """Say whether threads have other filters or capabilities than the first."""
    if threads < 2:
        return []
    try:
        for tid in procstatus.thread_ids(proc_fd):
            raw = procfs.read_file(f"task/{tid}/status", proc_fd)
            other = procfs.parse_status(raw).credentials
            if (other.seccomp, other.seccomp_filters) != (leader.seccomp, leader.seccomp_filters):
                return ["filters of its other threads, which differ from those of its first"]
    except (OSError, ValueError):
        # One that has just ended differs from nobody any more.
        return []
    return []


def own_limits() -> dict[int, tuple[int, int]]:
    """Read the caller's own resource limits.

    Raises:
        KernelRefusal: /proc does not tell.
    """
    try:
        raw = procfs.read_file("/proc/self/limits")
    except OSError as error:
        raise translate(error, "read", "/proc/self/limits") from error
    return _parsed(procstatus.parse_limits, raw, "limits")


def own_credentials() -> Credentials:
    """Read the caller's own credentials.

    Raises:
        KernelRefusal: /proc does not tell.
    """
    try:
        raw = procfs.read_file("/proc/self/status")
    except OSError as error:
        raise translate(error, "read", "/proc/self/status") from error
    return _parsed(procfs.parse_status, raw, "status").credentials
