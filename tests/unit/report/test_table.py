"""Tables look like those of util-linux, and fit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.report.escape import escape, escape_bytes, width
from nsctl.report.style import PLAIN, Role, Style
from nsctl.report.table import Column, Stems, table
from nsctl.report.tree import grow, run_on

pytestmark = pytest.mark.unit

LSNS = [
    Column("NS", right=True, hint=10),
    Column("TYPE", hint=5),
    Column("PATH"),
    Column("NETNSID", right=True),
    Column("PID", right=True, hint=5),
    Column("COMMAND", shrink=True),
]
ROWS = [
    ("4026531838", "uts", "/proc/2/ns/uts", "", "2", "kthreadd"),
    ("4026532177", "uts", "/proc/5858/ns/uts", "", "5858", escape("a\x1b[31mb\nc\\x41 d\\y 20")),
    ("4026532179", "uts", "/proc/5859/ns/uts", "", "5859", escape_bytes(b"\xff\xfe bad 20")),
    ("4026532180", "uts", "/proc/5863/ns/uts", "", "5863", " 20"),
]
HOSTILE = st.one_of(
    st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"", b" ", b"\\", b"\\x", b"\x1b[0m", b"\xff", "日本".encode(), b"e\xcc\x81"]),
    st.binary(max_size=8),
)
COLUMN = st.builds(
    Column,
    st.sampled_from(["NS", "TYPE", "NPROCS", "COMMAND"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 5, 10]),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], list[list[bytes]]]:
    columns = draw(st.lists(COLUMN, min_size=1, max_size=5))
    row = st.lists(HOSTILE, min_size=len(columns), max_size=len(columns))
    return columns, draw(st.lists(row, max_size=6))


def escaped(rows: list[list[bytes]]) -> list[list[str]]:
    return [[escape_bytes(cell) for cell in row] for row in rows]


def unescape(text: str) -> bytes:
    parts = re.split(r"\\x([0-9a-f]{2})", text)
    return b"".join(
        bytes.fromhex(part) if index % 2 else part.encode() for index, part in enumerate(parts)
    )


def test_columns_stand_as_lsns_l_shows_them() -> None:
    assert table(LSNS, ROWS) == [
        "        NS TYPE PATH              NETNSID   PID COMMAND",
        "4026531838 uts  /proc/2/ns/uts                2 kthreadd",
        r"4026532177 uts  /proc/5858/ns/uts          5858 a\x1b[31mb\x0ac\x5cx41 d\y 20",
        r"4026532179 uts  /proc/5859/ns/uts          5859 \xff\xfe bad 20",
        "4026532180 uts  /proc/5863/ns/uts          5863  20",
    ]


def test_without_headings_the_columns_keep_their_places() -> None:
    assert table(LSNS, ROWS, headings=False) == table(LSNS, ROWS)[1:]


def test_raw_rows_stand_as_lsns_r_shows_them() -> None:
    assert table(LSNS, ROWS, raw=True) == [
        "NS TYPE PATH NETNSID PID COMMAND",
        "4026531838 uts /proc/2/ns/uts  2 kthreadd",
        r"4026532177 uts /proc/5858/ns/uts  5858 a\x1b[31mb\x0ac\x5cx41\x20d\x5cy\x2020",
        r"4026532179 uts /proc/5859/ns/uts  5859 \xff\xfe\x20bad\x2020",
        r"4026532180 uts /proc/5863/ns/uts  5863 \x2020",
    ]


def test_raw_rows_are_ascii_in_every_locale_and_keep_the_trees_lines() -> None:
    rows = [["├─4026531838", "日本"]]
    assert table([Column("NS"), Column("COMMAND")], rows, raw=True, headings=False) == [
        r"\xe2\x94\x9c\xe2\x94\x804026531838 \xe6\x97\xa5\xe6\x9c\xac"
    ]


def test_a_trailing_empty_cell_of_a_raw_row_can_be_counted() -> None:
    assert table([Column("NS"), Column("NSFS")], [["1", ""]], raw=True)[1] == "1 "


def test_a_table_without_rows_has_no_heading_either() -> None:
    assert table(LSNS, []) == []
    assert table(LSNS, [], raw=True) == []


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"6 columns, but rows of 2 cells"):
        table(LSNS, [["a", "b"]])
    with pytest.raises(ValueError, match=r"zip\(\)"):
        table(LSNS[:2], [["a", "b"], ["a"]])


def test_a_hint_widens_a_column_that_is_filled_beyond_its_heading() -> None:
    column = [Column("PID", right=True, hint=5)]
    assert table(column, [["12"]]) == ["PID", " 12"]
    assert table(column, [["1234"]]) == ["  PID", " 1234"]
    assert table(column, [["1234567"]]) == ["    PID", "1234567"]


def test_a_last_column_is_padded_only_where_it_is_aligned_right() -> None:
    assert table([Column("A"), Column("B")], [["1", "2"], ["1", "222"]])[1] == "1 2"
    assert table([Column("A"), Column("B", right=True)], [["1", "2"], ["1", "222"]])[1] == "1   2"


def test_wide_characters_take_two_cells() -> None:
    assert table([Column("A"), Column("B")], [["日本", "x"], ["abcde", "y"]]) == [
        "A     B",
        "日本  x",
        "abcde y",
    ]


def test_the_last_column_that_may_shrink_is_cut_first_and_says_so() -> None:
    columns = [Column("WHOSE", shrink=True), Column("PID"), Column("COMMAND", shrink=True)]
    rows = [["web-frontend", "1", "nginx: master process"], ["db", "2", "sh"]]
    assert table(columns, rows, Style(width=30)) == [
        "WHOSE        PID COMMAND",
        "web-frontend 1   nginx: maste…",
        "db           2   sh",
    ]
    assert table(columns, rows, Style(width=20, unicode=False)) == [
        "WHOSE    PID COMMAND",
        "web-fro> 1   nginx:>",
        "db       2   sh",
    ]


def test_of_the_other_columns_the_widest_is_cut_down_to_the_next() -> None:
    columns = [Column("A", shrink=True), Column("B", shrink=True), Column("C", shrink=True)]
    rows = [["a" * 30, "b" * 10, "c"]]
    assert table(columns, rows, Style(width=23), headings=False) == ["a" * 9 + "… bbbbbbbbbb c"]
    assert table(columns, rows, Style(width=14), headings=False) == ["aaaa… bbbbb… c"]


def test_what_stands_too_far_right_is_left_out() -> None:
    rows = [["4026531838", "/proc/5858/ns/uts", "x"]]
    columns = [Column("NS"), Column("PATH"), Column("PID")]
    assert table(columns, rows, Style(width=20)) == ["NS         PATH", "4026531838 /proc/58…"]
    assert table(columns, rows, Style(width=11)) == ["NS", "4026531838"]
    assert table(columns, rows, Style(width=6)) == ["NS", "40265…"]


def test_a_cut_goes_through_no_escape_and_no_wide_character() -> None:
    rows = [[escape("ab\x1b[31m")], ["日本語日本語"], ["plain text here"]]
    assert table([Column("C", shrink=True)], rows, Style(width=6), headings=False) == [
        "ab…",
        "日本…",
        "plain…",
    ]


def test_cells_are_coloured_without_their_padding_and_places_do_not_move() -> None:
    style = Style(colour=True)
    roles: dict[int, list[Role | None]] = {0: ["own", None], 1: ["bad", "host"]}
    columns = [Column("A"), Column("B", right=True), Column("C")]
    rows = [["a", "1", "x"], ["bbb", "22", "y"]]
    lines = table(columns, rows, style, roles=roles)
    assert lines == [
        "\x1b[1mA    B C\x1b[0m",
        "\x1b[32ma\x1b[0m    \x1b[1;31m1\x1b[0m x",
        "bbb \x1b[35m22\x1b[0m y",
    ]
    assert [re.sub("\x1b\\[[0-9;]*m", "", line) for line in lines] == table(columns, rows)


def test_an_ascii_style_gets_ascii() -> None:
    rows = [["caf\u00e9", "x"]]
    assert table([Column("A"), Column("B")], rows, Style(unicode=False)) == [
        "A           B",
        r"caf\xc3\xa9 x",
    ]


def test_a_cell_that_nobody_escaped_cannot_break_the_line() -> None:
    assert table([Column("A")], [["a\nb\x1b[2J"]]) == ["A", r"a\x0ab\x1b[2J"]


def test_a_tree_column_is_aligned_like_any_other() -> None:
    rows = [[prefix + str(row), "x"] for row, prefix in grow([-1, 0, 1])]
    assert table([Column("NS"), Column("T")], rows) == ["NS    T", "0     x", "└─1   x", "  └─2 x"]


@given(tables(), st.integers(1, 60), st.booleans(), st.booleans())
def test_no_line_is_wider_than_the_terminal_and_none_is_missing(
    made: tuple[list[Column], list[list[bytes]]],
    limit: int,
    unicode: bool,
    headings: bool,
) -> None:
    columns, rows = made
    lines = table(columns, escaped(rows), Style(unicode=unicode, width=limit), headings=headings)
    assert len(lines) == (len(rows) + headings if rows else 0)
    for line in lines:
        assert line.isprintable()
        assert width(line) <= limit
        # What is left of the escapes is whole.
        assert "\\x" not in re.sub(r"\\x[0-9a-f]{2}", "", line)


@given(tables())
def test_columns_align(made: tuple[list[Column], list[list[bytes]]]) -> None:
    columns, rows = made
    cells = escaped(rows)
    sizes = [
        max([width(column.name), *(width(row[index]) for row in cells)])
        for index, column in enumerate(columns)
    ]
    sizes = [
        max(size, column.hint)
        if len(column.name) < column.hint
        and any(width(row[index]) >= len(column.name) for row in cells)
        else size
        for index, (size, column) in enumerate(zip(sizes, columns, strict=True))
    ]
    for line, row in zip(table(columns, cells, headings=False), cells, strict=True):
        expected = []
        for index, cell in enumerate(row):
            blanks = " " * (sizes[index] - width(cell))
            last = index == len(row) - 1
            expected.append(
                blanks + cell if columns[index].right else cell + ("" if last else blanks)
            )
        assert line == " ".join(expected)


@given(tables(), st.booleans())
def test_a_raw_row_gives_its_cells_back(
    made: tuple[list[Column], list[list[bytes]]],
    colour: bool,
) -> None:
    columns, rows = made
    lines = table(columns, escaped(rows), Style(colour=colour, width=5), raw=True, headings=False)
    for line, row in zip(lines, rows, strict=True):
        assert line.isascii()
        assert [unescape(cell) for cell in line.split(" ")] == row


@given(tables(), st.one_of(st.none(), st.integers(1, 60)))
def test_colour_changes_nothing_but_colour(
    made: tuple[list[Column], list[list[bytes]]],
    limit: int | None,
) -> None:
    columns, rows = made
    cells = escaped(rows)
    roles: dict[int, list[Role | None]] = {0: ["shared"] * len(rows)}
    coloured = table(columns, cells, Style(colour=True, width=limit), roles=roles)
    assert [re.sub("\x1b\\[[0-9;]*m", "", line) for line in coloured] == table(
        columns, cells, PLAIN._replace(width=limit)
    )


NSFS = [
    Column("NS", hint=10),
    Column("NSFS", wrap=True),
    Column("NPROCS", right=True, hint=5),
    Column("COMMAND", shrink=True),
]
SHORT, LONG = "/run/netns/a", "/run/netns/blue"


def test_a_cell_of_several_lines_is_as_wide_as_its_widest_line() -> None:
    rows = [
        ("4026532339", f"{SHORT}\n{LONG}", "1", "sleep 20"),
        ("4026532408", "", "2", "sh"),
        ("4026532409", SHORT, "2", "sh"),
    ]
    assert table(NSFS, rows) == [
        "NS         NSFS            NPROCS COMMAND",
        "4026532339 /run/netns/a         1 sleep 20",
        "           /run/netns/blue        ",
        "4026532408                      2 sh",
        "4026532409 /run/netns/a         2 sh",
    ]


def test_the_last_column_may_have_several_lines() -> None:
    assert table([Column("NS"), Column("NSFS", wrap=True)], [("1", "a\nb"), ("2", "")]) == [
        "NS NSFS",
        "1  a",
        "   b",
        "2  ",
    ]


def test_a_last_column_of_numbers_is_not_padded_on_further_lines() -> None:
    columns = [Column("NSFS", wrap=True), Column("NPROCS", right=True)]
    assert table(columns, [("a\nbb", "7")]) == ["NSFS NPROCS", "a         7", "bb   "]


@pytest.mark.parametrize(
    ("tree_first", "expected"),
    [
        # As the installed lsns 2.38 draws them.
        (True, ["1    a", "│    b", "├─2  c", "│ │  d", "│ │  e", "│ └─3 f", "└─4  g", "     h"]),
        (False, ["a 1", "b ", "c ├─2", "d │ │ ", "e │ ", "f │ └─3", "g └─4", "h   "]),
    ],
)
def test_a_trees_lines_run_on_beside_further_lines(tree_first: bool, expected: list[str]) -> None:
    parents = [-1, 0, 1, 0]
    cells = ["a\nb", "c\nd\ne", "f", "g\nh"]
    style = Style(unicode=True)
    grown = grow(parents, style)
    stems = Stems(0 if tree_first else 1, *run_on(grown, parents, style))
    rows = [(f"{prefix}{row + 1}", cells[row]) for row, prefix in grown]
    columns = [Column("NS"), Column("NSFS", wrap=True)]
    if not tree_first:
        columns.reverse()
        rows = [(cell, number) for number, cell in rows]
    lines = table(columns, rows, style, headings=False, stems=stems)
    assert [re.sub(" +", " ", line) for line in lines] == [
        re.sub(" +", " ", line) for line in expected
    ]


def test_colours_of_a_row_mark_its_first_line() -> None:
    style = Style(colour=True)
    roles: dict[int, list[Role | None]] = {0: ["bad", None]}
    columns = [Column("NS"), Column("NSFS", wrap=True)]
    lines = table(columns, [("1", "a\nb"), ("2", "c")], style, roles=roles, headings=False)
    assert ["\x1b[" in line for line in lines] == [True, False, False]


def test_raw_rows_have_one_line_each() -> None:
    columns = [Column("NS"), Column("NSFS", wrap=True)]
    assert table(columns, [("1", "a\nb")], raw=True) == ["NS NSFS", r"1 a\x0ab"]


def test_a_line_end_elsewhere_is_escaped() -> None:
    assert table([Column("NS"), Column("NSFS", wrap=True)], [("a\nb", "c\nd")])[1:] == [
        r"a\x0ab c",
        "       d",
    ]
