"""The helper that looks at other processes' descriptors: what it says, and when it does not."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.child import foreign_files
from nsctl.child.foreign_files import Answer, FileRequest, ForeignFiles
from nsctl.errors import NsctlError
from nsctl.kernel import scm

pytestmark = pytest.mark.unit

_REQUEST = FileRequest("socket", 1, 0, 3, 4)


def test_a_process_that_is_gone_is_said_to_be() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    with ForeignFiles(0) as files:
        requests = [FileRequest("socket", child, 0, fd, 1) for fd in range(300)]
        answers = list(files.ask(requests))
        assert [answer.outcome for answer in answers] == ["gone"] * 300
        assert files.pid
    assert not files.pid


def test_a_helper_that_ends_by_itself_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_files, "_CODE", "raise SystemExit(3)")
    with ForeignFiles(0) as files, pytest.raises(NsctlError, match="status 3"):
        list(files.ask([_REQUEST]))


def test_a_helper_that_falls_silent_is_given_up_and_so_are_all_after_a_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(foreign_files, "_CODE", "import sys; sys.stdin.read()")
    monkeypatch.setattr(foreign_files, "_DEADLINE_MS", 1)
    monkeypatch.setitem(foreign_files._CHUNKS, "socket", 1)
    with ForeignFiles(0) as files:
        answers = list(files.ask([_REQUEST] * 5))
        assert answers == [Answer(outcome="silent")] * 5
        assert not files.pid


_LINES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["net", "ns", "gone", "closed", "behind"]),
        st.integers(0, 1 << 33),
        st.booleans(),
    ),
    max_size=8,
)


@given(_LINES)
def test_each_line_and_descriptor_goes_to_its_request(
    lines: list[tuple[int, str, int, bool]],
) -> None:
    text = b"d"
    fds: list[int] = []
    expected = [Answer(), Answer(), Answer()]
    for index, word, number, attached in lines:
        has_fd = attached and word in {"net", "ns"}
        text += b"%d %s%s %d\n" % (index, word.encode(), b"+" * has_fd, number)
        answer = expected[index]
        if has_fd:
            fds.append(1000 + len(fds))
            answer = answer._replace(fds=(*answer.fds, fds[-1]))
        if word == "net":
            answer = answer._replace(nets=(*answer.nets, number))
        elif word != "ns":
            answer = answer._replace(outcome=answer.outcome or word, missed=answer.missed + number)
        expected[index] = answer
    answers = [Answer(), Answer(), Answer()]
    foreign_files._collect(answers, scm.Message(text, tuple(fds), (), truncated=False))
    assert answers == expected
