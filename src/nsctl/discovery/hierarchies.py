"""The hierarchies of control groups that are mounted where nsctl runs."""

from __future__ import annotations

import os

from nsctl.kernel.cgroupfs import hierarchies
from nsctl.kernel.mountinfo import MountLine, parse
from nsctl.kernel.procfs import ProcFs
from nsctl.model.record import NamedTuple


class Mounted(NamedTuple):
    """One hierarchy.

    Attributes:
        version: 1 or 2.
        name: as in `nsctl.kernel.cgroupfs.Hierarchy`.
        fs_type: "cgroup" or "cgroup2".
        options: of its superblock, as mountinfo shows them.
        dev: device, as os.makedev gives it.
        point: where it is mounted.
        top: which of its groups is there, seen from the reader's cgroup namespace.
    """

    version: int
    name: str
    fs_type: str
    options: str
    dev: int
    point: str
    top: bytes


def mounted(proc: ProcFs) -> list[Mounted]:
    """Find them.

    Args:
        proc: the procfs in which the reader is "self".

    Returns:
        One row a hierarchy; of several mounts of it the one that shows most.
    """
    try:
        lines = parse(proc.read("self/mountinfo", 1 << 28))
    except FileNotFoundError:  # the reader has no number in this procfs
        return []
    # Of the same hierarchy the mount of its highest group first.
    lines.sort(key=lambda line: len(line.root))
    by_point: dict[tuple[int, str], MountLine] = {}
    for line in lines:
        key = os.makedev(line.major, line.minor), os.fsdecode(line.mount_point)
        by_point.setdefault(key, line)
    found = []
    for row in hierarchies(lines):
        line = by_point[row.dev, row.mount_point]
        found.append(
            Mounted(
                row.version,
                row.name,
                os.fsdecode(line.fs_type),
                os.fsdecode(line.super_options),
                row.dev,
                row.mount_point,
                line.root,
            )
        )
    return sorted(found, key=lambda row: (row.version != 2, row.name))
