"""Whose files a capability of this room is asked for, and who else is on the host."""

from __future__ import annotations

import os

from nsctl.errors import TargetError, UnknownTarget
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.targets import live

_MNT = TYPES.index(NamespaceType.MNT)
# More namespaces than these are not looked at, and of each no more processes.
_NAMESPACES = 4096
_OF_EACH = 3
_FAMILY = 64


class Surroundings(NamedTuple):
    """Who may have mounted what a process sees.

    Attributes:
        views: for each mount namespace but its own some processes in it, the caller's (0) first.
        parents: the processes that it descends from, nearest first.
    """

    views: list[list[int]]
    parents: list[int]


def process_of(text: str, snapshot: Snapshot) -> live.Process:
    """Resolve a TARGET to one process, a mount namespace to somebody in it.

    Args:
        text: as typed.
        snapshot: with tasks.

    Raises:
        TargetError: it is another namespace, or nobody is in it; or as `nsctl.targets.live.resolve`.
    """
    found = live.resolve(text)
    if isinstance(found, live.Process):
        return found
    try:
        if found.type is not NamespaceType.MNT:
            raise TargetError(
                "use", f"TARGET {text}", f"a namespace of type {found.type} has no files"
            )
        from nsctl.kernel.nsfs import inode

        ino = inode(found.fd)
    finally:
        found.close()
    for task in snapshot.tasks:
        if task.ns[_MNT] == ino and not task.kernel and task.state not in "ZX":
            process = live.resolve(str(task.pid))
            if isinstance(process, live.Process):
                return process._replace(text=text)
    raise UnknownTarget("use", f"TARGET {text}", "no process is in that mount namespace")


def surroundings(snapshot: Snapshot, pid: int = 0) -> Surroundings:
    """Find who else is on the host.

    Args:
        snapshot: with tasks.
        pid: the process that is asked about, 0 for none.
    """
    left_out = {snapshot.reader.ns[_MNT]}
    left_out |= {task.ns[_MNT] for task in snapshot.tasks if task.pid == pid}
    by_namespace: dict[int, list[int]] = {}
    rows: dict[int, Task] = {}
    for task in snapshot.tasks:
        rows[task.pid] = task
        ino = task.ns[_MNT]
        if ino > 0 and ino not in left_out and not task.kernel and task.state not in "ZX":
            by_namespace.setdefault(ino, []).append(task.pid)
    groups = [pids[:_OF_EACH] for pids in by_namespace.values()]
    parents: list[int] = []
    above = rows.get(pid)
    while above is not None and above.ppid not in parents and len(parents) < _FAMILY:
        parents.append(above.ppid)
        above = rows.get(above.ppid)
    return Surroundings([[0], *groups[:_NAMESPACES]], parents)


def image_of(container: Container | None) -> bytes:
    """The directory that a container was made from, where its engine names one; b"" otherwise.

    An ordinary user's word is not asked for: what it leads to is checked, but looked at first.
    """
    if container is None or container.vouched_by or not container.image.startswith("/"):
        return b""
    return os.fsencode(container.image)
