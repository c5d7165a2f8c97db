"""Asking daemons: an answer is parsed strictly, and whatever they do, all is over in time."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines import api
from nsctl.engines.http_response import BODY_LIMIT, Response, ResponseError

pytestmark = pytest.mark.unit

BODY = json.dumps([{"Id": "ab" * 32, "Names": ["/web"]}]).encode()
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nApi-Version: 1.41\r\n\r\n" % len(BODY) + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"5\r\n%s\r\n%x;a=b\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
)
CLOSED = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + BODY
# Many times what is allowed: that tells that asking ends, not how fast it is.
LIMIT = 2.0
GENEROUS = 20 * LIMIT


def read(raw: bytes, cuts: list[int] | None = None, *, limit: int = BODY_LIMIT) -> bytes:
    """Feed an answer in pieces, and its end."""
    response = Response(limit)
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts or ())})
    for begin, end in itertools.pairwise(places):
        response.feed(raw[begin:end])
    response.feed(b"")
    assert response.is_whole
    return bytes(response.body)


@pytest.mark.parametrize("raw", [COUNTED, CHUNKED, CLOSED])
@given(cuts=st.lists(st.integers(0, 400), max_size=20))
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(raw: bytes, cuts: list[int]) -> None:
    assert read(raw, cuts) == BODY


@pytest.mark.parametrize("raw", [COUNTED, CHUNKED])
@given(size=st.integers(0, 1000))
def test_an_answer_that_ends_early_is_none(raw: bytes, size: int) -> None:
    with pytest.raises(ResponseError):
        read(raw[: size % len(raw)])


@given(
    raw=st.sampled_from([COUNTED, CHUNKED, CLOSED]),
    place=st.integers(0, 400),
    piece=st.binary(max_size=4),
    cuts=st.lists(st.integers(0, 400), max_size=4),
)
def test_a_damaged_answer_is_an_error_or_an_answer_and_the_same_in_all_pieces(
    raw: bytes, place: int, piece: bytes, cuts: list[int]
) -> None:
    place %= len(raw)
    damaged = raw[:place] + piece + raw[place + len(piece) :]

    def outcome(cuts: list[int]) -> bytes | None:
        try:
            return read(damaged, cuts)
        except ResponseError:
            return None

    assert outcome(cuts) == outcome([])


@given(raw=st.binary(max_size=300))
def test_what_is_no_http_is_an_error(raw: bytes) -> None:
    with pytest.raises(ResponseError):
        read(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/2 200 OK\r\n\r\n[]",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 100 Continue\r\n\r\n" + COUNTED,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]more",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n[]\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n[]\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]]]\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000 + b"\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + b"a" * 5000 + b"\r\n[]\r\n",
    ],
)
def test_what_could_be_understood_in_two_ways_is_an_error(raw: bytes) -> None:
    for cuts in ([], list(range(0, len(raw), 7))[:2000]):
        with pytest.raises(ResponseError):
            read(raw, cuts)


@pytest.mark.parametrize("raw", [COUNTED, CHUNKED, CLOSED])
def test_an_answer_longer_than_the_limit_is_an_error(raw: bytes) -> None:
    assert read(raw, limit=len(BODY)) == BODY
    with pytest.raises(ResponseError, match="longer than"):
        read(raw, limit=len(BODY) - 1)


# --- Daemons -------------------------------------------------------------------------------------

Behaviour = Callable[[socket.socket, threading.Event], None]


def answers(connection: socket.socket, _over: threading.Event) -> None:
    connection.recv(4096)
    connection.sendall(CHUNKED)


def hangs(_connection: socket.socket, over: threading.Event) -> None:
    over.wait(60)


def drips(connection: socket.socket, over: threading.Event) -> None:
    """Send a byte now and then: each wait by itself is short."""
    for byte in COUNTED * 100:
        if over.wait(0.05):
            return
        connection.send(bytes([byte]))


def talks_nonsense(connection: socket.socket, _over: threading.Event) -> None:
    connection.recv(4096)
    connection.sendall(b"\0\x03{}" * 1000)


def never_ends(connection: socket.socket, _over: threading.Event) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def hangs_up(connection: socket.socket, _over: threading.Event) -> None:
    connection.recv(4096)


@contextlib.contextmanager
def daemon(path: Path, behave: Behaviour) -> Iterator[int]:
    """Run a daemon.

    Yields:
        An O_PATH descriptor of its socket.
    """
    over = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                behave(connection, over)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(1)
        thread = threading.Thread(target=serve)
        thread.start()
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            over.set()
            os.close(fd)
            # Wakes an accept() that nobody came to.
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_whatever_daemons_do_each_has_an_answer_and_all_is_over_in_time(tmp_path: Path) -> None:
    told = {
        answers: "",
        hangs: "it did not answer within 2 s",
        drips: "it did not answer within 2 s",
        talks_nonsense: "its answer is not understood: it is not HTTP",
        hangs_up: "its answer is not understood: it ends too early",
    }
    with contextlib.ExitStack() as stack:
        fds = [stack.enter_context(daemon(tmp_path / each.__name__, each)) for each in told]
        endless = stack.enter_context(daemon(tmp_path / "endless", never_ends))
        questions = [api.Question(fd, lambda _: True) for fd in (*fds, endless)]
        began = time.monotonic()
        *found, last = api.ask("/containers/json?all=1", questions, LIMIT)
        assert time.monotonic() - began < GENEROUS
    assert [answer.failure for answer in found] == list(told.values())
    assert json.loads(found[0].body) == json.loads(BODY)
    assert last.failure in {
        f"its answer is not understood: it is longer than {BODY_LIMIT} bytes",
        "it did not answer within 2 s",
    }


def test_nothing_is_sent_to_a_stranger(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def listens(connection: socket.socket, _over: threading.Event) -> None:
        heard.append(connection.recv(4096))

    with daemon(tmp_path / "x", listens) as fd:
        (answer,) = api.ask("/", [api.Question(fd, lambda _: False)])
    assert answer == api.Answer(b"", "somebody else listens there", is_stranger=True)
    assert heard == [b""]


def test_what_nobody_listens_at_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        (answer,) = api.ask("/", [api.Question(fd, lambda _: True)], 1000)
    finally:
        os.close(fd)
    assert answer.failure == "Connection refused"


def test_a_daemon_that_accepts_nobody_any_more_costs_no_more_than_the_limit(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        server.bind(str(path))
        server.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                waiting.setblocking(False)  # noqa: FBT003  (its only argument)
                waiting.connect(str(path))
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        (answer,) = api.ask("/", [api.Question(fd, lambda _: True)], 0.1)
    assert answer.failure == "it did not answer within 0.1 s"
