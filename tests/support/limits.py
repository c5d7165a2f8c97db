"""A test that hangs fails, with its traceback, and the others still run.

The limit is far above what any test takes, so no outcome depends on how busy a machine is.
NSCTL_TEST_LIMIT sets it, in seconds for each of set-up, call and teardown; 0 is none, as it is
when many examples are asked for, or a debugger.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from types import FrameType

import pytest

LIMIT = int(os.environ.get("NSCTL_TEST_LIMIT") or 300)


def _give_up(_number: int, _frame: FrameType | None) -> None:
    pytest.fail(f"the test did not end within {LIMIT} seconds")


def _limited(item: pytest.Item) -> Generator[None, None, None]:
    if LIMIT == 0 or os.environ.get("NSCTL_TEST_EXAMPLES") or item.config.option.usepdb:
        return (yield)
    before = signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(LIMIT)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Limit the time of a test's fixtures."""
    return (yield from _limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Limit the time of a test."""
    return (yield from _limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Limit the time that the end of a test's fixtures takes."""
    return (yield from _limited(item))
