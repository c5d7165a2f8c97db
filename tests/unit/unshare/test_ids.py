"""Ranges of ids: the texts that name them, and how a single id makes its place among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import NsctlError, UsageError
from nsctl.unshare.ids import (
    NO_ID,
    IdRange,
    as_text,
    first_subordinate,
    parse_range,
    with_single,
)

pytestmark = pytest.mark.unit


def test_both_ways_to_write_a_range_are_read() -> None:
    assert parse_range("0:100000:65536") == IdRange(0, 100000, 65536)
    assert parse_range("100000,0,65536") == IdRange(0, 100000, 65536)


@pytest.mark.parametrize(
    "text", ["", "1:2", "1:2:3:4", "1:2,3", "a:1:1", "1:2:3 ", "-1:2:3", "1:2:4294967296", "1:2:"]
)
def test_other_texts_are_no_ranges(text: str) -> None:
    with pytest.raises(UsageError, match="invalid mapping"):
        parse_range(text)


@given(st.text(alphabet="0123456789:,+- x", max_size=40))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        found = parse_range(text)
    except UsageError:
        return
    assert all(0 <= number <= NO_ID for number in found)


def test_the_first_line_of_a_user_counts_by_name_and_by_number() -> None:
    raw = b"bob:1:2\n1000:300:5\nalice:100000:65536\nalice:7:8\n"
    assert first_subordinate(raw, "f", "alice", 1001) == IdRange(NO_ID, 100000, 65536)
    assert first_subordinate(raw, "f", "alice", 1000, identity=True) == IdRange(300, 300, 5)
    with pytest.raises(NsctlError, match='no line matching user "eve" in f'):
        first_subordinate(raw, "f", "eve", 3)
    with pytest.raises(NsctlError, match="no numbers"):
        first_subordinate(b"eve:x:y\n", "f", "eve", 3)


@given(st.binary(max_size=80))
def test_no_file_of_subordinate_ids_does_more_than_be_refused(raw: bytes) -> None:
    try:
        found = first_subordinate(raw, "f", "u", 0)
    except NsctlError:
        return
    assert found.inside == NO_ID


@pytest.mark.parametrize(
    ("ranges", "outside", "inside", "wanted"),
    [
        # --map-users=auto -r of user 1000: root first, then the rest from 1.
        ([IdRange(NO_ID, 100000, 65536)], 1000, 0, [(0, 1000, 1), (1, 100000, 65536)]),
        # auto -c: the caller's own number splits the range.
        (
            [IdRange(NO_ID, 100000, 65536)],
            1000,
            1000,
            [(1000, 1000, 1), (0, 100000, 1000), (1001, 101000, 64536)],
        ),
        ([IdRange(NO_ID, 100000, 10)], 1000, NO_ID, [(0, 100000, 10)]),
        ([IdRange(0, 100000, 10)], 1000, NO_ID, [(0, 100000, 10)]),
        # An explicit range loses an id where it meets the single one.
        ([IdRange(0, 100000, 10)], 1000, 0, [(0, 1000, 1), (1, 100000, 9)]),
        ([], 0, 0, [(0, 0, 1)]),
    ],
)
def test_ranges_give_way_to_a_single_id(
    ranges: list[IdRange], outside: int, inside: int, wanted: list[tuple[int, int, int]]
) -> None:
    assert with_single(ranges, outside, inside) == [IdRange(*each) for each in wanted]


_IDS = st.integers(0, 50)
_RANGES = st.builds(IdRange, st.one_of(_IDS, st.just(NO_ID)), _IDS, st.integers(1, 20))


@given(_RANGES, _IDS, _IDS)
def test_neither_number_of_a_single_id_stands_twice(
    each: IdRange, outside: int, inside: int
) -> None:
    found = with_single([each], outside, inside)
    pairs = [
        (part.inside + step, part.outside + step) for part in found for step in range(part.length)
    ]
    assert pairs[0] == (inside, outside)
    assert len({pair[0] for pair in pairs}) == len(pairs)
    assert len({pair[1] for pair in pairs}) == len(pairs)
    # What else is mapped are ids of the range, at most one fewer, and none besides.
    rest = {pair[1] for pair in pairs[1:]}
    span = set(range(each.outside, each.outside + each.length + 1))
    assert rest <= span
    assert len(rest) >= each.length - 1


def test_ranges_are_written_as_the_kernel_reads_them() -> None:
    assert as_text([IdRange(0, 5, 1), IdRange(1, 100, 7)]) == "0 5 1\n1 100 7\n"
