"""The picture of `nsctl net`: each network namespace as a person wants it told.

Whose it is and who shares it; interfaces with their addresses, and where they lead; bridges with
the containers behind their ports; the way out; what is exposed, and by which process. The rest is
counted, and listed when all is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nsctl.cli import common
from nsctl.cli.net_columns import Line, process_text, whose_text
from nsctl.model.network import Interface, Neighbour, NextHop, Route, Socket
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.members import Membership
from nsctl.relate.network import Net, Networks, Peer
from nsctl.report.endpoints import local_text, peer_text
from nsctl.report.escape import escape, escape_bytes, printable, width
from nsctl.report.note import wrap
from nsctl.report.style import Role, Style
from nsctl.report.table import Column, table
from nsctl.report.units import counted

# Groups of processes that are no container, service or engine; those are all named.
_LONE_NAMED = 3
_INDENT = "  "
_STANDING: dict[str, Role] = {"own": "own", "host": "host", "shared": "shared", "empty": "note"}


class Wanted(NamedTuple):
    """What of each namespace is shown.

    Attributes:
        sockets: of those that were chosen.
        routes: likewise.
        neighbours: likewise.
        everything: nothing is folded.
    """

    sockets: tuple[Socket, ...]
    routes: tuple[Route, ...]
    neighbours: tuple[Neighbour, ...]
    everything: bool


class Picture:
    """Draws network namespaces.

    Args:
        snapshot: what they are of.
        networks: the same, related.
        style: how the view may look.
    """

    def __init__(self, snapshot: Snapshot, networks: Networks, style: Style) -> None:
        self._snapshot = snapshot
        self._networks = networks
        self._style = style

    def draw(self, net: Net, wanted: Wanted) -> Iterator[str]:
        """Draw one namespace.

        Args:
            net: it.
            wanted: what of it is shown.

        Yields:
            Lines.
        """
        yield from self._head(net)
        if net.network is None:
            yield from self._labelled("", "interfaces not readable")
        else:
            yield from self._interfaces(net)
            yield from self._routes(net, wanted)
            yield from self._neighbours(net, wanted)
        if net.sockets is None:
            yield from self._labelled("", "sockets not readable")
        else:
            yield from self._sockets(net, wanted)
        yield from self._elsewhere(net)

    def _head(self, net: Net) -> Iterator[str]:
        member = net.row.member
        name = common.member_text(member)
        if len(member.owners) > 1:
            # Who shares a network is what one wants to know of it.
            shown = [common.owner_text(owner) for owner in member.owners]
            lone = [place for place, each in enumerate(member.owners) if each.kind == "process"]
            folded = set(lone[_LONE_NAMED:])
            named = [text for place, text in enumerate(shown) if place not in folded]
            more = f" and {len(folded)} more" if folded else ""
            joint = "shared by " if net.row.standing == "shared" else ""
            name = f"{joint}{', '.join(named)}{more}"
        processes = counted(len(member.tasks), "process", "processes")
        tail = f"{processes}  net:[{net.ino}]"
        if net.network is not None and net.network.source == "proc":
            tail += "  only what /proc/PID/net shows"
        lines = wrap(self._style.text(f"{name}  {tail}"), self._style.width)
        role = _STANDING[net.row.standing]
        for line in lines:
            yield self._style.paint(line, "heading" if role == "note" else role)

    def _labelled(self, label: str, text: str, size: int = 0) -> Iterator[str]:
        """Write text behind a label, its further lines below its first."""
        label = self._style.text(label)
        start = f"{_INDENT}{label}{' ' * max(size - width(label), 0)}"
        start += "  " if label else ""
        limit = self._style.width
        room = None if limit is None else max(limit - width(start), 20)
        for place, line in enumerate(wrap(self._style.text(printable(text)), room)):
            yield start + line if not place else " " * width(start) + line

    def _interfaces(self, net: Net) -> Iterator[str]:
        network = net.network
        if network is None:
            return
        links = network.interfaces
        ports = {link.ifindex for link in links if link.master}
        bridges = {link.master for link in links}
        known = {link.ifindex for link in links}
        above = [link for link in links if link.ifindex not in ports]
        longest = max((width(escape_bytes(link.name)) for link in above), default=0)
        size = max(min(longest, _NAME), _LABEL)
        for link in links:
            if link.ifindex in ports and link.master in known:
                continue  # below its bridge
            yield from self._labelled(escape_bytes(link.name), self._about(net, link), size)
            if link.ifindex in bridges:
                yield from self._ports(net, link, size)

    def _ports(self, net: Net, bridge: Interface, size: int) -> Iterator[str]:
        ports = self._networks.ports(net.ino, bridge)
        for place, port in enumerate(ports, 1):
            last = place == len(ports)
            stem = ("└─" if last else "├─") if self._style.unicode else ("`-" if last else "|-")
            text = f"{escape_bytes(port.name)} {self._about(net, port)}"
            start = f"{_INDENT}{' ' * size}  {stem} "
            limit = self._style.width
            room = None if limit is None else max(limit - width(start), 20)
            for number, line in enumerate(wrap(self._style.text(printable(text)), room)):
                lead = start if not number else " " * width(start)
                yield lead + line

    def _about(self, net: Net, link: Interface) -> str:
        """One interface on one line: state, kind, addresses, where it leads, who has it open."""
        words = []
        if link.flags and "UP" not in link.flags:
            words.append("down")
        elif "NO-CARRIER" in link.flags or link.state == "LOWERLAYERDOWN":
            words.append("no carrier")
        if link.kind and link.kind != "veth":
            words.append(escape(link.kind))
        for address in link.addresses:
            peer = f" peer {address.peer}" if address.peer else ""
            words.append(f"{address.local}{peer}/{address.prefix}")
        end = self._networks.peer(net.ino, link)
        if end is not None:
            arrow = "->" if link.kind == "veth" else "on"
            words.append(f"{arrow} {self._end(net, end)}")
        for each in link.users:
            owner = self._networks.owner(each.pid)
            whose = f" {common.owner_text(owner)}" if owner else ""
            words.append(f"open in process {each.pid}{whose}")
        return "  ".join(words) or "-"

    def _end(self, net: Net, peer: Peer) -> str:
        if peer.interface is None:
            return "a network that could not be read" if not peer.ns else "?"
        name = escape_bytes(peer.interface.name)
        if peer.ns == net.ino:
            return name
        where = self._short(peer.member) if peer.member else f"net:[{peer.ns}]"
        master = self._networks.name_of(peer.ns, peer.interface.master)
        on = f" on {escape_bytes(master)}" if master else ""
        return f"{where}:{name}{on}"

    @staticmethod
    def _short(member: Membership) -> str:
        """Whose a namespace is, as short as a name in a sentence."""
        owners = member.owners or ((member.was,) if member.was else ())
        if not owners:
            return f"net:[{member.namespace.id.ino}]"
        first = owners[0]
        if first.kind == "process":
            return f"{escape(first.name)}[{first.pid}]"
        return escape(first.name) + (f"+{len(owners) - 1}" if len(owners) > 1 else "")

    def _routes(self, net: Net, wanted: Wanted) -> Iterator[str]:
        shown = [
            route
            for route in wanted.routes
            if wanted.everything or route.destination == "default" or route.type not in _PLAIN
        ]
        lines = [self._route(net, route) for route in shown]
        folded = len(wanted.routes) - len(shown)
        only_loopback = net.network is not None and all(
            "LOOPBACK" in link.flags for link in net.network.interfaces
        )
        if not shown and not wanted.routes:
            lines.append("none" + (": loopback only" if only_loopback else ""))
        elif not shown:
            lines.append(f"no default route; {counted(folded, 'route')} to what is on the link")
        yield from self._block("routes", lines)

    def _route(self, net: Net, route: Route) -> str:
        kind = "" if route.type == "unicast" else f"{route.type} "
        words = [f"{kind}{route.destination}"]
        words += [self._hop(net, hop, several=len(route.hops) > 1) for hop in route.hops]
        if route.preferred:
            words.append(f"src {route.preferred}")
        if route.metric:
            words.append(f"metric {route.metric}")
        if route.table != "main":
            words.append(f"table {route.table}")
        return " ".join(word for word in words if word)

    def _hop(self, net: Net, hop: NextHop, *, several: bool) -> str:
        words = [f"via {hop.gateway}"] if hop.gateway else []
        if hop.device:
            words.append(f"dev {escape_bytes(self._networks.name_of(net.ino, hop.device))}")
        if several:
            words.append(f"weight {hop.weight}")
        words += hop.flags
        text = " ".join(words)
        return f"[{text}]" if several else text

    def _neighbours(self, net: Net, wanted: Wanted) -> Iterator[str]:
        lines = [
            f"{each.address} {each.hardware or '-'} "
            f"dev {escape_bytes(self._networks.name_of(net.ino, each.device))} "
            f"{','.join(each.state)}{' router' if each.router else ''}"
            for each in (wanted.neighbours if wanted.everything else ())
        ]
        yield from self._block("neighbours", lines)

    def _block(self, label: str, lines: Sequence[str]) -> Iterator[str]:
        for place, line in enumerate(lines):
            yield from self._labelled(label if not place else " " * len(label), line, _LABEL)

    def _sockets(self, net: Net, wanted: Wanted) -> Iterator[str]:
        shown = [each for each in wanted.sockets if wanted.everything or _is_exposed(each)]
        rest = [each for each in wanted.sockets if not _is_exposed(each)]
        listening = [each for each in shown if each.listening]
        yield from self._socket_lines(net, "listens", listening)
        if not listening:
            yield from self._labelled("listens", "nothing", _LABEL)
        if wanted.everything:
            others = [each for each in wanted.sockets if not each.listening]
            yield from self._socket_lines(net, "sockets", others)
        elif text := _counts(rest):
            yield from self._labelled("besides", text, _LABEL)

    def _socket_lines(self, net: Net, label: str, sockets: Sequence[Socket]) -> Iterator[str]:
        if not sockets:
            return
        connected = label != "listens"
        several = len(net.row.member.owners) > 1
        rows = []
        for socket in sockets:
            holdings = self._networks.holdings(net.ino, socket)
            line = Line(self._snapshot, self._networks, net, socket, holdings)
            cells = [escape(socket.netid or socket.protocol)]
            if connected:
                cells.append(escape(socket.state))
            cells.append(local_text(socket, line.device))
            if connected:
                cells.append(peer_text(socket, line.device))
            cells.append(process_text(line))
            stranger = any(each.elsewhere for each in holdings)
            cells.append(whose_text(line) if (several or stranger) and holdings else "")
            rows.append(cells)
        columns = [Column("", shrink=place > 0) for place in range(len(rows[0]))]
        start = len(_INDENT) + _LABEL + 2
        limit = self._style.width
        narrow = self._style._replace(width=None if limit is None else max(limit - start, 20))
        for place, text in enumerate(table(columns, rows, narrow, headings=False)):
            lead = label if not place else ""
            yield f"{_INDENT}{lead:<{_LABEL}}  {text.rstrip()}"

    def _elsewhere(self, net: Net) -> Iterator[str]:
        lines = []
        netlink: dict[str, list[str]] = {}
        for ino, socket in net.elsewhere:
            member = self._networks.member(ino)
            where = self._short(member) if member else f"net:[{ino}]"
            holdings = self._networks.holdings(ino, socket)
            line = Line(self._snapshot, self._networks, net, socket, holdings)
            if socket.family == "netlink":
                # Who manages networks has one in each.
                netlink.setdefault(process_text(line), []).append(where)
                continue
            kind = escape(socket.netid or socket.protocol)
            lines.append(f"{where}: {kind} {local_text(socket)} {process_text(line)}")
        for process, places in netlink.items():
            lines.append(f"{', '.join(dict.fromkeys(places))}: netlink {process}")
        folded = len(lines) - _FEW
        if folded > 0:
            lines[_FEW:] = [f"and {folded} more (-J lists them)"]
        yield from self._block("holds", lines)


def _is_exposed(socket: Socket) -> bool:
    """Tell whether a socket is reached over the network, or by anybody in its namespace.

    So are abstract unix sockets (unix(7)); who reaches a path is for mount namespaces to say.
    """
    return socket.listening and (socket.family != "unix" or socket.local.startswith(b"\0"))


_LABEL = 10
_NAME = 16
_FEW = 8
_PLAIN = frozenset({"unicast", "local", "broadcast", "multicast", "anycast"})


def _counts(sockets: Sequence[Socket]) -> str:
    """Count what is folded: "12 connected, 34 unix, 8 netlink (-a lists them)"."""
    by_family: dict[str, int] = {}
    for socket in sockets:
        if socket.family == "netlink" and not socket.local_port:
            continue  # the kernel's own are in every namespace
        family = socket.family if socket.family in {"unix", "netlink", "packet"} else "connected"
        by_family[family] = by_family.get(family, 0) + 1
    words = [
        f"{by_family[name]} {name}"
        for name in ("connected", "unix", "netlink", "packet")
        if name in by_family
    ]
    return f"{', '.join(words)} (-a lists them)" if words else ""
