"""What is written into a container's control group: limits, and which devices it may use.

Version 1 has a hierarchy for each controller and other names for the same things than version 2.
Sources: the kernel's admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/memory.rst and devices.rst,
scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from collections.abc import Iterable

from nsctl.errors import UsageError
from nsctl.kernel import cgroupfs
from nsctl.kernel.cgroupfs import Hierarchy
from nsctl.run.spec import CPUS, MEMORY, PIDS

Row = tuple[str, str, str]
"""Path of a file, what is written into it (one write a line), and what that means, in words."""

_PERIOD = 100_000  # microseconds
_CONTROLLERS = {MEMORY: "memory", CPUS: "cpu", PIDS: "pids"}
_FILES = {
    (MEMORY, 1): "memory.limit_in_bytes",
    (MEMORY, 2): "memory.max",
    (CPUS, 1): "cpu.cfs_quota_us",
    (CPUS, 2): "cpu.max",
    (PIDS, 1): "pids.max",
    (PIDS, 2): "pids.max",
}
_DEVICES = """a
c *:* m
b *:* m
c 1:3 rwm
c 1:5 rwm
c 1:7 rwm
c 1:8 rwm
c 1:9 rwm
c 5:0 rwm
c 5:1 rwm
c 5:2 rwm
c 136:* rwm"""
"""What engines allow: any node may be made, and only the usual ones be opened."""


def rows(
    limits: Iterable[tuple[str, int]], hierarchies: Iterable[Hierarchy], path: str
) -> tuple[Row, ...]:
    """Choose the files for limits.

    Args:
        limits: name and number of each, as in ``Spec.limits``.
        hierarchies: those that are mounted.
        path: of the container's group in each, "" where it has none.

    Returns:
        What is written, in order.

    Raises:
        UsageError: a limit cannot be kept here.
    """
    found: list[Row] = []
    known = [row for row in hierarchies if row.writable]
    for name, number in limits:
        if not path:
            raise UsageError(
                f"a limit of {name} needs a control group, and here you may make none",
                "only root can limit containers",
            )
        controller = _CONTROLLERS[name]
        for row in known:
            if controller in cgroupfs.controllers(row):
                found += _limit(row, path, name, number)
                break
        else:
            raise UsageError(
                f"a limit of {name} cannot be kept: no control group of this host has the "
                f"{controller} controller",
                "nsctl cgroup @host shows which it has",
            )
    return tuple(dict.fromkeys(found))


def _limit(row: Hierarchy, path: str, name: str, number: int) -> list[Row]:
    found: list[Row] = []
    directory = cgroupfs.group(row, path)
    if row.version == 2:
        found += _handed_down(row, path, _CONTROLLERS[name])
    value, words = str(number), f"{number} bytes" if name == MEMORY else str(number)
    if name == CPUS:
        quota = number * _PERIOD // 1000
        value = f"{quota} {_PERIOD}" if row.version == 2 else str(quota)
        words = f"{number / 1000:g}"
        if row.version == 1:
            period = f"{directory}/cpu.cfs_period_us"
            found.append((period, str(_PERIOD), "count its processor time in periods of 100 ms"))
    file = f"{directory}/{_FILES[name, row.version]}"
    found.append((file, value, f"limit its {name} to {words}"))
    return found


def _handed_down(row: Hierarchy, path: str, controller: str) -> list[Row]:
    """Have all groups above hand a controller down."""
    found: list[Row] = []
    directory = row.mount_point
    for name in path.strip("/").split("/"):
        if controller not in cgroupfs.handed_down(directory):
            file = f"{directory}/cgroup.subtree_control"
            words = f"hand the {controller} controller down from {directory}"
            found.append((file, f"+{controller}", words))
        directory = f"{directory}/{name}"
    return found


def devices(hierarchies: Iterable[Hierarchy], path: str) -> tuple[Row, ...]:
    """Choose the files that say which devices may be used.

    Args:
        hierarchies: those that are mounted.
        path: of the container's group in each, "" where it has none.

    Returns:
        What is written; () where no hierarchy of version 1 has the controller (version 2 has
        programs in its place).
    """
    for row in hierarchies:
        if row.version == 1 and row.writable and path and "devices" in cgroupfs.controllers(row):
            directory = cgroupfs.group(row, path)
            denied, *allowed = _DEVICES.split("\n")
            return (
                (f"{directory}/devices.deny", denied, "let it use no device"),
                (
                    f"{directory}/devices.allow",
                    "\n".join(allowed),
                    "but make nodes and use its own",
                ),
            )
    return ()
