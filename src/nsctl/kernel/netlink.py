"""Netlink: requests, the messages of an answer, and their attributes (netlink(7)).

Sockets are plain descriptors, read with read(2): they may have been made in another network
namespace than the reader's by a helper, and belong to that one. Nothing here knows what a message
is about. Whatever bytes come, parsers end with a value or with `NetlinkError`.
"""

from __future__ import annotations

import errno
import os
import select
import struct
from collections.abc import Callable, Iterator

from nsctl.kernel.libc import syscall
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _Row = TypeVar("_Row")

AF_NETLINK = 16
NETLINK_ROUTE = 0
NETLINK_SOCK_DIAG = 4

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x01
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300

_SOCK_RAW = 3
_SOCK_NONBLOCK = 0o4000
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_MAX_ERRNO = 4095
# Larger than any part of a dump: those are at most 32 KiB, and one link never takes so much.
_BUFFER = 1 << 17
_DEADLINE_MS = 5000
_ATTEMPTS = 4

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")


class NetlinkError(ValueError):
    """An answer that is no netlink message, or not one of those expected."""


class Message(NamedTuple):
    """One message.

    Attributes:
        type: NLMSG_*, RTM_* ..
        flags: NLM_F_*.
        body: what is behind the header.
    """

    type: int
    flags: int
    body: bytes


class Dump(NamedTuple):
    """A whole answer.

    Attributes:
        messages: in the kernel's order.
        interrupted: the table changed meanwhile, each time it was read: rows may be missing or
            doubled.
    """

    messages: list[Message]
    interrupted: bool


def open_socket(protocol: int) -> int:
    """Make a netlink socket in the caller's network namespace.

    Args:
        protocol: NETLINK_ROUTE or NETLINK_SOCK_DIAG.

    Returns:
        A descriptor, close-on-exec and non-blocking, which the caller closes.

    Raises:
        OSError: EPROTONOSUPPORT where the kernel lacks it.
    """
    return syscall("socket", AF_NETLINK, _SOCK_RAW | _SOCK_NONBLOCK | os.O_CLOEXEC, protocol)


def messages(data: bytes) -> Iterator[Message]:
    """Take apart what one read gave.

    Raises:
        NetlinkError: it ends within a message.
    """
    offset = 0
    while offset < len(data):
        if offset + _HEADER.size > len(data):
            raise NetlinkError("netlink message cut short")
        length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise NetlinkError("netlink message cut short")
        yield Message(kind, flags, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Parse attributes; of several of one type the last one stays.

    Args:
        data: a message's body, or a nested attribute.
        offset: of the first.

    Returns:
        The value of each, by type.

    Raises:
        NetlinkError: one is longer than what is left.
    """
    return dict(each_attribute(data, offset))


def each_attribute(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """As `attributes`, each in turn, for lists that repeat a type."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            raise NetlinkError("netlink attribute cut short")
        yield kind & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def u32(value: bytes) -> int:
    """Read a 32-bit attribute.

    Raises:
        NetlinkError: it has not four bytes.
    """
    if len(value) != 4:
        raise NetlinkError("netlink attribute of another size")
    (number,) = _U32.unpack(value)
    return int(number)


def pack_u32(number: int) -> bytes:
    """Write a 32-bit attribute's value."""
    return _U32.pack(number)


def unpack(form: struct.Struct, body: bytes) -> tuple[int, ...]:
    """Read what stands in front of the attributes.

    Raises:
        NetlinkError: it is cut short.
    """
    if len(body) < form.size:
        raise NetlinkError("netlink message cut short")
    return form.unpack_from(body)


def pack_attribute(kind: int, value: bytes) -> bytes:
    """Write one attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def check(message: Message) -> int:
    """Read the error number of NLMSG_ERROR, or of the NLMSG_DONE that ends a dump.

    Returns:
        0 where there is none.

    Raises:
        NetlinkError: what stands there is none.
    """
    if message.type == NLMSG_DONE and len(message.body) < 4:
        return 0
    if len(message.body) < 4:
        raise NetlinkError("netlink message cut short")
    (number,) = struct.unpack_from("=i", message.body)
    if not -_MAX_ERRNO <= number <= 0:
        raise NetlinkError(f"netlink answered with error {number}")
    return -int(number)


def request(fd: int, kind: int, body: bytes, flags: int = 0) -> None:
    """Send one request.

    Raises:
        OSError: the kernel would not take it.
    """
    length = _HEADER.size + len(body)
    os.write(fd, _HEADER.pack(length, kind, NLM_F_REQUEST | flags, 0, 0) + body)


def receive(fd: int) -> bytes:
    """Read what the kernel has answered.

    Raises:
        OSError: ENOBUFS where it had no room for an answer, ETIMEDOUT where none came.
    """
    while True:
        try:
            return os.read(fd, _BUFFER)
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(_DEADLINE_MS):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None


def dump(fd: int, kind: int, body: bytes) -> Dump:
    """Ask for a whole table, again when it changed while it was read.

    Args:
        fd: from `open_socket`; nothing else is waiting in it.
        kind: type of the request.
        body: of the request.

    Returns:
        The table.

    Raises:
        OSError: the kernel refused; ENOENT, EINVAL or EOPNOTSUPP where it has no such table.
        NetlinkError: it answered with something else.
    """
    for attempt in range(_ATTEMPTS):
        try:
            found = _dump(fd, kind, body)
        except OSError as error:
            # What is left of a dump that found no room would be taken for the next one's.
            _drain(fd)
            if error.errno not in {errno.ENOBUFS, errno.EINTR} or attempt == _ATTEMPTS - 1:
                raise
            continue
        if not found.interrupted:
            return found
    return found


def _dump(fd: int, kind: int, body: bytes) -> Dump:
    request(fd, kind, body, NLM_F_DUMP)
    found: list[Message] = []
    interrupted = False
    while True:
        data = receive(fd)
        if not data:
            raise NetlinkError("netlink answer cut short")
        for message in messages(data):
            interrupted |= bool(message.flags & NLM_F_DUMP_INTR)
            if message.type in {NLMSG_DONE, NLMSG_ERROR}:
                if number := check(message):
                    raise OSError(number, os.strerror(number))
                return Dump(found, interrupted)
            if message.type != NLMSG_NOOP:
                found.append(message)


def _drain(fd: int) -> None:
    try:
        while os.read(fd, _BUFFER):
            pass
    except OSError:
        return  # EAGAIN: it is empty; any other error will be met by whoever asks next


def rows(found: Dump, kind: int, parse: Callable[[bytes], _Row | None]) -> list[_Row]:
    """Parse the messages of one type.

    Args:
        found: from `dump`.
        kind: type of the messages that are wanted; others are left out.
        parse: turns a body into a row, or None for one that is not wanted.

    Raises:
        NetlinkError: a body is none.
    """
    parsed = (parse(message.body) for message in found.messages if message.type == kind)
    return [row for row in parsed if row is not None]
