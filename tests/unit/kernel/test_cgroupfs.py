"""Hierarchies of control groups on hosts with version 1, version 2 and both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import cgroupfs, mountinfo

pytestmark = pytest.mark.unit

PURE = b"""\
24 30 0:22 / /proc rw,nosuid shared:5 - proc proc rw
31 24 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID = b"""\
33 24 0:28 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
34 33 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
35 33 0:30 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
36 33 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
37 33 0:32 / /sys/fs/cgroup/cpuset ro shared:12 - cgroup cgroup rw,cpuset,release_agent=/x
38 33 0:32 / /mnt/cpuset rw shared:12 - cgroup cgroup rw,cpuset,release_agent=/x
39 33 0:33 / /sys/fs/cgroup/with\\040blank ro - cgroup cgroup ro,pids
"""


def _rows(raw: bytes) -> list[tuple[int, str, str, bool]]:
    return [
        (row.version, row.name, row.mount_point, row.writable)
        for row in cgroupfs.hierarchies(mountinfo.parse(raw))
    ]


def test_a_pure_version_2_host_has_one() -> None:
    assert _rows(PURE) == [(2, "", "/sys/fs/cgroup", True)]


def test_a_hybrid_host_has_one_for_each_and_the_writable_mount_of_it() -> None:
    assert _rows(HYBRID) == [
        (2, "", "/sys/fs/cgroup/unified", True),
        (1, "name=systemd", "/sys/fs/cgroup/systemd", True),
        (1, "cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", True),
        (1, "cpuset", "/mnt/cpuset", True),
        (1, "pids", "/sys/fs/cgroup/with blank", False),
    ]


@given(st.binary(max_size=60))
def test_any_option_is_taken(options: bytes) -> None:
    cleaned = options.replace(b"\n", b"").replace(b" ", b"")
    line = b"35 33 0:30 / /x rw shared:11 - cgroup cgroup rw" + cleaned + b"\n"
    assert len(_rows(line)) == 1


def test_a_group_is_made_with_its_parent_and_a_cpuset_gets_what_its_parent_has(
    tmp_path: Path,
) -> None:
    for name, value in (("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")):
        (tmp_path / name).write_text(value)
    # The kernel makes a group's files; here they are made by whoever waits for the directory.
    for group in ("nsctl", "nsctl/web"):
        (tmp_path / group).mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            (tmp_path / group / name).write_text("")
    (tmp_path / "nsctl" / "web").rename(tmp_path / "aside")
    cgroupfs.make(str(tmp_path / "nsctl"))
    assert (tmp_path / "nsctl").is_dir()


def test_a_hidden_hierarchy_is_not_taken_for_what_hides_it(tmp_path: Path) -> None:
    device = os.stat(tmp_path).st_dev
    row = cgroupfs.Hierarchy(2, "", str(tmp_path), device, writable=True)
    assert cgroupfs.group(row, "/nsctl/web") == f"{tmp_path}/nsctl/web"
    with pytest.raises(OSError, match="No such device"):
        cgroupfs.group(row._replace(dev=device + 1), "/nsctl/web")


def test_groups_that_are_gone_are_no_error(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    assert cgroupfs.processes(missing) == []
    assert cgroupfs.groups(missing) == []
    cgroupfs.remove(missing, 0)
    cgroupfs.remove_if_empty(missing)


def test_a_group_is_removed_with_those_below_it(tmp_path: Path) -> None:
    (tmp_path / "web" / "a" / "b").mkdir(parents=True)
    cgroupfs.remove(str(tmp_path / "web"), 0)
    assert os.listdir(tmp_path) == []
