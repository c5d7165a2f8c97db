"""Rulers: every range is drawn, nothing else is, and all of it fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.report.escape import width
from nsctl.report.ruler import Bar, ruler
from nsctl.report.style import Style

pytestmark = pytest.mark.unit

ranges = st.lists(
    st.tuples(st.integers(0, 2**32 - 2), st.integers(1, 70000)).map(lambda r: (r[0], r[0] + r[1])),
    max_size=8,
)
names = st.text("abc", min_size=1, max_size=40)
bars = st.lists(st.builds(Bar, name=names, ranges=ranges, marked=ranges), max_size=6)


@given(bars, st.sampled_from([20, 80, 200]), st.booleans())
def test_it_fits_whatever_is_drawn(several: list[Bar], columns: int, unicode: bool) -> None:
    lines = ruler(several, Style(width=columns, unicode=unicode))
    assert all(width(line) <= columns for line in lines)
    assert len(lines) in {0, len(several) + 2}
    if lines:
        for bar, line in zip(several, lines[2:], strict=True):
            drawn = set("█▓" if unicode else "#X") & set(line)
            assert bool(drawn) == any(first < end for first, end in bar.ranges)


def test_what_is_also_anothers_is_marked_and_what_nobody_has_is_narrow() -> None:
    several = [
        Bar("db", [(100000, 165536)], [(150000, 165536)]),
        Bar("web", [(150000, 215536)], [(150000, 165536)]),
        Bar("far", [(1879048192, 1879113728)]),
    ]
    numbers, ticks, db, web, far = ruler(several, Style(width=80))
    assert numbers.split()[0] == "100000"
    assert "1879048192" in numbers
    assert ticks.strip().startswith("|")
    assert "█▓" in db
    assert "▓█" in web
    assert db.index("▓") == web.index("▓")
    assert "▓" not in far
    assert far.endswith("█" * 10)


def test_a_single_id_beside_a_large_range_can_be_seen() -> None:
    lines = ruler([Bar("alice", [(1000, 1001), (100000, 165536)])], Style(width=60, unicode=False))
    bar = lines[2].partition(" ")[2]
    assert bar.startswith("#")
    assert bar.endswith("#")
    assert "." in bar


def test_as_many_pieces_as_there_are_no_columns_for_still_fit() -> None:
    many = [(number * 10, number * 10 + 3) for number in range(340)]
    (_, _, line) = ruler([Bar("x", many)], Style(width=80))
    assert "█" in line
    assert width(line) <= 80


def test_nothing_is_drawn_of_nothing() -> None:
    assert ruler([], Style(width=80)) == []
    assert ruler([Bar("x", [])], Style(width=80)) == []
