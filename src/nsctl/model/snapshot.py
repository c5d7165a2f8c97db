"""A moment of a host: what every list, matrix, audit and page reads."""

from __future__ import annotations

from nsctl.model.container import Container
from nsctl.model.mount import Mount
from nsctl.model.namespace import Namespace
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    # As in nsctl.model.namespace.
    from nsctl.model.accounts import Accounts
    from nsctl.model.cgroup import CgroupHierarchy
    from nsctl.model.network import Network, Socket


class Reference(NamedTuple):
    """The known host process that "host's" and "own" are told by.

    Attributes:
        basis: "pid1", "kernel-thread" or "caller": whose namespaces these are.
        pid: that process.
        ns: inodes as in Task.ns.
    """

    basis: str
    pid: int
    ns: tuple[int, ...]


class Reader(NamedTuple):
    """Who looked.

    Attributes:
        pid: the process that took the snapshot (it does not list itself as a finding).
        uid: its effective uid.
        caps: its effective capabilities, a bit mask.
        ns: its own namespaces, as in Task.ns.
    """

    pid: int
    uid: int
    caps: int
    ns: tuple[int, ...]


class Snapshot(NamedTuple):
    """One moment of one host.

    Attributes:
        began: seconds since the epoch when reading began.
        ended: seconds since the epoch when it ended.
        boot_id: which boot of which host (/proc/sys/kernel/random/boot_id); "" where the procfs
            that was read shows processes only.
        host_name: node name as the reader saw it, raw bytes.
        kernel: kernel release.
        uptime: seconds since boot when reading began, initial time namespace.
        read_from: names of the sources that answered, best first.
        reader: who looked.
        host: the reference for "host's".
        parts: state of each part.
        tasks: processes, by PID.
        namespaces: all that were found, by inode, also those without a process.
        containers: what the engines say.
        mounts: table of each mount namespace that was read, by its inode.
        users: names of the user ids met, as the host that was read has them.
        gaps: what could not be read.
        cgroups: the control groups of each hierarchy.
        accounts: users, groups and subordinate ids of the host; None where not read.
        networks: what each network namespace that was read has, by its inode.
        sockets: the sockets of each network namespace that was read, by its inode.
        socket_cgroups: paths of the control groups (version 2) that sockets name, by their id.
        monotonic: seconds of the initial time namespace's CLOCK_MONOTONIC at that moment, which
            stands still while the machine sleeps; None where the reader cannot tell.
        remarks: which source answered, and what it says of another, in whole sentences.
    """

    began: float
    ended: float
    boot_id: str
    host_name: bytes
    kernel: str
    uptime: float
    read_from: tuple[str, ...]
    reader: Reader
    host: Reference
    parts: dict[Part, PartState]
    tasks: tuple[Task, ...]
    namespaces: tuple[Namespace, ...]
    containers: tuple[Container, ...] = ()
    mounts: dict[int, tuple[Mount, ...]] = {}  # noqa: RUF012  (a named tuple's default)
    users: dict[int, str] = {}  # noqa: RUF012  (a named tuple's default, never written to)
    gaps: tuple[Gap, ...] = ()
    cgroups: tuple[CgroupHierarchy, ...] = ()
    accounts: Accounts | None = None
    networks: dict[int, Network] = {}  # noqa: RUF012  (a named tuple's default)
    sockets: dict[int, tuple[Socket, ...]] = {}  # noqa: RUF012  (a named tuple's default)
    socket_cgroups: dict[int, str] = {}  # noqa: RUF012  (a named tuple's default)
    monotonic: float | None = None
    remarks: tuple[str, ...] = ()
