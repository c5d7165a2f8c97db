"""Limits and use of both versions in one vocabulary; texts as the kernel's documents show them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.relate.cgroup_usage import Usage, tightest, usage

pytestmark = pytest.mark.unit

SECOND: dict[str, bytes] = {
    "memory.current": b"1048576\n",
    "memory.max": b"67108864\n",
    "memory.high": b"max\n",
    "memory.swap.current": b"4096\n",
    "memory.swap.max": b"0\n",
    "memory.events": b"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n",
    "cpu.stat": b"usage_usec 2500000\nuser_usec 1\nnr_periods 40\nnr_throttled 7\n",
    "cpu.max": b"50000 100000\n",
    "cpu.weight": b"100\n",
    "pids.current": b"5\n",
    "pids.max": b"max\n",
    "io.stat": b"8:0 rbytes=100 wbytes=10 rios=1 wios=1\n8:16 rbytes=5 wbytes=3\n",
    "io.max": b"8:0 rbps=1048576 wbps=max riops=max wiops=max\n",
    "cpuset.cpus.effective": b"0-3\n",
}
FIRST: dict[str, bytes] = {
    "memory.usage_in_bytes": b"1048576\n",
    "memory.limit_in_bytes": b"67108864\n",
    "memory.memsw.usage_in_bytes": b"1052672\n",
    "memory.memsw.limit_in_bytes": b"67108864\n",
    "memory.oom_control": b"oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "cpuacct.usage": b"2500000000\n",
    "cpu.stat": b"nr_periods 40\nnr_throttled 7\nthrottled_time 1\n",
    "cpu.cfs_quota_us": b"50000\n",
    "cpu.cfs_period_us": b"100000\n",
    "cpu.shares": b"1024\n",
    "pids.current": b"5\n",
    "pids.max": b"max\n",
    "blkio.throttle.io_service_bytes": b"8:0 Read 100\n8:0 Write 10\n8:0 Total 110\n"
    b"8:16 Read 5\n8:16 Write 3\nTotal 118\n",
    "blkio.throttle.read_bps_device": b"8:0 1048576\n",
    "cpuset.effective_cpus": b"0-3\n",
}


def test_both_versions_say_the_same_in_one_vocabulary() -> None:
    expected = Usage(
        memory=1 << 20,
        memory_max=64 << 20,
        memory_high=None,
        swap=4096,
        swap_max=0,
        oom_kills=2,
        cpu_seconds=2.5,
        cpus=0.5,
        cpu_weight=100,
        throttled=7,
        cpuset="0-3",
        pids=5,
        pids_max=None,
        io_read=105,
        io_written=13,
        io_max=("8:0 rbps=1048576 wbps=max riops=max wiops=max",),
    )
    assert usage(SECOND) == expected
    assert usage(FIRST) == expected._replace(io_max=("8:0 rbps=1048576",))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"memory.max": b"max\n", "cpu.max": b"max 100000\n"},
        {
            "memory.limit_in_bytes": b"9223372036854771712\n",
            "cpu.cfs_quota_us": b"-1\n",
            "cpu.cfs_period_us": b"100000\n",
        },
    ],
)
def test_no_limit_is_none_whatever_it_is_called(files: dict[str, bytes]) -> None:
    found = usage(files)
    assert (found.memory_max, found.cpus, found.pids_max) == (None, None, None)


def test_the_tightest_limit_up_the_tree_counts() -> None:
    chain = [{"pids.max": b"max\n"}, {"pids.max": b"40\n", "cpu.max": b"200000 100000\n"}, SECOND]
    found = tightest(chain)
    assert (found.pids_max, found.cpus, found.memory_max) == (40, 0.5, 64 << 20)
    assert found.memory is None


@given(st.dictionaries(st.sampled_from([*SECOND, *FIRST]), st.binary(max_size=40)))
def test_whatever_stands_in_the_files_is_understood_or_unknown(files: dict[str, bytes]) -> None:
    usage(files)
