"""Attaching to a container in the background: its streams are the caller's for a while."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import termios
import threading
import tty
from collections.abc import Iterator, Sequence

from nsctl.engines import own
from nsctl.errors import NsctlError, UsageError, translate
from nsctl.kernel import pty
from nsctl.run import garbage
from nsctl.run.attached import CHUNK, WORD, place
from nsctl.run.store import Store, default_store, find, opened

_DETACH = b"\x10\x11"  # Ctrl-P, Ctrl-Q, as engines have it
_FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def _connected(containers: int, state: own.State) -> socket.socket | None:
    """Connect to a container's monitor; None where it has none."""
    try:
        directory = os.open(
            state.id, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=containers
        )
    except FileNotFoundError:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(place(directory))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise translate(error, "attach to", state.name) from error
    finally:
        os.close(directory)
    return connection


def end_of(containers: int, state: own.State) -> int | None:
    """Wait until a container's monitor tells of its end.

    Args:
        containers: from `nsctl.run.store.opened`.
        state: of the container.

    Returns:
        Its exit status; None where it has no monitor, or that one died.
    """
    connection = _connected(containers, state)
    if connection is None:
        return None
    with connection:
        while message := _received(connection):
            if message[:1] == b"q":
                status: int = WORD.unpack(message[1:])[0]
                return status
    return None


def _received(connection: socket.socket) -> bytes:
    """Receive a message; b"" when the monitor has gone."""
    try:
        return connection.recv(CHUNK + 1)
    except ConnectionError:
        return b""


def attach(
    target: str,
    store: Store | None = None,
    *,
    streams: Sequence[int] = (0, 1, 2),
    stdin: bool = True,
) -> int | None:
    """Attach to a container until it ends, or Ctrl-P Ctrl-Q is typed on a terminal.

    Args:
        target: its name, id, or the beginning of its id.
        store: where it is kept; the caller's own by default.
        streams: the caller's standard streams.
        stdin: hand input on.

    Returns:
        Its exit status; None where it was left.

    Raises:
        UnknownTarget: there is none.
        UsageError: it does not run, or not in the background.
        NsctlError: its monitor died.
    """
    store = store or default_store()
    with opened(store) as containers:
        state = find(containers, target)
        pidfd = garbage.open_process(state)
        if pidfd < 0:
            raise UsageError(f"{state.name} does not run", f"start it: nsctl start {state.name}")
        try:
            connection = _connected(containers, state)
            if connection is None:
                raise UsageError(
                    f"{state.name} has nothing to attach to",
                    "it runs in the foreground of another nsctl, or its monitor was killed",
                )
            with connection:
                return _Session(connection, pidfd, streams, stdin=stdin).run(state.name)
        finally:
            os.close(pidfd)


class _Session:
    def __init__(
        self, connection: socket.socket, pidfd: int, streams: Sequence[int], *, stdin: bool
    ) -> None:
        self._connection = connection
        self._pidfd = pidfd
        self._input, self._output, self._errors = streams
        greeting = _received(connection)
        self._has_terminal = greeting[1:2] in {b"t", b"T"}
        self._reads = stdin and greeting[1:2].isupper()
        self._raw = self._has_terminal and self._reads and os.isatty(self._input)
        self._typed = b""

    def run(self, name: str) -> int | None:
        with self._terminal(), self._signals() as wake:
            while True:
                poll = select.poll()
                poll.register(self._connection, select.POLLIN)
                if self._reads:
                    poll.register(self._input, select.POLLIN)
                if wake >= 0:
                    poll.register(wake, select.POLLIN)
                for fd, _ in poll.poll():
                    if fd == wake:
                        os.read(wake, 4096)
                        self._resize()
                    elif fd == self._connection.fileno():
                        message = _received(self._connection)
                        if not message:
                            raise NsctlError("attach to", name, "its monitor has gone")
                        if message[:1] == b"q":
                            status: int = WORD.unpack(message[1:])[0]
                            return status
                        self._say(message)
                    elif fd == self._input and not self._hand_on():
                        return None

    def _say(self, message: bytes) -> None:
        fd = self._errors if message[:1] == b"x" else self._output
        view = memoryview(message)[1:]
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError as error:
            raise translate(error, "relay", "a standard stream") from error

    def _hand_on(self) -> bool:
        """Hand input on; False when the caller wants to leave."""
        data = os.read(self._input, CHUNK - len(_DETACH))
        if not data:
            self._reads = False
            if not self._has_terminal:
                self._tell(b"e")
            return True
        if self._raw:
            data = self._typed + data
            if _DETACH in data:
                return False
            self._typed = _DETACH[:1] if data.endswith(_DETACH[:1]) else b""
            data = data[: len(data) - len(self._typed)]
        if data:
            self._tell(b"i" + data)
        return True

    def _tell(self, message: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # that it has gone shows when we read
            self._connection.send(message)

    def _resize(self) -> None:
        if self._has_terminal and os.isatty(self._output):
            with contextlib.suppress(OSError):  # it may have been hung up
                self._tell(b"w" + pty.window_size(self._output))

    @contextlib.contextmanager
    def _terminal(self) -> Iterator[None]:
        """Have the caller's terminal pass everything on."""
        self._resize()
        if not self._raw:
            yield
            return
        saved = termios.tcgetattr(self._input)
        tty.setraw(self._input, termios.TCSANOW)
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):  # it may have been hung up
                termios.tcsetattr(self._input, termios.TCSADRAIN, saved)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """Pass signals on where no terminal does; only the main thread gets any."""
        if threading.current_thread() is not threading.main_thread():
            yield -1
            return

        def forward(number: int, _frame: object) -> None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        passed = () if self._raw else _FORWARDED
        previous = {number: signal.signal(number, forward) for number in passed}
        previous[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: None)
        woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(reading)
            os.close(writing)
