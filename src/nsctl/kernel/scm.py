"""Messages with descriptors over unix sockets: sendmsg(2), recvmsg(2), SCM_RIGHTS of unix(7).

Python's module `socket` is avoided: its `recv_fds` of 3.11 drops its flags, so that a peek takes the
message, and importing it costs 9 ms. The one in C below it does neither.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

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

_INT = struct.Struct("=i")
# Besides descriptors a receiver may have asked for credentials, a label, a pidfd and a time.
_CONTROL_SIZE = 4096
_ADDRESS_SIZE = 128  # struct sockaddr_storage


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
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return one.detach(), other.detach()


class _Borrowed:
    """A socket object of a descriptor that stays open, in a ``with``."""

    def __init__(self, fd: int) -> None:
        # With family and type the kernel need not be asked for them; nothing here depends on them.
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)

    def __enter__(self) -> _socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.detach()


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
    with _Borrowed(fd) as borrowed:
        data, control, told, _ = borrowed.recvmsg(size, _CONTROL_SIZE, flags | MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    pidfds: list[int] = []
    sender = 0
    for level, kind, content in control:
        if level == SOL_SOCKET and kind in {SCM_RIGHTS, SCM_PIDFD}:
            (fds if kind == SCM_RIGHTS else pidfds).extend(_descriptors(content))
        elif level == SOL_SOCKET and kind == SCM_CREDENTIALS and len(content) >= _INT.size:
            (sender,) = _INT.unpack_from(content)
    truncated = bool(told & (MSG_TRUNC | MSG_CTRUNC))
    return Message(data, tuple(fds), tuple(pidfds), truncated, sender)


def pass_credentials(fd: int) -> None:
    """Have the kernel say who sent each message, in the receiver's numbers (SO_PASSCRED, unix(7)).

    Args:
        fd: the receiving socket.
    """
    with _Borrowed(fd) as borrowed:
        borrowed.setsockopt(SOL_SOCKET, _SO_PASSCRED, 1)


def sendmsg(fd: int, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send one message, with descriptors.

    Args:
        fd: a socket that keeps messages apart (SOCK_SEQPACKET).
        data: at least one byte.
        fds: at most 253.

    Raises:
        OSError: EPIPE where the other end is closed; no signal is raised.
    """
    control = [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))] if fds else []
    with _Borrowed(fd) as borrowed:
        borrowed.sendmsg([data], control, MSG_NOSIGNAL)


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
    import ctypes  # a family that Python does not know has no other way

    from nsctl.kernel.libc import syscall

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
    with _Borrowed(fd) as borrowed:
        return borrowed.getsockopt(SOL_SOCKET, option)


def close_all(fds: tuple[int, ...]) -> None:
    """Close descriptors, which may hang where one is of a hostile file system."""
    for fd in fds:
        os.close(fd)
