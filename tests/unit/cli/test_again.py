"""Views that repeat."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import pytest

from nsctl.cli import again
from nsctl.errors import UsageError

pytestmark = pytest.mark.unit


class Ended(Exception):
    """The third time is the last."""


@pytest.fixture
def three_times(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise Ended

    monkeypatch.setattr(time, "sleep", sleep)
    return waited


@pytest.mark.parametrize(("text", "wait"), [(None, 2.0), ("1", 1.0), ("0.25", 0.25), ("1e2", 100)])
def test_an_interval_is_a_number_of_seconds(text: str | None, wait: float) -> None:
    assert again.seconds(text) == wait


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "nan", "inf", "1e9", "1s"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid argument of --watch"):
        again.seconds(text)


def _view(lines: int, told: str = "") -> Callable[[], int]:
    def draw() -> int:
        sys.stdout.write("".join(f"row {number}\n" for number in range(lines)))
        sys.stderr.write(told)
        return 0

    return draw


def test_elsewhere_than_on_a_terminal_one_time_follows_the_other(
    three_times: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Ended):
        again.again(0.5, _view(2))
    assert capsys.readouterr().out == "row 0\nrow 1\n\nrow 0\nrow 1\n\nrow 0\nrow 1\n"
    assert three_times == [0.5] * 3


def _shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], draw: Callable[[], int]
) -> list[str]:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 6)))
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1)
    with pytest.raises(Ended):
        again.again(1, draw)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\x1b[H") == 3
    last = out.rpartition("\x1b[H")[2]
    assert last.endswith("\x1b[J")
    return last.removesuffix("\x1b[J").replace("\x1b[K", "").removesuffix("\n").split("\n")


@pytest.mark.usefixtures("three_times")
def test_on_a_terminal_the_note_stands_below_the_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _shown(monkeypatch, capsys, _view(2, "Not read: x.\n"))
    assert lines == ["row 0", "row 1", "Not read: x."]


@pytest.mark.usefixtures("three_times")
def test_on_a_terminal_rows_are_cut_to_the_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _shown(monkeypatch, capsys, _view(9, "Not read: x.\n"))
    assert lines == [
        *("row 0", "row 1", "row 2", ".. 6 more lines: the screen is too low", "Not read: x."),
    ]
