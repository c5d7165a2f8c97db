"""A ruler: ranges of numbers as bars under each other, on one scale that leaves out what is empty.

Where numbers run to four thousand million and ranges have one or 65,536 of them, no even scale
shows anything. So the scale is cut wherever a range begins or ends; each piece is as wide as the
logarithm of its length, and pieces in which nothing lies are narrow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from nsctl.model.record import NamedTuple
from nsctl.report.escape import clip, width
from nsctl.report.style import Role, Style

Range = tuple[int, int]
"""First number, and the first behind it."""

_LEAST_BAR = 10
_MOST_NAME = 28
_GAP = 2


class Bar(NamedTuple):
    """One line of the ruler.

    Attributes:
        name: escaped text.
        ranges: what it covers.
        marked: what of that is also another's.
        role: by which what is not marked is coloured.
    """

    name: str
    ranges: Sequence[Range]
    marked: Sequence[Range] = ()
    role: Role | None = None


class _Piece(NamedTuple):
    first: int
    end: int
    covered: bool


def ruler(bars: Sequence[Bar], style: Style, limit: int = 100) -> list[str]:
    """Draw a ruler.

    Args:
        bars: what to draw, in order.
        style: its width is that of the ruler.
        limit: width where the style has none.

    Returns:
        Two lines of scale and a line for each bar; none where nothing is covered.
    """
    pieces = _pieces(bars)
    if not pieces:
        return []
    names = [style.text(bar.name) for bar in bars]
    whole = style.width or limit
    left = min(max(map(width, names)), _MOST_NAME, max(whole - _LEAST_BAR - 1, 1))
    room = max(whole - left - 1, 1)
    columns = _columns(pieces, room)
    lines = [" " * (left + 1) + line for line in _scale(pieces, columns, room)]
    for bar, name in zip(bars, names, strict=True):
        cut = (
            name if width(name) <= left else clip(name, left - 1) + ("…" if style.unicode else ">")
        )
        padded = cut + " " * (left - width(cut))
        lines.append(f"{padded} {_draw(bar, pieces, columns, style)}".rstrip())
    return [line.rstrip() for line in lines]


def _pieces(bars: Sequence[Bar]) -> list[_Piece]:
    """Cut the numbers wherever a range begins or ends."""
    ranges = sorted(each for bar in bars for each in bar.ranges if each[0] < each[1])
    cuts = sorted({number for each in ranges for number in each})
    found = []
    reach = 0
    index = 0
    for first, end in itertools.pairwise(cuts):
        while index < len(ranges) and ranges[index][0] <= first:
            reach = max(reach, ranges[index][1])
            index += 1
        found.append(_Piece(first, end, reach > first))
    return found


def _columns(pieces: Sequence[_Piece], room: int) -> list[tuple[int, int]]:
    """Give each piece its columns: first, and first behind it; several share one in need."""
    weights = [1 + math.log2(p.end - p.first) if p.covered else float(_GAP) for p in pieces]
    if len(pieces) >= room:
        return [
            (index * room // len(pieces), index * room // len(pieces) + 1)
            for index in range(len(pieces))
        ]
    # One column each, and the rest by weight.
    spare = room - len(pieces)
    total = sum(weights)
    found = []
    begun = 0.0
    for index, weight in enumerate(weights):
        first = index + int(begun * spare / total)
        begun += weight
        end = index + 1 + int(begun * spare / total)
        found.append((first, min(end, room)))
    return found


def _scale(
    pieces: Sequence[_Piece], columns: Sequence[tuple[int, int]], room: int
) -> tuple[str, str]:
    """The numbers where pieces begin and end, as many as there is room for, and their ticks.

    Where something begins is told before where it ends.
    """
    begins = [
        (not piece.covered, column, piece.first)
        for (column, _), piece in zip(columns, pieces, strict=True)
    ]
    ends = [(True, columns[-1][1], pieces[-1].end)]
    numbers, ticks = [" "] * room, [" "] * room
    for _, column, number in sorted(begins + ends):
        label = str(number)
        start = max(min(column, room - len(label)), 0)
        around = numbers[max(start - 1, 0) : start + len(label) + 1]
        if len(label) <= room and not any(mark != " " for mark in around):
            numbers[start : start + len(label)] = label
            ticks[min(column, room - 1)] = "|"
    return "".join(numbers), "".join(ticks)


def _draw(
    bar: Bar, pieces: Sequence[_Piece], columns: Sequence[tuple[int, int]], style: Style
) -> str:
    empty, full, shared = ("·", "█", "▓") if style.unicode else (".", "#", "X")
    cells = [empty] * columns[-1][1]
    for piece, (first, end) in zip(pieces, columns, strict=True):
        if not _meets(piece, bar.ranges):
            continue
        sign = shared if _meets(piece, bar.marked) else full
        for column in range(first, end):
            if cells[column] != shared:
                cells[column] = sign
    roles: dict[str, Role | None] = {empty: None, full: bar.role, shared: "bad"}
    drawn = []
    start = 0
    for index in range(1, len(cells) + 1):
        if index == len(cells) or cells[index] != cells[start]:
            drawn.append(style.paint("".join(cells[start:index]), roles[cells[start]]))
            start = index
    return "".join(drawn)


def _meets(piece: _Piece, ranges: Sequence[Range]) -> bool:
    return any(first < piece.end and piece.first < end for first, end in ranges)
