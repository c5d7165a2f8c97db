"""Figures for people: durations, counts, ranges of ids."""

from __future__ import annotations

from collections.abc import Iterable

from nsctl.model.namespace import IdExtent

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def duration(seconds: float) -> str:
    """Say a duration in its two largest units.

    Args:
        seconds: not negative.

    Returns:
        "3d 4h", "2m", "0.25s": below a minute fractions are kept.
    """
    if seconds < 60 and seconds != int(seconds):
        return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
    rest = int(seconds)
    words = []
    for size, letter in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count}{letter}")
        if len(words) == 2:
            break
    return " ".join(words) or "0s"


def shift(nanoseconds: int) -> str:
    """Say a clock's offset with its sign: "+2d", "-3h 20m", "0"."""
    if not nanoseconds:
        return "0"
    sign = "-" if nanoseconds < 0 else "+"
    return sign + duration(abs(nanoseconds) / 1e9)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Say a number with its noun: "1 process", "3 processes"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def extents(ranges: Iterable[IdExtent]) -> str:
    """Say an id map: "0 -> 1000 x1, 1 -> 100000 x65536", "empty" for one without a line."""
    return ", ".join(f"{r.inside} -> {r.outside} x{r.length}" for r in ranges) or "empty"


def exact_shift(nanoseconds: int) -> str:
    """Say a clock's offset with nothing rounded: "+2d", "-1.5s", "+1d 3h 20m 3.000000001s"."""
    if not nanoseconds:
        return "0"
    sign = "-" if nanoseconds < 0 else "+"
    whole, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    words = []
    for size, letter in _UNITS[:-1]:
        count, whole = divmod(whole, size)
        if count:
            words.append(f"{count}{letter}")
    if whole or fraction:
        digits = f".{fraction:09d}".rstrip("0") if fraction else ""
        words.append(f"{whole}{digits}s")
    return sign + " ".join(words)


def size(number: int) -> str:
    """Say a number of bytes: "512", "64K", "1.5G"; a power of 1024 each letter."""
    for letter, unit in (
        ("P", 1 << 50),
        ("T", 1 << 40),
        ("G", 1 << 30),
        ("M", 1 << 20),
        ("K", 1 << 10),
    ):
        if number >= unit:
            return f"{number / unit:.1f}".removesuffix(".0") + letter
    return str(number)
