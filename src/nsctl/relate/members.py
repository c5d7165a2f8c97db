"""Members: which processes and owners are in each namespace."""

from __future__ import annotations

from typing import NamedTuple

from nsctl.model.namespace import (
    PID_FOR_CHILDREN,
    TIME_FOR_CHILDREN,
    TYPES,
    Holder,
    Namespace,
    NamespaceType,
)
from nsctl.model.owner import Owner
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.relate.groups import groups

_COLUMN = {kind: column for column, kind in enumerate(TYPES)}
_FOR_CHILDREN = {
    NamespaceType.PID: PID_FOR_CHILDREN,
    NamespaceType.TIME: TIME_FOR_CHILDREN,
}


class Membership(NamedTuple):
    """One namespace and who is in it.

    Attributes:
        namespace: the namespace.
        tasks: the processes in it, ascending by PID.
        owners: whose they are, the host first, each once.
        holders: what else keeps it alive.
    """

    namespace: Namespace
    tasks: tuple[Task, ...]
    owners: tuple[Owner, ...]
    holders: tuple[Holder, ...]


def memberships(snapshot: Snapshot) -> list[Membership]:
    """Say of every namespace who is in it and what keeps it alive.

    Args:
        snapshot: with tasks and namespaces.

    Returns:
        One row a namespace, ascending by inode, those without a process too.
    """
    by_ns: dict[tuple[int, ...], list[Task]] = {}
    for task in snapshot.tasks:
        by_ns.setdefault(task.ns, []).append(task)
    tasks: dict[tuple[int, int], list[Task]] = {}
    waiting: dict[tuple[int, int], list[Task]] = {}
    for ns, alike in by_ns.items():
        for column in range(len(TYPES)):
            tasks.setdefault((column, ns[column]), []).extend(alike)
        for kind, link in _FOR_CHILDREN.items():
            column = _COLUMN[kind]
            if ns[link] != ns[column]:
                waiting.setdefault((column, ns[link]), []).extend(alike)
    owners: dict[tuple[int, int], list[Owner]] = {}
    for group in groups(snapshot):
        for column, ino in enumerate(group.isolation):
            known = owners.setdefault((column, ino), [])
            if group.owner not in known:
                known.append(group.owner)
    rows = []
    for namespace in snapshot.namespaces:
        key = (_COLUMN[namespace.id.type], namespace.id.ino)
        held = [Holder("child", pid=task.pid) for task in waiting.get(key, ())]
        held += namespace.holders
        inside = sorted(tasks.get(key, ()), key=lambda task: task.pid)
        rows.append(Membership(namespace, tuple(inside), tuple(owners.get(key, ())), tuple(held)))
    return rows
