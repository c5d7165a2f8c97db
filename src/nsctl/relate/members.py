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
_FOR_CHILDREN = (
    (_COLUMN[NamespaceType.PID], PID_FOR_CHILDREN),
    (_COLUMN[NamespaceType.TIME], TIME_FOR_CHILDREN),
)
_BY_KERNEL = (Holder("kernel"),)
_NOBODY: list[Owner] = []


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
    ordered = sorted(snapshot.tasks, key=_PID_OF)
    tasks: list[dict[int, list[list[Task]]]] = [{} for _ in TYPES]
    waiting: dict[tuple[int, int], list[Task]] = {}
    for ns, alike in _alike(ordered).items():
        for inside, ino in zip(tasks, ns, strict=False):
            inside.setdefault(ino, []).append(alike)
        for column, link in _FOR_CHILDREN:
            if ns[link] != ns[column]:
                waiting.setdefault((column, ns[link]), []).extend(alike)
    owners: list[dict[int, list[Owner]]] = [{} for _ in TYPES]
    for group in groups(snapshot):
        for owning, ino in zip(owners, group.isolation, strict=True):
            owning.setdefault(ino, []).append(group.owner)
    kept = _kept_from_below(snapshot)
    empty = [
        each for each in snapshot.namespaces if each.id.ino not in tasks[_COLUMN[each.id.type]]
    ]
    former = former_owners(snapshot, empty)
    rows = []
    for namespace in snapshot.namespaces:
        kind, _, ino = namespace.id
        column = _COLUMN[kind]
        held = namespace.holders
        if (column, ino) in waiting:
            children = [Holder("child", pid=task.pid) for task in waiting[column, ino]]
            held = (*children, *held)
        parts = tasks[column].get(ino)
        if parts is None and not held:
            held = _BY_KERNEL
        whose = owners[column].get(ino, _NOBODY)
        rows.append(
            Membership(
                namespace,
                () if parts is None else _together(parts, (column, ino), ordered),
                # A namespace may be shared by thousands.
                tuple(dict.fromkeys(whose) if len(whose) > 1 else whose),
                held,
                kept.get((kind, ino), 0),
                former.get((kind, ino)) if former else None,
            )
        )
    return rows


def _alike(tasks: list[Task]) -> dict[tuple[int, ...], list[Task]]:
    """Sort processes by what all namespaces of theirs are."""
    found: dict[tuple[int, ...], list[Task]] = {}
    # Discovery gives all that are alike one tuple: comparing these is quicker than what is in them.
    by_identity: dict[int, list[Task]] = {}
    for task in tasks:
        ns = task.ns
        alike = by_identity.get(id(ns))
        if alike is None:
            alike = by_identity[id(ns)] = found.setdefault(ns, [])
        alike.append(task)
    return found


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
    owned: dict[int, int] = {}
    counts: dict[tuple[NamespaceType, int], int] = {}
    for namespace in snapshot.namespaces:
        above, owner = namespace.parent, namespace.owner
        owned[owner] = owned.get(owner, 0) + 1
        if above and (above != owner or namespace.id.type is not NamespaceType.USER):
            parent = namespace.id.type, above
            counts[parent] = counts.get(parent, 0) + 1
    for owner, count in owned.items():
        user = NamespaceType.USER, owner
        counts[user] = counts.get(user, 0) + count
    return counts
