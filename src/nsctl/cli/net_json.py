"""`nsctl net -J`: the keys of `ip -j` for interfaces, routes and neighbours, and more of ours."""

from __future__ import annotations

from typing import Any

from nsctl.cli import common
from nsctl.model.network import Address, Interface, Neighbour, Network, NextHop, Route, Socket
from nsctl.model.snapshot import Snapshot
from nsctl.relate.network import Holding, Net, Networks, Peer
from nsctl.report.jsonout import put_text, put_texts, select, whose

_NO_PORT = -1
_ANY = 0xFFFFFFFF

Row = dict[str, Any]


class Writer:
    """Writes network namespaces.

    Args:
        snapshot: what they are of.
        networks: the same, related.
    """

    def __init__(self, snapshot: Snapshot, networks: Networks) -> None:
        self._snapshot = snapshot
        self._networks = networks

    def net(
        self,
        net: Net,
        sockets: list[Socket] | None,
        routes: list[Route],
        neighbours: list[Neighbour],
        keys: list[str] | None,
        *,
        only_sockets: bool,
    ) -> Row:
        """Write one namespace.

        Args:
            net: it.
            sockets: those that are wanted.
            routes: likewise.
            neighbours: likewise.
            keys: what is wanted of each socket, None for all.
            only_sockets: leave out all else.
        """
        member = net.row.member
        made: Row = {
            "ns": net.ino,
            "whose": common.whose_row(member),
            "members": [whose(owner) for owner in member.owners],
            "is": net.row.standing,
        }
        if not only_sockets:
            made["processes"] = [task.pid for task in member.tasks]
            made.update(self._network(net, routes, neighbours))
        if sockets is None:
            made["sockets"] = None
        else:
            rows = [self.socket(net.ino, socket) for socket in sockets]
            made["sockets"] = rows if keys is None else select(rows, keys)
        if not only_sockets:
            made["elsewhere"] = [
                {"ns": ino, "whose": self._whose(ino), "socket": self.socket(ino, socket)}
                for ino, socket in net.elsewhere
            ]
        return made

    def _whose(self, ino: int) -> Row | None:
        member = self._networks.member(ino)
        return None if member is None else common.whose_row(member)

    def _network(self, net: Net, routes: list[Route], neighbours: list[Neighbour]) -> Row:
        network = net.network
        if network is None:
            return dict.fromkeys(("source", "interfaces", "routes", "neighbours"))
        return {
            "source": network.source,
            "interfaces": [self._interface(net, network, link) for link in network.interfaces],
            "routes": [self._route(net.ino, route) for route in routes],
            "neighbours": [self._neighbour(net.ino, each) for each in neighbours],
        }

    def _interface(self, net: Net, network: Network, link: Interface) -> Row:
        made: Row = {"ifindex": link.ifindex}
        put_text(made, "ifname", link.name)
        flags = list(link.flags)
        if link.link and link.link_nsid < 0 and link.link != link.ifindex:
            below = next((each for each in network.interfaces if each.ifindex == link.link), None)
            put_text(made, "link", below.name if below else None)
            if below is not None and "UP" not in below.flags:
                flags.append("M-DOWN")
        elif link.link_nsid >= 0:
            made["link_index"] = link.link
            made["link_netnsid"] = link.link_nsid
        made["flags"] = flags
        made["mtu"] = link.mtu
        master = self._networks.name_of(net.ino, link.master) if link.master else None
        put_text(made, "master", master)
        made["qdisc"] = link.qdisc or None
        made["group"] = _group(link.group)
        if link.queue:
            made["txqlen"] = link.queue
        made["operstate"] = link.state or None
        made["link_type"] = link.link_type or None
        made["address"] = link.hardware or None
        made["broadcast"] = link.broadcast or None
        put_texts(made, "altnames", link.alt_names)
        info = {"info_kind": link.kind or None, "info_slave_kind": link.port_kind or None}
        made["linkinfo"] = {key: word for key, word in info.items() if word} or None
        made["addr_info"] = [_address(address) for address in link.addresses]
        peer = self._networks.peer(net.ino, link)
        made["peer"] = None if peer is None else self._peer(peer)
        if link.kind == "bridge":
            made["ports"] = [self._port(net, port) for port in self._networks.ports(net.ino, link)]
        if link.users:
            made["users"] = [
                {"pid": each.pid, "fd": each.fd, "whose": whose(self._networks.owner(each.pid))}
                for each in link.users
            ]
        return made

    def _peer(self, peer: Peer) -> Row:
        made: Row = {"ns": peer.ns or None}
        made["whose"] = None if peer.member is None else common.whose_row(peer.member)
        put_text(made, "ifname", None if peer.interface is None else peer.interface.name)
        made["ifindex"] = None if peer.interface is None else peer.interface.ifindex
        return made

    def _port(self, net: Net, port: Interface) -> Row:
        made: Row = {"ifindex": port.ifindex}
        put_text(made, "ifname", port.name)
        peer = self._networks.peer(net.ino, port)
        made["peer"] = None if peer is None else self._peer(peer)
        return made

    def _device(self, made: Row, ino: int, ifindex: int) -> None:
        put_text(made, "dev", self._networks.name_of(ino, ifindex) or None if ifindex else None)

    def _route(self, ino: int, route: Route) -> Row:
        made: Row = {
            "family": route.family,
            "type": route.type,
            "dst": route.destination,
            "table": route.table,
            "protocol": route.protocol or None,
            "scope": route.scope or None,
        }
        if route.source:
            made["from"] = route.source
        if route.tos:
            made["tos"] = route.tos
        if route.nexthop_id:
            made["nhid"] = route.nexthop_id
        if len(route.hops) == 1:
            self._hop(made, ino, route.hops[0])
        elif route.hops:
            made["nexthops"] = [self._next_hop(ino, hop) for hop in route.hops]
        if route.preferred:
            made["prefsrc"] = route.preferred
        if route.metric is not None:
            made["metric"] = route.metric
        if route.metrics:
            made["metrics"] = [dict(route.metrics)]
        if route.preference:
            made["pref"] = route.preference
        made.setdefault("flags", [])
        return made

    def _hop(self, made: Row, ino: int, hop: NextHop) -> None:
        if hop.gateway:
            made["gateway"] = hop.gateway
        if hop.device:
            self._device(made, ino, hop.device)
        made["flags"] = list(hop.flags)

    def _next_hop(self, ino: int, hop: NextHop) -> Row:
        made: Row = {}
        self._hop(made, ino, hop)
        made["weight"] = hop.weight
        return made

    def _neighbour(self, ino: int, neighbour: Neighbour) -> Row:
        made: Row = {"family": neighbour.family, "dst": neighbour.address}
        self._device(made, ino, neighbour.device)
        made["lladdr"] = neighbour.hardware or None
        if neighbour.router:
            made["router"] = True
        made["state"] = list(neighbour.state)
        return made

    def socket(self, ino: int, socket: Socket) -> Row:
        """Write one socket, with everybody who has it."""
        made: Row = {
            "netid": socket.netid or socket.protocol,
            "family": socket.family,
            "protocol": socket.protocol,
            "type": socket.type,
            "state": socket.state,
            "listening": socket.listening,
        }
        _end(made, "local", socket, socket.local, socket.local_port)
        _end(made, "peer", socket, socket.peer, socket.peer_port)
        if socket.family == "unix":
            made["abstract"] = socket.local.startswith(b"\0")
            made["peer_inode"] = socket.peer_port if socket.peer_port > 0 else None
        self._device(made, ino, socket.device)
        made["recv_q"] = socket.recv_queue
        made["send_q"] = socket.send_queue
        made["inode"] = socket.ino or None
        made["uid"] = socket.uid
        made["v6only"] = socket.v6_only
        path = self._snapshot.socket_cgroups.get(socket.cgroup)
        put_text(made, "cgroup", path.encode("utf-8", "surrogateescape") if path else None)
        made["cgroup_id"] = socket.cgroup or None
        made["owners"] = [_owner(each) for each in self._networks.holdings(ino, socket)]
        made["unowned"] = self._networks.unowned(socket) or None
        return made


def _address(address: Address) -> Row:
    made: Row = {"family": address.family, "local": address.local}
    if address.peer:
        made["address"] = address.peer
    made["prefixlen"] = address.prefix
    if address.broadcast:
        made["broadcast"] = address.broadcast
    made["scope"] = address.scope or None
    if address.label:
        put_text(made, "label", address.label)
    made.update(dict.fromkeys(address.flags, True))
    made["valid_life_time"] = address.valid
    made["preferred_life_time"] = address.preferred
    return made


def _group(number: int | None) -> str | None:
    """A group of devices as ip(8) calls it."""
    if number is None:
        return None
    return str(number) if number else "default"


def _end(made: Row, key: str, socket: Socket, address: bytes, port: int) -> None:
    """Write one end: an unnamed or absent one is null."""
    text: bytes | None = address
    if socket.family == "unix":
        text = b"@" + address[1:] if address.startswith(b"\0") else address
    elif key == "peer" and socket.family in {"inet", "inet6"} and not socket.has_peer:
        text, port = None, _NO_PORT
    put_text(made, key, text or None)
    if socket.family != "unix":
        made[f"{key}_port"] = None if port in {_NO_PORT, _ANY} else port


def _owner(holding: Holding) -> Row:
    made: Row = {"pid": holding.at.pid, "fd": holding.at.fd}
    put_text(made, "comm", holding.comm)
    if holding.at.tid:
        made["tid"] = holding.at.tid
    made["kind"] = holding.at.kind
    made["elsewhere"] = holding.elsewhere
    made["whose"] = whose(holding.owner)
    return made
