"""Looking at files of somebody who is not trusted, in a helper that may hang without harm.

A file system of his own making may never answer, and whoever asks it waits until killed. So the
helper (`nsctl.paths.helper`) does the asking and sends what it finds piece by piece; when its time is
over it is killed, and what it has sent stands.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Sequence

from nsctl.errors import NsctlError, translate
from nsctl.model.record import NamedTuple

LENGTH = struct.Struct("=I")
"""Stands before each piece; the piece is plain data as marshal writes it."""

_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CODE = f"import sys; sys.path.append({_PACKAGES!r}); from nsctl.paths.helper import main; main()"
_CHUNK = 1 << 16
_END_MS = 200

Piece = tuple[object, ...]
"""Plain data: what it is, then what it says."""


class Answer(NamedTuple):
    """What the helper found.

    Attributes:
        pieces: in its order.
        silent: it was killed, because it did not come to an end in time.
    """

    pieces: list[Piece]
    silent: bool


def ask(operation: str, arguments: dict[str, object], fds: Sequence[int], seconds: float) -> Answer:
    """Have the helper do something.

    Args:
        operation: a name in `nsctl.paths.helper`.
        arguments: plain data.
        fds: descriptors that it gets under the same numbers.
        seconds: how long it may take.

    Returns:
        What it found until its end or that time.

    Raises:
        KernelRefusal: it cannot be started.
        NsctlError: it failed in a way that it did not foresee.
    """
    theirs, ours_out = os.pipe()
    ours, theirs_out = os.pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", _CODE],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs, 0),
                (os.POSIX_SPAWN_DUP2, theirs_out, 1),
                # To the same number: close-on-exec is taken from it.
                *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            # An interrupt from the terminal is for the caller, at whose end it ends.
            setpgroup=0,
        )
    except OSError as error:
        os.close(ours_out)
        os.close(ours)
        raise translate(error, "start", "a helper") from error
    finally:
        os.close(theirs)
        os.close(theirs_out)
    try:
        _send(ours_out, marshal.dumps((operation, arguments)))
        return _read(ours, time.monotonic() + seconds)
    finally:
        os.close(ours)
        _end(pid)


def _send(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError as error:
        raise NsctlError("start", "a helper", "it ended at once") from error
    finally:
        os.close(fd)


def _read(fd: int, deadline: float) -> Answer:
    pieces: list[Piece] = []
    pending = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        chunk = os.read(fd, _CHUNK)
        if not chunk:
            if not pieces or pieces[-1][0] != "end":
                raise NsctlError("look at", "files", "the helper that looks at them failed")
            return Answer(pieces[:-1], silent=False)
        pending += chunk
        _take(pending, pieces)
    return Answer(pieces, silent=True)


def _take(pending: bytearray, pieces: list[Piece]) -> None:
    """Move whole pieces out of what has come."""
    at = 0
    while len(pending) >= at + LENGTH.size:
        (size,) = LENGTH.unpack_from(pending, at)
        end = at + LENGTH.size + size
        if len(pending) < end:
            break
        pieces.append(marshal.loads(pending[at + LENGTH.size : end]))  # noqa: S302  (our own child's)
        at = end
    del pending[:at]


def _end(pid: int) -> None:
    """End the helper; one that cannot even be killed is left behind."""
    pidfd = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(_END_MS)
    finally:
        os.close(pidfd)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
