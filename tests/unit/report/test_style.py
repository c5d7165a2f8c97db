"""Colour, characters and width follow the terminal, the locale and the reader's wishes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import UsageError
from nsctl.report.style import PLAIN, Style

pytestmark = pytest.mark.unit

XTERM = {"TERM": "xterm", "LANG": "en_US.UTF-8"}


def style(*, isatty: bool = True, columns: int = 120, option: str = "auto", **more: str) -> Style:
    return Style.for_stream(
        isatty=isatty, environ=XTERM | more, columns=columns, colour_option=option
    )


def test_a_terminal_has_colour_and_a_width() -> None:
    assert style() == Style(colour=True, unicode=True, width=120)


def test_a_pipe_has_neither_and_columns_does_not_cut_it() -> None:
    assert style(isatty=False, COLUMNS="40") == Style(colour=False, unicode=True, width=None)


def test_no_color_wins_over_auto_unless_it_is_empty() -> None:
    assert not style(NO_COLOR="0").colour
    assert style(NO_COLOR="").colour


def test_always_wins_over_no_color_and_over_a_pipe() -> None:
    assert style(option="always", NO_COLOR="1").colour
    assert style(option="always", isatty=False).colour


def test_never_wins_over_a_terminal() -> None:
    assert not style(option="never").colour


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_dumb_terminal_gets_no_colour(term: str) -> None:
    assert not style(TERM=term).colour
    assert not Style.for_stream(isatty=True, environ={}, columns=80).colour


def test_another_word_for_colour_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="auto, always or never"):
        style(option="yes")


def test_columns_wins_over_the_terminals_own_width() -> None:
    assert style(COLUMNS="40").width == 40


@pytest.mark.parametrize("columns", ["", "0", "-5", "wide", "\u0664\u0660", "9" * 5000])
def test_columns_that_is_no_width_is_ignored(columns: str) -> None:
    assert style(COLUMNS=columns).width == 120


def test_a_terminal_that_does_not_know_its_width_has_80_cells() -> None:
    assert style(columns=0).width == 80


@pytest.mark.parametrize(
    ("environ", "encoding", "expected"),
    [
        ({"LANG": "de_DE.UTF-8"}, "utf-8", True),
        ({"LANG": "C.UTF-8"}, "UTF8", True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, "utf-8", False),
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, "utf-8", True),
        ({"LC_CTYPE": "POSIX", "LANG": "en_US.UTF-8"}, "utf-8", False),
        ({}, "utf-8", False),
        ({"LANG": "de_DE"}, "iso8859-1", False),
    ],
)
def test_characters_outside_ascii_need_the_encoding_and_the_locale(
    environ: dict[str, str],
    encoding: str,
    expected: bool,
) -> None:
    made = Style.for_stream(isatty=False, environ=environ, encoding=encoding)
    assert made.unicode is expected


def test_text_is_escaped_where_the_style_has_only_ascii() -> None:
    assert Style(unicode=False).text("caf\u00e9") == r"caf\xc3\xa9"
    assert PLAIN.text("caf\u00e9") == "caf\u00e9"


def test_paint_does_nothing_without_colour_role_or_text() -> None:
    assert PLAIN.paint("host", "bad") == "host"
    assert style().paint("host", None) == "host"
    assert not style().paint("", "bad")


@given(st.sampled_from(["own", "host", "shared", "unknown", "heading", "note", "bad", "good"]))
def test_paint_puts_text_between_sequences_and_ends_them(role: str) -> None:
    painted = style().paint("text", role)  # type: ignore[arg-type]
    assert painted.startswith("\x1b[")
    assert painted.endswith("mtext\x1b[0m")
