"""The last stage's report, read from a pipe as whoever waits for it does."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.child.report import NUMBERS, RECORD, STEPS, Failure, await_ready, await_start
from nsctl.errors import KernelRefusal, NsctlError

pytestmark = pytest.mark.unit

READY = RECORD.pack(0, 0, 0)


def reading_end(text: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, text)
    os.close(writer)
    return reader


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[int]:
    reader = reading_end(request.param)
    yield reader
    os.close(reader)


@pytest.mark.parametrize("report", [READY], indirect=True)
def test_ready_and_then_the_end_is_a_command_that_runs(report: int) -> None:
    await_ready(report)
    await_start(report)


@pytest.mark.parametrize("report", [b""], indirect=True)
def test_an_end_without_ready_is_no_success(report: int) -> None:
    with pytest.raises(KernelRefusal, match="was killed"):
        await_ready(report)


@pytest.mark.parametrize("report", [RECORD.pack(NUMBERS["FILTER"], errno.EINVAL, 2)], indirect=True)
def test_a_step_that_failed_is_named_with_its_cause(report: int) -> None:
    with pytest.raises(Failure) as caught:
        await_ready(report)
    assert str(caught.value) == "cannot load seccomp filter 2: Invalid argument (EINVAL)"
    assert (caught.value.step, caught.value.errno, caught.value.detail) == (
        "FILTER",
        errno.EINVAL,
        2,
    )
    assert caught.value.exit_status == 125


@pytest.mark.parametrize(
    ("report", "status"),
    [
        (READY + RECORD.pack(NUMBERS["EXEC"], number, 0), status)
        for number, status in ((errno.ENOENT, 127), (errno.EACCES, 126), (errno.ENOEXEC, 126))
    ],
    indirect=["report"],
)
def test_a_command_that_cannot_be_executed_has_the_shells_status(report: int, status: int) -> None:
    await_ready(report)
    with pytest.raises(Failure) as caught:
        await_start(report)
    assert caught.value.exit_status == status


@pytest.mark.parametrize(
    "report", [READY[:5], RECORD.pack(len(STEPS), 1, 0), b"\xff" * 12], indirect=True
)
def test_a_report_that_is_none_is_refused(report: int) -> None:
    with pytest.raises(KernelRefusal):
        await_ready(report)


@pytest.mark.parametrize("report", [READY + READY], indirect=True)
def test_ready_comes_once(report: int) -> None:
    await_ready(report)
    with pytest.raises(KernelRefusal, match="out of turn"):
        await_start(report)


@given(st.binary(max_size=40))
def test_any_report_is_read_or_refused(text: bytes) -> None:
    reader = reading_end(text)
    try:
        await_ready(reader)
        await_start(reader)
    except NsctlError:
        pass
    else:
        assert text == READY
    finally:
        os.close(reader)
