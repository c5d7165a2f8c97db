"""Visiting namespaces: what UTS, IPC, time, cgroup and user namespaces say to who is in them.

One helper (`nsctl.child.visit_helper`) visits them all, one after the other; it is started at the
first request, and killed when it does not answer.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections.abc import Iterable

from nsctl.child.visit_helper import CHUNK, END, KEY, MESSAGE_LIMIT
from nsctl.kernel import scm
from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_DEADLINE_MS = 5000
_HELPERS = 3
_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CODE = (
    f"import sys; sys.path.append({_PACKAGES!r}); from nsctl.child.visit_helper import main; main()"
)


class Hall(NamedTuple):
    """What a visit found.

    Attributes:
        texts: by name, what is there; the kernel's own text where it has one.
        error: error number where it could not be visited, 0 where it was; ETIMEDOUT where the
            helper did not answer.
    """

    texts: dict[str, bytes]
    error: int = 0

    @property
    def mapped(self) -> bool:
        """Ids in the texts are those of the user namespace that owns what was visited."""
        return "mapped" in self.texts


class Visitor:
    """Visits namespaces; a context manager that ends the helper.

    Args:
        proc_root: where procfs is mounted.
        hierarchies: for visits of cgroup namespaces, type and options of each hierarchy's
            superblock, as mountinfo shows them.
    """

    def __init__(self, proc_root: str, hierarchies: Iterable[tuple[str, str]] = ()) -> None:
        self._arguments = [proc_root, *(f"{kind} {options}" for kind, options in hierarchies)]
        self._left = _HELPERS
        self._pid = 0
        self._channel = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the helper; another request would start one anew."""
        self._end()

    def visit(
        self, kind: NamespaceType, fd: int, owner: int | None = None, pids: Iterable[int] = ()
    ) -> Hall:
        """Visit one namespace.

        Args:
            kind: its type: UTS, IPC, time, cgroup or user.
            fd: descriptor of it.
            owner: descriptor of the user namespace that owns it, to be entered first where the
                caller's own powers do not do.
            pids: for a cgroup namespace some of its members, in the numbers of the procfs.

        Returns:
            What is there, or why it could not be visited.

        Raises:
            OSError: the helper cannot be started.
        """
        if not self._start():
            return Hall({}, errno.ETIMEDOUT)
        words = " ".join([str(kind), *map(str, pids)])
        fds = (fd,) if owner is None else (fd, owner)
        try:
            scm.sendmsg(self._channel, words.encode("ascii"), fds)
            return self._read()
        except ConnectionError:
            self._end()
            return Hall({}, errno.EIO)

    def _read(self) -> Hall:
        texts: dict[str, list[bytes]] = {}
        chunks: list[bytes] = []
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while poll.poll(_DEADLINE_MS):
            data = scm.recvmsg(self._channel, MESSAGE_LIMIT).data
            mark, rest = data[:1], data[1:]
            if mark == KEY:
                chunks = texts.setdefault(rest.decode("ascii", "replace"), [])
            elif mark == CHUNK:
                chunks.append(rest)
            elif mark == END and rest.isdigit():
                return Hall({name: b"".join(parts) for name, parts in texts.items()}, int(rest))
            else:  # it ended
                self._end()
                return Hall({}, errno.EIO)
        self._end()
        return Hall({}, errno.ETIMEDOUT)

    def _start(self) -> bool:
        """Start the helper; False where it failed too often."""
        if self._channel >= 0:
            return True
        if not self._left:
            return False
        self._left -= 1
        self._channel, theirs = scm.socketpair()
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _CODE, *self._arguments],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                # An interrupt from the terminal is for the caller, at whose end it ends.
                setpgroup=0,
            )
        except OSError:
            os.close(self._channel)
            self._channel = -1
            raise
        finally:
            os.close(theirs)
        return True

    def _end(self) -> None:
        """End the helper and its child."""
        if self._channel >= 0:
            os.close(self._channel)
            self._channel = -1
        pid, self._pid = self._pid, 0
        if pid:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
