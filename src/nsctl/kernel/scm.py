"""Messages with descriptors over unix sockets: sendmsg(2), recvmsg(2), SCM_RIGHTS of unix(7).

Python's socket objects are avoided: `socket.recv_fds` of 3.11 drops its flags, so that a peek takes
the message, and importing the module costs 9 ms.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from nsctl.kernel.libc import syscall
from nsctl.model.record import NamedTuple

SOL_SOCKET = 1
SCM_RIGHTS = 1
SCM_CREDENTIALS = 2
SCM_PIDFD = 4

MSG_PEEK = 0x02
MSG_CTRUNC = 0x08
MSG_TRUNC = 0x20
MSG_DONTWAIT = 0x40
MSG_NOSIGNAL = 0x4000
MSG_CMSG_CLOEXEC = 0x40000000

_SO_TYPE = 3
_SO_PASSCRED = 16
_SO_ACCEPTCONN = 30
_SO_PROTOCOL = 38
_SO_DOMAIN = 39
_SO_PEEK_OFF = 42
_AF_UNIX = 1
_SOCK_SEQPACKET = 5

# cmsg(3): 64-bit length, level and type; data padded to 8 bytes.
_HEADER = struct.Struct("=Qii")
_INT = struct.Struct("=i")
# Besides descriptors a receiver may have asked for credentials, a label, a pidfd and a time.
_CONTROL_SIZE = 4096
_ADDRESS_SIZE = 128  # struct sockaddr_storage


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(NamedTuple):
    """What was received.

    Attributes:
        data: bytes, b"" at the end of a connection too.
        fds: descriptors that came with it, which the receiver closes.
        pidfds: the sender's, where the socket's owner asked for it (SO_PASSPIDFD); likewise.
        truncated: there was more data or control information than fitted.
        sender: PID of who sent it, where `pass_credentials` was called; 0 where it has none here.
    """

    data: bytes
    fds: tuple[int, ...]
    pidfds: tuple[int, ...]
    truncated: bool
    sender: int = 0


def socketpair() -> tuple[int, int]:
    """Make two connected unix sockets that keep messages apart (socketpair(2)).

    Returns:
        Two descriptors, close-on-exec, which the caller closes.
    """
    pair = (ctypes.c_int * 2)()
    syscall("socketpair", _AF_UNIX, _SOCK_SEQPACKET | os.O_CLOEXEC, 0, pair)
    return pair[0], pair[1]


def parse_control(raw: bytes) -> list[tuple[int, int, bytes]]:
    """Parse the control information of a message (cmsg(3)).

    Args:
        raw: what the kernel filled of the control buffer.

    Returns:
        Level, type and data of each part.

    Raises:
        ValueError: a part is longer than what is left.
    """
    parts = []
    offset = 0
    while offset + _HEADER.size <= len(raw):
        length, level, kind = _HEADER.unpack_from(raw, offset)
        if length < _HEADER.size or offset + length > len(raw):
            raise ValueError("control information cut short")
        parts.append((level, kind, raw[offset + _HEADER.size : offset + length]))
        offset += (length + 7) & ~7
    return parts


def _descriptors(data: bytes) -> tuple[int, ...]:
    return tuple(fd for (fd,) in struct.iter_unpack("=i", data[: len(data) & ~3]) if fd >= 0)


def recvmsg(fd: int, size: int, flags: int = 0) -> Message:
    """Receive one message.

    Args:
        fd: the socket.
        size: bytes of data at most.
        flags: MSG_* bits; MSG_CMSG_CLOEXEC is added. With MSG_PEEK the message stays where it
            is, and the descriptors are duplicates of those in it.

    Returns:
        The message.

    Raises:
        OSError: EAGAIN with MSG_DONTWAIT where there is none.
    """
    buffer = ctypes.create_string_buffer(max(size, 1))
    control = ctypes.create_string_buffer(_CONTROL_SIZE)
    vector = _IoVec(ctypes.addressof(buffer), size)
    header = _MsgHdr(
        iov=ctypes.pointer(vector),
        iov_length=1,
        control=ctypes.addressof(control),
        control_length=_CONTROL_SIZE,
    )
    count = syscall("recvmsg", fd, ctypes.byref(header), flags | MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    pidfds: list[int] = []
    sender = 0
    for level, kind, data in parse_control(control.raw[: header.control_length]):
        if level == SOL_SOCKET and kind in {SCM_RIGHTS, SCM_PIDFD}:
            (fds if kind == SCM_RIGHTS else pidfds).extend(_descriptors(data))
        elif level == SOL_SOCKET and kind == SCM_CREDENTIALS and len(data) >= _INT.size:
            (sender,) = _INT.unpack_from(data)
    truncated = bool(header.flags & (MSG_TRUNC | MSG_CTRUNC))
    return Message(buffer.raw[:count], tuple(fds), tuple(pidfds), truncated, sender)


def pass_credentials(fd: int) -> None:
    """Have the kernel say who sent each message, in the receiver's numbers (SO_PASSCRED, unix(7)).

    Args:
        fd: the receiving socket.
    """
    value = ctypes.c_int(1)
    syscall("setsockopt", fd, SOL_SOCKET, _SO_PASSCRED, ctypes.byref(value), ctypes.sizeof(value))


def sendmsg(fd: int, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send one message, with descriptors.

    Args:
        fd: a socket that keeps messages apart (SOCK_SEQPACKET).
        data: at least one byte.
        fds: at most 253.

    Raises:
        OSError: EPIPE where the other end is closed; no signal is raised.
    """
    buffer = ctypes.create_string_buffer(data, len(data))
    vector = _IoVec(ctypes.addressof(buffer), len(data))
    header = _MsgHdr(iov=ctypes.pointer(vector), iov_length=1)
    control = b""
    if fds:
        body = struct.pack(f"={len(fds)}i", *fds)
        control = _HEADER.pack(_HEADER.size + len(body), SOL_SOCKET, SCM_RIGHTS) + body
        control += bytes(-len(control) % 8)
    rights = ctypes.create_string_buffer(control, max(len(control), 1))
    if fds:
        header.control = ctypes.addressof(rights)
        header.control_length = len(control)
    syscall("sendmsg", fd, ctypes.byref(header), MSG_NOSIGNAL)


def is_unix(fd: int) -> bool:
    """Tell whether a socket is of AF_UNIX (SO_DOMAIN, socket(7))."""
    return _option(fd, _SO_DOMAIN) == _AF_UNIX


class Description(NamedTuple):
    """What a socket says of itself (socket(7)).

    Attributes:
        domain: AF_*.
        type: SOCK_*.
        protocol: of its domain.
        listening: it takes connections.
    """

    domain: int
    type: int
    protocol: int
    listening: bool


def describe(fd: int) -> Description:
    """Ask a socket what it is; that changes nothing in it.

    Raises:
        OSError: ENOTSOCK where it is none.
    """
    return Description(
        _option(fd, _SO_DOMAIN),
        _option(fd, _SO_TYPE),
        _option(fd, _SO_PROTOCOL),
        bool(_option(fd, _SO_ACCEPTCONN)),
    )


def name_of(fd: int, *, peer: bool = False) -> bytes:
    """Ask a socket for its address, or its peer's: getsockname(2), getpeername(2).

    Returns:
        A struct sockaddr; b"" where there is no peer, or its family has no such names.
    """
    buffer = ctypes.create_string_buffer(_ADDRESS_SIZE)
    length = ctypes.c_uint32(_ADDRESS_SIZE)
    try:
        syscall("getpeername" if peer else "getsockname", fd, buffer, ctypes.byref(length))
    except OSError as error:
        if error.errno not in {errno.ENOTCONN, errno.EOPNOTSUPP, errno.EINVAL}:
            raise
        return b""
    return buffer.raw[: min(length.value, _ADDRESS_SIZE)]


def peek_offset(fd: int) -> int:
    """Where the next peek of a unix socket reads, or -1 where a peek changes nothing.

    With an offset set (SO_PEEK_OFF, socket(7)) every peek moves it: its owner would notice.
    """
    return _option(fd, _SO_PEEK_OFF)


def _option(fd: int, option: int) -> int:
    value = ctypes.c_int()
    length = ctypes.c_uint32(ctypes.sizeof(value))
    syscall("getsockopt", fd, SOL_SOCKET, option, ctypes.byref(value), ctypes.byref(length))
    return value.value


def close_all(fds: tuple[int, ...]) -> None:
    """Close descriptors, which may hang where one is of a hostile file system."""
    for fd in fds:
        os.close(fd)
