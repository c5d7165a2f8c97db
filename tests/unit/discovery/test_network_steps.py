"""Network namespaces that the kernel does not let be joined, and kernels that list less."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

from nsctl import host
from nsctl.discovery import late_sockets, net_sockets, netvisit
from nsctl.kernel.netlink import NetlinkError
from nsctl.model.namespace import IdExtent
from nsctl.model.network import Socket
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot

pytestmark = pytest.mark.unit

PARTS = (Part.NETWORKS, Part.NET_SOCKETS)


def own(snapshot: Snapshot) -> int:
    """The inode of the network namespace that the tests run in."""
    return snapshot.reader.ns[netvisit.NET]


def inodes(rows: tuple[Socket, ...]) -> set[tuple[str, int]]:
    return {(row.netid, row.ino) for row in rows if row.family in {"inet", "inet6", "unix"}}


@pytest.fixture
def listening() -> Any:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield made


def test_where_joining_is_refused_the_files_of_a_member_are_read(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket
) -> None:
    whole = host.take_snapshot(PARTS)
    ino = own(whole)
    begin = netvisit.Visits.__init__

    def without_own(self: netvisit.Visits, *arguments: Any) -> None:
        begin(self, *arguments)
        self._own = 0

    monkeypatch.setattr(netvisit.Visits, "__init__", without_own)
    monkeypatch.setattr(netvisit.Visits, "_there", lambda *_: "it belongs to others")
    less = host.take_snapshot(PARTS)
    assert less.networks[ino].source == "proc"
    names = {link.name for link in whole.networks[ino].interfaces}
    assert {link.name for link in less.networks[ino].interfaces} == names
    assert ("tcp", os.fstat(listening.fileno()).st_ino) in inodes(less.sockets[ino])
    lacking = [gap.object for gap in less.gaps if gap.part in PARTS]
    assert any("all but what /proc/PID/net shows of interfaces" in each for each in lacking)
    assert any("all but what /proc/PID/net shows of sockets" in each for each in lacking)


def test_what_a_kernel_does_not_list_its_files_say(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket
) -> None:
    whole = host.take_snapshot(PARTS)

    def unlisted(_fd: int) -> tuple[list[Socket], bool]:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    kinds = tuple(kind._replace(lister=unlisted) for kind in net_sockets.KINDS)
    monkeypatch.setattr(net_sockets, "KINDS", kinds)
    less = host.take_snapshot(PARTS)
    tcp = ("tcp", os.fstat(listening.fileno()).st_ino)
    assert tcp in inodes(whole.sockets[own(whole)])
    assert tcp in inodes(less.sockets[own(less)])


def test_a_table_that_never_stays_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = tuple(kind._replace(lister=lambda _: ([], True)) for kind in net_sockets.KINDS[:1])
    monkeypatch.setattr(net_sockets, "KINDS", kinds)
    snapshot = host.take_snapshot([Part.NET_SOCKETS])
    causes = [gap.cause for gap in snapshot.gaps if gap.part is Part.NET_SOCKETS]
    assert "TCP sockets came and went while they were read" in causes


def test_an_answer_that_is_none_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(_fd: int) -> tuple[list[Socket], bool]:
        raise NetlinkError("netlink message cut short")

    kinds = tuple(kind._replace(lister=damaged) for kind in net_sockets.KINDS[:1])
    monkeypatch.setattr(net_sockets, "KINDS", kinds)
    snapshot = host.take_snapshot([Part.NET_SOCKETS])
    causes = [gap.cause for gap in snapshot.gaps if gap.part is Part.NET_SOCKETS]
    assert "TCP: netlink message cut short" in causes


def test_the_readers_own_netlink_sockets_are_no_finding() -> None:
    snapshot = host.take_snapshot(PARTS)
    ours = {
        row.ino
        for row in snapshot.sockets[own(snapshot)]
        for owner in row.owners
        if owner.pid == os.getpid() and row.family == "netlink"
    }
    assert ours == set()
    rows = [row for row in snapshot.sockets[own(snapshot)] if row.family == "netlink"]
    assert all(row.local_port != os.getpid() for row in rows)


def test_ids_inside_are_turned_into_the_readers() -> None:
    extents = (IdExtent(0, 1000, 1), IdExtent(1, 100000, 65536))
    told = [late_sockets._outside(uid, extents) for uid in (0, 1, 65536, 65537)]
    assert told == [1000, 100000, 165535, None]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"domain": 40, "type": 1, "protocol": 0, "listening": 1, "cid": 3, "port": 9}, ("v_str", "LISTEN", b"3", 9)),
        ({"domain": 38, "type": 5, "protocol": 0, "listening": 0}, ("", "UNCONN", b"", -1)),
        ({"domain": 2, "type": 1, "protocol": 132, "listening": 1}, ("sctp", "LISTEN", b"", -1)),
        ({"domain": 2, "type": 1, "protocol": 6, "listening": 0}, None),
        ({"domain": 1, "type": 1, "protocol": 0, "listening": 0}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_socket_that_no_list_has_says_itself_what_it_is(
    facts: dict[str, int], expected: tuple[object, ...] | None
) -> None:
    row = late_sockets._row(5, facts)
    assert (row and (row.netid, row.state, row.local, row.local_port)) == expected
