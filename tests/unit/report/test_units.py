"""Figures for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.namespace import IdExtent
from nsctl.report.units import counted, duration, extents, shift

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "0.25s"),
        (1, "1s"),
        (59.5, "59.5s"),
        (60, "1m"),
        (61.9, "1m 1s"),
        (3600, "1h"),
        (86400 + 5 * 60, "1d 5m"),
        (3 * 86400 + 4 * 3600 + 59, "3d 4h"),
        (1e-9, "0.000000001s"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0"),
        (1, "+0.000000001s"),
        (-500_000_000, "-0.5s"),
        (172_800 * 10**9, "+2d"),
        (-12_000 * 10**9, "-3h 20m"),
    ],
)
def test_a_clocks_offset_is_said_with_its_sign(nanoseconds: int, text: str) -> None:
    assert shift(nanoseconds) == text


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_any_offset_that_a_kernel_or_a_file_holds_can_be_said(nanoseconds: int) -> None:
    text = shift(nanoseconds)
    assert text[0] == ("0" if not nanoseconds else "-" if nanoseconds < 0 else "+")
    assert "." not in text.rstrip("s")[-1:]


def test_numbers_stand_with_their_nouns() -> None:
    assert counted(1, "namespace") == "1 namespace"
    assert counted(0, "namespace") == "0 namespaces"
    assert counted(2, "process", "processes") == "2 processes"
    assert counted(1, "process", "processes") == "1 process"


def test_a_map_is_said_extent_by_extent() -> None:
    assert extents([]) == "empty"
    assert extents([IdExtent(0, 1000, 1), IdExtent(1, 100000, 65536)]) == (
        "0 -> 1000 x1, 1 -> 100000 x65536"
    )
