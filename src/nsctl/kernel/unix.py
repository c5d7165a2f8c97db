"""Unix sockets with a path (unix(7)): who listens where, and connecting to one.

The socket module costs 9 ms to import, so only what connects does that.
"""

from __future__ import annotations

import errno
import os
import re
import select
import struct

from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

# Address, references, protocol, flags (__SO_ACCEPTCON alone: listen(2) was called), type (stream),
# state, inode; then the path, whose first byte is "@" in the abstract namespace.
_LISTENING = re.compile(
    rb"[0-9a-f]+: [0-9A-F]{8} [0-9A-F]{8} 00010000 0001 [0-9A-F]{2} +([0-9]{1,20}) ([^@].*)",
    re.DOTALL,
)
_SO_PEERPIDFD = 77
_SOCKET_LINK = "socket:["
_CREDENTIALS = struct.Struct("=iII")


class Listening(NamedTuple):
    """A listening stream socket.

    Attributes:
        inode: as descriptors' links name it.
        path: as it was bound, in the binder's view of the file system; may be relative.
    """

    inode: int
    path: str


class Peer(NamedTuple):
    """Who called listen(2) on the other end (SO_PEERCRED of unix(7)).

    Attributes:
        pid: in the caller's numbers, 0 where it has none there.
        uid: its effective user id at that time.
    """

    pid: int
    uid: int


def parse_listening(raw: bytes) -> list[Listening]:
    """Parse /proc/PID/net/unix (proc_pid_net(5)).

    The kernel writes paths as they are, so whoever binds one with a line feed in it can forge
    lines: an inode may have several paths, and a path proves nothing.

    Args:
        raw: the file.

    Returns:
        Listening stream sockets with a path; what is no such line is left out.
    """
    found = []
    for line in raw.split(b"\n"):
        match = _LISTENING.fullmatch(line)
        if match is not None:
            found.append(Listening(int(match[1]), os.fsdecode(match[2])))
    return found


def held_inodes(dir_fd: int) -> frozenset[int]:
    """List the sockets that a process has open.

    Args:
        dir_fd: descriptor of its /proc/PID.

    Returns:
        Their inodes.

    Raises:
        OSError: EACCES where it may not be looked into, ENOENT or ESRCH when it has ended.
    """
    fd = os.open("fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        found = set()
        for name in os.listdir(fd):
            try:
                link = os.readlink(name, dir_fd=fd)
            except FileNotFoundError:  # closed meanwhile
                continue
            inode = link.removeprefix(_SOCKET_LINK).removesuffix("]")
            if link.startswith(_SOCKET_LINK) and inode.isascii() and inode.isdigit():
                found.add(int(inode))
        return frozenset(found)
    finally:
        os.close(fd)


def connect(fd: int) -> socket.socket:
    """Connect to a listening stream socket without waiting.

    Args:
        fd: of the socket's file, opened with O_PATH; no name is resolved again, and it does not
            matter how long its path is.

    Returns:
        The connection, which does not block.

    Raises:
        OSError: EAGAIN where too many wait to be accepted, ECONNREFUSED where nobody listens.
    """
    import socket

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(f"/proc/self/fd/{fd}")
    except BaseException:
        connection.close()
        raise
    return connection


def peer_of(connection: socket.socket) -> Peer | None:
    """Find who listens on the other end of a connection.

    Returns:
        Who called listen(2); None where that process has ended (told by SO_PEERPIDFD, since
        6.5), so that its number may be another's by now.
    """
    from socket import SO_PEERCRED, SOL_SOCKET

    raw = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    try:
        pidfd = connection.getsockopt(SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return Peer(pid, uid)
        if error.errno in {errno.EINVAL, errno.ESRCH, errno.ENODATA}:
            return None
        raise
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return None if poll.poll(0) else Peer(pid, uid)
    finally:
        os.close(pidfd)
