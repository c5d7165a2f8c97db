"""Files below /proc/PID/net: what stands in where the kernel does not answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import netlink, procnet, procnet_tables, rtnetlink, rtroutes, sockdiag
from nsctl.model.network import Network, Socket
from support.examples import Mutations

pytestmark = pytest.mark.unit

FILES = {
    "tcp": b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000002 00:00000000 00000000  1000        0 186 1 0000000058fca644 100 0 0 10 0
   1: 0100007F:0050 0200007F:D204 06 00000000:00000000 03:000017AE 00000000     0        0 0 3 00000000
""",
    "raw6": b"""\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
   58: 00000000000000000000000001000000:003A 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 00000000d7b3802c 0
""",
    "unix": b"""\
Num       RefCount Protocol Flags    Type St Inode Path
00000000f093ef65: 00000003 00000000 00000000 0001 03   183
00000000f093ef66: 00000002 00000000 00010000 0001 01   184 @a@b\x1b
00000000f093ef67: 00000002 00000000 00010000 0005 01   185 /run/a b
""",
    "packet": b"""\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
00000000f093ef65 3      3    0003   2     1 12     1000   77
""",
    "netlink": b"""\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
00000000d7b3802c 15  4711       00000001 5        6        0     2        0        88
""",
}  # fmt: skip


def brief(row: Socket) -> tuple[object, ...]:
    return row.netid, row.state, row.local, row.local_port, row.recv_queue, row.ino, row.uid


def test_sockets_are_read_from_every_file() -> None:
    found = {name: [brief(row) for row in procnet.parse(name, raw)] for name, raw in FILES.items()}
    assert found == {
        "tcp": [
            ("tcp", "LISTEN", b"127.0.0.1", 80, 2, 186, 1000),
            ("tcp", "TIME-WAIT", b"127.0.0.1", 80, 0, 0, 0),
        ],
        "raw6": [("raw", "UNCONN", b"::1", 58, 0, 4711, 0)],
        "unix": [
            ("u_str", "ESTAB", b"", -1, 0, 183, None),
            ("u_str", "LISTEN", b"\0a@b\x1b", -1, 0, 184, None),
            ("u_seq", "LISTEN", b"/run/a b", -1, 0, 185, None),
        ],
        "packet": [("p_raw", "UNCONN", b"", 3, 12, 77, 1000)],
        "netlink": [("nl", "UNCONN", b"uevent", 4711, 5, 88, None)],
    }


@given(st.sampled_from(sorted(procnet.FILES)), st.binary(max_size=200))
def test_whatever_stands_in_a_file_is_sockets_or_left_out(name: str, raw: bytes) -> None:
    assert procnet.parse(name, b"heading\n" + raw) is not None


def test_damaged_files_are_read_as_far_as_they_go(mutations: Mutations) -> None:
    for name, sample in FILES.items():
        for raw in mutations([sample]):
            for row in procnet.parse(name, raw):
                assert 0 <= row.ino < 1 << 64


TABLES = {
    "dev": b"""\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    6508      58    0    0    0     0          0         0     6508      58    0    0    0     0       0          0
  eth0: 1 2    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  odd0: 1 2    0    0    0     0          0         0        0       0    0    0    0     0       0          0
""",
    "igmp": b"Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n4\teth0      :     1      V3\n",
    "if_inet6": b"00000000000000000000000000000001 01 80 10 80       lo\n"
    b"fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n",
    "fib_trie": b"""\
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
""",
    "route": b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT \n"
    b"eth0\t00000000\t010200C0\t0003\t0\t0\t7\t00000000\t0\t0\t0  \n"
    b"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0  \n"
    b"*\t00004D0A\t00000000\t0201\t0\t0\t0\t0000FFFF\t0\t0\t0  \n",
    "ipv6_route": b"00000000000000000000000000000000 00 00000000000000000000000000000000 00"
    b" fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth0\n"
    b"00000000000000000000000000000000 00 00000000000000000000000000000000 00"
    b" 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n",
    "arp": b"IP address       HW type     Flags       HW address            Mask     Device\n"
    b"192.0.2.1        0x1         0x2         02:fc:00:00:00:05     *        eth0\n",
}  # fmt: skip


def test_interfaces_and_routes_are_made_out_from_several_files() -> None:
    found = procnet_tables.parse(TABLES)
    assert found.source == "proc"
    assert [
        (link.ifindex, link.name, [(a.local, a.prefix) for a in link.addresses])
        for link in found.interfaces
    ] == [
        (1, b"lo", [("127.0.0.1", 8), ("::1", 128)]),
        (4, b"eth0", [("192.0.2.2", 24), ("fe80::fc:ff:fe00:1", 64)]),
        (-3, b"odd0", []),
    ]
    assert [
        (route.destination, route.type, [(hop.gateway, hop.device) for hop in route.hops])
        for route in found.routes
    ] == [
        ("default", "unicast", [("192.0.2.1", 4)]),
        ("192.0.2.0/24", "unicast", [("", 4)]),
        ("10.77.0.0/16", "unreachable", []),
        ("default", "unicast", [("fd00::1", 4)]),
    ]
    assert [(each.address, each.hardware) for each in found.neighbours] == [
        ("192.0.2.1", "02:fc:00:00:00:05")
    ]


@given(st.dictionaries(st.sampled_from(procnet_tables.FILES), st.binary(max_size=150)))
def test_whatever_stands_in_the_tables_makes_a_network(files: dict[str, bytes]) -> None:
    assert isinstance(procnet_tables.parse(files), Network)


def test_damaged_tables_make_a_network(mutations: Mutations) -> None:
    for name, sample in TABLES.items():
        for raw in mutations([sample]):
            assert isinstance(procnet_tables.parse({**TABLES, name: raw}), Network)


def test_the_files_say_of_our_own_network_what_the_kernel_says() -> None:
    directory = Path("/proc/thread-self/net")
    files = {
        name: (directory / name).read_bytes()
        for name in procnet_tables.FILES
        if (directory / name).exists()
    }
    fd = netlink.open_socket(netlink.NETLINK_ROUTE)
    try:
        links, _ = rtnetlink.interfaces(fd)
        routes, _ = rtroutes.routes(fd)
    finally:
        os.close(fd)
    found = procnet_tables.parse(files)
    assert {link.name for link in found.interfaces} == {link.name for link in links}
    inet = {r.destination for r in routes if r.family == "inet" and r.table == "main"}
    assert {r.destination for r in found.routes if r.family == "inet"} <= inet


def test_states_have_the_names_that_ss_gives_them() -> None:
    assert sockdiag.state_name(10) == "LISTEN"
    assert sockdiag.state_name(200) == "200"


IDLE = (
    (
        b"sockets: used 2\nTCP: inuse 0 orphan 0 tw 0 alloc 3 mem 436\nUDP: inuse 0 mem 0\n"
        b"UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
    ),
    b"TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
)


def test_what_nobody_has_a_socket_in_has_the_visitors_alone() -> None:
    assert procnet.most_sockets(IDLE) == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"used 2", b"used 3"),
        (b"TCP: inuse 0", b"TCP: inuse 1"),
        (b" tw 0", b" tw 1"),
        (b"UDP: inuse 0", b"UDP: inuse 1"),
        (b"RAW: inuse 0", b"RAW: inuse 1"),
        (b"TCP6: inuse 0", b"TCP6: inuse 1"),
        (b"UDPLITE6: inuse 0", b"UDPLITE6: inuse 1"),
    ],
)
def test_a_socket_of_any_kind_is_counted(before: bytes, after: bytes) -> None:
    one, other = (text.replace(before, after, 1) for text in IDLE)
    assert (one, other) != IDLE
    assert procnet.most_sockets((one, other)) == 3


@pytest.mark.parametrize("text", [b"", b"TCP", b"TCP: inuse\n", b"TCP: inuse x\n", b"a: b 1\n"])
def test_counts_of_another_form_tell_nothing(text: bytes) -> None:
    assert procnet.most_sockets((text, IDLE[1])) is None
    assert procnet.most_sockets((IDLE[0], text)) is None


@given(st.binary(), st.binary())
def test_any_bytes_in_place_of_counts_are_taken(one: bytes, other: bytes) -> None:
    found = procnet.most_sockets((one, other))
    assert found is None or found >= 0
