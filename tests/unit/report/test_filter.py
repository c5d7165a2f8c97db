"""Filter expressions choose the rows that scols-filter(5) says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import UsageError
from nsctl.report.filter import Kind, Value, parse

pytestmark = pytest.mark.unit

KINDS: dict[str, Kind] = {
    "NAME": "string",
    "USER": "string",
    "NPROCS": "integer",
    "PID": "integer",
    "LOAD": "float",
    "RO": "boolean",
    "MAJ:MIN": "string",
}
ROW: dict[str, Value] = {
    "NAME": "sda1",
    "USER": "root",
    "NPROCS": 7,
    "PID": None,
    "LOAD": 0.5,
    "RO": True,
    "MAJ:MIN": "8:1",
}


def chosen(text: str, row: dict[str, Value] | None = None) -> bool:
    """Whether an expression chooses a row."""
    return parse(text, KINDS).matches(lambda name: (row or ROW)[name])


# Constructed from the text of scols-filter(5) and of lsns(8), "--filter", of util-linux 2.42.
FROM_THE_MANUAL = [
    ('NAME=="sda1"', True),
    ('NAME=="sda2"', False),
    ("NAME == 'sda1'", True),
    ('USER != "root" and NPROCS > 1', False),
    ('USER == "root" and NPROCS > 1', True),
    ("NAME", True),
    ("PID", False),
    ("!PID", True),
    ("NOT PID", True),
    ("not NAME", False),
    ("NAME && NPROCS", True),
    ("NAME AND PID", False),
    ("NAME || PID", True),
    ("PID OR PID", False),
    ("NPROCS EQ 7", True),
    ("NPROCS eq 7", True),
    ("NPROCS NE 7", False),
    ("NPROCS GE 7 AND NPROCS LE 7", True),
    ("NPROCS GT 7 OR NPROCS LT 7", False),
    ("NPROCS < 1K", True),
    ("NPROCS < 1KiB", True),
    ("1KiB == 1024 && 1M == 1048576 && 1GiB == 1073741824", True),
    ("NPROCS == 7.0", True),
    ("NPROCS < 7.5", True),
    ("LOAD < 1", True),
    ("true", True),
    ("FALSE", False),
    ("RO == true", True),
    ("RO == FALSE", False),
    ('NAME =~ "^sd[a-z][0-9]$"', True),
    ('NAME !~ "^sd[a-z][0-9]$"', False),
    ('NPROCS =~ "7"', True),
    ('MAJ:MIN == "8:1"', True),
    ("name == 'sda1' and nprocs", True),
    ("(NAME)", True),
    ("", True),
]


@pytest.mark.parametrize(("text", "expected"), FROM_THE_MANUAL)
def test_examples_constructed_from_the_manual_page(text: str, expected: bool) -> None:
    assert chosen(text) is expected


# Constructed from the grammar and the conversions in the sources of util-linux 2.42.
FROM_THE_SOURCES = [
    # AND and OR bind alike, from left to right.
    ("true OR true AND false", False),
    ("true OR (true AND false)", True),
    ("false AND false OR true", True),
    # NOT binds tightest.
    ("NOT false == false", False),
    ("NOT (false == false)", False),
    ("NOT NPROCS == 7", False),
    ("NOT (NPROCS == 8)", True),
    ("! ! NAME", True),
    ("NAME == 'sda1' == true", True),
    # A literal counts more than a column, a float more than an integer.
    ("NAME == 5", False),
    ("NPROCS == '7'", True),
    ("NPROCS == '07'", False),
    ("7 == '07'", True),
    ("'07' == 7", False),
    ("0.5 == LOAD", True),
    ("1 < 1.5", True),
    ("RO == 1", True),
    ("RO == 'true'", True),
    ("NAME == true", False),
    ("'yes' == true", False),
    ("true == 'yes'", True),
    ("(NPROCS > 1) == 1", True),
    # Nothing is no number, and comes before any text.
    ("PID == 0", False),
    ("PID != 0", False),
    ("PID < 1", False),
    ("PID == '0'", False),
    ("PID < '0'", True),
    ("PID != ''", True),
    ("PID =~ '^$'", True),
    # Blanks around a string do not count.
    ("NAME == '  sda1\t'", True),
    ("NAME =~ ' ^sda1$ '", True),
    ("18446744073709551615 == 99999999999999999999999", True),
    ("007 == 7", True),
]


@pytest.mark.parametrize(("text", "expected"), FROM_THE_SOURCES)
def test_examples_constructed_from_the_sources(text: str, expected: bool) -> None:
    assert chosen(text) is expected


def test_blanks_around_a_columns_text_do_not_count() -> None:
    assert chosen("NAME == 'a b'", {"NAME": " a b\n"})


@pytest.mark.parametrize(
    ("text", "position", "part"),
    [
        (" ", 2, "missing"),
        ("NAME ==", 8, "missing at its end"),
        ("NAME == == 1", 9, "missing before =="),
        ("NAME 1", 6, "operator is missing before 1"),
        ("NAME (1)", 6, "operator is missing before ("),
        ("(NAME", 1, "( without a )"),
        ("NAME)", 5, ") without a ("),
        ("()", 2, "missing before )"),
        ("BOGUS", 1, "unknown column: BOGUS"),
        ("NAME && nope == 1", 9, "unknown column: nope"),
        ("NAME = 1", 6, "unexpected '='"),
        ("NAME == 'a", 9, "string without an end"),
        ('NAME == "a\n"', 9, "string without an end"),
        ("NAME =~ USER", 9, "a string is needed"),
        ("NAME =~ 1", 9, "a string is needed"),
        ("NAME =~ 'a('", 9, "unmatched ("),
        ("NAME !~ '[a'", 9, "unmatched ["),
        ("NPROCS > -1", 10, "unexpected '-'"),
        ("7 == 'x'", 6, "'x' is no number"),
        ("1Z == 1", 1, "1Z is more than 18446744073709551615"),
        ("1KB", 3, "operator is missing before B"),
        ("NAME\x00", 5, "unexpected '\\x00'"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, position: int, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, KINDS)
    assert f"character {position}: " in caught.value.cause
    assert part in caught.value.cause


def test_the_columns_that_are_read_are_known() -> None:
    assert parse("name == 'x' or Name == 'y' and PID", KINDS).columns == ("NAME", "PID")


def test_deep_expressions_are_no_trouble() -> None:
    assert chosen("(" * 50_000 + "NAME" + ")" * 50_000)
    assert chosen("! " * 50_000 + "NAME")
    assert chosen("NAME" + " && NAME" * 50_000)


# A naive evaluator: an expression is a tree here, and is worked off by recursion.

Node = tuple[Any, ...]
WORDS = st.text("ab1 .", max_size=3)
LITERALS: st.SearchStrategy[Node] = st.one_of(
    st.integers(0, 20).map(lambda number: ("literal", "integer", number)),
    st.sampled_from([0.0, 0.5, 7.0, 12.25]).map(lambda number: ("literal", "float", number)),
    WORDS.map(lambda text: ("literal", "string", text)),
    st.booleans().map(lambda value: ("literal", "boolean", value)),
    st.sampled_from(sorted(KINDS)).map(lambda name: ("column", KINDS[name], name)),
)
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
NODES = st.recursive(
    LITERALS,
    lambda below: st.one_of(
        st.tuples(st.just("!"), below),
        st.tuples(st.sampled_from(["&&", "||"]), below, below),
        st.tuples(st.sampled_from(COMPARISONS), below, below),
        st.tuples(st.sampled_from(["=~", "!~"]), below, st.text("ab1", max_size=2)),
    ),
    max_leaves=8,
)
ROWS = st.fixed_dictionaries(
    {
        "NAME": st.none() | WORDS,
        "USER": st.none() | WORDS,
        "NPROCS": st.none() | st.integers(0, 20),
        "PID": st.none() | st.integers(0, 20),
        "LOAD": st.none() | st.sampled_from([0.0, 0.5, 7.0, 12.25]),
        "RO": st.none() | st.booleans(),
        "MAJ:MIN": st.none() | WORDS,
    }
)
SPELLINGS = {
    "!": ["!", "not ", "NOT "],
    "&&": ["&&", " and ", " AND "],
    "||": ["||", " or ", " OR "],
    "==": ["==", " eq ", " EQ "],
    "!=": ["!=", " ne ", " NE "],
    "<": ["<", " lt ", " LT "],
    "<=": ["<=", " le ", " LE "],
    ">": [">", " gt ", " GT "],
    ">=": [">=", " ge ", " GE "],
}


def written(node: Node, spell: Callable[[list[str]], str]) -> str:
    """An expression with a parenthesis around each part of it."""
    if node[0] == "column":
        return spell([node[2], node[2].lower()])
    if node[0] == "literal":
        value = node[2]
        if node[1] == "boolean":
            return spell(["true", "TRUE"] if value else ["false", "FALSE"])
        return repr(value) if node[1] != "string" else spell([f"'{value}'", f'"{value}"'])
    parts = [f"({written(part, spell)})" if isinstance(part, tuple) else "" for part in node[1:]]
    if node[0] == "!":
        return spell(SPELLINGS["!"]) + parts[0]
    if node[0] in {"=~", "!~"}:
        return f'{parts[0]} {node[0]} "{node[2]}"'
    return parts[0] + spell(SPELLINGS[node[0]]) + parts[1]


def naive_cast(value: Value, kind: str) -> Value:
    try:
        if value is None:
            return None
        if kind == "string":
            return (
                str(value).lower()
                if isinstance(value, bool)
                else f"{value:g}"
                if isinstance(value, float)
                else str(value)
            )
        if kind == "boolean":
            return value == "1" if isinstance(value, str) else value > 0
        if isinstance(value, str):
            return float(value) if kind == "float" else int(value)
        return float(value) if kind == "float" else int(value)
    except ValueError:
        return None


def naive(node: Node, row: dict[str, Value]) -> Value:
    """What an expression comes to; KeyError where it cannot be asked at all."""
    if node[0] in {"literal", "column"}:
        value = cast("Value", node[2] if node[0] == "literal" else row[node[2]])
        return value.strip() if isinstance(value, str) else value
    if node[0] == "!":
        return not naive(node[1], row)
    left = naive(node[1], row)
    if node[0] in {"=~", "!~"}:
        text = naive_cast(left, "string")
        return bool(re.search(node[2], "" if text is None else str(text))) is bool(node[0] == "=~")
    right = naive(node[2], row)
    if node[0] in {"&&", "||"}:
        return bool(left) and bool(right) if node[0] == "&&" else bool(left) or bool(right)
    kinds = [part[1] if part[0] in {"literal", "column"} else "boolean" for part in node[1:]]
    kind = kinds[1] if node[1][0] == "column" and node[2][0] != "column" else kinds[0]
    if kind == "integer" and "float" in kinds:
        kind = "float"
    for part in node[1:]:
        if part[0] == "literal" and naive_cast(naive(part, row), kind) is None:
            raise KeyError(part)
    a, b = naive_cast(left, kind), naive_cast(right, kind)
    if kind == "string":
        order = (a is not None, str(a)), (b is not None, str(b))
    elif a is None or b is None:
        return False
    else:
        order = (True, a), (True, b)  # type: ignore[assignment]
    less, same = order[0] < order[1], order[0] == order[1]
    outcomes = {
        "==": same,
        "!=": not same,
        "<": less,
        "<=": less or same,
        ">": not less and not same,
        ">=": not less,
    }
    return outcomes[str(node[0])]


@given(node=NODES, row=ROWS, data=st.data())
def test_expressions_come_to_what_a_naive_evaluator_says(
    node: Node, row: dict[str, Value], data: st.DataObject
) -> None:
    text = written(node, lambda choices: data.draw(st.sampled_from(choices)))
    try:
        expected = bool(naive(node, row))
    except KeyError:
        with pytest.raises(UsageError, match="is no number"):
            parse(text, KINDS)
    else:
        assert chosen(text, row) is expected


def mistake(text: str) -> str | None:
    """What is wrong with an expression."""
    try:
        assert parse(text, KINDS).matches(ROW.__getitem__) in {True, False}
    except UsageError as error:
        return error.cause
    return None


PIECES = st.lists(
    st.sampled_from(["(", ")", "!", "&&", "or", "==", "=~", "NAME", "PID", "'a'", "1", "1.5", " "]),
    max_size=12,
)


@given(st.one_of(st.text(), PIECES.map(" ".join)))
def test_any_text_is_a_filter_or_a_mistake_with_a_place(text: str) -> None:
    assert re.match(r"filter, character [0-9]+: |$", mistake(text) or "")
