"""Interfaces, routes and neighbours as the files below /proc/PID/net show them: proc_pid_net(5).

They say much less than rtnetlink(7) (no kinds, no peers, no hardware addresses, IPv4 routes of one
table), and stand in for it where that is refused. IPv4 addresses are in none of the files but
the routing trie, which knows no interfaces: each goes to the interface whose subnet has it.
"""

from __future__ import annotations

import re
import struct
import sys

from nsctl.kernel.rtnetlink import SCOPES, address_text
from nsctl.model.network import Address, Interface, Neighbour, Network, NextHop, Route
from nsctl.model.record import NamedTuple

FILES = ("dev", "igmp", "dev_mcast", "if_inet6", "fib_trie", "route", "ipv6_route", "arp")
"""What `parse` wants; each may lack."""

_DEVICE = re.compile(rb" *(.{1,15}): *(?:[0-9]+ +){15}[0-9]+ *")
_NUMBERED = re.compile(rb"([0-9]{1,9})\s+(\S{1,15})\s.*")
_INET6 = re.compile(rb"([0-9a-f]{32}) ([0-9a-f]+) ([0-9a-f]{2}) ([0-9a-f]{2}) ([0-9a-f]{2}) +(.+)")
_ROUTE = re.compile(
    rb"(.{1,15})\t([0-9A-F]{8})\t([0-9A-F]{8})\t([0-9A-F]{4,8})\t-?[0-9]+\t[0-9]+\t([0-9]{1,10})"
    rb"\t([0-9A-F]{8})\t.*"
)
_ROUTE6 = re.compile(
    rb"([0-9a-f]{32}) ([0-9a-f]{2}) [0-9a-f]{32} [0-9a-f]{2} ([0-9a-f]{32}) ([0-9a-f]{8})"
    rb" [0-9a-f]{8} [0-9a-f]{8} ([0-9a-f]{8}) +(.+)"
)
_LEAF = re.compile(rb" +\|-- ([0-9.]{7,15})")
_LOCAL = re.compile(rb" +/32 host LOCAL")
_ARP = re.compile(rb"([0-9.]{7,15}) +0x[0-9a-f]+ +0x([0-9a-f]+) +([0-9a-f:]+) +\S+ +(.+)")

_INET6_SCOPES = {0x10: 254, 0x20: 253, 0x40: 200, 0x00: 0}
_RTF_UP, _RTF_GATEWAY, _RTF_REJECT = 0x1, 0x2, 0x200
_RTF_ADDRCONF, _RTF_LOCAL, _RTF_ANYCAST, _RTF_CACHE = 0x40000, 0x80000000, 0x100000, 0x1000000
_ATF_COM, _ATF_PERM = 0x2, 0x4
_NO_ROUTE = 0xFFFFFFFF


class _Subnet(NamedTuple):
    """A connected subnet: its number, its mask and its interface."""

    network: int
    mask: int
    device: bytes


def parse(files: dict[str, bytes]) -> Network:
    """Make what can be made of the files.

    Args:
        files: content of those of `FILES` that could be read.

    Returns:
        The network; an interface whose number no file says has a negative one.
    """
    names = [found[1] for line in _lines(files, "dev") if (found := _DEVICE.fullmatch(line))]
    indexes = _indexes(files)
    for place, name in enumerate(names, 1):
        indexes.setdefault(name, -place)
    addresses: dict[bytes, list[Address]] = {}
    routes, subnets = _routes(files, indexes)
    for name, address in _inet6(files):
        addresses.setdefault(name, []).append(address)
    for name, address in _inet(files, subnets):
        addresses.setdefault(name, []).insert(0, address)
    interfaces = [
        Interface(indexes[name], name, addresses=tuple(addresses.get(name, ()))) for name in names
    ]
    return Network(
        interfaces=tuple(
            sorted(interfaces, key=lambda each: (each.ifindex < 0, abs(each.ifindex)))
        ),
        routes=(*routes, *_routes6(files, indexes)),
        neighbours=tuple(_arp(files, indexes)),
        source="proc",
    )


def _lines(files: dict[str, bytes], name: str) -> list[bytes]:
    return files.get(name, b"").split(b"\n")


def _indexes(files: dict[str, bytes]) -> dict[bytes, int]:
    """The numbers of interfaces, from whichever files mention them."""
    indexes: dict[bytes, int] = {}
    for name in ("igmp", "dev_mcast"):
        for line in _lines(files, name):
            if found := _NUMBERED.fullmatch(line):
                indexes[found[2]] = int(found[1])
    for line in _lines(files, "if_inet6"):
        if found := _INET6.fullmatch(line):
            indexes[found[6]] = int(found[2], 16)
    return indexes


def _inet6(files: dict[str, bytes]) -> list[tuple[bytes, Address]]:
    rows = []
    for line in _lines(files, "if_inet6"):
        if found := _INET6.fullmatch(line):
            scope = _INET6_SCOPES.get(int(found[4], 16) & 0xF0, 0)
            text = address_text(bytes.fromhex(found[1].decode()))
            rows.append((found[6], Address("inet6", text, int(found[3], 16), SCOPES[scope])))
    return rows


def _inet(files: dict[str, bytes], subnets: list[_Subnet]) -> list[tuple[bytes, Address]]:
    rows: dict[bytes, tuple[bytes, Address]] = {}
    leaf = b""
    for line in _lines(files, "fib_trie"):
        if found := _LEAF.fullmatch(line):
            leaf = found[1]
        elif _LOCAL.fullmatch(line) and leaf not in rows:
            number = _number(leaf)
            homes = [each for each in subnets if number & each.mask == each.network]
            home = max(homes, key=lambda each: each.mask, default=None)
            if home is not None:
                rows[leaf] = home.device, Address("inet", leaf.decode(), _length(home.mask), "")
            elif number >> 24 == 127:
                rows[leaf] = b"lo", Address("inet", leaf.decode(), 8, "host")
    return list(rows.values())


def _number(text: bytes) -> int:
    parts = [int(part) & 0xFF for part in text.split(b".") if part]
    return int.from_bytes(bytes(parts), "big")


def _length(mask: int) -> int:
    return mask.bit_count()


def _be(written: bytes) -> int:
    """Read an IPv4 address, written as a number of the machine's byte order."""
    order = "<" if sys.byteorder == "little" else ">"
    return int.from_bytes(struct.pack(f"{order}I", int(written, 16)), "big")


def _inet_text(number: int) -> str:
    return address_text(number.to_bytes(4, "big"))


def _routes(
    files: dict[str, bytes], indexes: dict[bytes, int]
) -> tuple[list[Route], list[_Subnet]]:
    routes = []
    subnets = []
    for line in _lines(files, "route"):
        found = _ROUTE.fullmatch(line)
        if found is None:
            continue
        device, destination, gateway, flags, metric, mask = found.groups()
        number, bits, length = _be(destination), int(flags, 16), _length(_be(mask))
        via = _inet_text(_be(gateway)) if bits & _RTF_GATEWAY else ""
        if not via and not bits & _RTF_REJECT:
            subnets.append(_Subnet(number, _be(mask), device))
        written = _inet_text(number) if length == 32 else f"{_inet_text(number)}/{length}"
        routes.append(
            Route(
                family="inet",
                destination=written if length else "default",
                type="unreachable" if bits & _RTF_REJECT else "unicast",
                table="main",
                protocol="",
                scope="",
                metric=int(metric) or None,
                hops=() if bits & _RTF_REJECT else (NextHop(via, indexes.get(device, 0)),),
            )
        )
    return routes, subnets


def _routes6(files: dict[str, bytes], indexes: dict[bytes, int]) -> list[Route]:
    routes = []
    for line in _lines(files, "ipv6_route"):
        found = _ROUTE6.fullmatch(line)
        if found is None:
            continue
        destination, length, gateway, metric, flags, device = found.groups()
        bits, prefix = int(flags, 16), int(length, 16)
        multicast = destination.startswith(b"ff")
        if int(metric, 16) == _NO_ROUTE:  # what the kernel answers with that finds none
            continue
        if (not bits & _RTF_UP and not bits & _RTF_REJECT) or bits & _RTF_CACHE or prefix > 128:
            continue
        text = address_text(bytes.fromhex(destination.decode()))
        via = address_text(bytes.fromhex(gateway.decode())) if bits & _RTF_GATEWAY else ""
        own = bool(bits & (_RTF_LOCAL | _RTF_ANYCAST)) or multicast
        kind = "local" if bits & _RTF_LOCAL else "anycast" if bits & _RTF_ANYCAST else "unicast"
        routes.append(
            Route(
                family="inet6",
                destination=text if prefix == 128 else f"{text}/{prefix}" if prefix else "default",
                type="unreachable" if bits & _RTF_REJECT else "multicast" if multicast else kind,
                table="local" if own else "main",
                protocol="ra" if bits & _RTF_ADDRCONF else "",
                scope="",
                metric=int(metric, 16),
                hops=() if bits & _RTF_REJECT else (NextHop(via, indexes.get(device, 0)),),
            )
        )
    return routes


def _arp(files: dict[str, bytes], indexes: dict[bytes, int]) -> list[Neighbour]:
    rows = []
    for line in _lines(files, "arp"):
        if found := _ARP.fullmatch(line):
            flags = int(found[2], 16)
            permanent = ("PERMANENT",) if flags & _ATF_PERM else ()
            state = permanent or (("REACHABLE",) if flags & _ATF_COM else ("INCOMPLETE",))
            hardware = found[3].decode() if flags & _ATF_COM else ""
            device = indexes.get(found[4], 0)
            rows.append(Neighbour("inet", found[1].decode(), device, hardware, state))
    return rows
