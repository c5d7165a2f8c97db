"""The snapshot while it is being taken: what steps read from and write to."""

from __future__ import annotations

import os

from nsctl.kernel.procfs import CLOCK_TICKS, ProcFs
from nsctl.model.container import Container
from nsctl.model.mount import Mount
from nsctl.model.namespace import Holder, Namespace, NamespaceId, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Reader, Reference
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from nsctl.child.foreign_files import ForeignFiles
    from nsctl.child.visit import Visitor
    from nsctl.kernel.lists import Lists, Walk
    from nsctl.model.accounts import Accounts
    from nsctl.model.cgroup import CgroupHierarchy
    from nsctl.model.network import Network, Socket

    ContainerSource = Callable[["Draft"], Iterable[Container]]
    """What an engine is to discovery: something that lists containers, given the processes."""

_CAP_SYS_PTRACE = 19
_TICK = 1_000_000_000 // CLOCK_TICKS
_WAYS = 8
# Half of the usual limit of open files, so that there is room for what a step opens.
_KEPT = 512


class Place(NamedTuple):
    """A descriptor of another process.

    Attributes:
        pid: the process.
        fd: its number.
        tid: the thread whose own table it is in, 0 for the table of the process.
    """

    pid: int
    fd: int
    tid: int = 0


class Listing(NamedTuple):
    """What a procfs lists.

    Attributes:
        at: when it was asked, in clock ticks as start times are counted.
        pids: process ids, and the inode of each directory.
    """

    at: int
    pids: Mapping[int, int]


class Draft:
    """A snapshot in the making.

    Args:
        proc: the procfs that is read.
        parts: what was asked for, with everything that it needs.
        sources: engines, by name; handed in so that discovery need not know them.

    Attributes:
        answers: what the engines' daemons say, None where they are not to be asked.
        own_numbers: the procfs numbers processes as the reader's own PID namespace does, so that
            system calls find them by these numbers.
        holders: what keeps each namespace alive besides processes, each once.
        ways: paths below the procfs that lead to a namespace besides those of processes.
        kept: descriptors of namespaces to which no path leads.
        childless: process and thread ids of threads whose PID namespace for children no process
            was ever in; the processes' own rows tell of their first threads.
        mount_tables: directories below the procfs whose mountinfo shows a mount namespace.
        unreached: namespaces to which only a bind mount in another mount namespace leads: that
            one's inode, and the mount point in it.
        nsfs_mounts: ids of all bind mounts of namespaces, as fdinfo shows them.
        nsfs_names: last component of each of their mount points.
        compares: the kernel tells whether threads share their table of descriptors.
        sockets: by inode, the descriptors of each socket that was met.
        tuns: descriptors of /dev/net/tun.
        rings: descriptors of io_urings.
        networks: what each network namespace has, by inode.
        net_sockets: the sockets of each network namespace, by inode.
        socket_nets: by a socket's inode, that of the network namespace that lists it.
        dumped: inodes of sockets that the kernel lists by their network namespace.
        wordless: inodes of sockets that no descriptor can be sent over: all but unix ones.
        socket_cgroups: paths of the control groups that sockets name, by their id.
        own_sockets: inodes of the reader's own sockets and its helpers', which are no finding.
        ring_sockets: by inode, the rings that a socket is registered with.
        unread_sockets: by inode, the sockets in whose unread messages a socket waits.
        tun_nets: network namespaces of the devices that descriptors of /dev/net/tun are of.
        ahead: modules that the next steps are in, to be imported while the kernel works.
        wanted_source: "auto", "kernel" or "proc": where processes are read from.
        walk: a walk of the kernel's own lists that was begun, None where /proc will do.
        lists: what these held, where they were read.
        listing: what the procfs listed before that.
        unlisted: processes that were read from the procfs, as the kernel's lists lack them.
        covered: processes whose directory in the procfs something is mounted over.
        waiting: by inode, the sockets in which descriptors may wait; None where all are asked.
        remarks: which source answered, in whole sentences.
        inside_ids: network namespaces whose sockets tell ids in the numbers of the user
            namespace that owns them: its inode.
    """

    def __init__(  # noqa: PLR0915  (a line for each field)
        self, proc: ProcFs, parts: frozenset[Part], sources: dict[str, ContainerSource]
    ) -> None:
        self.proc = proc
        self.parts = parts
        self.sources = sources
        self.answers: ContainerSource | None = None
        self.reader = Reader(0, 0, 0, ())
        self.boottime_offset = 0
        self.monotonic_offset: int | None = None
        self.reference = Reference("caller", 0, ())
        self.tasks: list[Task] = []
        self.namespaces: dict[tuple[NamespaceType, int], Namespace] = {}
        self.dev = 0
        self.containers: list[Container] = []
        self.mounts: dict[int, tuple[Mount, ...]] = {}
        self.users: dict[int, str] = {}
        self.gaps: list[Gap] = []
        self.own_numbers = False
        self.holders: dict[tuple[NamespaceType, int], dict[Holder, None]] = {}
        self.ways: dict[tuple[NamespaceType, int], list[str]] = {}
        self.kept: dict[tuple[NamespaceType, int], int] = {}
        self.childless: list[tuple[int, int]] = []
        self.mount_tables: dict[int, list[str]] = {}
        self.unreached: dict[tuple[NamespaceType, int], tuple[int, bytes]] = {}
        self.nsfs_mounts: set[int] = set()
        self.nsfs_names: set[str] = set()
        self._foreign: ForeignFiles | None = None
        self._visitor: Visitor | None = None
        self.cgroups: tuple[CgroupHierarchy, ...] = ()
        self.accounts: Accounts | None = None
        self.compares = True
        self.sockets: dict[int, list[Place]] = {}
        self.tuns: list[Place] = []
        self.rings: list[Place] = []
        self.networks: dict[int, Network] = {}
        self.net_sockets: dict[int, tuple[Socket, ...]] = {}
        self.socket_nets: dict[int, int] = {}
        self.dumped: set[int] = set()
        self.wordless: set[int] = set()
        self.socket_cgroups: dict[int, str] = {}
        self.own_sockets: set[int] = set()
        self.ring_sockets: dict[int, list[Place]] = {}
        self.unread_sockets: dict[int, list[Place]] = {}
        self.tun_nets: dict[Place, tuple[int, ...]] = {}
        self.inside_ids: dict[int, int] = {}
        self.wanted_source = "auto"
        self.ahead: Iterable[str] = ()
        self.walk: Walk | None = None
        self.lists: Lists | None = None
        self.listing = Listing(0, {})
        self.unlisted: list[Task] = []
        self.covered: frozenset[int] = frozenset()
        self.waiting: set[int] | None = None
        self.remarks: list[str] = []

    def add_namespace(self, kind: NamespaceType, ino: int) -> None:
        """Note that a namespace exists, if that is news."""
        if (kind, ino) not in self.namespaces:
            self.namespaces[kind, ino] = Namespace(NamespaceId(kind, self.dev, ino))

    def hold(self, kind: NamespaceType, ino: int, holder: Holder, way: str = "") -> None:
        """Note what keeps a namespace alive; the namespace may be news.

        Args:
            kind: its type.
            ino: its inode.
            holder: what keeps it.
            way: path below the procfs that leads to it, "" where none does.
        """
        self.add_namespace(kind, ino)
        self.holders.setdefault((kind, ino), {})[holder] = None
        if way:
            ways = self.ways.setdefault((kind, ino), [])
            if len(ways) < _WAYS:
                ways.append(way)

    @property
    def helper_pid(self) -> int:
        """The helper's process, a part of the reader which is in no row; 0 where there is none."""
        return self._foreign.pid if self._foreign is not None else 0

    @property
    def foreign(self) -> ForeignFiles:
        """The helper that looks at descriptors of other processes; there is one a snapshot."""
        if self._foreign is None:
            from nsctl.child.foreign_files import ForeignFiles

            self._foreign = ForeignFiles(self.dev)
        return self._foreign

    @property
    def visitor(self) -> Visitor:
        """The helper that visits namespaces; there is one a snapshot."""
        if self._visitor is None:
            from nsctl.child.visit import Visitor
            from nsctl.discovery.hierarchies import mounted

            hierarchies = [(row.fs_type, row.options) for row in mounted(self.proc)]
            self._visitor = Visitor(self.proc.root, hierarchies)
        return self._visitor

    def keep(self, kind: NamespaceType, ino: int, fd: int) -> None:
        """Keep a namespace open that no path leads to; its descriptor is not taken over.

        Beyond a bound nothing is kept: what a namespace says of itself is then lacking.
        """
        if (kind, ino) not in self.kept and len(self.kept) < _KEPT:
            self.kept[kind, ino] = os.dup(fd)

    def close(self) -> None:
        """Close what was kept open, and end the helper."""
        if self.walk is not None:
            self.walk.close()
            self.walk = None
        if self._foreign is not None:
            self._foreign.close()
            self._foreign = None
        if self._visitor is not None:
            self._visitor.close()
            self._visitor = None
        for fd in self.kept.values():
            os.close(fd)
        self.kept.clear()

    def start_of(self, shown: int) -> int:
        """Turn a start time as this procfs shows it into one of the initial time namespace.

        Args:
            shown: clock ticks, as `nsctl.kernel.procfs.parse_stat` gives them.
        """
        return shown - self.boottime_offset // _TICK

    def cure(self) -> tuple[str, str]:
        """Why the kernel refuses to let a process be looked into, and the capability to mend it.

        Returns:
            A cause in words, and "CAP_SYS_PTRACE", or "" where the reader has that already.
        """
        if self.reader.caps >> _CAP_SYS_PTRACE & 1:
            return "the kernel refuses although CAP_SYS_PTRACE is held", ""
        return "they belong to other users or have more powers", "CAP_SYS_PTRACE"

    def note_unopened(
        self, part: Part, what: str, namespaces: Collection[tuple[NamespaceType, int]]
    ) -> None:
        """Note how many namespaces could not be asked, if any, though they are there.

        Args:
            part: which part lacks what they would have said.
            what: it, in words.
            namespaces: those.
        """
        if namespaces:
            count = len(namespaces)
            self.gaps.append(
                Gap(
                    part,
                    self.proc.root,
                    f"{what} of {count} namespace{'s' if count > 1 else ''}",
                    PartState.PARTIAL,
                    "the kernel refuses to open them",
                    self.cure()[1],
                )
            )

    def note_refused(self, part: Part, what: str, pids: list[int], state: PartState) -> None:
        """Note of which processes something may not be read, if there are any.

        Args:
            part: which part lacks it.
            what: it, in words: "namespaces".
            pids: the processes.
            state: how much of it is lacking.
        """
        if not pids:
            return
        numbers = ", ".join(map(str, pids))
        named = f"processes {numbers}" if len(pids) <= 3 else f"{len(pids)} processes"
        whose = f"process {numbers}" if len(pids) == 1 else named
        cause, needs = self.cure()
        self.gaps.append(
            Gap(
                part,
                self.proc.root,
                f"{what} of {whose}",
                state,
                cause,
                needs,
                tuple(pids),
            )
        )


class Step(NamedTuple):
    """One step of discovery; its module is imported when the step runs.

    Attributes:
        module: name below nsctl.discovery; its ``run(draft)`` does the work.
        fills: the part that it fills, or None for what every snapshot has.
        needs: parts that must have been filled before.
        listed: module that stands in where the kernel's own lists were read, "" for none.
    """

    module: str
    fills: Part | None
    needs: tuple[Part, ...]
    listed: str = ""
