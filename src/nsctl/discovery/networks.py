"""Interfaces, addresses, routes and neighbours of every network namespace.

Interfaces that lead to another namespace name it by an id of their own namespace's (veth(4),
IFLA_LINK_NETNSID); which namespace that is, is asked of the likeliest ones first: those that have
an interface which leads back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from nsctl.discovery.draft import Draft, Place
from nsctl.discovery.netvisit import CAP_SYS_ADMIN, NET, Visit, Visits, networks_of
from nsctl.errors import refused, vanished
from nsctl.kernel import procnet_tables, rtnetlink, rtroutes
from nsctl.kernel.netlink import NetlinkError
from nsctl.kernel.procfs import read_file
from nsctl.kernel.rtnetlink import NetnsIds
from nsctl.kernel.socketns import parse_tun_name
from nsctl.model.namespace import NamespaceType
from nsctl.model.network import Interface, Network, SocketOwner
from nsctl.model.part import Gap, Part, PartState

# Every namespace has an interface 1, and most a 2: what is asked for each id must be bounded.
_ASKED = 256


def run(draft: Draft) -> None:
    """Read every network namespace, then match what leads from one to another."""
    visits = Visits(draft, Part.NETWORKS, "interfaces", (), procnet_tables.FILES)
    faults: dict[str, int] = {}
    for ino in networks_of(draft):
        with visits.visit(ino) as visit:
            if visit is None:
                continue
            try:
                draft.networks[ino] = _read(visit, faults)
            except NetlinkError as error:
                _count(faults, str(error))
            except OSError as error:
                _count(faults, error.strerror or str(error))
    visits.note()
    _note(draft, faults)
    _name_peers(draft, visits)
    _note_users(draft)


def _count(faults: dict[str, int], cause: str) -> None:
    faults[cause] = faults.get(cause, 0) + 1


def _note(draft: Draft, faults: dict[str, int]) -> None:
    for cause, count in faults.items():
        draft.gaps.append(
            Gap(
                Part.NETWORKS,
                "rtnetlink",
                f"all of {count} network namespace{'s' if count > 1 else ''}",
                PartState.PARTIAL,
                cause,
            )
        )


def _read(visit: Visit, faults: dict[str, int]) -> Network:
    if not visit.direct:
        return procnet_tables.parse(visit.files)
    interfaces, moved = rtnetlink.interfaces(visit.route)
    routes, rerouted = rtroutes.routes(visit.route)
    neighbours, met = rtroutes.neighbours(visit.route)
    for what, interrupted in (
        ("interfaces", moved),
        ("routes", rerouted),
        ("neighbours", met),
    ):
        if interrupted:
            _count(faults, f"{what} changed each time while they were read")
    return Network(interfaces, routes, neighbours)


class _Index:
    """Which namespaces have an interface of a number, and where that leads."""

    def __init__(self, draft: Draft) -> None:
        self._by_number: dict[int, list[tuple[int, Interface]]] = {}
        for ino, network in draft.networks.items():
            for interface in network.interfaces:
                self._by_number.setdefault(interface.ifindex, []).append((ino, interface))
        self._first = draft.reader.ns[NET : NET + 1]

    def candidates(self, link: Interface) -> Iterator[int]:
        """Namespaces in which the other end of an interface may be, the likeliest first."""
        there = self._by_number.get(link.link, ())
        back = [
            ino for ino, other in there if other.link == link.ifindex and other.kind == link.kind
        ]
        own = [ino for ino, _ in there if ino in self._first]
        yield from dict.fromkeys((*back, *own, *(ino for ino, _ in there)))


def _name_peers(draft: Draft, visits: Visits) -> None:
    """Find out which namespaces the ids of each namespace mean."""
    index = _Index(draft)
    unknown = 0
    for ino, network in draft.networks.items():
        leading = [link for link in network.interfaces if link.link_nsid >= 0 and link.link]
        if not leading:
            continue
        with visits.visit(ino) as visit:
            nsids = _ask(visits, visit, leading, index) if visit and visit.direct else {}
        draft.networks[ino] = network._replace(nsids=nsids)
        unknown += sum(link.link_nsid not in nsids for link in leading)
    if unknown:
        draft.gaps.append(
            Gap(
                Part.NETWORKS,
                "rtnetlink",
                f"other ends of {unknown} interface{'s' if unknown > 1 else ''}",
                PartState.PARTIAL,
                "they are in network namespaces that could not be opened",
                "" if draft.reader.caps >> CAP_SYS_ADMIN & 1 else "CAP_SYS_ADMIN",
            )
        )


def _ask(
    visits: Visits, visit: Visit, leading: Iterable[Interface], index: _Index
) -> dict[int, int]:
    nsids: dict[int, int] = {}
    asked: set[int] = set()
    with NetnsIds(visit.route) as ids:
        for link in leading:
            for count, ino in enumerate(index.candidates(link)):
                if link.link_nsid in nsids or count >= _ASKED:
                    break
                if ino in asked:
                    continue
                asked.add(ino)
                with visits.members.open(NamespaceType.NET, ino) as fd:
                    if fd is None:
                        continue
                    with contextlib.suppress(OSError, ValueError):
                        number = ids.of(fd)
                        if number >= 0:
                            nsids[number] = ino
    return nsids


def _note_users(draft: Draft) -> None:
    """Note which processes have tun and tap devices open."""
    users: dict[tuple[int, bytes], list[SocketOwner]] = {}
    for place, nets in draft.tun_nets.items():
        name = _tun_name(draft, place)
        for ino in nets if name else ():
            row = SocketOwner(place.pid, place.fd, place.tid)
            users.setdefault((ino, name), []).append(row)
    for ino in {ino for ino, _ in users}:
        network = draft.networks.get(ino)
        if network is not None:
            draft.networks[ino] = network._replace(
                interfaces=tuple(
                    link._replace(users=tuple(users.get((ino, link.name), ())))
                    for link in network.interfaces
                )
            )


def _tun_name(draft: Draft, place: Place) -> bytes:
    thread = f"/task/{place.tid}" if place.tid else ""
    try:
        return parse_tun_name(read_file(f"{draft.proc.root}/{place.pid}{thread}/fdinfo/{place.fd}"))
    except OSError as error:
        if vanished(error) or refused(error):
            return b""
        raise
