"""Control groups of a process: parsing, finding their directories, reading their limits."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import KernelRefusal
from nsctl.kernel import cgroup, mountinfo
from nsctl.kernel.cgroup import Limits, Membership, Place
from support.examples import Mutations

pytestmark = pytest.mark.unit

# Recorded on a machine with one version 1 hierarchy a controller, and version 2 beside them.
HYBRID = b"""\
9:name=systemd:/
8:pids:/
7:blkio:/
6:freezer:/
5:devices:/
4:memory:/jobs/55fd
3:cpuset:/
2:cpuacct:/
1:cpu:/
0::/
"""
HYBRID_MOUNTS = b"""\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
# Constructed in the form of a systemd host with version 2 alone.
UNIFIED = b"0::/system.slice/nginx.service\n"
UNIFIED_MOUNTS = (
    b"30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2"
    b" rw,nsdelegate,memory_recursiveprot\n"
)
# Constructed in the form of a Docker container on version 1 that sees the host's cgroup namespace:
# controllers in pairs, and only its own part of each hierarchy mounted, read-only.
CONTAINER = b"""\
12:cpu,cpuacct:/docker/3f2a
4:memory:/docker/3f2a/inner
1:name=systemd:/docker/3f2a
0::/docker/3f2a
"""
CONTAINER_MOUNTS = b"""\
700 699 0:40 /docker/3f2a /sys/fs/cgroup/cpu,cpuacct ro,nosuid - cgroup cgroup rw,cpu,cpuacct
701 699 0:41 /docker/3f2a /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory
702 699 0:41 /docker/3f2a /mnt/memory rw,nosuid - cgroup cgroup rw,memory
703 699 0:42 /docker/3f2a /sys/fs/cgroup/systemd ro - cgroup cgroup rw,xattr,name=systemd
"""


def directories(raw: bytes, mounts: bytes) -> dict[bytes, bytes]:
    found = cgroup.places(cgroup.parse(raw), mountinfo.parse(mounts))
    return {b",".join(place.controllers): place.directory for place in found}


def test_a_file_is_parsed_into_a_row_for_each_hierarchy() -> None:
    rows = cgroup.parse(CONTAINER)
    assert rows[0] == Membership(12, (b"cpu", b"cpuacct"), b"/docker/3f2a")
    assert rows[-1] == Membership(0, (), b"/docker/3f2a")
    assert cgroup.parse(b"") == ()


def test_a_path_keeps_what_others_would_cut_at() -> None:
    path = b"/a:b c\r\x0b\x0c\x1c\x85\xe2\x80\xa8/\\x2d (deleted)"
    assert cgroup.parse(b"0::" + path + b"\n") == (Membership(0, (), path),)


@pytest.mark.parametrize("line", [b"0:", b"0::", b"::/", b"x::/", b"0::relative", b"-1::/", b" "])
def test_a_line_that_is_not_whole_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a line"):
        cgroup.parse(line + b"\n")


PATHS = st.binary(max_size=20).map(lambda text: b"/" + text.replace(b"\n", b""))
NAMES = st.sampled_from([b"cpu", b"memory", b"name=systemd", b"name=x", b"pids"])


@given(
    st.lists(
        st.builds(
            Membership,
            st.integers(min_value=0, max_value=2**31),
            st.lists(NAMES, max_size=3).map(tuple),
            PATHS,
        )
    )
)
def test_what_the_kernel_writes_is_read_back(rows: list[Membership]) -> None:
    raw = b"".join(
        b"%d:%s:%s\n" % (row.hierarchy, b",".join(row.controllers), row.path) for row in rows
    )
    assert cgroup.parse(raw) == tuple(rows)


@given(st.binary())
def test_arbitrary_bytes_are_parsed_or_refused(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        cgroup.parse(raw)


def test_damaged_files_are_parsed_or_refused(mutations: Mutations) -> None:
    mounts = mountinfo.parse(HYBRID_MOUNTS)
    for raw in mutations([HYBRID, UNIFIED, CONTAINER]):
        with contextlib.suppress(ValueError):
            for place in cgroup.places(cgroup.parse(raw), mounts):
                assert place.directory == place.top or place.directory.startswith(place.top + b"/")


def test_on_a_hybrid_host_each_hierarchy_has_its_place() -> None:
    found = directories(HYBRID, HYBRID_MOUNTS)
    assert len(found) == 10
    assert found[b""] == b"/sys/fs/cgroup/unified"
    assert found[b"name=systemd"] == b"/sys/fs/cgroup/systemd"
    assert found[b"memory"] == b"/sys/fs/cgroup/memory/jobs/55fd"


def test_on_a_host_with_version_2_alone_there_is_one_place() -> None:
    assert cgroup.places(cgroup.parse(UNIFIED), mountinfo.parse(UNIFIED_MOUNTS)) == (
        Place(
            2,
            (),
            b"/sys/fs/cgroup/system.slice/nginx.service",
            b"/sys/fs/cgroup",
            os.makedev(0, 26),
        ),
    )


def test_a_mount_of_a_part_is_looked_into_from_there_and_a_writable_one_is_preferred() -> None:
    assert directories(CONTAINER, CONTAINER_MOUNTS) == {
        b"cpu,cpuacct": b"/sys/fs/cgroup/cpu,cpuacct",
        b"memory": b"/mnt/memory/inner",
        b"name=systemd": b"/sys/fs/cgroup/systemd",
    }


@pytest.mark.parametrize("path", [b"/docker", b"/docker/3f2ab", b"/", b"/docker/3f2a/../x"])
def test_a_group_outside_of_what_is_mounted_has_no_place(path: bytes) -> None:
    assert directories(b"4:memory:" + path + b"\n", CONTAINER_MOUNTS) == {}


@pytest.mark.parametrize("path", [b"/../../system.slice", b"/.."])
def test_a_group_outside_of_the_readers_namespace_has_no_place(path: bytes) -> None:
    assert directories(b"0::" + path + b"\n", UNIFIED_MOUNTS) == {}


# --- limits, in trees that are constructed --------------------------------------------------------


def tree(root: pathlib.Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "ascii")


def place(root: pathlib.Path, version: int, below: str, name: bytes = b"") -> Place:
    top = os.fsencode(root / os.fsdecode(name)) if name else os.fsencode(root)
    directory = top + os.fsencode(below)
    os.makedirs(directory, exist_ok=True)
    return Place(version, (name,) if name else (), directory, top, os.stat(top).st_dev)


def test_limits_of_version_2_are_the_smallest_up_to_the_top(tmp_path: pathlib.Path) -> None:
    tree(
        tmp_path,
        {
            "a.slice/memory.max": "1073741824\n",
            "a.slice/pids.max": "max\n",
            "a.slice/cpu.max": "150000 100000\n",
            "a.slice/b.service/memory.max": "max\n",
            "a.slice/b.service/pids.max": "512\n",
            "a.slice/b.service/cpu.max": "max 100000\n",
        },
    )
    where = [place(tmp_path, 2, "/a.slice/b.service")]
    assert cgroup.limits(where) == Limits(memory=1073741824, pids=512, cpus=1.5)


def test_limits_of_version_1_come_from_each_controllers_own_hierarchy(
    tmp_path: pathlib.Path,
) -> None:
    tree(
        tmp_path,
        {
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/docker/memory.limit_in_bytes": "268435456\n",
            "memory/docker/id/memory.limit_in_bytes": "536870912\n",
            "pids/docker/id/pids.max": "100\n",
            "cpu/docker/cpu.cfs_quota_us": "-1\n",
            "cpu/docker/cpu.cfs_period_us": "100000\n",
            "cpu/docker/id/cpu.cfs_quota_us": "25000\n",
            "cpu/docker/id/cpu.cfs_period_us": "50000\n",
        },
    )
    where = [place(tmp_path, 1, "/docker/id", name) for name in (b"memory", b"pids", b"cpu")]
    assert cgroup.limits(where) == Limits(memory=268435456, pids=100, cpus=0.5)


@pytest.mark.parametrize("unlimited", [2**63 - 4096, 2**63 - 65536, 2**63 - 1])
def test_the_largest_number_of_pages_is_no_limit(tmp_path: pathlib.Path, unlimited: int) -> None:
    tree(tmp_path, {"memory/memory.limit_in_bytes": f"{unlimited}\n"})
    assert cgroup.limits([place(tmp_path, 1, "", b"memory")]).memory is None


def test_groups_without_files_have_no_limits(tmp_path: pathlib.Path) -> None:
    assert cgroup.limits([place(tmp_path, 2, "/x")]) == Limits(None, None, None)
    assert cgroup.limits([]) == Limits(None, None, None)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_text_in_a_limit_is_a_number_or_no_limit(first: bytes, second: bytes) -> None:
    assert all(number >= 0 for number in cgroup._numbers(first))
    assert all(number >= 0 for number in cgroup._numbers(first + b"\n"))
    quota, _, period = (first + b" " + second).partition(b" ")
    assert len(cgroup._numbers(quota)) <= 1
    assert len(cgroup._numbers(period)) <= 1


def test_a_period_of_zero_divides_nothing(tmp_path: pathlib.Path) -> None:
    tree(tmp_path, {"cpu.max": "5 0\n"})
    assert cgroup.limits([place(tmp_path, 2, "")]).cpus is None


def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pids.max").mkdir()  # reading it is EISDIR, for root too
    with pytest.raises(KernelRefusal) as caught:
        cgroup.limits([place(tmp_path, 2, "")])
    assert caught.value.errno == errno.EISDIR
    assert caught.value.subject == str(tmp_path / "pids.max")


# --- moving --------------------------------------------------------------------------------------


def test_a_process_is_written_into_every_place(tmp_path: pathlib.Path) -> None:
    where = [place(tmp_path, 1, "/x", name) for name in (b"cpu", b"pids")]
    for one in where:
        pathlib.Path(os.fsdecode(one.directory), "cgroup.procs").touch()
    cgroup.attach(where, 4560)
    for one in where:
        written = pathlib.Path(os.fsdecode(one.directory), "cgroup.procs").read_bytes()
        assert written == b"4560\n"


def test_a_directory_that_is_not_of_the_hierarchy_takes_nobody(tmp_path: pathlib.Path) -> None:
    good = place(tmp_path, 2, "/x")
    procs = tmp_path / "x" / "cgroup.procs"
    procs.touch()
    with pytest.raises(KernelRefusal) as caught:
        cgroup.attach([good._replace(dev=good.dev + 1)], 4560)
    assert caught.value.errno == errno.ENODEV
    assert procs.read_bytes() == b""


def test_a_group_that_is_gone_is_named(tmp_path: pathlib.Path) -> None:
    one = place(tmp_path, 2, "/x")
    (tmp_path / "x").rmdir()
    with pytest.raises(KernelRefusal, match="cannot move process 4560 into the control group"):
        cgroup.attach([one], 4560)
