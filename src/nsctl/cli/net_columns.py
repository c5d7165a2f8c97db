"""The columns of `nsctl net --sockets`: each with what it is, and how a socket fills it."""

from __future__ import annotations

from collections.abc import Callable

from nsctl.cli import common
from nsctl.model.network import Socket
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.network import Holding, Net, Networks
from nsctl.report.endpoints import local_text, peer_text
from nsctl.report.escape import escape, escape_bytes

WORDS = {
    "kernel": "(kernel)",
    "time-wait": "(time-wait)",
    "not accepted": "(not accepted)",
    "orphan": "(closed)",
    "unreadable": "?",
    "in flight": "(in flight or kernel)",
}
"""What stands in place of a process that a socket has none of."""


class Line(NamedTuple):
    """One socket and where it is.

    Attributes:
        snapshot: what it is of.
        networks: the same, related.
        net: its network namespace.
        socket: the socket.
        holdings: who has it.
    """

    snapshot: Snapshot
    networks: Networks
    net: Net
    socket: Socket
    holdings: list[Holding]

    @property
    def device(self) -> bytes:
        """Name of the interface that it is bound to."""
        return (
            self.networks.name_of(self.net.ino, self.socket.device) if self.socket.device else b""
        )


class Output(NamedTuple):
    """One column.

    Attributes:
        help: what it is, in a few words.
        cell: fills it, escaped.
        right: align to the right.
        shrink: may be cut.
    """

    help: str
    cell: Callable[[Line], str]
    right: bool = False
    shrink: bool = False


def process_text(line: Line) -> str:
    """Name the first process that has a socket and count the others, or say why there is none."""
    pids: dict[int, Holding] = {}
    for holding in line.holdings:
        pids.setdefault(holding.at.pid, holding)
    if not pids:
        return WORDS[line.networks.unowned(line.socket)]
    first = next(iter(pids.values()))
    more = f" +{len(pids) - 1}" if len(pids) > 1 else ""
    kind = "" if first.at.kind == "fd" else " (in flight)"
    if first.at.kind == "ioring":
        kind = " (io_uring)"
    return f"{escape_bytes(first.comm) or '?'}[{first.at.pid}]{more}{kind}"


def whose_text(line: Line) -> str:
    """Whose the processes are that have a socket."""
    owners = list(dict.fromkeys(each.owner for each in line.holdings if each.owner is not None))
    return common.owners_text(owners)


def _user(line: Line) -> str:
    uid = line.socket.uid
    return "-" if uid is None else escape(line.snapshot.users.get(uid, str(uid)))


def _cgroup(line: Line) -> str:
    path = line.snapshot.socket_cgroups.get(line.socket.cgroup)
    if path is not None:
        return escape(path)
    return str(line.socket.cgroup) if line.socket.cgroup else "-"


def _fds(line: Line) -> str:
    return (
        ",".join(
            f"{each.at.pid}/{each.at.tid}/{each.at.fd}"
            if each.at.tid
            else f"{each.at.pid}/{each.at.fd}"
            for each in line.holdings
        )
        or "-"
    )


OUTPUTS: dict[str, Output] = {
    "NETID": Output("kind of socket, as ss names it", lambda row: escape(row.socket.netid or row.socket.protocol)),
    "STATE": Output("state, as ss names it", lambda row: escape(row.socket.state)),
    "RECVQ": Output("bytes not read, connections not accepted", lambda row: str(row.socket.recv_queue), right=True),
    "SENDQ": Output("bytes not acknowledged, connections that may wait", lambda row: str(row.socket.send_queue), right=True),
    "LOCAL": Output("its address", lambda row: local_text(row.socket, row.device), shrink=True),
    "PEER": Output("the other end's address", lambda row: peer_text(row.socket, row.device), shrink=True),
    "PROCESS": Output("the first process that has it, and how many others", process_text, shrink=True),
    "WHOSE": Output("whose these processes are", whose_text, shrink=True),
    "NETWORK": Output("whose network namespace it is in", lambda row: common.member_text(row.net.row.member), shrink=True),
    "NS": Output("that namespace's inode", lambda row: str(row.net.ino), right=True),
    "FAMILY": Output("address family", lambda row: escape(row.socket.family)),
    "TYPE": Output("stream, dgram, raw or seqpacket", lambda row: escape(row.socket.type)),
    "DEV": Output("interface that it is bound to", lambda row: escape_bytes(row.device) or "-"),
    "INO": Output("its inode", lambda row: str(row.socket.ino or "-"), right=True),
    "UID": Output("user id of its owner", lambda row: "-" if row.socket.uid is None else str(row.socket.uid), right=True),
    "USER": Output("name of its owner", _user),
    "CGROUP": Output("control group (version 2) that made it", _cgroup, shrink=True),
    "FDS": Output("every descriptor of it: PID/FD or PID/TID/FD", _fds, shrink=True),
}  # fmt: skip
"""All columns, by name."""

DEFAULT = ("NETID", "STATE", "LOCAL", "PEER", "PROCESS", "WHOSE", "NETWORK")
KEYS = {
    "NETID": ("netid",), "STATE": ("state",), "RECVQ": ("recv_q",), "SENDQ": ("send_q",),
    "LOCAL": ("local", "local_port"), "PEER": ("peer", "peer_port"), "PROCESS": ("owners", "unowned"),
    "WHOSE": ("owners",), "NETWORK": (), "NS": (), "FAMILY": ("family",), "TYPE": ("type",),
    "DEV": ("dev",), "INO": ("inode",), "UID": ("uid",), "USER": ("uid",),
    "CGROUP": ("cgroup", "cgroup_id"), "FDS": ("owners",),
}  # fmt: skip
"""Which keys of a socket's JSON a column stands for."""
