"""The two ends of a socket, in words: as ss(8) writes them, escaped."""

from __future__ import annotations

from nsctl.model.network import Socket
from nsctl.report.escape import escape_bytes

_IP_PROTOCOLS = {
    1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "ipv6-icmp", 89: "ospf",
    112: "vrrp", 132: "sctp", 255: "raw",
}  # fmt: skip
_ETHERTYPES = {0: "none", 3: "all", 0x800: "ip", 0x806: "arp", 0x86DD: "ipv6", 0x88CC: "lldp"}
_ANY_CID = 0xFFFFFFFF


def local_text(socket: Socket, device: bytes = b"") -> str:
    """Write a socket's own address.

    Args:
        socket: the socket.
        device: name of the interface that it is bound to.

    Returns:
        "127.0.0.1:80", "[fe80::1]%eth0:22", "*:80" (any address, IPv4's too), "@name" for an
        abstract unix name, a path, "-" for an unnamed one, "route:4711", "ip:eth0", "2:1024".
    """
    if socket.family == "unix":
        return unix_text(socket.local) or "-"
    if socket.family == "packet":
        protocol = _ETHERTYPES.get(socket.local_port, f"0x{socket.local_port:04x}")
        return f"{protocol}:{escape_bytes(device) or '*'}"
    if socket.family == "netlink":
        port = str(socket.local_port) if socket.local_port else "kernel"
        return f"{escape_bytes(socket.local)}:{port}"
    if socket.family == "xdp":
        return f"{escape_bytes(device) or '*'}:q{socket.local_port}"
    if socket.family in {"inet", "inet6"}:
        host = _host(socket.local, device, any_family=socket.v6_only is False)
        return f"{host}:{_port(socket, socket.local_port)}"
    port = "*" if socket.local_port in {-1, _ANY_CID} else str(socket.local_port)
    return f"{escape_bytes(socket.local) or '*'}:{port}"


def peer_text(socket: Socket, device: bytes = b"") -> str:
    """Write the address of a socket's other end.

    Args:
        socket: the socket.
        device: see `local_text`.

    Returns:
        As `local_text`; "-" where there is none.
    """
    if socket.family == "unix":
        if socket.peer:
            return unix_text(socket.peer)
        return f"#{socket.peer_port}" if socket.peer_port > 0 else "-"
    if socket.family in {"inet", "inet6"} and socket.has_peer:
        host = _host(socket.peer, device, any_family=False)
        return f"{host}:{_port(socket, socket.peer_port)}"
    if socket.family == "vsock" and socket.peer_port not in {-1, _ANY_CID}:
        return f"{escape_bytes(socket.peer)}:{socket.peer_port}" if socket.peer else "-"
    return "-"


def unix_text(name: bytes) -> str:
    r"""Write a unix socket's name: "@" in front of an abstract one; what cannot be seen escaped.

    A path that begins with "@" is written "./@": relative it is, and else it would look abstract.
    """
    if name.startswith(b"\0"):
        return "@" + escape_bytes(name[1:])
    return escape_bytes(b"./" + name if name.startswith(b"@") else name)


def _host(address: bytes, device: bytes, *, any_family: bool) -> str:
    text = address.decode("ascii", "replace")
    zone = f"%{escape_bytes(device)}" if device else ""
    if text == "::" and any_family:
        return f"*{zone}"
    return f"[{text}]{zone}" if ":" in text else f"{text}{zone}"


def _port(socket: Socket, port: int) -> str:
    if socket.type == "raw":
        return _IP_PROTOCOLS.get(port, str(port))
    return str(port) if port > 0 else "*"
