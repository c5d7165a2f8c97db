"""Members: which processes and owners are in each namespace."""

from __future__ import annotations

from operator import itemgetter

from nsctl.model.namespace import (
    PID_FOR_CHILDREN,
    TIME_FOR_CHILDREN,
    TYPES,
    Holder,
    Namespace,
    NamespaceType,
)
from nsctl.model.owner import Owner
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.relate.groups import groups
from nsctl.relate.was import former_owners

_PID_OF = itemgetter(Task._fields.index("pid"))
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
    ordered = sorted(snapshot.tasks, key=_PID_OF)
    for task in ordered:
        by_ns.setdefault(task.ns, []).append(task)
    tasks: dict[tuple[int, int], list[list[Task]]] = {}
    waiting: dict[tuple[int, int], list[Task]] = {}
    for ns, alike in by_ns.items():
        for column in range(len(TYPES)):
            tasks.setdefault((column, ns[column]), []).append(alike)
        for kind, link in _FOR_CHILDREN.items():
            column = _COLUMN[kind]
            if ns[link] != ns[column]:
                waiting.setdefault((column, ns[link]), []).extend(alike)
    # Dictionaries as sets that keep their order: a namespace may be shared by thousands.
    owners: dict[tuple[int, int], dict[Owner, None]] = {}
    for group in groups(snapshot):
        for key in enumerate(group.isolation):
            owners.setdefault(key, {})[group.owner] = None
    kept = _kept_from_below(snapshot)
    populated = frozenset((TYPES[column], ino) for column, ino in tasks)
    former = former_owners(snapshot, populated)
    rows = []
    for namespace in snapshot.namespaces:
        key = (_COLUMN[namespace.id.type], namespace.id.ino)
        named = (namespace.id.type, namespace.id.ino)
        held = [Holder("child", pid=task.pid) for task in waiting.get(key, ())]
        held += namespace.holders
        inside = _together(tasks.get(key, []), key, ordered)
        if not inside and not held:
            held.append(Holder("kernel"))
        rows.append(
            Membership(
                namespace,
                inside,
                tuple(owners.get(key, ())),
                tuple(held),
                kept.get(named, 0),
                former.get(named),
            )
        )
    return rows


def _together(
    parts: list[list[Task]], key: tuple[int, int], ordered: list[Task]
) -> tuple[Task, ...]:
    """Merge lists of the processes in one namespace, each ascending.

    Args:
        parts: the lists.
        key: the namespace: its column and inode.
        ordered: all processes, ascending.
    """
    if len(parts) == 1:
        return tuple(parts[0])
    if sum(map(len, parts)) * len(TYPES) > len(ordered):
        # What most are in, as the host's own: choosing is quicker than sorting.
        column, ino = key
        return tuple([task for task in ordered if task.ns[column] == ino])
    return tuple(sorted([task for part in parts for task in part], key=_PID_OF))


def _kept_from_below(snapshot: Snapshot) -> dict[tuple[NamespaceType, int], int]:
    """Count the namespaces that each is the parent or the owner of."""
    counts: dict[tuple[NamespaceType, int], int] = {}
    for namespace in snapshot.namespaces:
        owner = (NamespaceType.USER, namespace.owner)
        counts[owner] = counts.get(owner, 0) + 1
        parent = (namespace.id.type, namespace.parent)
        if namespace.parent and parent != owner:
            counts[parent] = counts.get(parent, 0) + 1
    return counts
