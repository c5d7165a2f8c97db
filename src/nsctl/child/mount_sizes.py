"""Asking file systems how full they are, in a helper that may hang without harm.

A file system in user space, or of a server that is gone, may never answer statvfs(3), and whoever
asks it waits until killed. So the helper asks, has little time for each, and is killed when that is
over; another takes the rest, a few times.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import struct
import sys

from nsctl.model.mount import Sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CODE = (
    f"import sys; sys.path.append({_PACKAGES!r}); from nsctl.child.mount_sizes import main; main()"
)
_ANSWER_MS = 1000
_KILLED_MS = 100
_HELPERS = 3
_REQUEST = struct.Struct("=cII")
_ANSWER = struct.Struct("=I6QI")


class MountSizes:
    """Asks the helper, and starts it when it is first asked; a context manager that ends it.

    Attributes:
        silent: how many file systems did not answer.
    """

    def __init__(self) -> None:
        self.silent = 0
        self._pid = 0
        self._to = self._from = -1
        self._left = _HELPERS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the helper; another question would start one anew."""
        self._end(kill=False)

    def at(self, path: bytes) -> Sizes | None:
        """Ask the file system at a path.

        Returns:
            What it says; None where it does not, or there is nothing.
        """
        return self._sizes(b"p", b"", path)

    def below(self, root: str, path: bytes) -> Sizes | None:
        """Ask the file system at a path below another root directory; no link leads out of it.

        Args:
            root: that directory, "/proc/PID/root".
            path: the place in there.

        Returns:
            What it says; None where it does not, or there is nothing.
        """
        return self._sizes(b"r", os.fsencode(root), path)

    def magic(self, path: str) -> int:
        """Ask of which type the file system of a descriptor is.

        Args:
            path: of a magic link, such as "/proc/PID/fd/N".

        Returns:
            The magic number of its file system, 0 where that is not known.
        """
        answer = self._ask(b"m", b"", os.fsencode(path))
        return 0 if answer is None else answer[-1]

    def _sizes(self, kind: bytes, root: bytes, path: bytes) -> Sizes | None:
        answer = self._ask(kind, root, path)
        return None if answer is None or answer[0] else Sizes(*answer[1:7])

    def _ask(self, kind: bytes, root: bytes, path: bytes) -> tuple[int, ...] | None:
        if not self._start():
            self.silent += 1
            return None
        try:
            os.write(self._to, _REQUEST.pack(kind, len(root), len(path)) + root + path)
        except BrokenPipeError:  # it was killed by somebody else: the next one starts another
            self._end(kill=True)
            return None
        data = b""
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        while len(data) < _ANSWER.size:
            chunk = os.read(self._from, _ANSWER.size) if poll.poll(_ANSWER_MS) else b""
            if not chunk:
                self._end(kill=True)
                self.silent += 1
                return None
            data += chunk
        return _ANSWER.unpack(data)

    def _start(self) -> bool:
        if self._pid:
            return True
        if not self._left:
            return False
        self._left -= 1
        their_in, self._to = os.pipe()
        self._from, their_out = os.pipe()
        try:
            self._pid = os.posix_spawn(
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
        return True

    def _close(self) -> None:
        for fd in (self._to, self._from):
            if fd >= 0:
                os.close(fd)
        self._to = self._from = -1

    def _end(self, *, kill: bool) -> None:
        """End the helper; one that cannot even be killed is left behind."""
        self._close()
        pid, self._pid = self._pid, 0
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


def main() -> None:
    """The helper: answers requests until its standard input ends."""
    # The caller may have set aside the default action, and children inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    while header := _take(_REQUEST.size):
        kind, of_root, of_path = _REQUEST.unpack(header)
        root, path = _take(of_root), _take(of_path)
        os.write(1, _answer(kind, root, path))


def _take(size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := os.read(0, size - len(data))):
        data += chunk
    return data


def _answer(kind: bytes, root: bytes, path: bytes) -> bytes:
    try:
        if kind == b"p":
            return _ANSWER.pack(0, *_of(os.statvfs(path)), 0)
        if kind == b"r":
            fd = _open_below(root, path)
            try:
                return _ANSWER.pack(0, *_of(os.fstatvfs(fd)), 0)
            finally:
                os.close(fd)
        from nsctl.kernel import statfs

        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        return _ANSWER.pack(0, *(0,) * 6, statfs.magic(fd))
    except OSError as error:
        return _ANSWER.pack(error.errno or errno.EIO, *(0,) * 6, 0)


def _open_below(root: bytes, path: bytes) -> int:
    from nsctl.kernel.mount import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return openat2(top, os.fsdecode(path), os.O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    finally:
        os.close(top)


def _of(told: os.statvfs_result) -> Sizes:
    return Sizes(
        told.f_frsize, told.f_blocks, told.f_bfree, told.f_bavail, told.f_files, told.f_ffree
    )
