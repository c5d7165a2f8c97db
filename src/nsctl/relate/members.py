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
from nsctl.relate.was import former_owners

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
        holders: what else keeps it alive; without a process and anything that was found to keep
            it, the one holder is the kernel.
        below: how many namespaces have it for their parent or owner, and so keep it too.
        was: whose it was before it had no process, None where that is not known.
    """

    namespace: Namespace
    tasks: tuple[Task, ...]
    owners: tuple[Owner, ...]
    holders: tuple[Holder, ...]
    below: int = 0
    was: Owner | None = None


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
    kept = _kept_from_below(snapshot)
    populated = frozenset((TYPES[column], ino) for column, ino in tasks)
    former = former_owners(snapshot, populated)
    rows = []
    for namespace in snapshot.namespaces:
        key = (_COLUMN[namespace.id.type], namespace.id.ino)
        named = (namespace.id.type, namespace.id.ino)
        held = [Holder("child", pid=task.pid) for task in waiting.get(key, ())]
        held += namespace.holders
        inside = sorted(tasks.get(key, ()), key=lambda task: task.pid)
        if not inside and not held:
            held.append(Holder("kernel"))
        rows.append(
            Membership(
                namespace,
                tuple(inside),
                tuple(owners.get(key, ())),
                tuple(held),
                kept.get(named, 0),
                former.get(named),
            )
        )
    return rows


def _kept_from_below(snapshot: Snapshot) -> dict[tuple[NamespaceType, int], int]:
    """Count the namespaces that each is the parent or the owner of."""
    counts: dict[tuple[NamespaceType, int], int] = {}
    for namespace in snapshot.namespaces:
        kind = namespace.id.type
        above = {(NamespaceType.USER, namespace.owner), (kind, namespace.parent)}
        for key in above:
            counts[key] = counts.get(key, 0) + 1
    return counts
