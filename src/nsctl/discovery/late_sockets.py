"""Whose each socket is, and the sockets that no list had.

Sockets of namespaces that were found last are read here too; so are those of families that the
kernel does not list: they are asked themselves what they are, by a duplicate of their descriptor,
which changes nothing in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from nsctl.discovery import net_sockets
from nsctl.discovery.draft import Draft, Place
from nsctl.discovery.foreign import SILENT, Asking
from nsctl.discovery.hierarchies import mounted
from nsctl.discovery.netvisit import NET, networks_of
from nsctl.errors import refused
from nsctl.kernel.cgroup_handle import cgroup_path
from nsctl.kernel.sockdiag_local import AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK, TYPES, cid_text
from nsctl.model.namespace import IdExtent, NamespaceType
from nsctl.model.network import Socket, SocketOwner
from nsctl.model.part import Gap, Part, PartState

_AF_INET, _AF_INET6 = 2, 10
# Every socket of these that is in use is in the kernel's lists; what is not is not bound yet.
_LISTED = frozenset({_AF_INET, _AF_INET6, AF_UNIX, AF_NETLINK, AF_PACKET})
_LISTED_PROTOCOLS = frozenset({0, 1, 6, 17, 58, 136, 255, 262})
_SOCK_RAW = 3
_FAMILIES = {
    _AF_INET: "inet", _AF_INET6: "inet6", 15: "key", 21: "rds", 24: "pppox", 26: "llc", 29: "can",
    30: "tipc", 31: "bluetooth", 33: "rxrpc", 38: "alg", AF_VSOCK: "vsock", 41: "kcm",
    42: "qipcrtr", 43: "smc", 44: "xdp",
}  # fmt: skip
_PROTOCOLS = {33: "dccp", 132: "sctp"}


def run(draft: Draft) -> None:
    """Read what is left, and note the owners."""
    known = set(draft.net_sockets)
    late = [ino for ino in networks_of(draft) if ino not in known]
    if late:
        net_sockets.read(draft, late).note()
    _describe(draft)
    for ino, rows in draft.net_sockets.items():
        extents = _extents(draft, ino)
        draft.net_sockets[ino] = tuple(_finished(draft, rows, extents))
    _name_cgroups(draft)


def _extents(draft: Draft, ino: int) -> tuple[IdExtent, ...] | None:
    """The map that turns a namespace's socket owners into the reader's numbers, None for none."""
    users = draft.inside_ids.get(ino)
    if users is None:
        return None
    owner = draft.namespaces.get((NamespaceType.USER, users))
    return owner.maps.uids if owner is not None and owner.maps is not None else ()


def _finished(
    draft: Draft, rows: Iterable[Socket], extents: tuple[IdExtent, ...] | None
) -> Iterator[Socket]:
    own = draft.own_sockets
    for row in rows:
        if row.ino in own and row.ino:
            continue
        changed = row
        if extents is not None and row.uid is not None:
            changed = row._replace(uid=_outside(row.uid, extents))
        owners = _owners(draft, row.ino) if row.ino else ()
        yield changed._replace(owners=owners) if owners else changed


def _outside(uid: int, extents: tuple[IdExtent, ...]) -> int | None:
    for extent in extents:
        if extent.inside <= uid < extent.inside + extent.length:
            return extent.outside + uid - extent.inside
    return None


def _owners(draft: Draft, ino: int) -> tuple[SocketOwner, ...]:
    ways: tuple[tuple[Literal["fd", "ioring", "inflight"], dict[int, list[Place]]], ...] = (
        ("fd", draft.sockets),
        ("ioring", draft.ring_sockets),
        ("inflight", draft.unread_sockets),
    )
    found = [
        SocketOwner(place.pid, place.fd, place.tid, kind)
        for kind, places in ways
        for place in places.get(ino, ())
    ]
    return tuple(dict.fromkeys(found))


def _describe(draft: Draft) -> None:
    """Ask the sockets that no list had."""
    unlisted = [row for row in draft.sockets.items() if row[0] not in draft.dumped]
    if not unlisted:
        return
    from nsctl.child.foreign_files import FileRequest

    asking = Asking(draft, Part.NET_SOCKETS, "unlisted socket")
    requests = [
        FileRequest("describe", places[0].pid, places[0].tid, places[0].fd, ino)
        for ino, places in unlisted
    ]
    for index, answer in asking.ask(requests):
        ino, places = unlisted[index]
        row = _row(ino, dict(answer.facts))
        if row is not None:
            net = draft.socket_nets.get(ino) or next(iter(answer.nets), _net_of(draft, places))
            draft.net_sockets[net] = (*draft.net_sockets.get(net, ()), row)
    asking.note(
        {
            "closed": (
                "network namespaces of {} socket{s}",
                "only who may administer them may know",
                "CAP_NET_ADMIN",
            ),
            "silent": ("{} unlisted socket{s}", SILENT, ""),
        }
    )


def _net_of(draft: Draft, places: list[Place]) -> int:
    """Where a socket probably is whose namespace the kernel does not tell: with its process."""
    pid = places[0].pid
    return next((task.ns[NET] for task in draft.tasks if task.pid == pid), 0)


def _row(ino: int, facts: Mapping[str, int]) -> Socket | None:
    """Make a row of what a socket says; None for one that is not in use."""
    domain = facts.get("domain")
    if domain is None:
        return None
    protocol = facts["protocol"]
    inet = domain in {_AF_INET, _AF_INET6}
    listed = protocol in _LISTED_PROTOCOLS or facts["type"] == _SOCK_RAW
    if domain in _LISTED and (listed or not inet):
        return None
    family = _FAMILIES.get(domain, str(domain))
    vsock = domain == AF_VSOCK and "cid" in facts
    connected = "peer-cid" in facts
    return Socket(
        family=family,
        protocol=_PROTOCOLS.get(protocol, str(protocol)) if inet else family,
        type=TYPES.get(facts["type"], str(facts["type"])),
        state="LISTEN" if facts["listening"] else "ESTAB" if connected else "UNCONN",
        local=cid_text(facts["cid"]) if vsock else b"",
        local_port=facts["port"] if vsock else -1,
        peer=cid_text(facts["peer-cid"]) if connected else b"",
        peer_port=facts["peer-port"] if connected else -1,
        ino=ino,
    )


def _name_cgroups(draft: Draft) -> None:
    """Find the paths of the control groups that sockets name."""
    numbers = {row.cgroup for rows in draft.net_sockets.values() for row in rows} - {0}
    point = next((row.point for row in mounted(draft.proc) if row.version == 2), None)
    if not numbers or point is None:
        return
    try:
        mount = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # the ids are there all the same
    try:
        for number in numbers:
            path = cgroup_path(mount, number)
            if path is not None:
                draft.socket_cgroups[number] = path.removeprefix(point.rstrip("/")) or "/"
    except OSError as error:
        if not refused(error):
            raise
        draft.gaps.append(
            Gap(
                Part.NET_SOCKETS,
                point,
                "paths of the control groups of sockets",
                PartState.PARTIAL,
                "the kernel finds them by their ids for root only",
                "CAP_DAC_READ_SEARCH",
            )
        )
    finally:
        os.close(mount)
