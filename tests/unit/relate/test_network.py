"""What leads from one network to another, and whose sockets are."""

from __future__ import annotations

import pytest

from nsctl.errors import TargetError
from nsctl.model.namespace import NamespaceType
from nsctl.model.network import Interface, Network, Socket, SocketOwner
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Snapshot
from nsctl.model.target import Target
from nsctl.relate.find import find
from nsctl.relate.network import Networks
from unit.factories import HOST, container, ns, snapshot, task

pytestmark = pytest.mark.unit

NET = HOST[NamespaceType.NET]
WEB = 501
CGROUP = b"0::/docker/web\n"


def tcp(ino: int, *owners: SocketOwner, state: str = "LISTEN") -> Socket:
    return Socket("inet", "tcp", "stream", state, b"0.0.0.0", 80, ino=ino, owners=owners)


def made(**sockets: tuple[Socket, ...]) -> Snapshot:
    """The host's network with a bridge, and that of a container behind a port of it."""
    found = snapshot(
        [
            task(10, comm=b"dockerd"),
            task(20, ns(net=WEB, mnt=77), comm=b"nginx", cgroup=CGROUP),
            task(21, ns(net=WEB, mnt=78), comm=b"side"),
        ],
        containers=[container("web", pid=20, start=200, cgroups=("/docker/web",))],
    )
    bridge = Interface(2, b"docker0", "bridge")
    port = Interface(5, b"vethab", "veth", master=2, link=3, link_nsid=0)
    lost = Interface(6, b"vethcd", "veth", link=3, link_nsid=9)
    macvlan = Interface(4, b"mv0", "macvlan", link=2, link_nsid=1)
    end = Interface(3, b"eth0", "veth", link=5, link_nsid=1)
    both = (Interface(7, b"a", "veth", link=8), Interface(8, b"b", "veth", link=7))
    return found._replace(
        networks={
            NET: Network((bridge, port, lost, *both), nsids={0: WEB}),
            WEB: Network((end, macvlan), nsids={1: NET}),
        },
        sockets={NET: sockets.get("host", ()), WEB: sockets.get("web", ())},
    )


def test_the_ends_of_a_pair_find_each_other_across_namespaces() -> None:
    networks = Networks(made())
    host, web = networks.nets()
    assert (host.ino, web.ino) == (NET, WEB)
    assert host.network is not None
    assert web.network is not None
    bridge, port, lost, a, _ = host.network.interfaces
    there = networks.peer(NET, port)
    assert there is not None
    assert there.interface is not None
    assert there.member is not None
    assert (there.interface.name, there.member.owners[0].name) == (b"eth0", "web")
    back = networks.peer(WEB, web.network.interfaces[0])
    assert back is not None
    assert back.interface is port
    assert networks.ports(NET, bridge) == [port]
    within = networks.peer(NET, a)
    assert within is not None
    assert within.interface is not None
    assert within.interface.name == b"b"
    unknown = networks.peer(NET, lost)
    assert unknown is not None
    assert (unknown.ns, unknown.member, unknown.interface) == (0, None, None)
    assert networks.peer(NET, bridge) is None


def test_a_macvlan_leads_to_what_it_is_on() -> None:
    networks = Networks(made())
    link = networks.nets()[1].network
    assert link is not None
    below = networks.peer(WEB, link.interfaces[1])
    assert below is not None
    assert below.interface is not None
    assert below.interface.name == b"docker0"


def test_every_process_of_a_socket_is_named_and_whose_it_is() -> None:
    listening = tcp(900, SocketOwner(20, 6), SocketOwner(21, 7, 33), SocketOwner(10, 9))
    networks = Networks(made(web=(listening,)))
    rows = networks.holdings(WEB, listening)
    assert [(row.comm, row.at.fd, row.elsewhere) for row in rows] == [
        (b"nginx", 6, False),
        (b"side", 7, False),
        (b"dockerd", 9, True),
    ]
    assert [row.owner.name if row.owner else None for row in rows] == ["web", "side", "host"]


def test_a_socket_of_another_network_shows_where_its_process_is() -> None:
    inherited = tcp(900, SocketOwner(20, 6), SocketOwner(20, 7))
    host, web = Networks(made(host=(inherited,))).nets()
    assert host.elsewhere == ()
    assert web.elsewhere == ((NET, inherited),)


def test_a_socket_without_a_process_says_why() -> None:
    networks = Networks(made())
    assert networks.unowned(tcp(1, SocketOwner(20, 6))) == ""
    assert networks.unowned(tcp(0, state="TIME-WAIT")) == "time-wait"
    assert networks.unowned(tcp(0, state="ESTAB")) == "not accepted"
    assert networks.unowned(tcp(0, state="FIN-WAIT-2")) == "orphan"
    assert networks.unowned(tcp(5)) == "in flight"
    kernel = Socket("netlink", "netlink", "raw", "UNCONN", b"route", 0, ino=4)
    assert networks.unowned(kernel) == "kernel"
    gap = Gap(Part.DESCRIPTORS, "/proc", "x", PartState.PARTIAL, "y", "", (1,))
    assert Networks(made()._replace(gaps=(gap,))).unowned(tcp(5)) == "unreadable"


def test_a_container_leads_to_its_network_alone() -> None:
    moment = made()
    networks = Networks(moment)
    (web,) = networks.nets(find(moment, Target("name", "web", name="web")))
    assert web.ino == WEB
    other = Target("namespace", "mnt:[77]", type=NamespaceType.MNT, ino=77)
    with pytest.raises(TargetError, match="mount namespace, not a network namespace"):
        networks.nets(find(moment, other))
