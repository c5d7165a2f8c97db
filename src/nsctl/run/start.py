"""Starts a builder, follows what it does, records what it made, and waits for the container.

Nothing of a container runs before its process stands in its state file: the last stage waits for
one byte, which is written after that. Whoever dies before leaves a state that says so.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

from nsctl.child import report
from nsctl.child.relay import Streams
from nsctl.child.stage2 import open_last_stage
from nsctl.errors import KernelRefusal, NsctlError, Vanished, translate
from nsctl.kernel import cgroup, executable, mountinfo, procfs
from nsctl.model.record import NamedTuple
from nsctl.mounting.context import Context
from nsctl.run import builder, garbage
from nsctl.run.layout import layout_of, others_of
from nsctl.run.plan import Layout, Plan, plan
from nsctl.run.spec import Spec, from_json, to_json
from nsctl.run.store import Handle, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from nsctl.run.attached import Recorder

    class _Child(Protocol):
        """What the starter does with its builder."""

        pid: int

        def kill(self) -> None:
            """Kill it."""

        def wait(self) -> int:
            """Wait for its end."""


OnStep = Callable[[str], None]
"""Called with each step in words, before it is done."""

_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
RECORD_PROCESS = "record its first process"
LET_GO = "let the command start"
RECORD_RUNNING = "record that it runs"
FINAL_STEPS = (RECORD_PROCESS, LET_GO, RECORD_RUNNING)
"""The steps that are the starter's own, after those of the plan."""


class Request(NamedTuple):
    """What a container is started from.

    Attributes:
        spec: checked.
        layout: what was chosen for it.
        plan: made from the two.
        others: descriptors of other containers' namespaces, by type.
        alone: as for `begin`.
    """

    spec: Spec
    layout: Layout
    plan: Plan
    others: dict[str, int]
    alone: bool


class _Forked:
    """A builder that was forked, as `subprocess` has one that was started anew.

    Args:
        pid: of it.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def kill(self) -> None:
        """Kill it, unless it has been waited for."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end; a second time gives the same.

        Returns:
            Its exit status.
        """
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status


class Running:
    """A container whose builder is a child of this process.

    Args:
        process: the builder.
        channel: to it.
        streams: of the container.
    """

    def __init__(
        self, process: _Child, channel: socket.socket, streams: Streams | Recorder
    ) -> None:
        self.pid = 0
        self.pidfd = -1
        self.mnt_ns_id = 0
        self._process = process
        self._channel = channel
        self._streams = streams
        self._status: int | None = None
        self._failure: NsctlError | None = None
        self._stack = contextlib.ExitStack()
        self._wake = -1

    def hear(self, on_step: OnStep) -> bool:
        """Take one message from the builder.

        Returns:
            False when it and the first process have closed the channel.
        """
        text, fds, _, _ = socket.recv_fds(self._channel, builder.MESSAGE_LIMIT, 1)
        if not text:
            return False
        message = json.loads(text)
        if "step" in message:
            on_step(message["step"])
        elif "pid" in message:
            self.pid, self.pidfd = message["pid"], fds[0]
        elif "mnt_ns_id" in message:
            self.mnt_ns_id = message["mnt_ns_id"]
        elif "terminal" in message:
            self._streams.attach(fds[0])
        elif "exit" in message:
            self._status = message["exit"]
        elif "error" in message:
            operation, subject, cause, hint, number = message["error"]
            self._failure = KernelRefusal(operation, subject, cause, hint, errno=number)
            if subject == "a user namespace":
                from nsctl.diagnose.userns import explained

                self._failure = explained(self._failure)
        return True

    def build(self, report_fd: int, on_step: OnStep) -> None:
        """Follow the builder until the last stage is ready and its process is known.

        Raises:
            NsctlError: what stopped it.
        """
        ready = False
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(report_fd, select.POLLIN)
        while not (ready and self.pidfd >= 0):
            events = [fd for fd, _ in poll.poll()]
            # What was said before the report's end explains it.
            if self._channel.fileno() in events:
                if not self.hear(on_step):
                    raise self._failure or Vanished("start", "the container", "its builder died")
                continue
            try:
                report.await_ready(report_fd)
            except NsctlError as error:
                raise self._failure or error from None
            ready = True
            poll.unregister(report_fd)

    def leave_groups(self) -> None:
        """Move the builder out of the container's control groups, into those of this process.

        It had to be there to fork the first process; it is no part of the container.
        """
        proc = procfs.ProcFs()
        mounts = mountinfo.parse(proc.read("self/mountinfo", 1 << 28))
        own = cgroup.places(cgroup.parse(proc.read("self/cgroup")), mounts)
        cgroup.attach(own, self._process.pid)

    def take_signals(self) -> None:
        """Pass signals on to the container from now on, until `close`."""
        self._wake = self._stack.enter_context(_signals_to(self.pidfd, self._streams))

    def wait(self) -> int:
        """Wait for the container's end, carrying its streams.

        Returns:
            Its exit status, 128 and the signal's number for one that was killed.

        Raises:
            Vanished: its builder was killed, and the container with it.
        """
        while self._status is None:
            poll = select.poll()
            poll.register(self._channel, select.POLLIN)
            if self._wake >= 0:
                poll.register(self._wake, select.POLLIN)
            self._streams.register(poll)
            for fd, events in poll.poll():
                if fd == self._channel.fileno():
                    if not self.hear(lambda _: None):
                        raise Vanished("wait for", "the container", "its builder was killed")
                elif fd == self._wake:
                    os.read(self._wake, 4096)
                else:
                    self._streams.turn(fd, events)
        self._streams.drain()
        return self._status if self._status >= 0 else 128 - self._status

    def close_builder(self) -> None:
        """Let go of the builder of a container in the background, whose streams stay."""
        self._channel.close()
        self._process.wait()

    def close(self) -> None:
        """Let go of the builder: it ends, and with it a container in the foreground."""
        self._stack.close()
        self._channel.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        self._streams.close()
        self._process.wait()

    def abandon(self) -> None:
        """Kill the builder: whatever it was building dies with it."""
        self._process.kill()
        self.close()


@contextlib.contextmanager
def _signals_to(pidfd: int, streams: Streams | Recorder) -> Iterator[int]:
    """Pass signals on to a container while waiting for it; only the main thread gets any.

    Yields:
        A descriptor that becomes readable at a signal, -1 outside the main thread.
    """
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield -1
        return

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)

    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    previous = {number: signal.signal(number, forward) for number in _FORWARDED}
    previous[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: streams.resize())
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def begin(
    handle: Handle,
    containers: int,
    store: Store,
    streams: Streams | Recorder,
    on_step: OnStep,
    *,
    alone: bool = False,
) -> Running:
    """Start a container that is recorded.

    Args:
        handle: of it.
        containers: from `nsctl.run.store.opened`.
        store: whose container it is.
        streams: its standard streams, which are closed where it cannot be started.
        on_step: told each step before it is done.
        alone: this program is nsctl's own: the builder may be forked from it while it has one
            thread, instead of starting anew.

    Returns:
        The container, whose command runs.

    Raises:
        NsctlError: it could not be started; see `start`.
    """
    try:
        spec = from_json(handle.state.spec)
        with others_of(spec, containers) as others:
            layout = layout_of(spec, handle.state, others, streams.kinds, store.pool)
            streams.give_to(layout.root_uid, layout.root_gid)
            if handle.state.status != "creating":
                handle.update(status="starting")
            handle.update(boot_id=garbage.boot_id(), cgroup_dirs=layout.cgroup_dirs, exit_status=-1)
            request = Request(spec, layout, plan(spec, layout), others, alone)
            return start(handle, request, streams, on_step)
    except OSError as error:
        streams.close()
        raise translate(error, "start", f"container {handle.state.name}") from error
    except BaseException:
        streams.close()
        raise


def start(
    handle: Handle, request: Request, streams: Streams | Recorder, on_step: OnStep
) -> Running:
    """Start a container.

    Args:
        handle: of its state, which must hold everything that may have to be removed.
        request: what it is made from.
        streams: its standard streams.
        on_step: told each step before it is done.

    Returns:
        The container, whose command runs.

    Raises:
        NsctlError: it could not be started; `nsctl.child.report.Failure` where it was the
            command. What was made of it is still to be removed.
    """
    for step in request.plan.prepare:
        on_step(step.describe())
        step.execute(Context())
    reading, report_fd = os.pipe2(os.O_CLOEXEC)
    go_fd, go = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            running = _start_builder(request, streams, report_fd, go_fd)
        finally:
            os.close(report_fd)
            os.close(go_fd)
        try:
            running.build(reading, on_step)
            on_step(RECORD_PROCESS)
            seen = procfs.parse_stat(procfs.ProcFs().read(f"{running.pid}/stat"))
            handle.update(pid=running.pid, start=seen.start, mnt_ns_id=running.mnt_ns_id)
            if not request.spec.detach:
                if request.layout.cgroup_dirs:
                    running.leave_groups()
                running.take_signals()
            on_step(LET_GO)
            os.write(go, b"!")
            report.await_start(reading)
            on_step(RECORD_RUNNING)
            handle.update(status="running")
        except OSError as error:
            running.abandon()
            raise translate(error, "start", "the container") from error
        except report.Failure as failure:
            running.abandon()
            _name(failure, request.spec)
            raise
        except BaseException:
            running.abandon()
            raise
    finally:
        os.close(reading)
        os.close(go)
    return running


def _name(failure: report.Failure, spec: Spec) -> None:
    """Say which command or directory it was that the last stage knows only as such."""
    if failure.step == "EXEC":
        failure.subject = f"the command {spec.argv[0]}"
        if failure.errno == errno.ENOENT:
            failure.hint = f"it, or the interpreter that it names, is missing in {spec.rootfs}"
    elif failure.step == "CWD":
        failure.subject = f"the working directory {spec.cwd}"


def _start_builder(
    request: Request, streams: Streams | Recorder, report_fd: int, go_fd: int
) -> Running:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, open_last_stage() as stage:
        text = json.dumps(
            {
                "parent": os.getpid(),
                "spec": to_json(request.spec),
                "layout": request.layout._asdict(),
                "channel": theirs.fileno(),
                "report": report_fd,
                "go": go_fd,
                "program": stage.program,
                "interpreter": stage.interpreter,
                "others": request.others,
            }
        )
        request_fd = executable.data_memfd("nsctl-request", text.encode())
        passed = [theirs.fileno(), report_fd, go_fd, *request.others.values()]
        passed += [fd for fd in stage if fd is not None]
        try:
            if request.alone and stage.interpreter is None and procfs.count_threads() == 1:
                process: _Child = _fork(request_fd, streams.inside, passed)
            else:
                process = _spawn(stage.executable, request_fd, streams.inside, passed)
        except OSError as error:
            ours.close()
            raise translate(error, "start", "the builder") from error
        finally:
            os.close(request_fd)
    streams.given()
    return Running(process, ours, streams)


def _fork(request_fd: int, stdio: Sequence[int], passed: list[int]) -> _Forked:
    # A handler of this process's must not run in the child, where it would act on what is shared.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        pid = os.fork()
        if not pid:
            builder.forked(request_fd, stdio, passed, mask)
        return _Forked(pid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _spawn(program: str, request_fd: int, stdio: Sequence[int], passed: list[int]) -> _Child:
    import subprocess  # 2 ms, which whoever forks does without

    given = [subprocess.DEVNULL if fd < 0 else fd for fd in stdio]
    return subprocess.Popen(
        builder.command(request_fd),
        executable=program,
        stdin=given[0],
        stdout=given[1],
        stderr=given[2],
        pass_fds=[request_fd, *passed],
        cwd="/",
        start_new_session=True,
    )
