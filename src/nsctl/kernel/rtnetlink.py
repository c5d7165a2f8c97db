"""rtnetlink(7), as far as network namespaces are concerned."""

from __future__ import annotations

import os
import socket
import struct
from typing import Self

RTM_NEWNSID = 88
RTM_GETNSID = 90
NETNSA_NSID = 1
NETNSA_FD = 3
NLMSG_ERROR = 2
NLM_F_REQUEST = 1

_MAX_ERRNO = 4095
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=B3x")
_ATTRIBUTE = struct.Struct("=HHi")


class NetnsIds:
    """Asks which id another network namespace has in the caller's (`ip netns list-id`).

    The socket belongs to the caller's network namespace and is closed by the context manager.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

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
        body = _FAMILY.pack(socket.AF_UNSPEC) + _ATTRIBUTE.pack(_ATTRIBUTE.size, NETNSA_FD, fd)
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, RTM_GETNSID, NLM_F_REQUEST, 0, 0) + body)
        return parse_nsid(self._socket.recv(4096))


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
