"""The note under a view says what is missing, why, and what would help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Reader, Reference, Snapshot
from nsctl.report.escape import escape_bytes, width
from nsctl.report.note import note, wrap
from nsctl.report.style import Style

pytestmark = pytest.mark.unit


def gap(thing: str, cause: str = "refused", needs: str = "", part: Part = Part.TASKS) -> Gap:
    return Gap(part, "/proc", thing, PartState.UNREADABLE, cause, needs)


def snapshot(*gaps: Gap) -> Snapshot:
    return Snapshot(
        began=0.0,
        ended=0.0,
        boot_id="",
        host_name=b"",
        kernel="",
        uptime=0.0,
        read_from=(),
        reader=Reader(1, 0, 0, ()),
        host=Reference("pid1", 1, ()),
        parts={},
        tasks=(),
        namespaces=(),
        gaps=gaps,
    )


def test_a_complete_view_has_only_its_number() -> None:
    assert note(snapshot(), 3) == ["3 shown."]
    assert note(snapshot(), 0) == ["0 shown."]
    assert note(snapshot()) == []


def test_what_was_not_read_is_named_with_what_would_help() -> None:
    missing = snapshot(gap("namespaces of 12 processes", needs="CAP_SYS_PTRACE"))
    assert note(missing, 3) == [
        "3 shown. Not read: namespaces of 12 processes (needs CAP_SYS_PTRACE)."
    ]


def test_gaps_that_one_capability_would_mend_are_named_together() -> None:
    missing = snapshot(
        gap("fds of 12 processes", "EACCES", "CAP_SYS_PTRACE"),
        gap("containers of docker", "no answer in 2 s"),
        gap("namespaces of 12 processes", "EPERM", "CAP_SYS_PTRACE"),
        gap("namespaces of 12 processes", "EPERM", "CAP_SYS_PTRACE"),
    )
    assert note(missing) == [
        (
            "Not read: fds of 12 processes, namespaces of 12 processes (needs CAP_SYS_PTRACE); "
            "containers of docker (no answer in 2 s)."
        )
    ]


def test_gaps_in_parts_that_a_view_does_not_show_can_be_left_out() -> None:
    missing = snapshot(gap("offsets", part=Part.TIME_OFFSETS), gap("maps", part=Part.ID_MAPS))
    assert note(missing, parts={Part.ID_MAPS}) == ["Not read: maps (refused)."]
    assert note(missing, parts=()) == []


def test_hostile_text_in_a_gap_is_escaped() -> None:
    missing = snapshot(gap("cgroup of a\x1b[2J\nb", "\u202e caf\u00e9"))
    assert note(missing) == [r"Not read: cgroup of a\x1b[2J\x0ab (\xe2\x80\xae café)."]
    assert note(missing, style=Style(unicode=False))[0].isascii()


def test_the_note_is_wrapped_to_the_terminal_and_coloured_line_by_line() -> None:
    missing = snapshot(gap("namespaces of 12 processes", needs="CAP_SYS_PTRACE"))
    assert note(missing, 3, Style(width=40)) == [
        "3 shown. Not read: namespaces of 12",
        "processes (needs CAP_SYS_PTRACE).",
    ]
    painted = note(missing, 3, Style(colour=True, width=40))
    assert all(line.startswith("\x1b[") and line.endswith("\x1b[0m") for line in painted)


def test_a_word_longer_than_a_line_is_broken_but_no_escape_is() -> None:
    assert wrap(r"to abcdef\x1b[2Jgh end", 8) == ["to", "abcdef", r"\x1b[2Jg", "h end"]


@given(st.binary(max_size=80), st.integers(4, 30))
def test_wrapped_lines_fit_and_nothing_but_blanks_is_lost(raw: bytes, limit: int) -> None:
    text = escape_bytes(raw)
    lines = wrap(text, limit)
    assert all(width(line) <= limit for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
