"""Processes as their container sees them: process id and user inside and outside."""

from __future__ import annotations

from collections.abc import Iterable

from nsctl.model.namespace import TYPES, UNREADABLE, IdExtent, NamespaceType
from nsctl.model.owner import Owner
from nsctl.model.part import Part
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.relate.find import Found, alone
from nsctl.relate.groups import groups, owner_of

_PID = TYPES.index(NamespaceType.PID)
_USER = TYPES.index(NamespaceType.USER)


NEEDS = (
    Part.TASKS,
    Part.CGROUPS,
    Part.COMMANDS,
    Part.CREDENTIALS,
    Part.NAMESPACES,
    Part.RELATIONS,
    Part.ID_MAPS,
    Part.CONTAINERS,
)
"""The parts of a snapshot that everything here reads."""


class Level(NamedTuple):
    """One process id of a process: the PID namespace, 0 where unknown, and the number there."""

    ino: int
    pid: int


class Process(NamedTuple):
    """One process.

    Attributes:
        task: the process.
        owner: whose it is; None for a zombie and where that could not be read.
        uid: effective user in the reader's numbers, None where not read.
        uid_inside: the same in its own user namespace, None where it is not mapped or unknown.
        dead_leader: its first thread has ended, others live.
    """

    task: Task
    owner: Owner | None
    uid: int | None
    uid_inside: int | None
    dead_leader: bool


def processes(snapshot: Snapshot, found: Found | None = None) -> list[Process]:
    """List processes.

    Args:
        snapshot: with tasks, credentials, namespaces, relations and id maps.
        found: only what this leads to: a container's processes whatever namespaces they are in,
            a pod's, a group's, or a namespace's members; None for all.

    Returns:
        One row a process, by PID.
    """
    # What may not be looked into is nobody's that could be told.
    owners = {
        pid: group.owner
        for group in groups(snapshot)
        if group.owner.kind != "process" or UNREADABLE not in group.isolation
        for pid in group.pids
    }
    wanted = _wanted(None if found is None else alone(snapshot, found), owners)
    maps = {ns.id.ino: ns.maps.uids for ns in snapshot.namespaces if ns.maps is not None}
    rows = []
    for task in snapshot.tasks:
        if wanted is not None and task.pid not in wanted:
            continue
        uid = task.credentials.uids[1] if task.credentials else None
        extents = maps.get(task.ns[_USER])
        inside = None if uid is None or extents is None else to_inside(uid, extents)
        dead = task.state == "Z" and task.threads > 1
        rows.append(Process(task, owners.get(task.pid), uid, inside, dead))
    return rows


def _wanted(found: Found | None, owners: dict[int, Owner]) -> set[int] | None:
    if found is None:
        return None
    if found.namespace is not None:
        return {task.pid for task in found.namespace.tasks}
    if found.pod:
        members = {owner_of(container) for container in found.pod}
        return {pid for pid, owner in owners.items() if owner in members}
    group = found.group
    if group is None:
        return {found.task.pid} if found.task else set()
    if group.owner.kind == "container":
        return {pid for pid, owner in owners.items() if owner == group.owner}
    return set(group.pids)


def to_inside(outside: int, extents: Iterable[IdExtent]) -> int | None:
    """Translate an id of the reader's into a user namespace (user_namespaces(7)).

    Returns:
        The id inside, or None where it is not mapped.
    """
    for extent in extents:
        if extent.outside <= outside < extent.outside + extent.length:
            return extent.inside + outside - extent.outside
    return None


def levels(snapshot: Snapshot, task: Task) -> list[Level]:
    """Give every process id of a process, outermost first (pid_namespaces(7)).

    Args:
        snapshot: with credentials, namespaces and relations.
        task: one of its processes.

    Returns:
        One row a PID namespace that the process has a number in and the reader can see.
    """
    parents = {
        ns.id.ino: ns.parent for ns in snapshot.namespaces if ns.id.type is NamespaceType.PID
    }
    chain: list[int] = []
    ino = task.ns[_PID]
    while ino > 0 and len(chain) < len(task.nspids):
        chain.append(ino)
        ino = parents.get(ino, 0)
    chain += [0] * (len(task.nspids) - len(chain))
    return [Level(ino, pid) for ino, pid in zip(reversed(chain), task.nspids, strict=True)]


def numbered(snapshot: Snapshot, ino: int, number: int) -> Task | None:
    """Find the process that has a number in a PID namespace.

    Args:
        snapshot: see `levels`.
        ino: the PID namespace.
        number: the process id there.

    Returns:
        The process, or None where there is none.
    """
    for task in snapshot.tasks:
        if number in task.nspids and Level(ino, number) in levels(snapshot, task):
            return task
    return None
