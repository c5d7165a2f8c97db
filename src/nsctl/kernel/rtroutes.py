"""rtnetlink(7): routes of all tables, and neighbours.

Numbers are those of linux/rtnetlink.h, linux/lwtunnel.h and linux/neighbour.h; words are those of
ip-route(8) and ip-neighbour(8).
"""

from __future__ import annotations

import struct
from _socket import AF_INET, AF_INET6
from collections.abc import Iterator

from nsctl.kernel import netlink
from nsctl.kernel.netlink import NetlinkError, attributes, u32, unpack
from nsctl.kernel.rtnetlink import FAMILIES, SCOPES, address_text, hardware_text
from nsctl.model.network import Family, Neighbour, NextHop, Route

RTM_NEWROUTE = 24
RTM_GETROUTE = 26
RTM_NEWNEIGH = 28
RTM_GETNEIGH = 30

_RTMSG = struct.Struct("=BBBBBBBBI")
_RTNEXTHOP = struct.Struct("=HBBi")
_NDMSG = struct.Struct("=BxxxiHBB")
_RTM_F_CLONED = 0x200
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 2, 4, 5, 6, 7
_RTA_METRICS, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA, _RTA_PREF, _RTA_NH_ID = 8, 9, 15, 18, 20, 30
_NDA_DST, _NDA_LLADDR = 1, 2
_NTF_ROUTER = 0x80

_TYPES = (
    "none", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable",
    "prohibit", "throw", "nat", "xresolve",
)  # fmt: skip
_TABLES = {253: "default", 254: "main", 255: "local"}
_PROTOCOLS = {
    0: "none", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt",
    11: "zebra", 12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 17: "mrouted",
    18: "keepalived", 42: "babel", 99: "openr", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip",
    192: "eigrp",
}  # fmt: skip
_HOP_FLAGS = (
    (0x01, "dead"), (0x04, "onlink"), (0x02, "pervasive"), (0x08, "offload"), (0x40, "trap"),
    (0x10, "linkdown"), (0x20, "unresolved"),
)  # fmt: skip
_METRICS = {
    2: "mtu", 3: "window", 4: "rtt", 5: "rttvar", 6: "ssthresh", 7: "cwnd", 8: "advmss",
    9: "reordering", 10: "hoplimit", 11: "initcwnd", 12: "features", 13: "rto_min",
    14: "initrwnd", 15: "quickack", 17: "fastopen_no_cookie",
}  # fmt: skip
_PREFERENCES = {0: "medium", 1: "high", 3: "low"}
_STATES = (
    (0x01, "INCOMPLETE"), (0x02, "REACHABLE"), (0x04, "STALE"), (0x08, "DELAY"), (0x10, "PROBE"),
    (0x20, "FAILED"), (0x40, "NOARP"), (0x80, "PERMANENT"),
)  # fmt: skip
_BITS: dict[Family, int] = {"inet": 32, "inet6": 128}


def parse_route(body: bytes) -> Route | None:
    """Parse the body of RTM_NEWROUTE.

    Returns:
        The route; None for a cached one, and for one of another family than IPv4 and IPv6.

    Raises:
        NetlinkError: it is none.
    """
    number, length, from_length, tos, table, protocol, scope, kind, flags = unpack(_RTMSG, body)
    family = FAMILIES.get(number)
    if family is None or flags & _RTM_F_CLONED:
        return None
    found = attributes(body, _RTMSG.size)
    if _RTA_TABLE in found:
        table = u32(found[_RTA_TABLE])
    source, preferred = found.get(_RTA_SRC), found.get(_RTA_PREFSRC)
    preference = found.get(_RTA_PREF, b"")
    return Route(
        family=family,
        destination=_prefix(found.get(_RTA_DST), length, family),
        type=_TYPES[kind] if kind < len(_TYPES) else str(kind),
        table=_TABLES.get(table, str(table)),
        protocol=_PROTOCOLS.get(protocol, str(protocol)),
        scope=SCOPES.get(scope, str(scope)),
        source=_prefix(source, from_length, family) if source or from_length else "",
        preferred=address_text(preferred) if preferred else "",
        metric=u32(found[_RTA_PRIORITY]) if _RTA_PRIORITY in found else None,
        tos=tos,
        hops=tuple(_hops(found, flags)),
        metrics=tuple(
            (_METRICS[each], u32(value))
            for each, value in attributes(found.get(_RTA_METRICS, b"")).items()
            if each in _METRICS
        ),
        preference=_PREFERENCES.get(preference[0], str(preference[0])) if preference else "",
        nexthop_id=u32(found.get(_RTA_NH_ID, bytes(4))),
    )


def _prefix(raw: bytes | None, length: int, family: Family) -> str:
    """Write a destination as ip(8) does: a host without its length."""
    if raw is None:
        return "default" if not length else f"0/{length}"
    written = address_text(raw)
    return written if length == _BITS[family] else f"{written}/{length}"


def _hops(found: dict[int, bytes], flags: int) -> Iterator[NextHop]:
    if _RTA_MULTIPATH in found:
        yield from _multipath(found[_RTA_MULTIPATH])
    elif _RTA_OIF in found or _RTA_GATEWAY in found or _RTA_VIA in found:
        device = u32(found[_RTA_OIF]) if _RTA_OIF in found else 0
        yield NextHop(_gateway(found), device, 1, _hop_flags(flags))


def _multipath(raw: bytes) -> Iterator[NextHop]:
    offset = 0
    while offset + _RTNEXTHOP.size <= len(raw):
        length, flags, hops, device = _RTNEXTHOP.unpack_from(raw, offset)
        if length < _RTNEXTHOP.size or offset + length > len(raw):
            raise NetlinkError("netlink next hop cut short")
        found = attributes(raw[offset + _RTNEXTHOP.size : offset + length])
        yield NextHop(_gateway(found), device, hops + 1, _hop_flags(flags))
        offset += (length + 3) & ~3


def _gateway(found: dict[int, bytes]) -> str:
    if _RTA_GATEWAY in found:
        return address_text(found[_RTA_GATEWAY])
    # A gateway of the other family: its number of family stands in front.
    return address_text(found[_RTA_VIA][2:]) if _RTA_VIA in found else ""


def _hop_flags(flags: int) -> tuple[str, ...]:
    return tuple(name for bit, name in _HOP_FLAGS if flags & bit)


def parse_neighbour(body: bytes) -> Neighbour | None:
    """Parse the body of RTM_NEWNEIGH.

    Returns:
        The neighbour; None for one of another family.

    Raises:
        NetlinkError: it is none.
    """
    number, device, state, flags, _ = unpack(_NDMSG, body)
    family = FAMILIES.get(number)
    if family is None:
        return None
    found = attributes(body, _NDMSG.size)
    if _NDA_DST not in found:
        raise NetlinkError("netlink neighbour without an address")
    return Neighbour(
        family=family,
        address=address_text(found[_NDA_DST]),
        device=device,
        hardware=hardware_text(found.get(_NDA_LLADDR, b"")),
        state=tuple(name for bit, name in _STATES if state & bit),
        router=bool(flags & _NTF_ROUTER),
    )


def routes(fd: int) -> tuple[tuple[Route, ...], bool]:
    """Read the routes of all tables.

    Args:
        fd: a NETLINK_ROUTE socket of the namespace.

    Returns:
        They, IPv4 first, and whether they changed each time they were read.

    Raises:
        OSError: the kernel refused.
        NetlinkError: it answered with something else.
    """
    found: list[Route] = []
    interrupted = False
    for family in (AF_INET, AF_INET6):
        dump = netlink.dump(fd, RTM_GETROUTE, _RTMSG.pack(family, *[0] * 8))
        # A kernel without IPv6 answers with the tables that it has.
        rows = netlink.rows(dump, RTM_NEWROUTE, parse_route)
        found += [route for route in rows if route.family == FAMILIES[family]]
        interrupted |= dump.interrupted
    return tuple(found), interrupted


def neighbours(fd: int) -> tuple[tuple[Neighbour, ...], bool]:
    """Read the neighbours, IPv4 and IPv6; see `routes`."""
    dump = netlink.dump(fd, RTM_GETNEIGH, _NDMSG.pack(0, 0, 0, 0, 0))
    return tuple(netlink.rows(dump, RTM_NEWNEIGH, parse_neighbour)), dump.interrupted
