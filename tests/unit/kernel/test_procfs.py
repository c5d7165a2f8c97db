"""Text of /proc parses back to what the kernel was asked to write, whatever a process names itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import procfs
from nsctl.model.namespace import (
    ABSENT,
    NS_LINKS,
    PID_FOR_CHILDREN,
    UNREADABLE,
    IdExtent,
    TimeOffsets,
)
from nsctl.model.task import CapabilitySets, Credentials
from support.examples import Mutations

pytestmark = pytest.mark.unit

PIDS = st.integers(1, 1 << 22)
U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)
# What a process can call itself (prctl(2), PR_SET_NAME): any 15 bytes but NUL.
COMMS = st.one_of(
    st.binary(max_size=15).map(lambda name: name.replace(b"\0", b"?")),
    st.sampled_from(
        [
            b"",
            b")",
            b"a) Z 1 (b",
            b"a b\nc",
            b"\r\x0b\x0c\x1c\x85",
            b"\xe2\x80\xa8",
            b"\xff\xfe",
            b"Uid:\t0\n",
            b"x\nUid:\t0\t0\t0",
        ]
    ),
)


def render_stat(stat: procfs.ProcStat) -> bytes:
    fields = [0] * 49
    fields[0] = stat.ppid
    fields[5] = procfs.PF_KTHREAD if stat.kernel else 0x400000
    fields[16] = stat.threads
    fields[18] = stat.start % (1 << 64)
    numbers = " ".join(map(str, fields)).encode()
    return b"%d (%s) %s %s\n" % (stat.pid, stat.comm, stat.state.encode(), numbers)


STATS = st.builds(
    procfs.ProcStat,
    pid=PIDS,
    comm=COMMS,
    state=st.sampled_from("RSDZTtXIP"),
    ppid=st.integers(0, 1 << 22),
    kernel=st.booleans(),
    threads=st.integers(0, 1 << 22),
    start=st.integers(0, 1 << 39),  # 170 years
)


@given(STATS)
def test_stat_reads_as_it_was_written_whatever_the_command_name(stat: procfs.ProcStat) -> None:
    assert procfs.parse_stat(render_stat(stat)) == stat


@pytest.mark.parametrize("seconds_before", [1, 600, 86400 * 365])
def test_a_start_before_the_readers_clock_began_is_negative(seconds_before: int) -> None:
    # fs/proc/array.c prints (start + offset), in nanoseconds modulo 2**64, in clock ticks.
    shown = ((1 << 64) - seconds_before * 10**9) // 10**7
    stat = procfs.ProcStat(1, b"init", "S", 0, kernel=False, threads=1, start=shown)
    start = procfs.parse_stat(render_stat(stat)).start
    assert abs(start + seconds_before * 100) <= 1


def render_status(name: bytes, status: procfs.ProcStatus) -> bytes:
    def line(key: str, values: Sequence[int], form: str = "{}") -> bytes:
        return "\t".join([f"{key}:", *map(form.format, values)]).encode() + b"\n"

    who = status.credentials
    # The kernel escapes newlines and backslashes of the name, nothing else.
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    lines = [
        b"Name:\t" + escaped + b"\n",
        b"Umask:\t0022\n",
        b"State:\tS (sleeping)\n",
        line("Uid", who.uids),
        line("Gid", who.gids),
        b"Groups:\t" + b"".join(b"%d " % group for group in who.groups) + b"\n",
    ]
    if status.nspids:
        lines.append(line("NSpid", status.nspids))
    for key, mask in zip(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), who.caps, strict=True):
        lines.append(line(key, [mask], "{:016x}"))
    if who.no_new_privs is not None:
        lines.append(line("NoNewPrivs", [who.no_new_privs], "{:d}"))
    if who.seccomp is not None:
        lines.append(line("Seccomp", [who.seccomp]))
    if who.seccomp_filters is not None:
        lines.append(line("Seccomp_filters", [who.seccomp_filters]))
    return b"".join(lines)


FOUR = st.tuples(U32, U32, U32, U32)
STATUSES = st.builds(
    procfs.ProcStatus,
    nspids=st.lists(PIDS, max_size=33).map(tuple),
    credentials=st.builds(
        Credentials,
        uids=FOUR,
        gids=FOUR,
        groups=st.lists(U32, max_size=40).map(tuple),
        caps=st.builds(CapabilitySets, U64, U64, U64, U64, U64),
        no_new_privs=st.none() | st.booleans(),
        seccomp=st.none() | st.integers(0, 2),
        seccomp_filters=st.none() | st.integers(0, 1 << 31),
    ),
)


@given(COMMS, STATUSES)
def test_status_reads_as_it_was_written_and_no_name_poses_as_a_line(
    name: bytes, status: procfs.ProcStatus
) -> None:
    assert procfs.parse_status(render_status(name, status)) == status


@pytest.mark.parametrize("line", [b"Uid", b"Gid", b"CapInh", b"CapPrm", b"CapEff", b"CapBnd"])
def test_a_status_that_lacks_a_line_is_refused_by_its_name(line: bytes) -> None:
    raw = b"Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapInh:\t0\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\t0\n"
    procfs.parse_status(raw)
    with pytest.raises(ValueError, match=f"status has no line {line.decode()}"):
        procfs.parse_status(raw.replace(line, b"Other"))


def render_map(extents: Sequence[IdExtent]) -> bytes:
    return b"".join(b"%10d %10d %10d\n" % extent for extent in extents)


EXTENTS = st.builds(IdExtent, U32, U32, st.integers(1, (1 << 32) - 1))


@given(st.lists(EXTENTS, max_size=20))
def test_an_id_map_reads_as_it_was_written(extents: list[IdExtent]) -> None:
    assert procfs.parse_id_map(render_map(extents)) == tuple(extents)


def test_the_longest_id_map_that_a_kernel_holds_is_read_whole() -> None:
    extents = [IdExtent(n * 3, 4_000_000_000 + n * 2, 1) for n in range(340)]
    assert procfs.parse_id_map(render_map(extents)) == tuple(extents)


OFFSETS = st.integers(-(1 << 62), 1 << 62)


@given(OFFSETS, OFFSETS)
def test_time_offsets_read_as_they_were_written_negative_and_fractional(
    monotonic: int, boottime: int
) -> None:
    raw = b"".join(
        b"%-10s %10d %9d\n" % (clock, *divmod(nanoseconds, 10**9))
        for clock, nanoseconds in ((b"monotonic", monotonic), (b"boottime", boottime))
    )
    assert procfs.parse_timens_offsets(raw) == TimeOffsets(monotonic, boottime)


def test_the_empty_time_offsets_of_a_zombie_are_not_taken_for_none() -> None:
    with pytest.raises(ValueError, match="two clocks"):
        procfs.parse_timens_offsets(b"")


@given(st.sampled_from(NS_LINKS), U32)
def test_the_link_of_a_namespace_reads_as_it_was_written(kind: str, ino: int) -> None:
    assert procfs.parse_ns_link(f"{kind}:[{ino}]") == ino


@given(st.integers(0, 1 << 31), st.integers(0, 1 << 20), st.binary(max_size=30))
def test_the_mount_of_a_descriptor_is_found_among_its_other_lines(
    mount: int, position: int, rest: bytes
) -> None:
    head = b"pos:\t%d\nflags:\t02100000\n" % position
    assert procfs.parse_fdinfo_mount(head + b"mnt_id:\t%d\nino:\t7\n" % mount + rest) == mount


def _link(raw: bytes) -> int:
    return procfs.parse_ns_link(os.fsdecode(raw))


PARSERS: list[Callable[[bytes], object]] = [
    procfs.parse_stat,
    procfs.parse_status,
    procfs.parse_id_map,
    procfs.parse_timens_offsets,
    procfs.parse_fdinfo_mount,
    _link,
]
REAL = [
    b"71 (a) b) S 1 71 71 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 5000 1 1 1 1 1\n",
    (
        b"Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t4 27 \nNSpid:\t71\t1\n"
        b"CapInh:\t00\nCapPrm:\t00\nCapEff:\t000001ffffffffff\nCapBnd:\t00\nSeccomp:\t2\n"
    ),
    b"         0          0 4294967295\n",
    b"monotonic           0         0\nboottime      172800 500000000\n",
    b"pos:\t0\nflags:\t02100000\nmnt_id:\t15\nino:\t7\n",
    b"net:[4026531840]",
]


@pytest.mark.parametrize("parse", PARSERS)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_parse_or_are_refused(parse: Callable[[bytes], object], raw: bytes) -> None:
    _parse_or_refuse(parse, raw)


@pytest.mark.parametrize("parse", PARSERS)
def test_damaged_text_parses_or_is_refused(
    parse: Callable[[bytes], object], mutations: Mutations
) -> None:
    for raw in mutations(REAL):
        _parse_or_refuse(parse, raw)


def _parse_or_refuse(parse: Callable[[bytes], object], raw: bytes) -> None:
    try:
        parse(raw)
    except ValueError:
        return


def test_a_stat_line_cut_anywhere_before_its_start_time_is_refused() -> None:
    whole = REAL[0]
    procfs.parse_stat(whole)
    for end in range(whole.index(b" 5000")):
        with pytest.raises(ValueError, match=r".+"):
            procfs.parse_stat(whole[:end])


def test_processes_are_the_entries_that_are_numbers_in_ascending_order(tmp_path: Path) -> None:
    for name in ("10", "9", "self", "sys", "1a", "-3"):
        (tmp_path / name).mkdir()
    assert procfs.ProcFs(str(tmp_path)).pids() == [9, 10]


def test_a_file_is_read_to_its_end_or_to_the_limit(tmp_path: Path) -> None:
    for size in (0, 1, 4095, 4096, 4097, 200_000):
        (tmp_path / "file").write_bytes(bytes(size))
        assert len(procfs.ProcFs(str(tmp_path)).read("file")) == size
        assert len(procfs.ProcFs(str(tmp_path)).read("file", limit=5000)) == min(size, 5000)


def test_links_that_are_missing_are_absent_and_dangling_ones_are_read(tmp_path: Path) -> None:
    (tmp_path / "ns").mkdir()
    for number, link in enumerate(NS_LINKS, start=7):
        if link != "pid_for_children":
            (tmp_path / "ns" / link).symlink_to(f"{link}:[{number}]")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        ns = procfs.read_ns_links(directory)
    finally:
        os.close(directory)
    assert ns[PID_FOR_CHILDREN] == ABSENT
    assert [ino for ino in ns if ino] == [n for n in range(7, 17) if n != 7 + PID_FOR_CHILDREN]
    assert UNREADABLE not in ns


def test_the_descriptor_of_a_process_stays_bound_to_it_after_its_end() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    directory = procfs.ProcFs().open(child.pid)
    try:
        assert procfs.parse_stat(procfs.read_file("stat", directory)).pid == child.pid
        child.communicate(b"\n")
        with pytest.raises((ProcessLookupError, FileNotFoundError)):
            procfs.read_file("stat", directory)
        with pytest.raises((ProcessLookupError, FileNotFoundError)):
            procfs.read_ns_links(directory)
    finally:
        os.close(directory)
        child.communicate()


def test_children_are_those_that_the_kernel_tells_of() -> None:
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        pytest.skip("needs a kernel with CONFIG_PROC_CHILDREN")
    processes = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    try:
        found = procfs.read_children("/proc", os.getpid())
        assert found is not None
        assert {process.pid for process in processes} <= set(found)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert procfs.read_children("/proc", processes[0].pid) is None
