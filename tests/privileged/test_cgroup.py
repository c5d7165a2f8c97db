"""Control groups in a real kernel: a process is moved into one of each hierarchy and limited."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from nsctl.errors import Vanished
from nsctl.kernel import cgroup, cgroupfs, mountinfo
from nsctl.kernel.cgroup import Place

pytestmark = pytest.mark.privileged


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def write(path: bytes, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def places_of(pid: int) -> tuple[Place, ...]:
    mounts = mountinfo.parse(read("/proc/self/mountinfo"))
    return cgroup.places(cgroup.parse(read(f"/proc/{pid}/cgroup")), mounts)


@pytest.fixture
def sleeper() -> Iterator[int]:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def groups() -> Iterator[tuple[Place, ...]]:
    """Make groups PARENT/CHILD at the top of each hierarchy that is mounted here."""
    made: list[bytes] = []
    result = []
    try:
        for place in places_of(os.getpid()):
            directory = place.top
            for name in (b"nsctl-test-%d" % os.getpid(), b"child"):
                above, directory = directory, directory + b"/" + name
                os.mkdir(directory)
                made.append(directory)
                for file in (b"cpuset.cpus", b"cpuset.mems"):
                    with contextlib.suppress(FileNotFoundError):
                        write(directory + b"/" + file, read(os.fsdecode(above + b"/" + file)))
            result.append(place._replace(directory=directory))
        yield tuple(result)
    finally:
        for directory in reversed(made):
            os.rmdir(directory)


def test_a_process_is_moved_into_a_group_of_every_hierarchy_and_back(
    groups: tuple[Place, ...], sleeper: int
) -> None:
    assert groups, "no hierarchy is mounted"
    before = places_of(sleeper)
    wanted = {(place.controllers, place.directory) for place in groups}
    try:
        cgroup.attach(groups, sleeper)
        after = places_of(sleeper)
        assert {(place.controllers, place.directory) for place in after} == wanted
        for place in groups:
            assert read(os.fsdecode(place.directory) + "/cgroup.procs") == b"%d\n" % sleeper
    finally:
        cgroup.attach(before, sleeper)
    assert places_of(sleeper) == before


def test_limits_of_the_group_and_of_its_parent_are_found(groups: tuple[Place, ...]) -> None:
    outside = cgroup.limits(groups)
    found: dict[str, Any] = {}
    for place in groups:
        parent = os.path.dirname(place.directory)
        for directory, name, text, field, value in (
            (parent, b"memory.limit_in_bytes", b"67108864", "memory", 67108864),
            (parent, b"memory.max", b"67108864", "memory", 67108864),
            (place.directory, b"pids.max", b"7", "pids", 7),
            (place.directory, b"cpu.cfs_quota_us", b"25000", "cpus", 0.25),
            (place.directory, b"cpu.max", b"25000 100000", "cpus", 0.25),
        ):
            if os.path.exists(directory + b"/" + name):
                write(directory + b"/" + name, text)
                found[field] = value
    if not found:
        pytest.skip("needs a memory, pids or cpu controller in a mounted hierarchy")
    assert cgroup.limits(groups) == outside._replace(**found)


def test_a_full_group_still_takes_who_is_moved(groups: tuple[Place, ...], sleeper: int) -> None:
    full = [place for place in groups if os.path.exists(place.directory + b"/pids.max")]
    if not full:
        pytest.skip("needs the pids controller in a mounted hierarchy")
    before = places_of(sleeper)
    for place in full:
        write(place.directory + b"/pids.max", b"0")
    try:
        cgroup.attach(full, sleeper)
        assert read(os.fsdecode(full[0].directory) + "/cgroup.procs") == b"%d\n" % sleeper
    finally:
        cgroup.attach(before, sleeper)


def test_a_process_that_is_gone_cannot_be_moved(groups: tuple[Place, ...]) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    with pytest.raises(Vanished):
        cgroup.attach(groups, pid)


def test_groups_made_at_once_all_take_processes_in() -> None:
    """A cpuset of version 1 takes nobody in until it has processors: also a parent's half-made."""
    lines = mountinfo.parse(read("/proc/self/mountinfo"))
    found = [row for row in cgroupfs.hierarchies(lines) if row.writable and "cpuset" in row.name]
    if not found:
        pytest.skip("no cpuset hierarchy of version 1")
    parent = cgroupfs.group(found[0], f"/nsctl-test-{os.getpid()}")
    os.mkdir(parent)  # made by somebody who has not come to its processors yet
    child = f"{parent}/one"
    try:
        cgroupfs.make(child)
        for directory in (parent, child):
            for file in ("cpuset.cpus", "cpuset.mems"):
                assert read(f"{directory}/{file}").strip()
    finally:
        os.rmdir(child)
        os.rmdir(parent)
