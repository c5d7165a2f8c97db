"""A plot of times against processes, both scales logarithmic, as an SVG file and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

_WIDTH, _HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 190, 20, 50
# Told apart by those who see no red or no green, on white and on black.
_COLOURS = ("#999999", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")

_Place = Callable[[float, float], tuple[float, float]]
Series = Mapping[str, Sequence[tuple[float, float]]]
"""By name, points of processes and milliseconds."""


def svg(series: Series) -> str:
    """Draw the plot.

    Args:
        series: at least one, whose points are positive and not all alike.

    Returns:
        The file's text.
    """
    points = [point for line in series.values() for point in line]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = (
        _decade(min(y for _, y in points), math.floor),
        _decade(max(y for _, y in points), math.ceil),
    )

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - math.log10(left)) / (math.log10(right) - math.log10(left) or 1)
        up = (math.log10(y) - math.log10(low)) / (math.log10(high) - math.log10(low))
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            'font-family="sans-serif" font-size="13" fill="#777">'
        ),
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    parts += _rules(left, right, low, high, place)
    for (_name, line), colour in zip(series.items(), _COLOURS, strict=False):
        drawn = [place(*point) for point in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in drawn]
    parts += _names(series, place)
    return "\n".join([*parts, "</svg>\n"])


def _decade(value: float, rounded: Callable[[float], int]) -> float:
    return float(10 ** rounded(math.log10(value)))


def _rules(left: float, right: float, low: float, high: float, place: _Place) -> list[str]:
    """The lines of the decades, and what stands beside them."""
    parts = []
    value = low
    while value <= high:
        _, y = place(left, value)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g} ms</text>'
        )
        value *= 10
    for count in (100, 200, 500, 1000, 2000, 5000, 10000, 20000):
        if left <= count <= right:
            x, _ = place(count, low)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" '
                'stroke="#ddd"/>'
                f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" '
                f'text-anchor="middle">{count:,}</text>'
            )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">processes of the host</text>'
    )
    return parts


def _names(series: Series, place: _Place) -> list[str]:
    """Each line's name at its end, moved apart where two would stand on each other."""
    ends = sorted(
        (place(*line[-1])[1], name, colour)
        for (name, line), colour in zip(series.items(), _COLOURS, strict=False)
    )
    parts = []
    lowest = 0.0
    for y, name, colour in ends:
        lowest = max(y + 4, lowest + 16)
        parts.append(
            f'<text x="{_WIDTH - _RIGHT + 10}" y="{lowest:.1f}" fill="{colour}">{name}</text>'
        )
    return parts
