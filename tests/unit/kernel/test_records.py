"""Files of /proc/PID that the kernel writes in one piece, and links of namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.kernel import procfs
from nsctl.model.namespace import NS_LINKS

pytestmark = pytest.mark.unit


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8192, 10000, 20000])
def test_a_record_is_read_whole_up_to_the_limit(tmp_path: Path, directory: int, size: int) -> None:
    raw = bytes(number % 251 for number in range(size))
    (tmp_path / "cmdline").write_bytes(raw)
    assert procfs.read_record("cmdline", directory) == raw
    assert procfs.read_record("cmdline", directory, 8192) == raw[:8192]


@pytest.mark.parametrize("name", ["stat", "status", "cgroup", "cmdline"])
def test_the_kernel_gives_a_record_as_it_gives_the_whole_file(name: str) -> None:
    proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    try:
        record = procfs.read_record(name, proc)
        whole = procfs.read_file(name, proc)
        # Times move on between the two; what is used of these files does not.
        assert len(record.split(b"\n")) == len(whole.split(b"\n"))
        if name not in {"status", "stat"}:
            assert record == whole
    finally:
        os.close(proc)


def _link(tmp_path: Path, inodes: dict[str, int]) -> None:
    (tmp_path / "ns").mkdir(exist_ok=True)
    for name, ino in inodes.items():
        kind = name.removesuffix("_for_children")
        (tmp_path / "ns" / name).unlink(missing_ok=True)
        (tmp_path / "ns" / name).symlink_to(f"{kind}:[{ino}]")


def test_links_that_were_read_before_give_the_same_row_again(
    tmp_path: Path, directory: int
) -> None:
    known: dict[tuple[str, ...], tuple[int, ...]] = {}
    _link(tmp_path, {name: 100 + number for number, name in enumerate(NS_LINKS)})
    first = procfs.read_ns_links(directory, known)
    assert first == tuple(range(100, 100 + len(NS_LINKS)))
    assert procfs.read_ns_links(directory, known) is first
    _link(tmp_path, {"net": 7})
    assert procfs.read_ns_links(directory, known)[2] == 7
    assert len(known) == 2


def test_links_that_lack_one_are_not_remembered(tmp_path: Path, directory: int) -> None:
    known: dict[tuple[str, ...], tuple[int, ...]] = {}
    _link(tmp_path, {name: 100 for name in NS_LINKS if name != "pid_for_children"})
    assert procfs.read_ns_links(directory, known)[8] == 0
    assert known == {}
