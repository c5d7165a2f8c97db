"""What rtnetlink and sock_diag messages say, made by hand as linux/rtnetlink.h lays them out."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import rtnetlink, rtroutes, sockdiag, sockdiag_local
from nsctl.kernel.netlink import NetlinkError, pack_attribute, pack_u32
from nsctl.model.network import Address, Interface, NextHop
from support.examples import Mutations

pytestmark = pytest.mark.unit

_AF_INET, _AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)


def attributes(*pairs: tuple[int, bytes]) -> bytes:
    return b"".join(pack_attribute(kind, value) for kind, value in pairs)


def link(index: int, name: bytes, *pairs: tuple[int, bytes], flags: int = 0x11043) -> bytes:
    head = struct.pack("=BxHiII", 0, 1, index, flags, 0)
    return head + attributes((3, name + b"\0"), (4, pack_u32(1500)), (16, b"\6"), *pairs)


def kind(word: bytes, port_of: bytes = b"") -> tuple[int, bytes]:
    pairs = [(1, word + b"\0")] + ([(4, port_of + b"\0")] if port_of else [])
    return 18, attributes(*pairs)


LINKS = [
    # Kinds that this kernel may lack; constructed.
    link(7, b"eth0.5", kind(b"vlan"), (5, pack_u32(2))),
    link(8, b"bond0", kind(b"bond")),
    link(
        9, b"eth1", kind(b"veth", b"bond"), (10, pack_u32(8)), (5, pack_u32(3)), (37, pack_u32(4))
    ),
    link(10, b"wg0", kind(b"wireguard")),
    link(11, b"ipv0", kind(b"ipvlan"), (5, pack_u32(2)), (37, b"\xff\xff\xff\xff")),
    link(12, b"dummy0", kind(b"dummy"), (52, attributes((53, b"very-long-name-of-it\0")))),
    link(13, b"\x1b[31m\xff", (1, bytes(range(6))), (2, b"\xff" * 6), flags=0x1003),
]


def test_interfaces_say_what_they_are_and_where_they_lead() -> None:
    vlan, bond, port, wireguard, ipvlan, dummy, odd = map(rtnetlink.parse_link, LINKS)
    assert (vlan.kind, vlan.link, vlan.link_nsid) == ("vlan", 2, -1)
    assert (bond.kind, bond.state, bond.mtu) == ("bond", "UP", 1500)
    assert (port.kind, port.port_kind, port.master) == ("veth", "bond", 8)
    assert (port.link, port.link_nsid) == (3, 4)
    assert wireguard.kind == "wireguard"
    assert ipvlan.link_nsid == -1
    assert dummy.alt_names == (b"very-long-name-of-it",)
    assert odd.name == b"\x1b[31m\xff"
    assert odd.hardware == "00:01:02:03:04:05"
    assert odd.flags == ("NO-CARRIER", "BROADCAST", "MULTICAST", "UP")
    assert bond.flags == ("BROADCAST", "MULTICAST", "UP", "LOWER_UP")


def test_the_hardware_address_of_a_tunnel_is_an_internet_address() -> None:
    head = struct.pack("=BxHiII", 0, 776, 4, 0x80, 0)
    found = rtnetlink.parse_link(head + attributes((3, b"sit1\0"), (1, bytes([10, 0, 0, 1]))))
    assert (found.link_type, found.hardware) == ("sit", "10.0.0.1")


def test_an_address_on_a_point_to_point_link_names_the_other_end() -> None:
    head = struct.pack("=BBBBI", _AF_INET, 32, 0x80, 0, 3)
    pairs = ((1, b"\x0a\0\0\2"), (2, b"\x0a\0\0\1"), (3, b"ppp0:1\0"), (8, pack_u32(0x281)))
    assert rtnetlink.parse_address(head + attributes(*pairs)) == (
        3,
        Address(
            "inet", "10.0.0.1", 32, "global", "10.0.0.2", label=b"ppp0:1",
            flags=("secondary", "noprefixroute"),
        ),
    )  # fmt: skip


def test_an_address_that_does_not_stay_is_dynamic_and_a_second_of_ipv6_is_temporary() -> None:
    head = struct.pack("=BBBBI", _AF_INET6, 64, 0x41, 253, 3)
    _, found = rtnetlink.parse_address(head + attributes((1, b"\xfe\x80" + bytes(14)))) or (0, None)
    assert found == Address(
        "inet6", "fe80::", 64, "link", flags=("temporary", "tentative", "dynamic")
    )


def route(family: int, kind_: int, *pairs: tuple[int, bytes], length: int = 0) -> bytes:
    head = struct.pack("=BBBBBBBBI", family, length, 0, 0, 254, 4, 0, kind_, 0)
    return head + attributes(*pairs)


def hop(device: int, weight: int, gateway: bytes, flags: int = 0) -> bytes:
    pairs = attributes((5, gateway))
    return struct.pack("=HBBi", 8 + len(pairs), flags, weight - 1, device) + pairs


ROUTES = [
    route(_AF_INET, 1, (9, hop(2, 3, b"\x0a\0\0\1") + hop(3, 1, b"\x0a\0\0\2", 0x11))),
    route(_AF_INET, 6, (1, b"\x0a\x4d\0\0"), length=16),
    route(_AF_INET6, 7, (1, b"\x20\x01" + bytes(14)), (6, pack_u32(1024)), length=128),
    route(_AF_INET, 1, (18, struct.pack("=H", _AF_INET6) + b"\xfe\x80" + bytes(14)), (4, pack_u32(2))),
    route(_AF_INET, 1, (1, b"\x0a\0\0\0"), (15, pack_u32(1000)), (4, pack_u32(2)), (30, pack_u32(7)),
          (8, attributes((2, pack_u32(1280)), (16, b"cubic\0"))), length=8),
]  # fmt: skip


def test_routes_of_every_shape_are_told_apart() -> None:
    found = [rtroutes.parse_route(body) for body in ROUTES]
    several, black, unreachable, via, table = (each for each in found if each is not None)
    assert several.destination == "default"
    assert several.hops == (
        NextHop("10.0.0.1", 2, 3),
        NextHop("10.0.0.2", 3, 1, ("dead", "linkdown")),
    )
    assert (black.type, black.destination, black.hops) == ("blackhole", "10.77.0.0/16", ())
    assert (unreachable.type, unreachable.destination) == ("unreachable", "2001::")
    assert unreachable.metric == 1024
    assert via.hops == (NextHop("fe80::", 2),)
    assert (table.table, table.nexthop_id, table.metrics) == ("1000", 7, (("mtu", 1280),))


def test_cached_routes_and_other_families_are_left_out() -> None:
    cached = struct.pack("=BBBBBBBBI", _AF_INET, 32, 0, 0, 254, 0, 0, 1, 0x200)
    mpls = struct.pack("=BBBBBBBBI", 28, 20, 0, 0, 254, 0, 0, 1, 0)
    assert rtroutes.parse_route(cached) is None
    assert rtroutes.parse_route(mpls) is None


def neighbour(state: int, flags: int = 0) -> bytes:
    head = struct.pack("=BxxxiHBB", _AF_INET, 2, state, flags, 1)
    return head + attributes((1, b"\x0a\0\0\3"), (2, b"\2\0\0\0\0\1"))


def test_a_neighbour_says_how_it_is() -> None:
    found = rtroutes.parse_neighbour(neighbour(0x04, 0x80))
    assert found is not None
    assert (found.address, found.hardware, found.device) == ("10.0.0.3", "02:00:00:00:00:01", 2)
    assert (found.state, found.router) == (("STALE",), True)


def inet(family: int, state: int, local: bytes, port: int, *pairs: tuple[int, bytes]) -> bytes:
    ports = struct.pack(">HH", port, 0)
    head = struct.pack("=BBBB", family, state, 0, 0) + ports + local.ljust(16, b"\0") + bytes(16)
    return head + struct.pack("=I8xIIIII", 5, 0, 3, 128, 1000, 4711) + attributes(*pairs)


SOCKETS: list[tuple[Callable[[bytes], object], bytes]] = [
    (
        lambda body: sockdiag.parse_inet(body, sockdiag.TCP),
        inet(_AF_INET6, 10, b"\xfe\x80" + bytes(14), 443, (11, b"\1"), (21, struct.pack("=Q", 99))),
    ),
    (
        sockdiag_local.parse_unix,
        struct.pack("=BBBBIII", 1, 5, 10, 0, 9, 0, 0)
        + attributes(
            (0, b"\0a\0b"), (2, pack_u32(8)), (4, struct.pack("=II", 1, 2)), (7, bytes(4))
        ),
    ),
    (
        sockdiag_local.parse_netlink,
        struct.pack("=BBBBIIIIII", 16, 3, 15, 7, 77, 0, 0, 5, 0, 0)
        + attributes((0, struct.pack("=9I", *range(9)))),
    ),
    (
        sockdiag_local.parse_packet,
        struct.pack("=BBHIII", 17, 3, 3, 6, 0, 0)
        + attributes((0, struct.pack("=6I", 4, 0, 0, 0, 0, 0)), (5, pack_u32(1000))),
    ),
    # Kernels with vsock_diag and xdp_diag; constructed.
    (
        sockdiag_local.parse_vsock,
        struct.pack("=BBBBIIIIIII", 40, 1, 1, 0, 3, 1024, 2, 999, 12, 0, 0),
    ),
    (
        sockdiag_local.parse_xdp,
        struct.pack("=BBHIII", 44, 3, 0, 13, 0, 0)
        + attributes((1, struct.pack("=II", 4, 2)), (2, pack_u32(0))),
    ),
]


def test_sockets_of_every_family_say_what_they_are() -> None:
    tcp, unix, netlink, packet, vsock, xdp = (parse(body) for parse, body in SOCKETS)
    assert repr(tcp).startswith(
        "Socket(family='inet6', protocol='tcp', type='stream', state='LISTEN', local=b'fe80::', "
        "local_port=443, peer=b'::', peer_port=0, device=5, recv_queue=3, send_queue=128, "
        "ino=4711, uid=1000, cgroup=99, v6_only=True"
    )
    assert "type='seqpacket', state='LISTEN', local=b'\\x00a\\x00b'" in repr(unix)
    assert "peer_port=8, device=0, recv_queue=1, send_queue=2, ino=9, uid=0" in repr(unix)
    assert "local=b'uevent', local_port=77" in repr(netlink)
    assert "local_port=3, peer=b'', peer_port=-1, device=4" in repr(packet)
    assert "state='ESTAB', local=b'3', local_port=1024, peer=b'2', peer_port=999" in repr(vsock)
    assert "local_port=2, peer=b'', peer_port=-1, device=4" in repr(xdp)


PARSERS: list[Callable[[bytes], object]] = [
    rtnetlink.parse_link,
    rtnetlink.parse_address,
    rtroutes.parse_route,
    rtroutes.parse_neighbour,
    *(parse for parse, _ in SOCKETS),
]


@given(st.binary(max_size=120), st.integers(0, len(PARSERS) - 1))
def test_any_body_is_a_row_or_refused(body: bytes, which: int) -> None:
    with contextlib.suppress(NetlinkError):
        PARSERS[which](body)


def test_damaged_messages_are_rows_or_refused(mutations: Mutations) -> None:
    samples: list[tuple[Callable[[bytes], object], list[bytes]]] = [
        (rtnetlink.parse_link, LINKS),
        (rtroutes.parse_route, ROUTES),
        (rtroutes.parse_neighbour, [neighbour(4)]),
        *((parse, [body]) for parse, body in SOCKETS),
    ]
    for parse, bodies in samples:
        for raw in mutations(bodies):
            with contextlib.suppress(NetlinkError):
                parse(raw)


def test_addresses_find_their_interfaces() -> None:
    address = Address("inet", "10.0.0.1", 8, "global")
    links = [Interface(3, b"b"), Interface(1, b"a")]
    found = rtnetlink.with_addresses(links, [(3, address), (9, address)])
    assert [(each.ifindex, each.addresses) for each in found] == [(1, ()), (3, (address,))]


def test_queues_groups_and_life_times_are_told_where_the_kernel_tells_them() -> None:
    body = link(3, b"eth0", (6, b"fq_codel\0"), (13, pack_u32(1000)), (27, pack_u32(7)))
    found = rtnetlink.parse_link(body)
    assert (found.qdisc, found.queue, found.group) == ("fq_codel", 1000, 7)
    assert rtnetlink.parse_link(link(4, b"x"))[-3:] == ("", None, 0)
    head = struct.pack("=BBBBI", _AF_INET, 24, 0, 0, 3)
    times = struct.pack("=IIII", 60, 3600, 1, 2)
    told = rtnetlink.parse_address(head + attributes((2, b"\x0a\0\0\1"), (6, times)))
    assert told is not None
    assert (told[1].preferred, told[1].valid) == (60, 3600)
    with pytest.raises(NetlinkError):
        rtnetlink.parse_address(head + attributes((2, b"\x0a\0\0\1"), (6, b"\0")))
