"""Extended regular expressions find what regexec(3) finds."""

from __future__ import annotations

import ctypes
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.report.ere import compile_ere

pytestmark = pytest.mark.unit

_REG_EXTENDED, _REG_NOSUB = 1, 8


class _Regex(ctypes.Structure):
    _fields_ = [("room", ctypes.c_char * 256)]


def libc_finds(pattern: str, text: str) -> bool | None:
    """What the C library's regexec says in the C locale; None where regcomp refuses."""
    libc = ctypes.CDLL(None)
    regex = _Regex()
    if libc.regcomp(ctypes.byref(regex), pattern.encode(), _REG_EXTENDED | _REG_NOSUB) != 0:
        return None
    try:
        return bool(libc.regexec(ctypes.byref(regex), text.encode(), 0, None, 0) == 0)
    finally:
        libc.regfree(ctypes.byref(regex))


PATTERNS = st.lists(
    st.sampled_from(
        [
            *"ab.*+?|()^$",
            "[ab]",
            "[^a]",
            "[a-c]",
            "[]a]",
            "[^]b]",
            "[a-]",
            "[[:alpha:]]",
            "[[:digit:]x]",
            "[^[:space:]]",
            "[\\]",
            "[[.a.]b]",
            "{2}",
            "{1,2}",
            "{1,}",
            "{,2}",
            "\\.",
            "\\(",
            "\\d",
            "\\w",
            "\\<",
            "\\>",
            "\\b",
        ]
    ),
    max_size=6,
).map("".join)


@given(pattern=PATTERNS, text=st.text("ab1. -]\\d", max_size=8))
def test_a_pattern_finds_what_the_c_library_finds(pattern: str, text: str) -> None:
    expected = libc_finds(pattern, text)
    try:
        found = compile_ere(pattern).search(text) is not None
    except ValueError:
        # The C library takes a few that POSIX leaves undefined, such as "^*" and "a|*b".
        assert expected is None or re.search(r"(^|[(|^$<>b])[*+?{]", pattern)
    else:
        assert expected is None or found == expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("^/run/.*\\.sock$", "/run/a.sock", True),
        ("^a.b$", "a\nb", True),
        ("a$", "a\n", False),
        ("a++", "aaa", True),
        ("^a+?$", "", True),
        ("(ab|c){2}", "cab", True),
        ("x)", "x)", True),
        ("[\\n]", "n", True),
        ("\\d", "d", True),
        ("(a)\\1", "aa", True),
        ("[[:upper:]]", "ä", False),
        ("", "anything", True),
    ],
)
def test_examples(pattern: str, text: str, expected: bool) -> None:
    assert (compile_ere(pattern).search(text) is not None) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "[",
        "[a",
        "[[:alpha:]",
        "[[:nope:]]",
        "[b-a]",
        "*",
        "a|*",
        "a{",
        "a{2,1}",
        "a{99999}",
        "\\",
        "(?:a)",
        "\\9",
        "(" * 5000 + ")" * 5000,
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        compile_ere(pattern)
