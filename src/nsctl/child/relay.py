"""Standard streams between the caller and a container: relayed, passed on, or a terminal of its own.

An input that is a pipe or a socket is handed in. Everything else is relayed through pipes that
belong to the container's root: through the descriptor of a file, directory or terminal of the host
a container reaches what lies around it, and the caller's own pipes cannot be opened by another user,
while images write to /dev/stdout. Where input and output are a terminal, the container gets one of
its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct

from nsctl.errors import Suppressed, UsageError, translate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PASS, NULL, TERMINAL = "pass", "null", "terminal"
"""What a standard stream can be: as the starter has it, the null device, a new terminal."""

_CHUNK = 65536
_INT = struct.Struct("=i")
_NULL_DEVICE = os.makedev(1, 3)
_EVERYTHING = select.POLLIN | select.POLLOUT
_GONE = frozenset({errno.EIO, errno.EPIPE, errno.ECONNRESET, errno.EBADF})


class Pump:
    """Carries bytes from one descriptor to another.

    Args:
        source: read when it has something.
        sink: written when it takes something.
        owned: the one of the two that is ours to close at the end, -1 for none.
        outward: from the container to the caller.
    """

    def __init__(self, source: int, sink: int, owned: int, *, outward: bool) -> None:
        self.source = source
        self.sink = sink
        self.outward = outward
        self.done = False
        self._is_lost = False
        self._owned = owned
        self._buffer = b""

    @property
    def waits_for(self) -> tuple[int, int]:
        """The descriptor and poll(2) event that it waits for."""
        if self._buffer:
            return self.sink, select.POLLOUT
        return self.source, select.POLLIN

    @property
    def left(self) -> bytes:
        """What was read and not written yet."""
        return self._buffer

    def turn(self) -> None:
        """Carry what can be carried now."""
        try:
            if self._buffer:
                self._buffer = self._buffer[os.write(self.sink, self._buffer[: select.PIPE_BUF]) :]
                return
            self._buffer = os.read(self.source, _CHUNK)
            if not self._buffer:
                self.close()
            elif self._is_lost:
                self._buffer = b""
        except OSError as error:
            if error.errno == errno.EBADF and self.outward and self._buffer:
                # The caller has closed its output: nobody reads it, and that is no reason for the
                # command to end by SIGPIPE.
                self._is_lost, self._buffer = True, b""
                return
            if error.errno not in _GONE:
                raise translate(error, "relay", "a standard stream") from error
            self.close()

    def close(self) -> None:
        """End it; the other side sees the end of its file."""
        if not self.done:
            self.done = True
            if self._owned >= 0:
                os.close(self._owned)


class Streams:
    """The three standard streams of a container in the foreground.

    Args:
        fds: the caller's input, output and errors; () for null devices.
        relays_null: the caller's null device is relayed too, for a container whose own one is
            not to be relied on: through a descriptor of the host's its mode could be changed.

    Attributes:
        kinds: for each stream "pass", "null" or "terminal".
        inside: descriptors that the builder gets as 0, 1 and 2.
        pumps: what has to be carried while the container runs.
        terminal: the caller's terminal, -1 where none is used.

    Raises:
        UsageError: one of them is a directory.
    """

    def __init__(self, fds: Sequence[int], *, relays_null: bool = False) -> None:
        self.kinds: list[str] = []
        self.inside: list[int] = []
        self.pumps: list[Pump] = []
        self.terminal = -1
        self._relays_null = relays_null
        self._master = -1
        self._given: list[int] = []
        self._unread: list[tuple[int, int]] = []
        self._outputs: dict[tuple[int, int], int] = {}
        self._saved: list[int | list[bytes | int]] | None = None
        if not fds:
            self.kinds, self.inside = [NULL] * 3, [-1] * 3
            return
        interactive = os.isatty(fds[0]) and os.isatty(fds[1])
        for number, fd in enumerate(fds):
            self._add(number, fd, interactive=interactive)

    def _add(self, number: int, fd: int, *, interactive: bool) -> None:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            self.close()
            raise UsageError("a directory cannot be a container's standard stream")
        piped = stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)
        if piped and number == 0:
            self.kinds.append(PASS)
            self.inside.append(fd)
        elif (
            stat.S_ISCHR(status.st_mode)
            and status.st_rdev == _NULL_DEVICE
            and not self._relays_null
        ):
            self.kinds.append(NULL)
            self.inside.append(-1)
        elif interactive and os.isatty(fd):
            self.kinds.append(TERMINAL)
            self.inside.append(-1)
            self.terminal = fd if self.terminal < 0 else self.terminal
        else:
            self.kinds.append(PASS)
            self.inside.append(self._relayed_in(fd) if number == 0 else self._relayed_out(fd))

    def _relayed_in(self, fd: int) -> int:
        reading, writing = os.pipe()
        self._given.append(reading)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self._unread.append((fd, os.dup(reading)))
        # A container that does not read must not stop us.
        os.set_blocking(writing, False)
        self.pumps.append(Pump(fd, writing, writing, outward=False))
        return reading

    def _relayed_out(self, fd: int) -> int:
        """Output and errors that go to one place share a pipe: their order is kept."""
        status = os.fstat(fd)
        place = (status.st_dev, status.st_ino)
        if place not in self._outputs:
            reading, writing = os.pipe()
            self._given.append(writing)
            self.pumps.append(Pump(reading, fd, reading, outward=True))
            self._outputs[place] = writing
        return self._outputs[place]

    def give_to(self, uid: int, gid: int) -> None:
        """Give the pipes to the container's root, so that it can open /dev/stdout.

        Args:
            uid: the container's root, outside.
            gid: its group.
        """
        if os.geteuid() == 0:
            for fd in self._given:
                os.fchown(fd, uid, gid)

    def hand_over(self, fd: int) -> None:
        """Have `give_to` and `given` see to a further descriptor, too."""
        self._given.append(fd)

    def given(self) -> None:
        """Close what only the builder needs, once it has it."""
        while self._given:
            os.close(self._given.pop())

    def attach(self, master: int) -> None:
        """Connect the caller's terminal with the container's.

        Args:
            master: the master of the container's terminal, which is closed at the end.
        """
        import termios  # these two are for terminals alone, and take a millisecond
        import tty

        self._master = master
        self._saved = termios.tcgetattr(self.terminal)
        tty.setraw(self.terminal, termios.TCSANOW)
        self.resize()
        self.pumps.append(Pump(self.terminal, master, -1, outward=False))
        self.pumps.append(Pump(master, self.terminal, -1, outward=True))

    def suspend(self) -> None:
        """Give the caller's terminal its own modes back for a while."""
        if self._saved is not None:
            import termios

            with Suppressed(termios.error):  # it may have been hung up
                termios.tcsetattr(self.terminal, termios.TCSADRAIN, self._saved)

    def resume(self) -> None:
        """Take the caller's terminal again, after `suspend`."""
        if self._saved is not None:
            import termios
            import tty

            with Suppressed(termios.error):  # it may have been hung up
                tty.setraw(self.terminal, termios.TCSANOW)
            self.resize()

    def resize(self) -> None:
        """Give the container's terminal the size of the caller's."""
        if self._master >= 0:
            from nsctl.kernel import pty

            with Suppressed(OSError):  # the caller's may have been hung up
                pty.copy_window_size(self.terminal, self._master)

    def register(self, poll: select.poll) -> None:
        """Say what is waited for; two pumps may wait for the same descriptor."""
        wanted: dict[int, int] = {}
        for pump in self.pumps:
            if not pump.done:
                fd, event = pump.waits_for
                wanted[fd] = wanted.get(fd, 0) | event
        for fd, events in wanted.items():
            poll.register(fd, events)

    def turn(self, fd: int, events: int) -> None:
        """Carry what a descriptor is ready for; an error shows in the attempt."""
        ready = events | (_EVERYTHING if events & (select.POLLERR | select.POLLHUP) else 0)
        for pump in self.pumps:
            if not pump.done and pump.waits_for[0] == fd and pump.waits_for[1] & ready:
                pump.turn()

    def drain(self) -> None:
        """Carry the output that is still there, without waiting for more."""
        while any(self._turn(pump) for pump in self.pumps if pump.outward and not pump.done):
            pass

    def _turn(self, pump: Pump) -> bool:
        poll = select.poll()
        poll.register(*pump.waits_for)
        if not poll.poll(0):
            return False
        pump.turn()
        return True

    def _give_back(self) -> None:
        """Put a file that was read to where the command has read it, for whoever reads on.

        A shell's loop that reads lines of a file would lose those that were relayed to a command
        which had no use for them.
        """
        for fd, reading in self._unread:
            import termios

            waiting = sum(len(pump.left) for pump in self.pumps if pump.source == fd)
            (count,) = _INT.unpack(fcntl.ioctl(reading, termios.FIONREAD, bytes(_INT.size)))
            os.close(reading)
            if waiting + count:
                os.lseek(fd, -(waiting + count), os.SEEK_CUR)
        self._unread.clear()

    def close(self) -> None:
        """Give the caller's terminal back and close everything."""
        if self._saved is not None:
            import termios

            with Suppressed(termios.error):  # it may have been hung up
                termios.tcsetattr(self.terminal, termios.TCSANOW, self._saved)
            self._saved = None
        self._give_back()
        for pump in self.pumps:
            pump.close()
        self.given()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
