"""One bounded question to each of many daemons: an HTTP/1.1 GET over a unix socket.

All are asked at once, without threads, and all together get one time limit. Who answers is a
daemon whose word counts, but it may hang or be broken: an answer is parsed strictly and has a size
limit. http.client would cost 40 ms to import, and waits for each socket anew.
"""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable, Sequence

from nsctl.engines.http_response import Response, ResponseError
from nsctl.kernel.unix import connect
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

SECONDS = 1.0
"""What all daemons together may take."""

_CHUNK = 1 << 16
# Nothing tells when there is room again among those that wait to be accepted.
_CONNECT_AGAIN = 0.02


class Question(NamedTuple):
    """Whom to ask.

    Attributes:
        fd: O_PATH descriptor of the socket's file.
        may_ask: tells of a connection whether who listens there may be asked.
    """

    fd: int
    may_ask: Callable[[socket.socket], bool]


class Answer(NamedTuple):
    """What came of a question.

    Attributes:
        body: of the answer, b"" without one.
        failure: why there is none, in words; "" where there is one.
        is_stranger: somebody else listens there, who was not asked.
    """

    body: bytes
    failure: str = ""
    is_stranger: bool = False


def ask(path: str, questions: Sequence[Question], seconds: float = SECONDS) -> list[Answer]:
    """Ask all daemons for one resource.

    Args:
        path: of the resource, with its query, in ASCII.
        questions: whom.
        seconds: what all together may take.

    Returns:
        An answer to each question, in their order.
    """
    request = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: nsctl\r\n"
        "Accept: application/json\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
    deadline = time.monotonic() + seconds
    talks = [_Talk(question, request) for question in questions]
    try:
        while True:
            for talk in talks:
                if talk.connection is None and talk.answer is None:
                    talk.begin()
            going = [talk for talk in talks if talk.answer is None]
            left = deadline - time.monotonic()
            if not going or left <= 0:
                break
            _wait(going, left)
    finally:
        for talk in talks:
            talk.close()
    late = Answer(b"", f"it did not answer within {seconds:g} s")
    return [talk.answer or late for talk in talks]


class _Talk:
    """One conversation.

    Attributes:
        connection: None until there is one.
        answer: None until it is over.
    """

    def __init__(self, question: Question, request: bytes) -> None:
        self.connection: socket.socket | None = None
        self.answer: Answer | None = None
        self._question = question
        self._unsent = request
        self._response = Response()

    @property
    def events(self) -> int:
        """What to wait for."""
        return select.POLLOUT if self._unsent else select.POLLIN

    def begin(self) -> None:
        """Connect, if there is room for it; nothing is sent to a stranger."""
        try:
            connection = connect(self._question.fd)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                self._fail(error)
            return
        self.connection = connection
        try:
            if not self._question.may_ask(connection):
                self.answer = Answer(b"", "somebody else listens there", is_stranger=True)
        except OSError as error:
            self._fail(error)

    def go_on(self) -> None:
        """Send or receive what can be without waiting."""
        if self.connection is None:
            return
        try:
            if self._unsent:
                self._unsent = self._unsent[self.connection.send(self._unsent) :]
                return
            self._response.feed(self.connection.recv(_CHUNK))
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
        except ResponseError as error:
            self.answer = Answer(b"", f"its answer is not understood: {error}")
        else:
            if self._response.is_whole:
                self.answer = Answer(bytes(self._response.body))

    def close(self) -> None:
        """Hang up."""
        if self.connection is not None:
            self.connection.close()

    def _fail(self, error: OSError) -> None:
        self.answer = Answer(b"", error.strerror or str(error))


def _wait(talks: Sequence[_Talk], seconds: float) -> None:
    """Wait until something can go on, at most for this long, and let it."""
    poll = select.poll()
    by_fd: dict[int, _Talk] = {}
    for talk in talks:
        if talk.connection is None:
            seconds = min(seconds, _CONNECT_AGAIN)
        else:
            by_fd[talk.connection.fileno()] = talk
            poll.register(talk.connection, talk.events)
    for fd, _ in poll.poll(max(seconds * 1000, 1)):
        by_fd[fd].go_on()
