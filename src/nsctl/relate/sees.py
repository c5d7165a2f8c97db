"""What of the host and of others a group can see, told from its namespaces and processes."""

from __future__ import annotations

from nsctl.model.namespace import ABSENT, TYPES, UNREADABLE, NamespaceType
from nsctl.model.part import Part, PartState
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import Group

_MNT = TYPES.index(NamespaceType.MNT)
_PID = TYPES.index(NamespaceType.PID)


class Sight(NamedTuple):
    """What a group sees.

    Attributes:
        host_processes: processes of the host that have a number in the group's PID namespace;
            None where that is unknown.
        other_processes: the same for processes that are neither the host's nor the group's.
        host_parts: types of the host's namespaces that it is in, and so sees all of.
    """

    host_processes: int | None
    other_processes: int | None
    host_parts: tuple[NamespaceType, ...]


def sees(snapshot: Snapshot, group: Group) -> Sight:
    """Tell what of the host and of others a group can see.

    A process is visible in its own PID namespace and in all above it (pid_namespaces(7)), so a
    group sees the members of its PID namespace and of those nested in that.

    Args:
        snapshot: with tasks, namespaces and relations.
        group: one of its groups.

    Returns:
        Counts and types. Zombies are not counted: they can no longer be told apart.
    """
    if UNREADABLE in group.isolation:
        return Sight(None, None, ())
    host = snapshot.host.ns[: len(TYPES)]
    parts = tuple(
        kind
        for kind, ino, ours in zip(TYPES, group.isolation, host, strict=True)
        if ino == ours and ino > 0
    )
    if snapshot.parts.get(Part.RELATIONS, PartState.NOT_ASKED) is PartState.NOT_ASKED:
        return Sight(None, None, parts)
    nested = nested_pid_namespaces(snapshot, group.isolation[_PID])
    mine = set(group.pids)
    visible = [
        task
        for task in snapshot.tasks
        if task.ns[_PID] in nested and task.ns[_MNT] != ABSENT and task.pid not in mine
    ]
    of_host = sum(1 for task in visible if task.ns[: len(TYPES)] == host)
    return Sight(of_host, len(visible) - of_host, parts)


def nested_pid_namespaces(snapshot: Snapshot, ino: int) -> set[int]:
    """A PID namespace and all that are nested in it: whoever is in one of these is seen in it."""
    parents = {
        ns.id.ino: ns.parent for ns in snapshot.namespaces if ns.id.type is NamespaceType.PID
    }
    nested = {ino}
    for start in parents:
        chain = []
        current = start
        while current not in nested and current in parents and current not in chain:
            chain.append(current)
            current = parents[current]
        if current in nested:
            nested.update(chain)
    return nested
