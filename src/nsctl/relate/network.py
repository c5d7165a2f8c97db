"""Network namespaces as a person sees them: what leads from one to another, and whose sockets are.

Pure over a snapshot: the ends of veth pairs, the ports of bridges, the processes and containers
of every socket, also where these are in another network than it.
"""

from __future__ import annotations

from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.network import Interface, Network, Socket, SocketOwner
from nsctl.model.owner import Owner
from nsctl.model.part import Part
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.contents import Row, rows
from nsctl.relate.find import Found
from nsctl.relate.groups import groups
from nsctl.relate.members import Membership

NEEDS = (
    Part.TASKS,
    Part.CGROUPS,
    Part.NAMESPACES,
    Part.RELATIONS,
    Part.THREADS,
    Part.NSFS_PATHS,
    Part.MOUNTED,
    Part.DESCRIPTORS,
    Part.RINGS,
    Part.SOCKETS,
    Part.INFLIGHT,
    Part.ID_MAPS,
    Part.CONTAINERS,
    Part.NETWORKS,
    Part.NET_SOCKETS,
)
"""The parts of a snapshot that everything here reads."""

_NET = TYPES.index(NamespaceType.NET)
_ORPHANED = frozenset({"FIN-WAIT-1", "FIN-WAIT-2", "LAST-ACK", "CLOSING"})


class Peer(NamedTuple):
    """Where an interface leads.

    Attributes:
        ns: inode of the network namespace, 0 where it is not known.
        member: that namespace, None where it is not known.
        interface: the other end, or what is below; None where it is not known.
    """

    ns: int
    member: Membership | None
    interface: Interface | None


class Holding(NamedTuple):
    """A descriptor of a socket, and who has it.

    Attributes:
        at: the descriptor.
        comm: the process's command name, raw bytes; b"" where it is in no row.
        owner: whose the process is; None where that is not known.
        elsewhere: the process is in another network namespace than the socket.
    """

    at: SocketOwner
    comm: bytes
    owner: Owner | None
    elsewhere: bool


class Net(NamedTuple):
    """One network namespace.

    Attributes:
        row: it, and who is in it.
        network: what it has, None where that was not read.
        sockets: its sockets, None where they were not read.
        elsewhere: sockets of other network namespaces that processes here have, each with the
            inode of its own.
    """

    row: Row
    network: Network | None
    sockets: tuple[Socket, ...] | None
    elsewhere: tuple[tuple[int, Socket], ...]

    @property
    def ino(self) -> int:
        """The namespace's inode."""
        return self.row.member.namespace.id.ino


class Networks:
    """The network namespaces of a snapshot.

    Args:
        snapshot: with all of `NEEDS`.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rows = rows(snapshot, NamespaceType.NET)
        self._members = {row.member.namespace.id.ino: row.member for row in self._rows}
        self._tasks = {task.pid: task for task in snapshot.tasks}
        self._owners: dict[int, Owner] = {}
        for group in groups(snapshot):
            self._owners.update(dict.fromkeys(group.pids, group.owner))
        self._links = {
            ino: {link.ifindex: link for link in network.interfaces}
            for ino, network in snapshot.networks.items()
        }
        self._unread = any(
            gap.part is Part.DESCRIPTORS and gap.pids for gap in snapshot.gaps
        ) or any(gap.part is Part.TASKS and gap.pids for gap in snapshot.gaps)

    def nets(self, found: Found | None = None) -> list[Net]:
        """List the network namespaces, those without a process too.

        Args:
            found: only those of what this leads to.

        Returns:
            The host's first, then by their owners' names.

        Raises:
            TargetError: that is a namespace of another type.
        """
        wanted = self._rows
        if found is not None:
            wanted = rows(self._snapshot, NamespaceType.NET, found)
        elsewhere = self._elsewhere()
        made = []
        for row in wanted:
            ino = row.member.namespace.id.ino
            made.append(
                Net(
                    row,
                    self._snapshot.networks.get(ino),
                    self._snapshot.sockets.get(ino),
                    tuple(elsewhere.get(ino, ())),
                )
            )
        return made

    def _elsewhere(self) -> dict[int, list[tuple[int, Socket]]]:
        """Sockets of others, by the namespace of the processes that have them."""
        found: dict[int, dict[tuple[int, int], tuple[int, Socket]]] = {}
        nets = {task.pid: task.ns[_NET] for task in self._snapshot.tasks}
        for ino, sockets in self._snapshot.sockets.items():
            for socket in sockets:
                for at in socket.owners:
                    home = nets.get(at.pid, 0)
                    if home > 0 and home != ino:
                        found.setdefault(home, {})[ino, socket.ino] = ino, socket
        return {home: list(rows.values()) for home, rows in found.items()}

    def member(self, ino: int) -> Membership | None:
        """A network namespace and who is in it, by its inode."""
        return self._members.get(ino)

    def owner(self, pid: int) -> Owner | None:
        """Whose a process is; None where that is not known."""
        return self._owners.get(pid)

    def name_of(self, ino: int, ifindex: int) -> bytes:
        """The name of an interface; b"" where there is none of that number."""
        link = self._links.get(ino, {}).get(ifindex)
        return link.name if link else b""

    def peer(self, ino: int, link: Interface) -> Peer | None:
        """Find where an interface leads: the other end of a veth, what a macvlan is on.

        Args:
            ino: its network namespace.
            link: the interface.

        Returns:
            The other end; None for an interface that leads to none.
        """
        if not link.link or (link.link == link.ifindex and link.link_nsid < 0):
            return None
        there = ino
        if link.link_nsid >= 0:
            network = self._snapshot.networks.get(ino)
            there = network.nsids.get(link.link_nsid, 0) if network else 0
        return Peer(there, self._members.get(there), self._links.get(there, {}).get(link.link))

    def ports(self, ino: int, bridge: Interface) -> list[Interface]:
        """The interfaces that are ports of a bridge, a bond ..."""
        return [link for link in self._links.get(ino, {}).values() if link.master == bridge.ifindex]

    def holdings(self, ino: int, socket: Socket) -> list[Holding]:
        """Who has a socket: every descriptor, by process.

        Args:
            ino: the socket's network namespace.
            socket: the socket.
        """
        made = []
        for at in socket.owners:
            task = self._tasks.get(at.pid)
            made.append(
                Holding(
                    at,
                    task.comm if task else b"",
                    self._owners.get(at.pid),
                    task is not None and task.ns[_NET] != ino,
                )
            )
        return made

    def unowned(self, socket: Socket) -> str:
        """Say why a socket has no process.

        Returns:
            "" where it has one; "kernel"; "time-wait"; "not accepted" (its connection waits for
            accept(2)); "orphan" (closed by its process, the kernel ends the connection);
            "unreadable" (maybe of a process that could not be read); "in flight" (no descriptor
            leads to it: it waits in a message, or is the kernel's own).
        """
        if socket.owners:
            return ""
        if not socket.ino:
            if socket.state == "TIME-WAIT":
                return "time-wait"
            return "orphan" if socket.state in _ORPHANED else "not accepted"
        if socket.family == "netlink" and not socket.local_port:
            return "kernel"
        return "unreadable" if self._unread else "in flight"
