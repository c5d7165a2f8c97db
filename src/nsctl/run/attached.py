"""Between a container in the background and whoever attaches to it: messages on a local socket.

The socket lies in the container's state directory, which nobody else may enter. Each message has
a letter first. To the monitor: ``i`` input, ``e`` its end, ``w`` the size of a terminal as
``struct winsize`` has it. From it: ``h`` and a letter (``t`` for a terminal, ``p`` for pipes, in
upper case where input is taken), ``o`` output, ``x`` errors, ``q`` and the exit status, a word.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections import deque

from nsctl.kernel import pty
from nsctl.run import log

NAME = "attach"
CHUNK = 32768
WORD = struct.Struct("<i")
_SIZE = struct.Struct("=4H")
_QUEUE_MOST = 4 << 20
_INPUT_MOST = 1 << 18
_SHUT = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})


def place(directory: int) -> str:
    """Path of the socket below a descriptor: a socket's own path may have 107 bytes only."""
    return f"/proc/self/fd/{directory}/{NAME}"


def kinds_of(*, terminal: bool, interactive: bool) -> list[str]:
    """What the standard streams of a container in the background are.

    Returns:
        For each "pass", "null" or "terminal".
    """
    return ["terminal"] * 3 if terminal else ["pass" if interactive else "null", "pass", "pass"]


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.queue: deque[bytes] = deque()
        self.size = 0

    def send(self, message: bytes) -> bool:
        """Send a message, now or later; False for one who takes none any more."""
        self.queue.append(message)
        self.size += len(message)
        return self.size <= _QUEUE_MOST and self.flush()

    def flush(self) -> bool:
        while self.queue:
            try:
                self.connection.send(self.queue[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return True
            except OSError:
                return False
            self.size -= len(self.queue.popleft())
        return True


class Recorder:
    """The standard streams of a container in the background: into its log, and to who attaches.

    It has the methods of `nsctl.child.relay.Streams` that a start uses.

    Args:
        terminal: it has a terminal.
        interactive: it takes input.
        directory: descriptor of its state directory.

    Attributes:
        kinds: for each stream "pass", "null" or "terminal".
        inside: descriptors that the builder gets as 0, 1 and 2.
    """

    def __init__(self, directory: int, *, terminal: bool, interactive: bool) -> None:
        self.kinds = kinds_of(terminal=terminal, interactive=interactive)
        self.inside = [-1, -1, -1]
        self.log: log.Writer | None = None
        self._takes_input = terminal or interactive
        self._is_terminal = terminal
        self._input = -1
        self._pending = b""
        self._input_ends = False
        self._sources: dict[int, int] = {}
        self._given: list[int] = []
        self._clients: dict[int, _Client] = {}
        if not terminal:
            self._make_pipes(interactive=interactive)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = place(directory)
        if os.path.lexists(path):
            os.unlink(path)
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self._listener.listen()
        self._listener.setblocking(False)  # noqa: FBT003  (positional only)

    def _make_pipes(self, *, interactive: bool) -> None:
        if interactive:
            self.inside[0], self._input = os.pipe()
            os.set_blocking(self._input, False)
            self._given.append(self.inside[0])
        for number in (log.OUTPUT, log.ERRORS):
            reading, writing = os.pipe()
            self.inside[number] = writing
            self._given.append(writing)
            self._sources[reading] = number

    def give_to(self, uid: int, gid: int) -> None:
        """Give the pipes to the container's root, so that it can open /dev/stdout."""
        if os.geteuid() == 0:
            for fd in self._given:
                os.fchown(fd, uid, gid)

    def given(self) -> None:
        """Close what only the builder needs, once it has it."""
        while self._given:
            os.close(self._given.pop())

    def attach(self, master: int) -> None:
        """Take the master of the container's terminal."""
        os.set_blocking(master, False)
        pty.set_window_size(master, _SIZE.pack(24, 80, 0, 0))  # until somebody attaches
        self._input = master
        self._sources[master] = log.OUTPUT

    def resize(self) -> None:
        """The size of the terminal is that of whoever attached last."""

    # --- Carrying --------------------------------------------------------------------------------

    def register(self, poll: select.poll) -> None:
        """Say what is waited for."""
        wanted = dict.fromkeys(self._sources, select.POLLIN)
        wanted[self._listener.fileno()] = select.POLLIN
        if self._pending and self._input >= 0:
            wanted[self._input] = wanted.get(self._input, 0) | select.POLLOUT
        for fd, client in self._clients.items():
            events = select.POLLIN if len(self._pending) < _INPUT_MOST else 0
            wanted[fd] = events | (select.POLLOUT if client.queue else 0)
        for fd, events in wanted.items():
            poll.register(fd, events)

    def turn(self, fd: int, events: int) -> None:
        """Carry what a descriptor is ready for."""
        if fd == self._listener.fileno():
            self._welcome()
        elif fd in self._clients:
            self._serve(fd, events)
        else:
            if fd == self._input and events & (select.POLLOUT | select.POLLERR):
                self._put_in()
            if fd in self._sources and events & ~select.POLLOUT:
                self._take(fd)

    def _take(self, fd: int) -> bool:
        """Read some output; False when there is none any more."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # EIO: nobody has the terminal any more
        if not data:
            del self._sources[fd]
            if fd != self._input:
                os.close(fd)
            return False
        stream = self._sources[fd]
        if self.log is not None:
            self.log.add(stream, data)
        self._tell((b"x" if stream == log.ERRORS else b"o") + data)
        return True

    def _put_in(self) -> None:
        try:
            self._pending = self._pending[os.write(self._input, self._pending) :]
        except BlockingIOError:
            return
        except OSError:
            self._pending, self._input_ends = b"", True
        if self._input_ends and not self._pending and not self._is_terminal:
            os.close(self._input)
            self._input = -1

    def _tell(self, message: bytes) -> None:
        for fd in [fd for fd, client in self._clients.items() if not client.send(message)]:
            self._dismiss(fd)

    def _dismiss(self, fd: int) -> None:
        self._clients.pop(fd).connection.close()

    def _welcome(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # who knocked has gone again, or there are too many descriptors
        client = _Client(connection)
        kind = b"t" if self._is_terminal else b"p"
        if client.send(b"h" + (kind.upper() if self._takes_input else kind)):
            self._clients[connection.fileno()] = client
        else:
            connection.close()

    def _serve(self, fd: int, events: int) -> None:
        client = self._clients[fd]
        if events & select.POLLOUT and not client.flush():
            self._dismiss(fd)
            return
        if not events & ~select.POLLOUT:
            return
        try:
            message = client.connection.recv(CHUNK + 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._dismiss(fd)
        elif message[:1] == b"w" and len(message) == 1 + _SIZE.size and self._is_terminal:
            if self._input >= 0:
                pty.set_window_size(self._input, message[1:])
        elif self._input >= 0 and message[:1] == b"i" and self._takes_input:
            self._pending += message[1:]
            self._put_in()
        elif message == b"e" and self._input >= 0:
            self._input_ends = True
            self._put_in()

    def drain(self) -> None:
        """Carry the output that is still there, without waiting for more."""
        for fd in list(self._sources):
            os.set_blocking(fd, False)
            while fd in self._sources and self._take(fd):
                pass

    def end(self, status: int) -> None:
        """Tell whoever is attached how it ended."""
        self._tell(b"q" + WORD.pack(status))

    def close(self) -> None:
        """Close everything; who has not taken all yet gets a moment for it."""
        self._listener.close()
        for fd in list(self._clients):
            client = self._clients[fd]
            client.connection.settimeout(1.0)
            try:
                for message in client.queue:
                    client.connection.send(message, socket.MSG_NOSIGNAL)
            except OSError as error:
                if error.errno not in _SHUT and not isinstance(error, TimeoutError):
                    raise
            self._dismiss(fd)
        self.given()
        for fd in {*self._sources, self._input} - {-1}:
            os.close(fd)
        self._sources, self._input = {}, -1
        if self.log is not None:
            self.log.close()
