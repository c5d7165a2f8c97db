"""sock_diag(7): Internet sockets of a network namespace.

Those of other families are in `nsctl.kernel.sockdiag_local`. Numbers are those of
linux/inet_diag.h, words those of ss(8). Nothing is asked that takes a capability.
"""

from __future__ import annotations

import struct
from _socket import AF_INET, AF_INET6

from nsctl.kernel import netlink
from nsctl.kernel.netlink import attributes, unpack
from nsctl.kernel.rtnetlink import FAMILIES, address_text
from nsctl.model.network import Socket
from nsctl.model.record import NamedTuple

SOCK_DIAG_BY_FAMILY = 20
ALL_STATES = 0xFFF

STATES = (
    "UNKNOWN", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN",
    "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING", "SYN-RECV",
)  # fmt: skip
"""States by their number in the kernel, as ss(8) names them."""

_REQUEST = struct.Struct("=BBBxI48x")
_MESSAGE = struct.Struct("=BBBB2H16s16sI8sIIIII")
_REQ_PROTOCOL = 3
_SKV6ONLY, _CGROUP_ID = 11, 21
_U64 = struct.Struct("=Q")


class Protocol(NamedTuple):
    """An Internet protocol that can be asked about.

    Attributes:
        name: as in `Socket.protocol`.
        number: IPPROTO_*.
        type: of its sockets.
    """

    name: str
    number: int
    type: str


TCP = Protocol("tcp", 6, "stream")
UDP = Protocol("udp", 17, "dgram")
UDPLITE = Protocol("udplite", 136, "dgram")
RAW = Protocol("raw", 255, "raw")
SCTP = Protocol("sctp", 132, "stream")
MPTCP = Protocol("mptcp", 262, "stream")


def state_name(number: int) -> str:
    """The word for a state, or its number where it is none that we know."""
    return STATES[number] if number < len(STATES) else str(number)


def parse_inet(body: bytes, protocol: Protocol) -> Socket:
    """Parse one socket (struct inet_diag_msg).

    Args:
        body: of a message.
        protocol: what was asked for.

    Raises:
        NetlinkError: it is none.
    """
    unpack(_MESSAGE, body)
    (
        family, state, _, _, source_port, peer_port, source, peer, device, _, _, read, written,
        uid, ino,
    ) = _MESSAGE.unpack_from(body)  # fmt: skip
    name = FAMILIES.get(family)
    if name is None:
        raise netlink.NetlinkError("netlink socket of another family")
    found = attributes(body, _MESSAGE.size)
    length = 4 if name == "inet" else 16
    v6_only = found.get(_SKV6ONLY)
    cgroup = found.get(_CGROUP_ID, b"")
    return Socket(
        family=name,
        protocol=protocol.name,
        type=protocol.type,
        state=state_name(state),
        local=address_text(source[:length]).encode(),
        local_port=_swapped(source_port),
        peer=address_text(peer[:length]).encode(),
        peer_port=_swapped(peer_port),
        device=device,
        recv_queue=read,
        send_queue=written,
        ino=ino,
        uid=uid,
        cgroup=_U64.unpack(cgroup)[0] if len(cgroup) == _U64.size else 0,
        v6_only=bool(v6_only[0]) if v6_only else None,
    )


_BIG = struct.pack("=H", 1) == struct.pack(">H", 1)


def _swapped(port: int) -> int:
    """A number of the network's byte order that was read in the machine's."""
    return port if _BIG else (port & 0xFF) << 8 | port >> 8


def inet(fd: int, protocol: Protocol) -> tuple[list[Socket], bool]:
    """List the sockets of one protocol, IPv4 and IPv6.

    Args:
        fd: a NETLINK_SOCK_DIAG socket of the namespace.
        protocol: one of those above.

    Returns:
        They, and whether they changed each time they were read.

    Raises:
        OSError: ENOENT where the kernel cannot list this protocol.
        NetlinkError: it answered with something else.
    """
    rows: list[Socket] = []
    interrupted = False
    for family in (AF_INET, AF_INET6):
        body = _REQUEST.pack(family, protocol.number & 0xFF, 0, ALL_STATES)
        if protocol.number > 0xFF:
            # Since 5.10; an older kernel would answer about another protocol.
            body = _REQUEST.pack(family, RAW.number, 0, ALL_STATES)
            number = netlink.pack_u32(protocol.number)
            body += netlink.pack_attribute(_REQ_PROTOCOL, number)
        dump = netlink.dump(fd, SOCK_DIAG_BY_FAMILY, body)
        rows += netlink.rows(dump, SOCK_DIAG_BY_FAMILY, lambda body: parse_inet(body, protocol))
        interrupted |= dump.interrupted
    return rows, interrupted
