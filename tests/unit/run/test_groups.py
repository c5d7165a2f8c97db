"""Which files of control groups are written; hierarchies are directories made for the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsctl.errors import UsageError
from nsctl.kernel.cgroupfs import Hierarchy
from nsctl.run import groups

pytestmark = pytest.mark.unit


def _hierarchy(place: Path, version: int, name: str = "") -> Hierarchy:
    place.mkdir(exist_ok=True)
    return Hierarchy(version, name, str(place), place.stat().st_dev, writable=True)


LIMITS = (("memory", 1 << 20), ("cpus", 1500), ("pids", 9))


def test_version_1_has_a_hierarchy_for_each(tmp_path: Path) -> None:
    rows = [
        _hierarchy(tmp_path / name, 1, name)
        for name in ("memory", "cpu,cpuacct", "pids", "devices")
    ]
    written = groups.rows(LIMITS, rows, "/nsctl/a")
    assert [(path.removeprefix(str(tmp_path)), text) for path, text, _ in written] == [
        ("/memory/nsctl/a/memory.limit_in_bytes", "1048576"),
        ("/cpu,cpuacct/nsctl/a/cpu.cfs_period_us", "100000"),
        ("/cpu,cpuacct/nsctl/a/cpu.cfs_quota_us", "150000"),
        ("/pids/nsctl/a/pids.max", "9"),
    ]
    devices = groups.devices(rows, "/nsctl/a")
    assert [path.rpartition("/")[2] for path, _, _ in devices] == ["devices.deny", "devices.allow"]


def test_version_2_hands_controllers_down_once(tmp_path: Path) -> None:
    row = _hierarchy(tmp_path / "unified", 2)
    (tmp_path / "unified/cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "unified/cgroup.subtree_control").write_text("memory\n")
    written = groups.rows(LIMITS[:2], [row], "/nsctl/a")
    assert [(path.removeprefix(str(tmp_path)), text) for path, text, _ in written] == [
        ("/unified/nsctl/cgroup.subtree_control", "+memory"),
        ("/unified/nsctl/a/memory.max", "1048576"),
        ("/unified/cgroup.subtree_control", "+cpu"),
        ("/unified/nsctl/cgroup.subtree_control", "+cpu"),
        ("/unified/nsctl/a/cpu.max", "150000 100000"),
    ]
    assert groups.devices([row], "/nsctl/a") == ()


def test_a_limit_that_nothing_keeps_is_refused(tmp_path: Path) -> None:
    row = _hierarchy(tmp_path / "unified", 2)
    (tmp_path / "unified/cgroup.controllers").write_text("cpu\n")
    with pytest.raises(UsageError, match="memory controller"):
        groups.rows(LIMITS, [row], "/nsctl/a")
    with pytest.raises(UsageError, match="control group"):
        groups.rows(LIMITS, [row], "")
    assert groups.rows((), [row], "") == ()
