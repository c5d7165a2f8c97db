"""The helper process that builds a container and becomes its first process's parent.

It is started anew, or forked from a program of nsctl's own that has no other thread, where a second
interpreter would be a third of what a short command costs. Either way it gets the descriptor of its
request, a JSON object with the specification, the layout and the numbers of its others. On its
channel, a sequenced-packet socket, it tells each step before it is done, then the first process
with a pidfd, and the end of that process or the error that stopped everything.
"""

from __future__ import annotations

import array  # noqa: F401  (socket.send_fds imports it when it is called)
import fcntl
import gc
import json
import os
import signal
import socket
import sys

from nsctl.child.plan import Filter
from nsctl.child.stage2 import prepare
from nsctl.errors import EXIT_REFUSED_BEFORE_START, NsctlError, translate
from nsctl.kernel import seccomp, unshare
from nsctl.model.namespace import NamespaceType
from nsctl.run import plan, spec
from nsctl.run.context import Builder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, NoReturn

MESSAGE_LIMIT = 65536
"""Bytes of one message on the channel."""

_SHOWN = 1500  # five such texts, each letter a JSON escape, are one message

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from nsctl.run.builder import main; main(int(sys.argv[2]))"
)


def command(request_fd: int) -> list[str]:
    """Arguments that start a builder, from the nsctl that runs now and the bare interpreter."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [sys.executable, "-I", "-S", "-B", "-c", _BOOT, root, str(request_fd)]


def forked(
    request_fd: int, stdio: Sequence[int], passed: Iterable[int], mask: Iterable[int]
) -> NoReturn:
    """Do as a builder that was started anew does, in a child forked from a program of nsctl's own.

    Args:
        request_fd: of the request.
        stdio: what becomes descriptors 0 to 2, -1 for /dev/null.
        passed: the other descriptors that it keeps, under their numbers; all else is closed.
        mask: signals that are blocked; until here all are.
    """
    try:
        # What the collector found would close numbers that are something else here.
        gc.disable()
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        given = [fcntl.fcntl(null if fd < 0 else fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in stdio]
        for stream, fd in enumerate(given):
            os.dup2(fd, stream)
        low = 3
        for fd in sorted({request_fd, *passed}):
            os.closerange(low, fd)
            low = fd + 1
        os.closerange(low, os.sysconf("SC_OPEN_MAX"))
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        main(request_fd)
    finally:
        os._exit(EXIT_REFUSED_BEFORE_START)


def main(request_fd: int) -> NoReturn:
    """Build and become the container; never returns."""
    unshare.set_parent_death_signal(signal.SIGKILL)
    with open(request_fd, "rb") as file:
        request = json.loads(file.read())
    if os.getppid() != request["parent"]:
        os._exit(EXIT_REFUSED_BEFORE_START)
    if request["interpreter"] is not None:
        # Through an open clone of the interpreter somebody inside could make it writable.
        os.close(request["interpreter"])
    channel = socket.socket(fileno=request["channel"])
    try:
        _build(request, channel)
    except NsctlError as error:
        _tell(channel, {"error": _fields(error)}, [])
    except OSError as error:
        _tell(channel, {"error": _fields(translate(error, "build", "the container"))}, [])
    except BaseException as error:
        cause = f"{type(error).__name__}: {error}"
        _tell(channel, {"error": ["build", "the container", _short(cause), "", 0]}, [])
        raise
    finally:
        os._exit(EXIT_REFUSED_BEFORE_START)


def _fields(error: NsctlError) -> list[object]:
    number = getattr(error, "errno", 0)
    texts = [error.operation, error.subject, error.cause, error.hint]
    return [*map(_short, texts), number]


def _short(text: str) -> str:
    """Cut what a person would not read to its end: a command has up to 2 MiB."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}.."


def _tell(channel: socket.socket, message: dict[str, object], fds: list[int]) -> None:
    socket.send_fds(channel, [json.dumps(message).encode()], fds)


def _build(request: dict[str, Any], channel: socket.socket) -> None:
    wanted = spec.from_json(request["spec"])
    layout = plan.layout_from_json(request["layout"])

    def send(message: dict[str, object], fds: list[int]) -> None:
        _tell(channel, message, fds)

    def serve(child: int, detached: bool) -> NoReturn:
        os.close(context.report)
        os.close(context.go)
        pidfd = os.pidfd_open(child)
        send({"pid": child}, [pidfd])
        os.close(pidfd)
        if detached:
            channel.recv(1)  # until whoever started us lets the container go
        else:
            _, status = os.waitpid(child, 0)
            send({"exit": os.waitstatus_to_exitcode(status)}, [])
        os._exit(0)

    context = Builder(send, serve, prepare(request["program"]))
    context.streams = layout.streams
    context.others = request["others"]
    context.report, context.go = request["report"], request["go"]
    given = [context.report, context.go, channel.fileno(), *context.others.values()]
    for fd in given + ([] if request["program"] is None else [request["program"]]):
        os.set_inheritable(fd, False)  # noqa: FBT003  (positional only)
    if wanted.seccomp:
        bounding = plan.sets_of(wanted, layout).bounding
        if wanted.seccomp_profile:
            profile = json.loads(wanted.seccomp_profile)
            compiled = seccomp.compile_profile(profile, bounding)
        else:
            compiled = seccomp.default_filter(bounding)
        context.filters = (Filter(compiled.program, compiled.flags),)
    if wanted.is_private(NamespaceType.MNT):
        context.storage_outside = os.open(
            layout.storage, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
    if wanted.boottime or wanted.monotonic:
        context.offsets = unshare.open_time_offsets()
    os.umask(0o022)
    # From here on the root may become a hostile one: nothing more is imported, whoever asks.
    sys.meta_path.clear()
    sys.path.clear()
    for step in plan.plan(wanted, layout).build:
        send({"step": _short(step.describe())}, [])
        step.execute(context)
