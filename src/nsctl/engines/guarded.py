"""Reading files of somebody who is not trusted, in a helper that may hang without harm.

A file system of his own making (FUSE, a network's) may never answer, and whoever asks it waits
until killed. So the helper does the asking, has little time for each root directory, and is killed
when that is over; what it did not answer counts as not there, and is noted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import struct
import sys
import time

from nsctl.kernel.below import Content

_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CODE = (
    f"import sys; sys.path.append({_PACKAGES!r}); from nsctl.engines.guarded import main; main()"
)
_SECONDS_A_ROOT = 0.3
_SECONDS = 0.9
_KILLED_MS = 100
_REQUEST = struct.Struct("=cQII")
_ANSWER = struct.Struct("=IIIBQ")


class GuardedReader:
    """Asks the helper, and starts it when it is first asked.

    Attributes:
        pid: the helper, 0 while there is none.
    """

    def __init__(self) -> None:
        self.pid = 0
        self._to = -1
        self._from = -1
        self._left = _SECONDS
        self._left_of: dict[str, float] = {}

    def read_file(self, root: str, path: str, limit: int) -> Content:
        """Read a file; as `nsctl.kernel.below.read_file`.

        Raises:
            OSError: as there; ETIMEDOUT where it did not answer in time.
        """
        uid, mode, whole, data = self._ask(b"f", root, path, limit)
        return Content(data, uid, mode, whole)

    def list_directory(self, root: str, path: str, limit: int) -> list[str]:
        """List a directory; as `nsctl.kernel.below.list_directory`.

        Raises:
            OSError: as there; ETIMEDOUT where it did not answer in time.
        """
        data = self._ask(b"d", root, path, limit)[3]
        return [os.fsdecode(name) for name in data.split(b"\0") if name]

    def read_link(self, root: str, path: str) -> str:
        """Read a link; as `nsctl.kernel.below.read_link`.

        Raises:
            OSError: as there; ETIMEDOUT where it did not answer in time.
        """
        return os.fsdecode(self._ask(b"l", root, path, 0)[3])

    def _ask(self, kind: bytes, root: str, path: str, limit: int) -> tuple[int, int, bool, bytes]:
        left = min(self._left, self._left_of.get(root, _SECONDS_A_ROOT))
        if left <= 0:
            raise _silence(path)
        began = time.monotonic()
        try:
            self._start()
            where, what = os.fsencode(root), os.fsencode(path)
            os.write(self._to, _REQUEST.pack(kind, limit, len(where), len(what)) + where + what)
            header = self._receive(_ANSWER.size, began + left, path)
            number, uid, mode, whole, size = _ANSWER.unpack(header)
            data = self._receive(size, began + left, path)
        finally:
            taken = time.monotonic() - began
            self._left -= taken
            self._left_of[root] = self._left_of.get(root, _SECONDS_A_ROOT) - taken
        if number:
            raise OSError(number, os.strerror(number), path)
        return uid, mode, bool(whole), data

    def _receive(self, size: int, deadline: float, path: str) -> bytes:
        chunks = []
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        while size:
            ready = poll.poll(max(0, (deadline - time.monotonic()) * 1000))
            chunk = os.read(self._from, min(size, 1 << 16)) if ready else b""
            if not chunk:
                self._end(kill=True)
                raise _silence(path)
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def _start(self) -> None:
        if self.pid:
            return
        their_in, self._to = os.pipe()
        self._from, their_out = os.pipe()
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _CODE],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, their_in, 0),
                    (os.POSIX_SPAWN_DUP2, their_out, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                # An interrupt from the terminal is for the caller, at whose end it ends.
                setpgroup=0,
            )
        except OSError:
            self._close()
            raise
        finally:
            os.close(their_in)
            os.close(their_out)

    def _close(self) -> None:
        for fd in (self._to, self._from):
            if fd >= 0:
                os.close(fd)
        self._to = self._from = -1

    def close(self) -> None:
        """End the helper."""
        self._end(kill=False)

    def _end(self, *, kill: bool) -> None:
        """End the helper; one that cannot even be killed is left behind."""
        self._close()
        pid, self.pid = self.pid, 0
        if not pid:
            return
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if kill or not poll.poll(_KILLED_MS):
                os.kill(pid, signal.SIGKILL)
                poll.poll(_KILLED_MS)
        finally:
            os.close(pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _silence(path: str) -> OSError:
    return OSError(errno.ETIMEDOUT, "the file system did not answer in time", path)


def main() -> None:
    """The helper: answers requests until its standard input ends."""
    # The caller may have set aside the default action, and children inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    while header := _take(_REQUEST.size):
        kind, limit, of_root, of_path = _REQUEST.unpack(header)
        root, path = os.fsdecode(_take(of_root)), os.fsdecode(_take(of_path))
        answer = _answer(kind, root, path, limit)
        while answer:
            answer = answer[os.write(1, answer) :]


def _take(size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := os.read(0, size - len(data))):
        data += chunk
    return data


def _answer(kind: bytes, root: str, path: str, limit: int) -> bytes:
    from nsctl.kernel import below

    try:
        if kind == b"d":
            names = below.list_directory(root, path, limit)
            data = b"\0".join(map(os.fsencode, names))
            return _ANSWER.pack(0, 0, 0, 1, len(data)) + data
        if kind == b"l":
            data = os.fsencode(below.read_link(root, path))
            return _ANSWER.pack(0, 0, 0, 1, len(data)) + data
        content = below.read_file(root, path, limit)
    except OSError as error:
        return _ANSWER.pack(error.errno or errno.EIO, 0, 0, 0, 0)
    size = len(content.data)
    return _ANSWER.pack(0, content.uid, content.mode, content.whole, size) + content.data
