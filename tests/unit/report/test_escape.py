"""Hostile text is made visible, in one way, and can be turned back."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.report.escape import (
    ascii_only,
    clip,
    command_line,
    escape,
    escape_bytes,
    narrow,
    printable,
    seen,
    width,
)

pytestmark = pytest.mark.unit

UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
# Bytes as hostile processes write them: escapes, halves of characters, backslashes, bidi marks.
HOSTILE = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(
        st.sampled_from(
            [
                *(b"\\", b"x", b"41", b" ", b"a", b"\x1b[2J", b"\n", b"\0", b"\xff"),
                *map(str.encode, ("\u00e9", "\u65e5", "e\u0301", "\u202e")),
                b"\xed\xa0\x80",
            ]
        ),
        max_size=20,
    ).map(b"".join),
)


def unescape(text: str) -> bytes:
    r"""Turn escaped text back, by its one rule: \x begins an escape of one byte."""
    raw = b""
    while text:
        if text.startswith("\\x"):
            raw += bytes.fromhex(text[2:4])
            text = text[4:]
        else:
            raw += text[0].encode()
            text = text[1:]
    return raw


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        # Each as lsns -l of util-linux 2.38 shows a process of this name in a UTF-8 locale.
        (b"nginx: master", "nginx: master"),
        (b"a\x1b[31mb\nc\\x41 d\\y", r"a\x1b[31mb\x0ac\x5cx41 d\y"),
        (b"tab\tin\x7f", r"tab\x09in\x7f"),
        (b"\xff\xfe bad", r"\xff\xfe bad"),
        (b"\xed\xa0\x80 sur\xf4\x90\x80\x80", r"\xed\xa0\x80 sur\xf4\x90\x80\x80"),
        ("ls\u2028 c1\u0085".encode(), r"ls\xe2\x80\xa8 c1\xc2\x85"),
        ("\u00e9 \u65e5\u672c e\u0301".encode(), "\u00e9 \u65e5\u672c e\u0301"),
    ],
)
def test_what_lsns_escapes_is_escaped_as_lsns_does_it(raw: bytes, shown: str) -> None:
    assert escape_bytes(raw) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web\u202egnp", r"web\xe2\x80\xaegnp"),
        ("zero\u200bwidth", r"zero\xe2\x80\x8bwidth"),
        ("\ufeffbom", r"\xef\xbb\xbfbom"),
        ("tag\U000e0041", r"tag\xf3\xa0\x81\x81"),
        ("no\u00a0break\u3000", r"no\xc2\xa0break\xe3\x80\x80"),
        ("private\ue000", r"private\xee\x80\x80"),
        ("filler\u3164", r"filler\xe3\x85\xa4"),
        ("variation\ufe0f", r"variation\xef\xb8\x8f"),
        ("braille\u2800", r"braille\xe2\xa0\x80"),
    ],
)
def test_what_lsns_would_print_raw_but_nobody_sees_is_escaped_too(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_bytes_that_python_smuggled_into_text_come_out_as_those_bytes() -> None:
    assert escape("a\udcffb") == r"a\xffb"
    assert escape("lone\ud800") == r"lone\xed\xa0\x80"


def test_a_backslash_is_escaped_only_where_it_could_be_taken_for_an_escape() -> None:
    assert escape(r"C:\dir\new") == r"C:\dir\new"
    assert escape(r"\\x41") == r"\\x5cx41"


@given(HOSTILE)
def test_escaped_bytes_are_printable_and_can_be_turned_back(raw: bytes) -> None:
    text = escape_bytes(raw)
    assert text.isprintable()
    assert seen(text)
    assert not {c for c in text if unicodedata.category(c) in UNSAFE and c != " "}
    assert unescape(text) == raw


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=40))
def test_any_text_is_escaped_and_plain_ascii_is_left_as_it_is(text: str) -> None:
    shown = escape(text)
    assert shown.isprintable()
    if text.isascii() and text.isprintable() and "\\x" not in text:
        assert shown == text
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert unescape(shown).decode() == text


@given(HOSTILE)
def test_escaped_text_can_be_written_in_ascii_and_still_be_turned_back(raw: bytes) -> None:
    text = ascii_only(escape_bytes(raw))
    assert text.isascii()
    assert text.isprintable()
    assert unescape(text) == raw


@given(HOSTILE)
def test_making_escaped_text_printable_again_changes_nothing(raw: bytes) -> None:
    text = escape_bytes(raw)
    assert printable(text) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        # /proc/PID/cmdline, and what lsns 2.38 prints for it.
        (b"nginx\0-g\0daemon off;\0", "nginx -g daemon off;"),
        (b"sh\0-c\0sleep 30;:\0\0a\0\0\0\0", "sh -c sleep 30;:  a   "),
        (b"\x0020\0", " 20"),
        (b"a\0\0b\0\0R\0\0\0", "a  b  R  "),
        (b"", ""),
        # A title without its NUL: lsns would drop the last letter.
        (b"sshd: root@pts/0", "sshd: root@pts/0"),
    ],
)
def test_a_command_line_is_joined_as_lsns_joins_it(raw: bytes, shown: str) -> None:
    assert command_line(raw) == shown


def test_a_long_command_line_is_not_cut_at_a_buffer_of_lsns() -> None:
    assert command_line(b"Z" * 20_000 + b"\0") == "Z" * 20_000


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("", 0),
        ("abc", 3),
        ("h\u00e9", 2),
        ("e\u0301", 1),
        ("\u65e5\u672c", 4),
        ("\uff21", 2),
        ("\U0001f680", 2),
        ("├─x", 3),
        ("\u1112\u1161\u11ab", 2),
    ],
)
def test_width_counts_cells_of_a_terminal(text: str, cells: int) -> None:
    assert width(text) == cells


@given(HOSTILE)
def test_width_is_never_negative_and_adds_up(raw: bytes) -> None:
    text = escape_bytes(raw)
    assert width(text) >= 0
    assert width(text) == sum(width(c) for c in text)
    if narrow(text):
        assert width(text) == len(text)


@given(HOSTILE, st.integers(0, 60))
def test_clipped_text_fits_and_cuts_no_escape(raw: bytes, cells: int) -> None:
    text = escape_bytes(raw)
    part = clip(text, cells)
    assert text.startswith(part)
    assert width(part) <= cells
    if width(text) <= cells:
        assert part == text
    else:
        # One more character or escape would not have fitted.
        rest = text[len(part) :]
        assert width(part) + width(rest[: 4 if rest.startswith("\\x") else 1]) > cells
    # Turned back it is the beginning of what was there.
    assert raw.startswith(unescape(part))
