"""Lines of status, limits and syscall, whatever a process is called."""

from __future__ import annotations

import contextlib
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import procstatus
from nsctl.kernel.procfs import read_file
from support.examples import Mutations

pytestmark = pytest.mark.unit

STATUS = (
    b"Name:\tUmask:\\n0777\nUmask:\t0027\nState:\tS (sleeping)\nTgid:\t7\nTracerPid:\t12\n"
    b"Threads:\t3\nSpeculation_Store_Bypass:\tthread force mitigated\n"
)


def test_the_lines_that_few_need() -> None:
    assert procstatus.parse_extra(STATUS) == procstatus.Extra("S", 12, 0o27, 3, mitigated=True)
    assert procstatus.parse_extra(b"") == procstatus.Extra("", 0, 0o22, 1, mitigated=False)


def test_limits_are_what_the_library_says() -> None:
    found = procstatus.parse_limits(read_file("/proc/self/limits"))
    assert len(found) == len(procstatus.LIMITS)
    for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_STACK):
        wanted = tuple(limit & procstatus.UNLIMITED for limit in resource.getrlimit(number))
        assert found[number] == wanted


@given(
    st.dictionaries(
        st.integers(0, 15),
        st.tuples(st.integers(0, 1 << 62) | st.none(), st.integers(0, 1 << 62) | st.none()),
    )
)
def test_limits_are_read_as_the_kernel_writes_them(
    values: dict[int, tuple[int | None, int | None]],
) -> None:
    lines = [b"%-26s%-21s%-21s%-10s" % (b"Limit", b"Soft Limit", b"Hard Limit", b"Units")]
    for number, pair in values.items():
        words = [b"unlimited" if one is None else b"%d" % one for one in pair]
        lines.append(b"%-26s%-21s%-21s%-10s" % (procstatus.LIMITS[number], *words, b"bytes"))
    wanted = {
        number: tuple(procstatus.UNLIMITED if one is None else one for one in pair)
        for number, pair in values.items()
    }
    assert procstatus.parse_limits(b"\n".join([*lines, b""])) == wanted


def test_damaged_text_is_refused_or_understood(mutations: Mutations) -> None:
    for raw in mutations([STATUS, read_file("/proc/self/limits")]):
        for parse in (procstatus.parse_extra, procstatus.parse_limits):
            with contextlib.suppress(ValueError):
                parse(raw)


@pytest.mark.parametrize(
    ("raw", "number"),
    [(b"running\n", None), (b"-1 0x7ffd 0x7f\n", -1), (b"232 0x4 0x7ffc 0x1\n", 232)],
)
def test_the_call_that_a_process_waits_in(raw: bytes, number: int | None) -> None:
    assert procstatus.parse_syscall(raw) == number
