"""Arithmetic of id maps: translating, composing, inverting, and what ranges have in common.

A map is extents that overlap neither inside nor outside (user_namespaces(7)). Ids are 32 bits and
the last is none, so a map that has all is ``0 0 4294967295``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nsctl.model.namespace import IdExtent
from nsctl.model.record import NamedTuple

ALL_IDS = 4294967295
"""How many ids there are; as a number, it stands for none."""


class Span(NamedTuple):
    """A range of ids: the first, and how many."""

    first: int
    size: int

    @property
    def end(self) -> int:
        """The first id behind it."""
        return self.first + self.size


def to_outside(inside: int, extents: Iterable[IdExtent]) -> int | None:
    """Translate an id of a namespace outwards; None where it is not mapped."""
    for extent in extents:
        if 0 <= inside - extent.inside < extent.length:
            return extent.outside + inside - extent.inside
    return None


def compose(inner: Iterable[IdExtent], outer: Iterable[IdExtent]) -> tuple[IdExtent, ...]:
    """Lead one map through another.

    Args:
        inner: from ids inside to ids that are the other's inside.
        outer: from there outwards.

    Returns:
        From inside to the other's outside, by inside; an extent is split where the outer map's
        are, and what that does not map is left out. Neighbours that go on are one.
    """
    beyond = sorted(outer)
    found: list[IdExtent] = []
    for extent in inner:
        end = extent.outside + extent.length
        for other in beyond:
            first = max(extent.outside, other.inside)
            last = min(end, other.inside + other.length)
            if first < last:
                found.append(
                    IdExtent(
                        extent.inside + first - extent.outside,
                        other.outside + first - other.inside,
                        last - first,
                    )
                )
    return _joined(sorted(found))


def _joined(extents: Iterable[IdExtent]) -> tuple[IdExtent, ...]:
    """Make extents one that go on inside and outside."""
    found: list[IdExtent] = []
    for extent in extents:
        if found:
            last = found[-1]
            ends = (last.inside + last.length, last.outside + last.length)
            if ends == (extent.inside, extent.outside):
                found[-1] = last._replace(length=last.length + extent.length)
                continue
        found.append(extent)
    return tuple(found)


def inverted(extents: Iterable[IdExtent]) -> tuple[IdExtent, ...]:
    """Turn a map round: from outside to inside."""
    return tuple(IdExtent(each.outside, each.inside, each.length) for each in extents)


def outward(extents: Iterable[IdExtent], own: Sequence[IdExtent]) -> tuple[IdExtent, ...]:
    """Give a map in the numbers of the user namespace above the reader's.

    Args:
        extents: as the reader sees them. The kernel translates the first id of an extent only, and
            keeps each whole within one of every map further out.
        own: the reader's own map, whose outside are the numbers above.

    Returns:
        The extents; those whose first id the reader cannot see are left out.
    """
    found = []
    for extent in extents:
        first = to_outside(extent.outside, own)
        if first is not None:
            found.append(extent._replace(outside=first))
    return tuple(found)


def spans(extents: Iterable[IdExtent]) -> tuple[Span, ...]:
    """The ids outside that a map leads to, ascending; neighbours are one."""
    found: list[Span] = []
    for first, count in sorted((each.outside, each.length) for each in extents):
        if count <= 0:
            continue
        if found and first <= found[-1].end:
            end = max(found[-1].end, first + count)
            found[-1] = Span(found[-1].first, end - found[-1].first)
        else:
            found.append(Span(first, count))
    return tuple(found)


def common(one: Sequence[Span], other: Sequence[Span]) -> tuple[Span, ...]:
    """The ids that two sets have in common.

    Args:
        one: ascending, none touching another, as from `spans`.
        other: likewise.
    """
    found = []
    left, right = 0, 0
    while left < len(one) and right < len(other):
        first = max(one[left].first, other[right].first)
        end = min(one[left].end, other[right].end)
        if first < end:
            found.append(Span(first, end - first))
        if one[left].end < other[right].end:
            left += 1
        else:
            right += 1
    return tuple(found)


def total(ranges: Iterable[Span]) -> int:
    """How many ids there are in ranges that have none in common."""
    return sum(each.size for each in ranges)


def contains(ranges: Iterable[Span], number: int) -> bool:
    """Tell whether an id is in one of several ranges."""
    return any(0 <= number - each.first < each.size for each in ranges)


def meeting(sets: Sequence[Sequence[Span]]) -> Iterator[tuple[int, int]]:
    """Find the pairs of sets that have ids in common, each once, lower index first."""
    edges = sorted((each.first, each.end, index) for index, of in enumerate(sets) for each in of)
    open_ones: list[tuple[int, int]] = []
    seen: set[tuple[int, int]] = set()
    for first, end, index in edges:
        open_ones = [(until, other) for until, other in open_ones if until > first]
        for _, other in open_ones:
            pair = (min(index, other), max(index, other))
            if index != other and pair not in seen:
                seen.add(pair)
                yield pair
        open_ones.append((end, index))
