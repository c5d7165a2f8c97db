"""Arithmetic of id maps: it is what translating one id after the other gives."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.namespace import IdExtent
from nsctl.relate.idmap import (
    ALL_IDS,
    Span,
    common,
    compose,
    contains,
    inverted,
    meeting,
    outward,
    spans,
    to_outside,
    total,
)

pytestmark = pytest.mark.unit

_SIZE = 60
_IDS = range(_SIZE)


@st.composite
def maps(draw: st.DrawFn) -> tuple[IdExtent, ...]:
    """A map that the kernel takes: extents overlap neither inside nor outside."""
    order = draw(st.permutations(range(8)))
    extents = []
    for place, beyond in enumerate(order):
        length = draw(st.integers(0, 5))
        if length:
            inside = place * 7 + draw(st.integers(0, 7 - length))
            extents.append(IdExtent(inside, beyond * 7 + draw(st.integers(0, 7 - length)), length))
    return tuple(draw(st.permutations(extents)))


@given(maps(), maps())
def test_a_composed_map_translates_as_both_maps_one_after_the_other(
    inner: tuple[IdExtent, ...], outer: tuple[IdExtent, ...]
) -> None:
    composed = compose(inner, outer)
    for number in _IDS:
        between = to_outside(number, inner)
        expected = None if between is None else to_outside(between, outer)
        assert to_outside(number, composed) == expected
    assert list(composed) == sorted(composed)


@given(maps(), maps(), maps())
def test_it_makes_no_difference_which_two_of_three_maps_are_composed_first(
    one: tuple[IdExtent, ...], two: tuple[IdExtent, ...], three: tuple[IdExtent, ...]
) -> None:
    assert compose(compose(one, two), three) == compose(one, compose(two, three))


@given(maps())
def test_a_map_and_its_inverse_lead_back(extents: tuple[IdExtent, ...]) -> None:
    back = compose(extents, inverted(extents))
    for number in _IDS:
        mapped = to_outside(number, extents) is not None
        assert to_outside(number, back) == (number if mapped else None)


def test_an_extent_is_split_where_the_outer_map_is_and_what_is_not_mapped_is_left_out() -> None:
    outer = (IdExtent(0, 1000, 1), IdExtent(1, 100000, 9), IdExtent(20, 5, 2))
    assert compose((IdExtent(0, 0, 30),), outer) == (
        IdExtent(0, 1000, 1),
        IdExtent(1, 100000, 9),
        IdExtent(20, 5, 2),
    )


@given(maps(), maps())
def test_common_ids_are_the_intersection_of_both_sets(
    one: tuple[IdExtent, ...], other: tuple[IdExtent, ...]
) -> None:
    def ids(extents: tuple[IdExtent, ...]) -> set[int]:
        return {e.outside + step for e in extents for step in range(e.length)}

    found = common(spans(one), spans(other))
    expected = ids(one) & ids(other)
    assert {number for s in found for number in range(s.first, s.end)} == expected
    assert total(found) == len(expected)
    assert all(contains(found, number) == (number in expected) for number in _IDS)
    # Each is as long as it can be.
    assert all(a.end < b.first for a, b in pairwise(found))


@given(st.lists(maps(), max_size=6))
def test_the_pairs_that_meet_are_those_that_have_ids_in_common(
    several: list[tuple[IdExtent, ...]],
) -> None:
    sets = [spans(each) for each in several]
    expected = {
        (one, other)
        for one in range(len(sets))
        for other in range(one + 1, len(sets))
        if common(sets[one], sets[other])
    }
    found = list(meeting(sets))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_the_largest_ids_are_no_exception() -> None:
    whole = (IdExtent(0, 0, ALL_IDS),)
    assert compose(whole, whole) == whole
    assert to_outside(ALL_IDS - 1, whole) == ALL_IDS - 1
    assert to_outside(ALL_IDS, whole) is None
    assert spans((IdExtent(0, 4294967290, 5), IdExtent(9, 4294967280, 10))) == (
        Span(4294967280, 15),
    )


def test_what_the_reader_has_no_number_for_is_left_out_and_extents_stay_whole() -> None:
    own = (IdExtent(0, 1000, 1), IdExtent(1, 100000, 65536))
    seen = (IdExtent(0, 1, 65536), IdExtent(70000, ALL_IDS, 5))
    assert outward(seen, own) == (IdExtent(0, 100000, 65536),)
