"""One command in somebody else's namespaces: started, moved into its control groups, waited for.

The command's process is a child of this one. Until it has its go it holds one socket besides its
standard streams, over which it says that it is ready; who said so is the kernel's word.
"""

from __future__ import annotations

import errno
import os
import select

from nsctl.child.plan import Plan, Terminal
from nsctl.child.relay import TERMINAL, Streams
from nsctl.child.report import understand
from nsctl.child.stage2 import spawn_stage2
from nsctl.errors import KernelRefusal, NsctlError, Suppressed, translate
from nsctl.kernel import scm
from nsctl.kernel.signals import signal
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    Move = Callable[[int], None]
    """Called with the command's PID when it is ready and before it runs."""

_RECORD_MOST = 64
_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class _Wakeup:
    """Collects signals instead of dying of them, in a ``with`` around the command's whole life.

    Attributes:
        fd: becomes readable at one, -1 outside the main thread, which alone gets any.
        arrived: their numbers, oldest first.
    """

    def __init__(self) -> None:
        self.fd = -1
        self.arrived: list[int] = []
        self._writing = -1
        self._woken = -1
        self._previous: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Begin."""
        try:
            signal.signal(signal.SIGCHLD, signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL)
        except ValueError:
            return self  # another thread than the first: signals are not for it
        self.fd, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous = {
            number: signal.signal(number, lambda got, _: self.arrived.append(got))
            for number in (*_FORWARDED, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCHLD)
            if number == signal.SIGCHLD or signal.getsignal(number) != signal.SIG_IGN
        }
        self._woken = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave signals as they were."""
        if self.fd < 0:
            return
        signal.set_wakeup_fd(self._woken)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._writing)


class _Interrupted(Exception):
    """A signal that ends a program came before the command ran; never seen outside this module."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


class Started(NamedTuple):
    """A command that runs.

    Attributes:
        pid: its process, a child of this one that nobody has waited for.
        pidfd: of it.
    """

    pid: int
    pidfd: int


def run(program: int, plan: Plan, fds: Sequence[int], move: Move, owner: tuple[int, int]) -> int:
    """Run a command to its end.

    Args:
        program: from `nsctl.child.stage2.open_stage2`.
        plan: of mode "enter", or "exec" for a command that is born outside; without streams,
            terminal, report.
        fds: the caller's standard streams.
        move: called before the command runs.
        owner: user and group, outside, that the pipes between belong to, so that the command can
            open /dev/stdout.

    Returns:
        Its exit status, 128 and the signal's number for one that was killed.

    Raises:
        Failure: it could not be started.
        NsctlError: something else stopped it.
    """
    streams = Streams(fds, relays_null=True)
    try:
        streams.give_to(*owner)
        with _Wakeup() as wake:
            try:
                started = _start(program, plan, streams, move, wake)
            except _Interrupted as interrupted:
                return 128 + interrupted.number
            try:
                return _wait(started, streams, wake)
            except BaseException:
                signal.pidfd_send_signal(started.pidfd, signal.SIGKILL)
                raise
            finally:
                os.close(started.pidfd)
    finally:
        streams.close()


def _start(program: int, plan: Plan, streams: Streams, move: Move, wake: _Wakeup) -> Started:
    ours, theirs = scm.socketpair()
    spare: list[int] = []
    try:
        try:
            scm.pass_credentials(ours)
            plan, terminal = _with_streams(plan, streams, spare)
            plan = plan._replace(go=theirs)
            stage = spawn_stage2(program, plan, theirs)
        finally:
            os.close(theirs)
            streams.given()
        try:
            started = _follow(ours, stage, plan, move, wake)
        except BaseException:
            with Suppressed(ProcessLookupError):
                os.kill(stage, signal.SIGKILL)
            with Suppressed(ChildProcessError):
                os.waitpid(stage, 0)
            raise
        if terminal >= 0:
            _attach(terminal, streams, spare)
        _release(ours, started, wake)
    finally:
        os.close(ours)
        for fd in spare:
            os.close(fd)
    return started


def _with_streams(plan: Plan, streams: Streams, spare: list[int]) -> tuple[Plan, int]:
    """Give a plan its standard streams, and a terminal where those are one.

    Returns:
        The plan, and the socket on which the terminal's master comes, -1 for none.
    """
    if TERMINAL not in streams.kinds:
        return plan._replace(stdio=(streams.inside[0], streams.inside[1], streams.inside[2])), -1
    # Of the caller's devpts, for a root that has none.
    master, slave = os.openpty()
    ours, theirs = scm.socketpair()
    spare += [master, slave, theirs, ours]
    which = [kind == TERMINAL for kind in streams.kinds]
    stdio = [
        slave if is_terminal else fd for is_terminal, fd in zip(which, streams.inside, strict=True)
    ]
    bits = sum(1 << place for place, is_terminal in enumerate(which) if is_terminal)
    return (
        plan._replace(stdio=(stdio[0], stdio[1], stdio[2]), terminal=Terminal(theirs, bits)),
        ours,
    )


def _attach(socket: int, streams: Streams, spare: list[int]) -> None:
    """Take the terminal's master and connect the caller's terminal with it."""
    message = scm.recvmsg(socket, 1, scm.MSG_DONTWAIT)
    if message.fds:
        streams.attach(message.fds[0])
        scm.close_all(message.fds[1:])
    else:
        streams.attach(os.dup(spare[0]))


def _follow(report: int, stage: int, plan: Plan, move: Move, wake: _Wakeup) -> Started:
    """Wait until the command is ready, and see that it is a child of ours that says so."""
    message = _receive(report, wake)
    if not understand(message.data):
        raise KernelRefusal(
            "start",
            "the command",
            "the last stage ended without a word; it was killed",
            errno=errno.ECHILD,
        )
    pid = message.sender
    if plan.mode == "enter" and pid != stage:
        os.waitpid(stage, 0)
    elif plan.mode == "enter" or pid != stage:
        raise KernelRefusal("start", "the command", "somebody else reported in its name")
    try:
        # Whose end nobody has waited for keeps its number.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        raise KernelRefusal(
            "start", "the command", "somebody else reported in its name", errno=error.errno or 0
        ) from error
    try:
        move(pid)
    except BaseException:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        raise
    return Started(pid, pidfd)


def _release(report: int, started: Started, wake: _Wakeup) -> None:
    """Let the command start, and see whether it did."""
    try:
        with Suppressed(BrokenPipeError):  # it was killed meanwhile: its status says so
            os.write(report, b"!")
        understand(_receive(report, wake).data)
    except (OSError, NsctlError, _Interrupted) as error:
        with Suppressed(ProcessLookupError):
            signal.pidfd_send_signal(started.pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, started.pidfd, os.WEXITED)
        os.close(started.pidfd)
        if isinstance(error, OSError):
            raise translate(error, "start", "the command") from error
        raise


def _receive(report: int, wake: _Wakeup) -> scm.Message:
    """Wait for one message, or a signal that is meant to end us."""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    if wake.fd >= 0:
        poll.register(wake.fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == report:
                message = scm.recvmsg(report, _RECORD_MOST, scm.MSG_DONTWAIT)
                scm.close_all(message.fds)
                return message
            os.read(fd, 4096)
            for number in wake.arrived:
                if number in _FORWARDED:
                    raise _Interrupted(number)


# --- Waiting -------------------------------------------------------------------------------------


def _wait(started: Started, streams: Streams, wake: _Wakeup) -> int:
    """Carry the streams and pass signals on until the command's end."""
    while True:
        status = _look(started, streams)
        if status is not None:
            streams.drain()
            return status
        poll = select.poll()
        poll.register(started.pidfd, select.POLLIN)
        if wake.fd >= 0:
            poll.register(wake.fd, select.POLLIN)
        streams.register(poll)
        for fd, events in poll.poll():
            if fd == wake.fd:
                os.read(fd, 4096)
                _pass_on(started, streams, wake.arrived)
            elif fd != started.pidfd:
                streams.turn(fd, events)


def _look(started: Started, streams: Streams) -> int | None:
    """See whether the command has ended or stopped; stop with it.

    Returns:
        Its exit status, None while it lives.
    """
    about = os.waitid(os.P_PIDFD, started.pidfd, os.WEXITED | os.WSTOPPED | os.WNOHANG)
    if about is None:
        return None
    if about.si_code == os.CLD_EXITED:
        return about.si_status
    if about.si_code in {os.CLD_KILLED, os.CLD_DUMPED}:
        return 128 + about.si_status
    streams.suspend()
    os.kill(os.getpid(), signal.SIGSTOP)
    streams.resume()
    signal.pidfd_send_signal(started.pidfd, signal.SIGCONT)
    return None


def _pass_on(started: Started, streams: Streams, arrived: list[int]) -> None:
    while arrived:
        number = arrived.pop(0)
        if number == signal.SIGWINCH:
            streams.resize()
        elif number != signal.SIGCHLD:
            # A terminal's key would not stop who leads a session.
            sent = signal.SIGSTOP if number == signal.SIGTSTP else number
            with Suppressed(ProcessLookupError):
                signal.pidfd_send_signal(started.pidfd, sent)
