"""What fdinfo says of unread descriptors and of files registered with an io_uring."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel.io_uring_fdinfo import count_user_files, parse_user_files
from nsctl.kernel.procfs import parse_fdinfo_ino
from nsctl.kernel.socketns import parse_scm_fds
from support.examples import Mutations

pytestmark = pytest.mark.unit

_SOCKET = b"pos:\t0\nflags:\t02000002\nmnt_id:\t10\nino:\t417331\nscm_fds: 7\n"
_RING = (
    b"pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t417327\nSqMask:\t0x3\nSQEs:\t0\nCQEs:\t0\n"
    b"SqThread:\t-1\nUserFiles:\t5\n    0: ipc:[4026531839]\n    2: socket:[417331]\n"
    b"    4: /a\\040b/net:[7]\nUserBufs:\t0\nPollList:\n  op=1, task_works=0\nNAPI:\tdisabled\n\n"
)


def test_unread_descriptors_are_counted() -> None:
    assert parse_scm_fds(_SOCKET) == 7
    assert parse_scm_fds(_RING) == 0
    assert parse_fdinfo_ino(_SOCKET) == 417331
    assert parse_fdinfo_ino(b"pos:\t0\n") == 0


def test_registered_files_are_listed_with_their_slots_and_nothing_else_is() -> None:
    assert parse_user_files(_RING) == [
        (0, b"ipc:[4026531839]"),
        (2, b"socket:[417331]"),
        (4, b"/a b/net:[7]"),
    ]
    assert count_user_files(_RING) == 5
    assert parse_user_files(_SOCKET) == []
    assert count_user_files(_SOCKET) == 0


def test_damaged_fdinfo_parses_or_is_refused(mutations: Mutations) -> None:
    for raw in mutations([_SOCKET, _RING]):
        _all(raw)


@given(st.binary(max_size=100))
def test_arbitrary_fdinfo_parses_or_is_refused(raw: bytes) -> None:
    _all(raw)
    _all(b"UserFiles:\t1\n" + raw)
    _all(b"scm_fds: " + raw)


def _all(raw: bytes) -> None:
    for parse in (parse_scm_fds, parse_user_files, count_user_files, parse_fdinfo_ino):
        with contextlib.suppress(ValueError):
            parse(raw)
