"""What is worked out once."""

from __future__ import annotations

import pytest

from nsctl.model.remember import once, remembered

pytestmark = pytest.mark.unit


def test_an_answer_is_worked_out_once() -> None:
    asked: list[int] = []

    @remembered(8)
    def double(number: int) -> int:
        asked.append(number)
        return 2 * number

    assert [double(3), double(3), double(4)] == [6, 6, 8]
    assert asked == [3, 4]


def test_no_more_is_remembered_than_was_allowed() -> None:
    asked: list[int] = []

    @remembered(2)
    def same(number: int) -> int:
        asked.append(number)
        return number

    assert [same(number) for number in (1, 2, 3, 1)] == [1, 2, 3, 1]
    assert asked == [1, 2, 3, 1]


def test_what_fails_is_tried_again() -> None:
    @remembered(2)
    def inverse(number: int) -> float:
        return 1 / number

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            inverse(0)


class Thing:
    """Counts how often it is asked."""

    asked = 0

    @once
    def answer(self) -> int:
        """The answer."""
        self.asked += 1
        return self.asked


def test_a_property_is_worked_out_once_for_each_object() -> None:
    one, other = Thing(), Thing()
    assert (one.answer, one.answer, other.answer) == (1, 1, 1)
    assert Thing.answer.__doc__ == "The answer."
