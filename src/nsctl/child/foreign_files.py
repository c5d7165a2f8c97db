"""Looking at descriptors of other processes, in a helper that may hang without harm.

`ForeignFiles` starts the helper at the first request (`nsctl.child.foreign_helper`), gives up on it
when it does not answer, and starts another for what is left, a few times. A helper that waits for
a hostile file system cannot be killed before that one answers; it is then left behind.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterable, Iterator
from itertools import islice

from nsctl.child.foreign_words import DONE, MESSAGE_LIMIT
from nsctl.errors import NsctlError
from nsctl.kernel import scm
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Self

_DEADLINE_MS = 5000
_END_MS = 1000
_HELPERS = 3
_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CODE = (
    f"import sys; sys.path.append({_PACKAGES!r}); "
    "from nsctl.child.foreign_helper import main; main()"
)


class FileRequest(NamedTuple):
    """Asks about a descriptor of another process.

    Attributes:
        what: "socket" or "tun" for the network namespace that it keeps; "messages" for the
            descriptors in a unix socket's unread messages; "describe" for what a socket is.
        pid: the process, in the numbers of the caller's PID namespace.
        tid: the thread whose own table it is in, 0 for the process's.
        fd: its number.
        ino: for a socket its inode, which it must still have.
    """

    what: str
    pid: int
    tid: int
    fd: int
    ino: int = 0


class BindRequest(NamedTuple):
    """Asks to open a namespace that is bind-mounted in another mount namespace.

    Attributes:
        mntns: descriptor of that mount namespace.
        path: the mount point in it.
    """

    mntns: int
    path: bytes


class NetRequest(NamedTuple):
    """Asks for netlink sockets of another network namespace, and for files of its /proc/PID/net.

    Attributes:
        netns: descriptor of that namespace.
        users: descriptor of a user namespace that must be joined first, for a right to it; -1
            for none.
        files: names below /proc/PID/net.
    """

    netns: int
    users: int
    files: tuple[str, ...]


ROUTE, DIAG, FIRST_FILE = 0, 1, 2
"""What the numbers of descriptors mean that a `NetRequest` is answered with: sockets of
NETLINK_ROUTE and NETLINK_SOCK_DIAG, then the files that were asked for, in their order."""


class Answer(NamedTuple):
    """What was found.

    Attributes:
        nets: inodes of network namespaces that sockets and tun devices keep.
        fds: descriptors of namespaces, which the caller closes; of one among ``nets`` only where
            it is met for the first time.
        outcome: "" when all was looked at, else the first word for what was not: "gone",
            "refused" (the process may not be attached to), "closed" (CAP_NET_ADMIN lacks),
            "offset" (a peek would be noticed), "unaccepted" and "behind" (descriptors that a
            peek does not reach), "deep" (sockets in sockets in sockets), "failed", "silent".
        missed: how many descriptors were not looked at, where that is known.
        numbers: which of what was asked for each of ``fds`` is, for a `NetRequest`.
        facts: for "describe" what the socket says: "domain", "type", "protocol", "listening";
            for vsock also "cid", "port", "peer-cid" and "peer-port". For "messages" the inode of
            each "socket" among the descriptors.
    """

    nets: tuple[int, ...] = ()
    fds: tuple[int, ...] = ()
    outcome: str = ""
    missed: int = 0
    numbers: tuple[int, ...] = ()
    facts: tuple[tuple[str, int], ...] = ()

    def close(self) -> None:
        """Close the descriptors."""
        scm.close_all(self.fds)


Request = FileRequest | BindRequest | NetRequest
_CHUNKS = {"socket": 128, "tun": 128, "messages": 1, "describe": 128, "bind": 64, "net": 1}


class ForeignFiles:
    """Looks at descriptors of other processes; a context manager that ends the helper.

    Args:
        dev: device of nsfs.

    Attributes:
        pid: the helper, 0 while there is none.
        inos: inodes of the sockets between it and the caller.
    """

    def __init__(self, dev: int) -> None:
        self._dev = dev
        self._left = _HELPERS
        self.pid = 0
        self.inos: set[int] = set()
        self._channel = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the helper; another request would start one anew."""
        self._end(kill=False)

    def ask(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Ask the helper.

        Args:
            requests: all of one kind.

        Yields:
            An answer for each, in order; the caller closes each before it takes many more.

        Raises:
            NsctlError: the helper ended by itself.
            OSError: it cannot be started.
        """
        source = iter(requests)
        while first := next(source, None):
            chunk = [first, *islice(source, _CHUNKS[_kind(first)] - 1)]
            yield from self._ask(chunk)

    def _ask(self, chunk: list[Request]) -> list[Answer]:
        if not self.start():
            return [Answer(outcome="silent")] * len(chunk)
        lines = [_encode(request) for request in chunk]
        fds = tuple(fd for request in chunk for fd in _passed(request))
        answers = [Answer()] * len(chunk)
        done = False
        try:
            scm.sendmsg(self._channel, b"\n".join(lines), fds)
            while not done:
                poll = select.poll()
                poll.register(self._channel, select.POLLIN)
                if not poll.poll(_DEADLINE_MS):
                    break
                message = scm.recvmsg(self._channel, MESSAGE_LIMIT)
                if not message.data:
                    self._fail()
                done = message.data.startswith(DONE)
                _collect(answers, message)
        except BaseException as error:
            for answer in answers:
                answer.close()
            if isinstance(error, ConnectionError):
                self._fail()
            raise
        if not done:
            self._end(kill=True)
            return [
                answer if _is_whole(request, answer) else answer._replace(outcome="silent")
                for request, answer in zip(chunk, answers, strict=True)
            ]
        return answers

    def start(self) -> bool:
        """Start a helper, so that it is ready when it is asked.

        Returns:
            False where too many have hung already.

        Raises:
            OSError: it cannot be started.
        """
        if self._channel >= 0:
            return True
        if not self._left:
            return False
        self._left -= 1
        self._channel, theirs = scm.socketpair()
        self.inos.update(os.fstat(fd).st_ino for fd in (self._channel, theirs))
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _CODE, str(self._dev)],
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

    def _fail(self) -> NoReturn:
        """Wait for a helper that ended by itself, and say how it did."""
        os.close(self._channel)
        self._channel = -1
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        raise NsctlError(
            "look at",
            "descriptors of other processes",
            f"the helper ended with status {os.waitstatus_to_exitcode(status)}",
        )

    def _end(self, *, kill: bool) -> None:
        """End the helper; one that hangs is killed, and not waited for."""
        if self._channel >= 0:
            os.close(self._channel)
            self._channel = -1
        pid, self.pid = self.pid, 0
        if not pid:
            return
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if kill or not poll.poll(_END_MS):
                os.kill(pid, signal.SIGKILL)
                poll.poll(100)
        finally:
            os.close(pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _is_whole(request: Request, answer: Answer) -> bool:
    """Tell whether an answer is all that can come, when the helper fell silent."""
    if _kind(request) in {"messages", "describe", "net"}:
        return False
    return bool(answer.outcome or answer.nets or answer.fds)


def _kind(request: Request) -> str:
    if isinstance(request, FileRequest):
        return request.what
    return "bind" if isinstance(request, BindRequest) else "net"


def _passed(request: Request) -> tuple[int, ...]:
    """Descriptors that go with a request."""
    if isinstance(request, BindRequest):
        return (request.mntns,)
    if isinstance(request, NetRequest):
        return (request.netns,) if request.users < 0 else (request.users, request.netns)
    return ()


def _encode(request: Request) -> bytes:
    if isinstance(request, BindRequest):
        return b"bind " + request.path.hex().encode()
    if isinstance(request, NetRequest):
        words = (b"net", b"1" if request.users >= 0 else b"0", *map(str.encode, request.files))
        return b" ".join(words)
    return b"%s %d %d %d %d" % (request.what.encode(), *request[1:])


def _collect(answers: list[Answer], message: scm.Message) -> None:
    """Add what one message says to the answers."""
    fds = iter(message.fds)
    for line in message.data[1:].split(b"\n"):
        if not line:
            continue
        index, word, number = line.split(b" ")
        answer = answers[int(index)]
        if word.endswith(b"+"):
            answer = answer._replace(fds=(*answer.fds, next(fds)))
        name = word.rstrip(b"+").decode("ascii")
        if name == "net":
            answer = answer._replace(nets=(*answer.nets, int(number)))
        elif name == "opened":
            answer = answer._replace(numbers=(*answer.numbers, int(number)))
        elif name.startswith("="):
            answer = answer._replace(facts=(*answer.facts, (name[1:], int(number))))
        elif name != "ns":
            missed = answer.missed + int(number)
            answer = answer._replace(outcome=answer.outcome or name, missed=missed)
        answers[int(index)] = answer
