"""The tree of control groups, what limits and uses it has, and where each namespace begins in it.

Of the groups that something lives in, and of those above, the files are read that say what they
limit and use. Sources: cgroups(7), cgroup_namespaces(7).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from nsctl.child.visit import Hall
from nsctl.discovery.draft import Draft
from nsctl.discovery.hierarchies import Mounted, mounted
from nsctl.discovery.visiting import Visits
from nsctl.errors import refused
from nsctl.kernel import cgroup
from nsctl.model.cgroup import CgroupGroup, CgroupHierarchy
from nsctl.model.contents import CgroupRoot
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Gap, Part, PartState

_KIND = NamespaceType.CGROUP
_MOST = 50_000
_FILE_LIMIT = 1 << 16
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP})

_OF_VERSION_2 = (
    *("memory.current", "memory.max", "memory.high", "memory.swap.current", "memory.swap.max"),
    *("memory.events", "cpu.stat", "cpu.max", "cpu.weight", "pids.current", "pids.max"),
    *("io.stat", "io.max", "cpuset.cpus.effective"),
)
_OF_VERSION_1: dict[str, tuple[str, ...]] = {
    "memory": (
        *("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.memsw.usage_in_bytes"),
        *("memory.memsw.limit_in_bytes", "memory.oom_control"),
    ),
    "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares", "cpu.stat"),
    "cpuacct": ("cpuacct.usage",),
    "pids": ("pids.current", "pids.max"),
    "blkio": (
        *("blkio.throttle.io_service_bytes", "blkio.throttle.read_bps_device"),
        *("blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device"),
        "blkio.throttle.write_iops_device",
    ),
    "cpuset": ("cpuset.effective_cpus",),
}


def run(draft: Draft) -> None:
    """Read the tree and the roots."""
    rows = mounted(draft.proc)
    if not rows:
        _note(draft, "the tree of control groups", "none is mounted where nsctl runs")
    nodes: dict[tuple[int, int], bytes] = {}
    lived = _lived_in(draft, rows)
    draft.cgroups = tuple(_tree(draft, row, lived[row.dev], nodes) for row in rows)
    own = draft.reader.ns[TYPES.index(_KIND)]
    inodes = [ino for kind, ino in draft.namespaces if kind is _KIND]
    if own in inodes:
        _put(draft, own, tuple(CgroupRoot(row.dev, b"/") for row in rows))

    def take(ino: int, hall: Hall, _: int) -> None:
        _put(draft, ino, tuple(_roots(hall, rows, nodes)))

    others = [ino for ino in inodes if ino != own]
    Visits(draft, Part.CGROUP_TREE, "where cgroup trees begin").each(_KIND, others, take)


def _put(draft: Draft, ino: int, roots: tuple[CgroupRoot, ...]) -> None:
    draft.namespaces[_KIND, ino] = draft.namespaces[_KIND, ino]._replace(cgroup_roots=roots)


def _note(draft: Draft, what: str, cause: str, needs: str = "") -> None:
    draft.gaps.append(Gap(Part.CGROUP_TREE, "cgroup", what, PartState.PARTIAL, cause, needs))


def _roots(
    hall: Hall, rows: list[Mounted], nodes: dict[tuple[int, int], bytes]
) -> Iterator[CgroupRoot]:
    for index, row in enumerate(rows):
        path = hall.texts.get(f"path:{index}")
        if path is None and (node := hall.texts.get(f"node:{index}")):
            dev, ino = map(int, node.split(b" "))
            path = nodes.get((dev, ino))
        yield CgroupRoot(row.dev, path)


def _lived_in(draft: Draft, rows: list[Mounted]) -> dict[int, set[bytes]]:
    """The groups that processes or containers are in, and those above, by hierarchy."""
    found: dict[int, set[bytes]] = {row.dev: set() for row in rows}
    for raw in {task.cgroup for task in draft.tasks if task.cgroup}:
        for membership in cgroup.parse(raw):
            for row in rows:
                if cgroup.is_of(membership, row.fs_type, row.options):
                    found[row.dev].update(_upwards(membership.path))
    for container in draft.containers:
        for path in container.cgroups:
            for groups in found.values():
                groups.update(_upwards(os.fsencode(path)))
    return found


def _upwards(path: bytes) -> Iterator[bytes]:
    while len(path) > 1:
        yield path
        path = path.rpartition(b"/")[0]
    yield b"/"


def _tree(
    draft: Draft, row: Mounted, lived: set[bytes], nodes: dict[tuple[int, int], bytes]
) -> CgroupHierarchy:
    """Walk one hierarchy.

    Args:
        draft: the draft.
        row: the hierarchy.
        lived: the groups whose files are read.
        nodes: filled with the path of each group by device and inode.
    """
    groups: list[CgroupGroup] = []
    controllers = row.name
    try:
        status = _status(row)
        if row.version == 2:
            controllers = ",".join(_controllers(row.point))
        nodes[row.dev, status.st_ino] = row.top
        names = _files_of(row)
        queue = [(row.point, row.top)]
        while queue and len(groups) < _MOST:
            directory, path = queue.pop()
            files = tuple(_read(directory, names)) if path in lived else ()
            groups.append(CgroupGroup(path, files))
            queue += reversed(_below(directory, path, row.dev, nodes))
        if queue:
            _note(draft, f"groups beyond {_MOST} of {row.point}", "there are too many")
    except OSError as error:
        cause = error.strerror or "unknown"
        _note(
            draft, f"groups of {row.point}", cause, "CAP_DAC_READ_SEARCH" if refused(error) else ""
        )
    if row.top.startswith(b"/.."):
        _note(draft, f"which group of {row.point} is which", "nsctl's own tree begins below it")
    elif row.top != b"/":
        _note(draft, f"groups above the one at {row.point}", "its root is not mounted here")
    return CgroupHierarchy(row.version, controllers, row.dev, row.top, tuple(groups))


def _status(row: Mounted) -> os.stat_result:
    status = os.stat(row.point)
    if status.st_dev != row.dev:
        raise OSError(errno.ENODEV, "another file system is mounted over it")
    return status


def _controllers(point: str) -> list[str]:
    files = dict(_read(point, ("cgroup.controllers",)))
    words = files.get("cgroup.controllers", b"").rstrip(b"\n").split(b" ")
    return [os.fsdecode(word) for word in words if word]


def _below(
    directory: str, path: bytes, dev: int, nodes: dict[tuple[int, int], bytes]
) -> list[tuple[str, bytes]]:
    """The groups right below one, by name."""
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below = path.rstrip(b"/") + b"/" + os.fsencode(entry.name)
                    nodes[dev, entry.inode()] = below
                    found.append((entry.path, below))
    except OSError as error:
        if error.errno not in _GONE:
            raise
    return sorted(found)


def _files_of(row: Mounted) -> tuple[str, ...]:
    if row.version == 2:
        return _OF_VERSION_2
    return tuple(name for each in row.name.split(",") for name in _OF_VERSION_1.get(each, ()))


def _read(directory: str, names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """The files of a group that it has; a controller that it was not given has none."""
    for name in names:
        try:
            fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _GONE or refused(error):
                continue
            raise
        try:
            yield name, os.read(fd, _FILE_LIMIT)
        except OSError as error:
            if error.errno not in _GONE:
                raise
        finally:
            os.close(fd)
