"""Containers that were brought into namespaces of others, whichever engine made these.

A configuration means another's namespace by a path, ``/proc/PID/ns/TYPE``. Whoever was injected into
a pod so, without kubelet, is found below the pod too: what an engine says of its own containers'
pods goes before.
"""

from __future__ import annotations

import re

from nsctl.discovery.draft import Draft
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PATH = re.compile(r"path:/proc/([0-9]{1,10})/ns/[a-z]+")
_OTHER = "container:"
_COLUMNS = {str(kind): column for column, kind in enumerate(TYPES)}


def told(draft: Draft, rows: Sequence[Container]) -> list[Container]:
    """Name the containers whose namespaces others were brought into.

    Args:
        draft: with the processes that rows name.
        rows: containers; of those whom the host's engines do not vouch for nothing is said.

    Returns:
        The same; a path of a container's namespace is "container:NAME", if its own first process
        is in that namespace.
    """
    tasks = {task.pid: task for task in draft.tasks}
    by_pid = {row.pid: row for row in rows if row.pid and not row.vouched_by}
    named = [row if row.vouched_by else _named(row, tasks, by_pid) for row in rows]
    pods = _pods(named)
    return [_in_pod(row, tasks, pods) for row in named] if pods else named


def _named(row: Container, tasks: Mapping[int, Task], by_pid: Mapping[int, Container]) -> Container:
    said = dict(row.declared)
    is_news = False
    for kind, value in row.declared:
        match = _PATH.fullmatch(value) if kind in _COLUMNS else None
        other = by_pid.get(int(match[1])) if match is not None else None
        if other is not None and other is not row and _shares(row, other, kind, tasks):
            said[kind] = f"{_OTHER}{other.name}"
            is_news = True
    return row._replace(declared=tuple(said.items())) if is_news else row


def _shares(row: Container, other: Container, kind: str, tasks: Mapping[int, Task]) -> bool:
    """Tell whether the first processes of two containers are in one namespace."""
    column = _COLUMNS[kind]
    # Of a process that nobody asked for, no more than its name may have been read.
    inodes = [
        task.ns[column] for pid in (row.pid, other.pid) if (task := tasks.get(pid)) and task.ns
    ]
    return len(inodes) == 2 and inodes[0] == inodes[1] > 0


def _pods(rows: Sequence[Container]) -> dict[str, list[Container]]:
    """The running containers that are in pods, by name."""
    found: dict[str, list[Container]] = {}
    for row in rows:
        if row.pod and row.pid and not row.vouched_by:
            found.setdefault(row.name, []).append(row)
    return found


def _in_pod(
    row: Container, tasks: Mapping[int, Task], pods: Mapping[str, list[Container]]
) -> Container:
    if row.pod or row.vouched_by or not row.pid:
        return row
    for kind, value in row.declared:
        if kind in _COLUMNS and value.startswith(_OTHER):
            for other in pods.get(value.removeprefix(_OTHER), ()):
                if _shares(row, other, kind, tasks):
                    return row._replace(pod=other.pod)
    return row
