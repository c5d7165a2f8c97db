"""rtnetlink(7): ids of network namespaces, interfaces and their addresses.

Routes and neighbours are in `nsctl.kernel.rtroutes`. Numbers are those of linux/rtnetlink.h,
linux/if_link.h, linux/if_addr.h and linux/if.h; words are those of ip(8).
"""

from __future__ import annotations

import os
import struct
from _socket import AF_INET, AF_INET6, inet_ntop
from collections.abc import Iterable
from functools import lru_cache

from nsctl.kernel import netlink
from nsctl.kernel.netlink import NLMSG_ERROR, NetlinkError, attributes, each_attribute, u32, unpack
from nsctl.model.network import Address, Family, Interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

RTM_NEWLINK = 16
RTM_GETLINK = 18
RTM_NEWADDR = 20
RTM_GETADDR = 22
RTM_NEWNSID = 88
RTM_GETNSID = 90
NETNSA_NSID = 1
NETNSA_FD = 3

FAMILIES: dict[int, Family] = {int(AF_INET): "inet", int(AF_INET6): "inet6"}
_ADDRESS_SIZES = {4: AF_INET, 16: AF_INET6}

_MAX_ERRNO = 4095
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=B3x")
_ATTRIBUTE = struct.Struct("=HHi")
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")

_RTEXT_FILTER_SKIP_STATS = 8
_IFLA_EXT_MASK = 29
(
    _IFLA_ADDRESS, _IFLA_BROADCAST, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER,
    _IFLA_OPERSTATE, _IFLA_LINKINFO, _IFLA_LINK_NETNSID, _IFLA_PROP_LIST, _IFLA_ALT_IFNAME,
    _IFLA_QDISC, _IFLA_TXQLEN, _IFLA_GROUP,
) = (1, 2, 3, 4, 5, 10, 16, 18, 37, 52, 53, 6, 13, 27)  # fmt: skip
_IFLA_INFO_KIND, _IFLA_INFO_SLAVE_KIND = 1, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST = 1, 2, 3, 4
_IFA_CACHEINFO, _IFA_FLAGS = 6, 8
_CACHEINFO = struct.Struct("=II8x")
_IFA_F_SECONDARY, _IFA_F_PERMANENT = 0x01, 0x80

_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_LINK_FLAGS = (
    (0x8, "LOOPBACK"), (0x2, "BROADCAST"), (0x10, "POINTOPOINT"), (0x1000, "MULTICAST"),
    (0x80, "NOARP"), (0x200, "ALLMULTI"), (0x100, "PROMISC"), (0x400, "MASTER"),
    (0x800, "SLAVE"), (0x4, "DEBUG"), (0x8000, "DYNAMIC"), (0x4000, "AUTOMEDIA"),
    (0x2000, "PORTSEL"), (0x20, "NOTRAILERS"), (0x1, "UP"), (0x10000, "LOWER_UP"),
    (0x20000, "DORMANT"), (0x40000, "ECHO"),
)  # fmt: skip
_STATES = (
    "UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP",
)  # fmt: skip
# linux/if_arp.h, as ip(8) calls them.
_TUNNEL, _TUNNEL6, _SIT, _IPGRE, _IP6GRE = 768, 769, 776, 778, 823
_LINK_TYPES = {
    0: "netrom", 1: "ether", 24: "ieee1394", 32: "infiniband", 256: "slip", 280: "can",
    512: "ppp", 519: "rawip", _TUNNEL: "ipip", _TUNNEL6: "tunnel6", 772: "loopback", _SIT: "sit",
    _IPGRE: "gre", 779: "ipddp", 801: "ieee802.11", 804: "ieee802.15.4", _IP6GRE: "gre6",
    824: "netlink", 825: "6lowpan", 826: "vsockmon", 0xFFFE: "none", 0xFFFF: "void",
}  # fmt: skip
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_ADDRESS_FLAGS = (
    (_IFA_F_SECONDARY, "secondary"), (0x02, "nodad"), (0x04, "optimistic"), (0x08, "dadfailed"),
    (0x10, "home"), (0x20, "deprecated"), (0x40, "tentative"), (_IFA_F_PERMANENT, "dynamic"),
    (0x100, "mngtmpaddr"), (0x200, "noprefixroute"), (0x400, "autojoin"),
    (0x800, "stable-privacy"),
)  # fmt: skip


class NetnsIds:
    """Asks which id another network namespace has in a socket's (`ip netns list-id`).

    Args:
        fd: a NETLINK_ROUTE socket, which stays the caller's; -1 to make one in the caller's
            network namespace, which the context manager closes.
    """

    def __init__(self, fd: int = -1) -> None:
        self._owned = fd < 0
        self._fd = netlink.open_socket(netlink.NETLINK_ROUTE) if self._owned else fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owned:
            os.close(self._fd)

    def of(self, fd: int) -> int:
        """Ask for the id of the network namespace that a descriptor refers to.

        Args:
            fd: descriptor of a network namespace.

        Returns:
            The id, or -1 where none was ever assigned.

        Raises:
            OSError: the kernel refused.
            ValueError: the kernel answered something else.
        """
        body = _FAMILY.pack(0) + _ATTRIBUTE.pack(_ATTRIBUTE.size, NETNSA_FD, fd)
        netlink.request(self._fd, RTM_GETNSID, body)
        return parse_nsid(netlink.receive(self._fd))


def parse_nsid(answer: bytes) -> int:
    """Parse the kernel's answer to RTM_GETNSID (netlink(7)).

    Args:
        answer: one message.

    Returns:
        The id, or -1 where none was ever assigned.

    Raises:
        OSError: the answer is an error.
        ValueError: the answer is cut short, or not about a namespace id.
    """
    if len(answer) < _HEADER.size + 4:
        raise ValueError("netlink answer cut short")
    end, kind, _, _, _ = _HEADER.unpack_from(answer)
    if end > len(answer):
        raise ValueError("netlink answer cut short")
    if kind == NLMSG_ERROR:
        (number,) = struct.unpack_from("=i", answer, _HEADER.size)
        if not -_MAX_ERRNO <= number < 0:
            raise ValueError(f"netlink answered with error {number}")
        raise OSError(-number, os.strerror(-number))
    if kind != RTM_NEWNSID:
        raise ValueError(f"netlink answered with message {kind}")
    offset = _HEADER.size + _FAMILY.size
    while offset + _ATTRIBUTE.size <= end:
        length, attribute, value = _ATTRIBUTE.unpack_from(answer, offset)
        if attribute == NETNSA_NSID and length == _ATTRIBUTE.size:
            return int(value)
        if length < 4:
            break
        offset += (length + 3) & ~3
    raise ValueError("netlink answer without an id")


@lru_cache(maxsize=4096)
def address_text(raw: bytes) -> str:
    """Write an Internet address.

    Args:
        raw: four or sixteen bytes.

    Raises:
        NetlinkError: it is of another length.
    """
    family = _ADDRESS_SIZES.get(len(raw))
    if family is None:
        raise NetlinkError("netlink address of another size")
    return inet_ntop(family, raw)


def hardware_text(raw: bytes, link_type: int = 1) -> str:
    """Write a hardware address; that of a tunnel is an Internet address.

    Args:
        raw: of any length.
        link_type: ARPHRD_* of its interface.
    """
    tunnel = (len(raw) == 4 and link_type in {_TUNNEL, _SIT, _IPGRE}) or (
        len(raw) == 16 and link_type in {_TUNNEL6, _IP6GRE}
    )
    return address_text(raw) if tunnel else raw.hex(":")


def text(raw: bytes) -> bytes:
    """A name as the kernel sends it: up to its NUL."""
    return raw.partition(b"\0")[0]


def parse_link(body: bytes) -> Interface:
    """Parse the body of RTM_NEWLINK.

    Raises:
        NetlinkError: it is none.
    """
    _, link_type, index, flags, _ = unpack(_IFINFOMSG, body)
    found = attributes(body, _IFINFOMSG.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    state = found.get(_IFLA_OPERSTATE, b"\0")
    number = state[0] if state else 0
    return Interface(
        ifindex=index,
        name=text(found.get(_IFLA_IFNAME, b"")),
        kind=_word(info.get(_IFLA_INFO_KIND, b"")),
        port_kind=_word(info.get(_IFLA_INFO_SLAVE_KIND, b"")),
        state=_STATES[number] if number < len(_STATES) else str(number),
        flags=_link_flags(flags),
        mtu=u32(found.get(_IFLA_MTU, bytes(4))),
        link_type=_LINK_TYPES.get(link_type, str(link_type)),
        hardware=hardware_text(found.get(_IFLA_ADDRESS, b""), link_type),
        broadcast=hardware_text(found.get(_IFLA_BROADCAST, b""), link_type),
        alt_names=tuple(
            text(name)
            for kind, name in each_attribute(found.get(_IFLA_PROP_LIST, b""))
            if kind == _IFLA_ALT_IFNAME
        ),
        master=u32(found.get(_IFLA_MASTER, bytes(4))),
        link=u32(found.get(_IFLA_LINK, bytes(4))),
        link_nsid=_signed(found.get(_IFLA_LINK_NETNSID)),
        qdisc=_word(found.get(_IFLA_QDISC, b"")),
        group=u32(found[_IFLA_GROUP]) if _IFLA_GROUP in found else None,
        queue=u32(found.get(_IFLA_TXQLEN, bytes(4))),
    )


def _signed(value: bytes | None) -> int:
    if value is None:
        return -1
    number = u32(value)
    return number - (1 << 32) if number >> 31 else number


def _word(raw: bytes) -> str:
    """A word of the kernel's own."""
    return text(raw).decode("ascii", "replace")


def _link_flags(flags: int) -> tuple[str, ...]:
    named = [name for bit, name in _LINK_FLAGS if flags & bit]
    known = sum(bit for bit, _ in _LINK_FLAGS) | _IFF_RUNNING
    if flags & _IFF_UP and not flags & _IFF_RUNNING:
        named.insert(0, "NO-CARRIER")
    if flags & ~known:
        named.append(f"{flags & ~known:x}")
    return tuple(named)


def parse_address(body: bytes) -> tuple[int, Address] | None:
    """Parse the body of RTM_NEWADDR.

    Returns:
        The interface's index and the address; None for one of another family.

    Raises:
        NetlinkError: it is none.
    """
    family_number, prefix, short_flags, scope, index = unpack(_IFADDRMSG, body)
    family = FAMILIES.get(family_number)
    if family is None:
        return None
    found = attributes(body, _IFADDRMSG.size)
    address = found.get(_IFA_ADDRESS)
    local = found.get(_IFA_LOCAL, address)
    if local is None:
        raise NetlinkError("netlink address without one")
    flags = u32(found[_IFA_FLAGS]) if _IFA_FLAGS in found else short_flags
    broadcast = found.get(_IFA_BROADCAST)
    preferred, valid = None, None
    if _IFA_CACHEINFO in found:
        preferred, valid = unpack(_CACHEINFO, found[_IFA_CACHEINFO])
    return index, Address(
        family=family,
        local=address_text(local),
        prefix=prefix,
        scope=SCOPES.get(scope, str(scope)),
        peer=address_text(address) if address and address != local else "",
        broadcast=address_text(broadcast) if broadcast else "",
        label=text(found.get(_IFA_LABEL, b"")),
        flags=_address_flags(flags, family),
        valid=valid,
        preferred=preferred,
    )


def _address_flags(flags: int, family: Family) -> tuple[str, ...]:
    flags ^= _IFA_F_PERMANENT  # its absence is what has a name
    named = [name for bit, name in _ADDRESS_FLAGS if flags & bit]
    if named and named[0] == "secondary" and family == "inet6":
        named[0] = "temporary"
    return tuple(named)


def interfaces(fd: int) -> tuple[tuple[Interface, ...], bool]:
    """Read the interfaces of a network namespace, and their addresses.

    Args:
        fd: a NETLINK_ROUTE socket of that namespace.

    Returns:
        They by index, and whether they changed each time they were read.

    Raises:
        OSError: the kernel refused.
        NetlinkError: it answered with something else.
    """
    mask = netlink.pack_attribute(_IFLA_EXT_MASK, netlink.pack_u32(_RTEXT_FILTER_SKIP_STATS))
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + mask
    links = netlink.dump(fd, RTM_GETLINK, body)
    addresses = netlink.dump(fd, RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0))
    found = with_addresses(
        netlink.rows(links, RTM_NEWLINK, parse_link),
        netlink.rows(addresses, RTM_NEWADDR, parse_address),
    )
    return found, links.interrupted or addresses.interrupted


def with_addresses(
    links: Iterable[Interface], addresses: Iterable[tuple[int, Address]]
) -> tuple[Interface, ...]:
    """Give each interface its addresses.

    Args:
        links: interfaces; of one that is there twice the last stays.
        addresses: each with its interface's index.

    Returns:
        The interfaces, by index. An address of one that is gone is left out.
    """
    by_index: dict[int, list[Address]] = {}
    for index, address in addresses:
        by_index.setdefault(index, []).append(address)
    known = {link.ifindex: link for link in links}
    return tuple(
        link._replace(addresses=tuple(by_index.get(index, ())))
        for index, link in sorted(known.items())
    )
