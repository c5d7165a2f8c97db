"""A child that stays outside the new namespaces to do one thing there when it is told to."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from nsctl.errors import KernelRefusal, NsctlError

_LIMIT = 1 << 16


class Errand:
    """One thing to be done by a child that is forked now, before the caller changes.

    Args:
        work: the thing; what it raises is raised by `finish`.
        among: where the errand is entered once the child runs.

    Raises:
        OSError: the child cannot be made.
    """

    def __init__(self, work: Callable[[], None], among: list[Errand]) -> None:
        order_reading, self._order = os.pipe()
        self._answer, answer_writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                os.close(self._order)
                # An end without an order means that the caller is gone.
                if os.read(order_reading, 1):
                    _report(work, answer_writing)
                    status = 0
            finally:
                os._exit(status)
        os.close(order_reading)
        os.close(answer_writing)
        among.append(self)

    def finish(self) -> None:
        """Have it done.

        Raises:
            NsctlError: it failed.
        """
        with contextlib.suppress(BrokenPipeError):
            os.write(self._order, b"!")
        raw = b""
        while len(raw) < _LIMIT and (chunk := os.read(self._answer, _LIMIT)):
            raw += chunk
        self._end()
        fields = raw.decode("utf-8", "surrogateescape").split("\0")
        if fields == ["done"]:
            return
        if len(fields) != 5:
            raise NsctlError("set up", "the namespaces", "the helper outside ended early")
        operation, subject, cause, hint, number = fields
        if int(number):
            raise KernelRefusal(operation, subject, cause, hint, errno=int(number))
        raise NsctlError(operation, subject, cause, hint)

    def abandon(self) -> None:
        """End the child if it still waits."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._end()

    def _end(self) -> None:
        os.waitpid(self._pid, 0)
        self._pid = 0
        os.close(self._order)
        os.close(self._answer)


def _report(work: Callable[[], None], fd: int) -> None:
    """Do it, and write how it went."""
    told = ["done"]
    try:
        work()
    except NsctlError as error:
        number = error.errno if isinstance(error, KernelRefusal) else 0
        told = [error.operation, error.subject, error.cause, error.hint, str(number)]
    os.write(fd, "\0".join(told).encode("utf-8", "surrogateescape")[:_LIMIT])
