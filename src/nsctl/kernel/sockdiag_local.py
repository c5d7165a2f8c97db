"""sock_diag(7): sockets that do not lead through the Internet.

unix(7), netlink(7), packet(7), vsock(7) and AF_XDP, by linux/unix_diag.h, linux/netlink_diag.h,
linux/packet_diag.h, linux/vm_sockets_diag.h and linux/xdp_diag.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from nsctl.kernel import netlink
from nsctl.kernel.netlink import attributes, u32, unpack
from nsctl.kernel.sockdiag import ALL_STATES, SOCK_DIAG_BY_FAMILY, state_name
from nsctl.model.network import Socket

AF_UNIX, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_XDP = 1, 16, 17, 40, 44
TYPES = {1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket"}
NETLINK_PROTOCOLS = {
    0: "route", 2: "usersock", 4: "sock_diag", 5: "nflog", 6: "xfrm", 7: "selinux", 8: "iscsi",
    9: "audit", 10: "fib_lookup", 11: "connector", 12: "netfilter", 15: "uevent", 16: "generic",
    18: "scsitransport", 20: "rdma", 21: "crypto", 22: "smc",
}  # fmt: skip
"""Netlink's families by their number (netlink(7))."""

_UNIX_REQUEST = struct.Struct("=BBHIIIII")
_UNIX = struct.Struct("=BBBBIII")
_UNIX_SHOW = 0x01 | 0x04 | 0x10 | 0x40  # name, peer, queues, uid
_UNIX_NAME, _UNIX_PEER, _UNIX_RQLEN, _UNIX_UID = 0, 2, 4, 7
_QUEUES = struct.Struct("=II")

_NETLINK_REQUEST = struct.Struct("=BBHIIII")
_NETLINK = struct.Struct("=BBBBIIIIII")
_NETLINK_ALL = 255
_MEMINFO = struct.Struct("=III")
_SHOW_MEMINFO = 0x01
_NETLINK_MEMINFO = 0

_PACKET = struct.Struct("=BBHIII")
_PACKET_SHOW = 0x01 | 0x10  # info, meminfo
_PACKET_INFO, _PACKET_UID, _PACKET_MEMINFO = 0, 5, 6

_VSOCK = struct.Struct("=BBBBIIIIIII")
_XDP_INFO, _XDP_UID = 1, 2


def parse_unix(body: bytes) -> Socket:
    """Parse one unix socket (struct unix_diag_msg).

    Raises:
        NetlinkError: it is none.
    """
    _, kind, state, _, ino, _, _ = unpack(_UNIX, body)
    found = attributes(body, _UNIX.size)
    name = found.get(_UNIX_NAME, b"")
    # A path may be ended by a NUL, behind which is nothing; an abstract name begins with one.
    if not name.startswith(b"\0"):
        name = name.partition(b"\0")[0]
    queues = found.get(_UNIX_RQLEN, bytes(_QUEUES.size))
    read, written = unpack(_QUEUES, queues)
    word = TYPES.get(kind, str(kind))
    return Socket(
        family="unix",
        protocol="unix",
        type=word,
        state=state_name(state),
        local=name,
        local_port=-1,
        peer_port=u32(found[_UNIX_PEER]) if _UNIX_PEER in found else -1,
        recv_queue=read,
        send_queue=written,
        ino=ino,
        uid=u32(found[_UNIX_UID]) if _UNIX_UID in found else None,
    )


def parse_netlink(body: bytes) -> Socket:
    """Parse one netlink socket (struct netlink_diag_msg); port 0 is the kernel's own.

    Raises:
        NetlinkError: it is none.
    """
    # The state tells no more than the peer's port does.
    _, kind, protocol, _, port, peer_port, _, ino, _, _ = unpack(_NETLINK, body)
    memory = attributes(body, _NETLINK.size).get(_NETLINK_MEMINFO, b"")
    read, _, written = _MEMINFO.unpack_from(memory) if len(memory) >= _MEMINFO.size else (0, 0, 0)
    return Socket(
        family="netlink",
        protocol="netlink",
        type=TYPES.get(kind, str(kind)),
        state="UNCONN",
        local=NETLINK_PROTOCOLS.get(protocol, str(protocol)).encode(),
        local_port=port,
        peer_port=peer_port,
        recv_queue=read,
        send_queue=written,
        ino=ino,
    )


def parse_packet(body: bytes) -> Socket:
    """Parse one packet socket (struct packet_diag_msg).

    Raises:
        NetlinkError: it is none.
    """
    _, kind, number, ino, _, _ = unpack(_PACKET, body)
    found = attributes(body, _PACKET.size)
    info = found.get(_PACKET_INFO, b"")
    memory = found.get(_PACKET_MEMINFO, b"")
    read, _, written = _MEMINFO.unpack_from(memory) if len(memory) >= _MEMINFO.size else (0, 0, 0)
    return Socket(
        family="packet",
        protocol="packet",
        type=TYPES.get(kind, str(kind)),
        state="UNCONN",
        local=b"",
        local_port=number,
        device=u32(info[:4]) if info else 0,
        recv_queue=read,
        send_queue=written,
        ino=ino,
        uid=u32(found[_PACKET_UID]) if _PACKET_UID in found else None,
    )


def parse_vsock(body: bytes) -> Socket:
    """Parse one vsock socket (struct vsock_diag_msg).

    Raises:
        NetlinkError: it is none.
    """
    _, kind, state, _, cid, port, peer_cid, peer_port, ino, _, _ = unpack(_VSOCK, body)
    return Socket(
        family="vsock",
        protocol="vsock",
        type=TYPES.get(kind, str(kind)),
        state=state_name(state),
        local=cid_text(cid),
        local_port=port,
        peer=cid_text(peer_cid),
        peer_port=peer_port,
        ino=ino,
    )


_ANY = 0xFFFFFFFF


def cid_text(cid: int) -> bytes:
    """Write a vsock address: a context id, "*" for any (vsock(7))."""
    return b"*" if cid == _ANY else b"%d" % cid


def parse_xdp(body: bytes) -> Socket:
    """Parse one AF_XDP socket (struct xdp_diag_msg): its local port is the queue.

    Raises:
        NetlinkError: it is none.
    """
    _, kind, _, ino, _, _ = unpack(_PACKET, body)
    found = attributes(body, _PACKET.size)
    device, queue = unpack(_QUEUES, found.get(_XDP_INFO, bytes(_QUEUES.size)))
    return Socket(
        family="xdp",
        protocol="xdp",
        type=TYPES.get(kind, str(kind)),
        state="UNCONN",
        local=b"",
        local_port=queue,
        device=device,
        ino=ino,
        uid=u32(found[_XDP_UID]) if _XDP_UID in found else None,
    )


def _list(fd: int, body: bytes, parse: Callable[[bytes], Socket]) -> tuple[list[Socket], bool]:
    dump = netlink.dump(fd, SOCK_DIAG_BY_FAMILY, body)
    return netlink.rows(dump, SOCK_DIAG_BY_FAMILY, parse), dump.interrupted


def unix(fd: int) -> tuple[list[Socket], bool]:
    """List unix sockets, each with its peer's name.

    Those that nobody has accepted yet have no inode, and are not listed.

    Args:
        fd: a NETLINK_SOCK_DIAG socket of the namespace.

    Returns:
        They, and whether they changed each time they were read.

    Raises:
        OSError: ENOENT where the kernel cannot list them.
        NetlinkError: it answered with something else.
    """
    request = _UNIX_REQUEST.pack(AF_UNIX, 0, 0, ALL_STATES, 0, _UNIX_SHOW, _ANY, _ANY)
    rows, interrupted = _list(fd, request, parse_unix)
    names = {row.ino: row.local for row in rows if row.local}
    return [
        row._replace(peer=names[row.peer_port]) if row.peer_port in names else row for row in rows
    ], interrupted


def netlinks(fd: int) -> tuple[list[Socket], bool]:
    """List netlink sockets; see `unix`."""
    body = _NETLINK_REQUEST.pack(AF_NETLINK, _NETLINK_ALL, 0, 0, _SHOW_MEMINFO, _ANY, _ANY)
    return _list(fd, body, parse_netlink)


def packets(fd: int) -> tuple[list[Socket], bool]:
    """List packet sockets; see `unix`."""
    body = _NETLINK_REQUEST.pack(AF_PACKET, 0, 0, 0, _PACKET_SHOW, _ANY, _ANY)
    return _list(fd, body, parse_packet)


def vsocks(fd: int) -> tuple[list[Socket], bool]:
    """List vsock sockets; see `unix`."""
    body = _UNIX_REQUEST.pack(AF_VSOCK, 0, 0, ALL_STATES, 0, 0, _ANY, _ANY)
    return _list(fd, body, parse_vsock)


def xdps(fd: int) -> tuple[list[Socket], bool]:
    """List AF_XDP sockets; see `unix`."""
    body = _NETLINK_REQUEST.pack(AF_XDP, 0, 0, 0, 1, _ANY, _ANY)
    return _list(fd, body, parse_xdp)
