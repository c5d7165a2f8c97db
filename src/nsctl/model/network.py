"""What is in a network namespace: interfaces, addresses, routes, neighbours and sockets.

Words and numbers are the kernel's, as ip(8) and ss(8) show them. Names of interfaces and of unix
sockets are raw bytes: whoever administers a namespace chooses them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Family = Literal["inet", "inet6"]


class Address(NamedTuple):
    """One address of an interface (rtnetlink(7), RTM_GETADDR).

    Attributes:
        family: "inet" or "inet6".
        local: the address, as text.
        prefix: its length in bits.
        scope: "global", "link", "host", "site", "nowhere", or a number.
        peer: the other end's address, on a point-to-point link that has one; else "".
        broadcast: "" where there is none.
        label: of IPv4, the name that old programs know it by, raw bytes.
        flags: "secondary", "tentative" .., as ip(8) names them, in its order.
        valid: seconds that it stays, 4294967295 for ever, None where no source says it.
        preferred: seconds that new connections may have it as their source, likewise.
    """

    family: Family
    local: str
    prefix: int
    scope: str
    peer: str = ""
    broadcast: str = ""
    label: bytes = b""
    flags: tuple[str, ...] = ()
    valid: int | None = None
    preferred: int | None = None


class SocketOwner(NamedTuple):
    """A descriptor of a socket, or of a tun device.

    Attributes:
        pid: the process.
        fd: the descriptor's number.
        tid: the thread whose own table it is in, 0 for the process's.
        kind: "fd"; "ioring" for a file registered with the io_uring that the descriptor is of;
            "inflight" for one that waits in a message, unread, in the socket that it is of.
    """

    pid: int
    fd: int
    tid: int = 0
    kind: Literal["fd", "ioring", "inflight"] = "fd"


class Interface(NamedTuple):
    """One network device (RTM_GETLINK).

    Attributes:
        ifindex: its number in its namespace (negative: no source said it).
        name: raw bytes.
        kind: of a virtual device: "veth", "bridge", "vxlan" ..; "" for any other.
        port_kind: what it is a port of: "bridge", "bond" ..; "" where it is none.
        state: operational state: "UP", "DOWN", "LOWERLAYERDOWN", "UNKNOWN" ..
        flags: "UP", "LOWER_UP", "NO-CARRIER" .., as ip(8) names them, in its order.
        mtu: bytes.
        link_type: "ether", "loopback", "none" .., or a number.
        hardware: its hardware address as text, "" where it has none.
        broadcast: the same for everybody.
        alt_names: further names, raw bytes.
        master: index of what it is a port of, 0 where it is none.
        link: index of the device at its other end (veth) or below it (vlan, macvlan), 0 for none.
        link_nsid: what the namespace of that device is called here (see `Network.nsids`), -1
            for this namespace itself.
        addresses: in the kernel's order.
        users: descriptors of the device (tun, tap).
        qdisc: queueing discipline, "" where none was told.
        group: number of its group of devices, None where no source says it.
        queue: packets that may wait to be sent, 0 for no limit of the device's own.
    """

    ifindex: int
    name: bytes
    kind: str = ""
    port_kind: str = ""
    state: str = ""
    flags: tuple[str, ...] = ()
    mtu: int = 0
    link_type: str = ""
    hardware: str = ""
    broadcast: str = ""
    alt_names: tuple[bytes, ...] = ()
    master: int = 0
    link: int = 0
    link_nsid: int = -1
    addresses: tuple[Address, ...] = ()
    users: tuple[SocketOwner, ...] = ()
    qdisc: str = ""
    group: int | None = None
    queue: int = 0


class NextHop(NamedTuple):
    """One way that a route goes.

    Attributes:
        gateway: address, "" for what is on the link.
        device: index of the interface, 0 for none.
        weight: share of a route with several ways, else 1.
        flags: "onlink", "linkdown", "dead" ..
    """

    gateway: str = ""
    device: int = 0
    weight: int = 1
    flags: tuple[str, ...] = ()


class Route(NamedTuple):
    """One route (RTM_GETROUTE).

    Attributes:
        family: "inet" or "inet6"; others (MPLS) are not read.
        destination: "10.0.0.0/8", "10.0.0.1" for a single host, "default".
        type: "unicast", "local", "broadcast", "blackhole", "unreachable", "prohibit" ..
        table: "main", "local", "default", or a number.
        protocol: who made it: "kernel", "boot", "static", "ra" .., or a number.
        scope: "global", "link", "host" .., or a number.
        source: "" or the prefix that packets must come from (IPv6).
        preferred: address that packets get, "" for none.
        metric: the lower one wins; None where it has none.
        tos: type of service.
        hops: its ways: none for a route that leads nowhere, several for a multipath route.
        metrics: "mtu", "advmss" .. with their numbers.
        preference: of IPv6 routers: "low", "medium", "high"; "" for IPv4.
        nexthop_id: of the next hop object that it uses (`ip nexthop`), 0 for none.
    """

    family: Family
    destination: str
    type: str
    table: str
    protocol: str
    scope: str
    source: str = ""
    preferred: str = ""
    metric: int | None = None
    tos: int = 0
    hops: tuple[NextHop, ...] = ()
    metrics: tuple[tuple[str, int], ...] = ()
    preference: str = ""
    nexthop_id: int = 0


class Neighbour(NamedTuple):
    """One neighbour (RTM_GETNEIGH): the ARP and neighbour discovery tables.

    Attributes:
        family: "inet" or "inet6".
        address: as text.
        device: index of the interface.
        hardware: its hardware address, "" where it is not known.
        state: "REACHABLE", "STALE", "NOARP" ..; more than one where bits are combined.
        router: it says that it is one.
    """

    family: Family
    address: str
    device: int
    hardware: str
    state: tuple[str, ...]
    router: bool = False


class Network(NamedTuple):
    """What a network namespace has, but for its sockets.

    Attributes:
        interfaces: by index.
        routes: of all tables.
        neighbours: all of them.
        nsids: what other namespaces are called here: id to inode, as far as interfaces mention
            them and they could be opened.
        source: "rtnetlink", or "proc" for the little that the files below /proc/PID/net say.
    """

    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    nsids: dict[int, int] = {}  # noqa: RUF012  (a named tuple's default, never written to)
    source: Literal["rtnetlink", "proc"] = "rtnetlink"


class Socket(NamedTuple):
    """One socket (sock_diag(7)).

    Attributes:
        family: "inet", "inet6", "unix", "packet", "netlink", "vsock", "xdp".
        protocol: "tcp", "udp", "udplite", "icmp", "raw", "sctp", "mptcp", "unix", or as family.
        type: "stream", "dgram", "seqpacket", "raw".
        state: as ss(8) names it: "LISTEN", "ESTAB", "UNCONN", "TIME-WAIT" ..
        local: address as text ("" for any packet socket and for an unnamed unix socket). A unix
            socket's name is raw: a path, or behind a NUL an abstract name of any bytes.
        local_port: port (of raw sockets the IP protocol, of packet sockets the Ethernet
            protocol, of netlink sockets the port id), -1 for none.
        peer: address of the other end, "" for none. Of a unix socket the name that its peer is
            bound to.
        peer_port: likewise; of a unix socket the peer's inode.
        device: index of the interface that it is bound to, 0 for none.
        recv_queue: bytes that were not read; of a listening socket, connections not accepted.
        send_queue: bytes that were not acknowledged; of a listening socket, how many may wait.
        ino: its inode; 0 where it has no file (any more).
        uid: of its owner in the reader's numbers, None where the source does not say.
        cgroup: id of the control group (version 2) that it was made in, 0 where not told.
        v6_only: whether an IPv6 socket leaves IPv4 alone; None where it does not matter.
        owners: descriptors of it, as far as they could be read.
    """

    family: str
    protocol: str
    type: str
    state: str
    local: bytes
    local_port: int
    peer: bytes = b""
    peer_port: int = -1
    device: int = 0
    recv_queue: int = 0
    send_queue: int = 0
    ino: int = 0
    uid: int | None = None
    cgroup: int = 0
    v6_only: bool | None = None
    owners: tuple[SocketOwner, ...] = ()

    @property
    def netid(self) -> str:
        """The short name that ss(8) has for it: "tcp", "u_str", "p_raw", "nl" .."""
        return _NETIDS.get((self.protocol, self.type), _NETIDS_BY_PROTOCOL.get(self.protocol, ""))

    @property
    def has_peer(self) -> bool:
        """An Internet socket is connected: its peer is not the unspecified address."""
        return self.peer_port > 0 or self.peer not in _UNSPECIFIED

    @property
    def listening(self) -> bool:
        """It takes what comes: a listening socket, or an unconnected one of UDP and the like.

        As `ss -l`: only Internet, unix and vsock sockets can.
        """
        if self.family in _DATAGRAM_FAMILIES and self.type != "stream":
            return self.state == "UNCONN" and self.protocol != "netlink"
        return self.state == "LISTEN"


_UNSPECIFIED = frozenset({b"", b"0.0.0.0", b"::"})
_DATAGRAM_FAMILIES = frozenset({"inet", "inet6"})
_NETIDS = {
    ("unix", "stream"): "u_str",
    ("unix", "dgram"): "u_dgr",
    ("unix", "seqpacket"): "u_seq",
    ("packet", "raw"): "p_raw",
    ("packet", "dgram"): "p_dgr",
    ("vsock", "stream"): "v_str",
    ("vsock", "dgram"): "v_dgr",
    ("vsock", "seqpacket"): "v_seq",
}
_NETIDS_BY_PROTOCOL = {
    "tcp": "tcp",
    "udp": "udp",
    "udplite": "udpl",
    "raw": "raw",
    "icmp": "icmp",
    "sctp": "sctp",
    "mptcp": "mptcp",
    "netlink": "nl",
    "xdp": "xdp",
}
