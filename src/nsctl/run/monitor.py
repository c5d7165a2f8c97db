"""A container in the background: a small process that starts it, keeps its log, and sees its end.

Whoever starts the container spawns it, follows it until the command runs, hands the container's lock
over, and goes. The monitor holds that until the container has ended and that is recorded. Being a subreaper, it becomes
the parent of the container's first process when the builder has gone, and so learns its exit status.
Until the starter has seen that the container runs, it dies with the starter, and everything with it.
"""

from __future__ import annotations

import array  # noqa: F401  (socket.send_fds imports it when it is called)
import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
from typing import Any, NoReturn

from nsctl.child import report
from nsctl.errors import KernelRefusal, NsctlError, Vanished, translate
from nsctl.kernel import executable, process, unshare
from nsctl.kernel.pidfd import has_ended
from nsctl.run import garbage
from nsctl.run.attached import Recorder
from nsctl.run.ids import IdPool
from nsctl.run.log import Writer
from nsctl.run.spec import from_json
from nsctl.run.start import OnStep, begin
from nsctl.run.store import Handle, Store

_LIMIT = 65536
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from nsctl.run.monitor import main; main(int(sys.argv[2]))"
)
_RUNS, _FOLLOWED = b"r", b"."


def start(handle: Handle, containers: int, store: Store, on_step: OnStep) -> None:
    """Start a container in the background.

    Args:
        handle: of it; what it says is read anew afterwards.
        containers: from `nsctl.run.store.opened`.
        store: whose container it is.
        on_step: told each step before it is done.

    Raises:
        NsctlError: it could not be started. What was made of it is still to be removed.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            monitor = _spawn(handle, containers, store, theirs.fileno())
        try:
            _follow(ours, on_step, handle.descriptors[1])
        except BaseException:
            monitor.kill()
            raise
        finally:
            ours.close()
            monitor.wait()
            handle.read(containers)


def _spawn(handle: Handle, containers: int, store: Store, channel: int) -> subprocess.Popen[bytes]:
    directory, _ = handle.descriptors
    request = {
        "parent": os.getpid(),
        "id": handle.state.id,
        "state": store.state,
        "storage": store.storage,
        "pool": store.pool._asdict(),
        "directory": directory,
        "containers": containers,
        "channel": channel,
    }
    request_fd = executable.data_memfd("nsctl-monitor", json.dumps(request).encode())
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", _BOOT, root, str(request_fd)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[request_fd, directory, containers, channel],
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise translate(error, "start", "the container's monitor") from error
    finally:
        os.close(request_fd)


def _follow(channel: socket.socket, on_step: OnStep, lock: int) -> None:
    """Follow the monitor until the container runs, and give it the lock then.

    Until then it is this process's: once that has died, whoever comes next may remove everything.

    Raises:
        NsctlError: what stopped it.
    """
    while text := _received(channel):
        if text == _RUNS:
            with contextlib.suppress(ConnectionError):
                socket.send_fds(channel, [_FOLLOWED], [lock])
            return
        message = json.loads(text)
        if "error" in message:
            raise _told(message)
        on_step(message["step"])
        with contextlib.suppress(ConnectionError):
            channel.send(_FOLLOWED)
    raise Vanished("start", "the container", "its monitor died")


def _received(channel: socket.socket) -> bytes:
    """Receive a message; b"" when the monitor has died."""
    try:
        return channel.recv(_LIMIT)
    except ConnectionError:
        return b""


def _told(message: dict[str, Any]) -> NsctlError:
    operation, subject, cause, hint, number = message["error"]
    if "step" not in message:
        return KernelRefusal(operation, subject, cause, hint, errno=number)
    failure = report.Failure(message["step"], number, message["detail"])
    failure.subject, failure.hint = subject, hint
    return failure


# --- In the monitor --------------------------------------------------------------------------------


def main(request_fd: int) -> NoReturn:
    """Be the monitor; never returns."""
    unshare.set_parent_death_signal(signal.SIGKILL)
    with open(request_fd, "rb") as file:
        request = json.loads(file.read())
    if os.getppid() != request["parent"]:
        os._exit(1)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    own = os.pidfd_open(os.getpid())
    if os.fork():
        # Whoever started us waits for this process alone: nobody has to wait for the other one.
        for name in ("channel", "directory", "containers"):
            os.close(request[name])
        os.close(writing)
        os._exit(0 if os.read(reading, 1) else 1)
    os.close(reading)
    unshare.set_parent_death_signal(signal.SIGKILL)
    if has_ended(own):
        os._exit(1)
    os.close(own)
    for name in ("channel", "directory", "containers"):
        os.set_inheritable(request[name], False)  # noqa: FBT003  (positional only)
    status = 1
    try:
        _monitor(request, writing)
        status = 0
    finally:
        os._exit(status)


def _monitor(request: dict[str, Any], released: int) -> None:
    channel = socket.socket(fileno=request["channel"])
    containers = request["containers"]
    pool: dict[str, Any] = request["pool"]
    pool["subordinate"] = tuple(pool["subordinate"])
    store = Store(request["state"], request["storage"], IdPool(**pool))
    process.set_child_subreaper()
    handle = Handle.of(request["directory"], containers, request["id"])

    def tell(step: str) -> None:
        channel.send(json.dumps({"step": step}).encode())
        if not channel.recv(1):
            os._exit(1)

    try:
        spec = from_json(handle.state.spec)
        recorder = Recorder(
            request["directory"], terminal=spec.terminal, interactive=spec.interactive
        )
        running = begin(handle, containers, store, recorder, tell, alone=True)
    except NsctlError as error:
        channel.send(json.dumps(_fields(error)).encode())
        return
    except OSError as error:
        failure = translate(error, "start", f"container {handle.state.name}")
        channel.send(json.dumps(_fields(failure)).encode())
        return
    with contextlib.suppress(NsctlError):  # without a log it runs all the same
        recorder.log = Writer(handle.state.storage)
    pidfd = os.dup(running.pidfd)
    running.close_builder()
    # Nothing stands in the way any more of living on without whoever started us.
    unshare.set_parent_death_signal(0)
    channel.send(_RUNS)
    _, locks, _, _ = socket.recv_fds(channel, 1, 1)
    # Without one the starter has died just now, and nobody else holds it for long.
    handle.take_lock(locks[0] if locks else -1)
    channel.close()
    os.write(released, _RUNS)
    os.close(released)
    _attend(recorder, pidfd, running.pid)
    recorder.drain()
    status = _status_of(running.pid, pidfd)
    if spec.remove:
        garbage.clear(handle, containers, store)
    else:
        garbage.end(handle)
        garbage.note(handle, status="stopped", pid=0, start=0, exit_status=status)
    recorder.end(status)
    recorder.close()


def _fields(error: NsctlError) -> dict[str, Any]:
    number = getattr(error, "errno", 0)
    texts = [text[:4000] for text in (error.operation, error.subject, error.cause, error.hint)]
    message: dict[str, Any] = {"error": [*texts, number]}
    if isinstance(error, report.Failure):
        message |= {"step": error.step, "detail": error.detail}
    return message


def _attend(recorder: Recorder, pidfd: int, first: int) -> None:
    """Carry the container's streams until its first process has ended."""
    while True:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        recorder.register(poll)
        for fd, events in poll.poll():
            if fd == pidfd:
                return
            recorder.turn(fd, events)
        _reap_others(first)


def _reap_others(first: int) -> None:
    """Wait for what the container left to us, but not for its first process."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == first:
            return
        os.waitpid(found.si_pid, 0)


def _status_of(pid: int, pidfd: int) -> int:
    """Its exit status; -1 where the builder has been waited for by nobody, and it by another."""
    try:
        found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except OSError as error:
        if error.errno != errno.ECHILD:
            raise translate(error, "wait for", f"process {pid}") from error
        return -1
    if found is None:
        return -1
    return found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status
