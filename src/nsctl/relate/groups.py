"""Groups: processes that are isolated alike, and whose they are.

A group is all processes with the same eight namespaces that belong to one container, to one
service, or to nobody in particular; the last are named after the process that leads them.
"""

from __future__ import annotations

from operator import itemgetter

from nsctl.model.container import Container
from nsctl.model.namespace import ABSENT, TYPES, UNREADABLE, NamespaceType
from nsctl.model.owner import HOST, Owner
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.relate.debugged import debugged_by
from nsctl.relate.services import paths, service_of

Isolation = tuple[int, ...]
"""Inodes of the eight namespaces, in the order of TYPES."""

_WIDTH = len(TYPES)
_MNT = TYPES.index(NamespaceType.MNT)
_USER = TYPES.index(NamespaceType.USER)
# A start that was read in a time namespace set off by a fraction of a tick is one off.
_START_SLACK = 1
_BUBBLEWRAP = b"bwrap"
_AGE = itemgetter(Task._fields.index("start"), Task._fields.index("pid"))


class Group(NamedTuple):
    """Processes that are isolated alike.

    Attributes:
        owner: whose they are.
        isolation: their eight namespaces; `UNREADABLE` in place of all for processes that the
            reader may not look into.
        pids: the processes, ascending; a zombie is in no group, it has no namespaces but two.
        leader: the oldest whose parent is not in the group.
    """

    owner: Owner
    isolation: Isolation
    pids: tuple[int, ...]
    leader: int


def groups(snapshot: Snapshot) -> list[Group]:
    """Sort all living processes into groups.

    Args:
        snapshot: with tasks; with cgroups, services are named; with containers, those.

    Returns:
        The host first, then containers by name, those of a pod together by its name, services by
        name, other groups by leader, and last what could not be read.
    """
    by_key: dict[tuple[Owner | None, Isolation], list[Task]] = {}
    host = snapshot.host.ns[:_WIDTH]
    members = _container_members(snapshot)
    known = UNREADABLE not in host
    services: dict[bytes, Owner | None] = {}
    for (isolation, member, cgroup), tasks in _alike(snapshot, members):
        owner = member
        if owner is None:
            if known and isolation == host:
                owner = HOST
            elif cgroup and UNREADABLE not in isolation:
                # Thousands of processes are in some hundred control groups.
                if cgroup not in services:
                    services[cgroup] = _service(cgroup)
                owner = services[cgroup]
        by_key.setdefault((owner, isolation), []).extend(tasks)
    _adopt_alike(by_key)
    comms = {task.pid: task.comm for task in snapshot.tasks}
    found = [_group(owner, isolation, tasks, comms) for (owner, isolation), tasks in by_key.items()]
    return sorted(found, key=_order)


_Alike = tuple[Isolation, Owner | None, bytes | None]


def _alike(snapshot: Snapshot, members: dict[int, Owner]) -> list[tuple[_Alike, list[Task]]]:
    """Sort living processes by isolation, container, and control groups where they are in none.

    Thousands of processes share some hundred combinations, and discovery gives all that are alike
    one object: comparing these is quicker than what is in them. What is given twice is no harm.
    """
    found: list[tuple[_Alike, list[Task]]] = []
    lists: dict[tuple[int, int], list[Task]] = {}
    for task in snapshot.tasks:
        ns = task.ns
        told: Owner | bytes | None = members.get(task.pid) or task.cgroup
        key = id(ns), id(told)
        tasks = lists.get(key)
        if tasks is None:
            if ns[_MNT] == ABSENT:
                continue
            tasks = lists[key] = []
            owner = members.get(task.pid)
            cgroup = task.cgroup if owner is None else None
            found.append(((ns[:_WIDTH], owner, cgroup), tasks))
        tasks.append(task)
    return found


def _service(cgroup: bytes) -> Owner | None:
    name = service_of(cgroup)
    return Owner("service", name) if name else None


def _adopt_alike(by_key: dict[tuple[Owner | None, Isolation], list[Task]]) -> None:
    """Give processes that nobody claims to the one container isolated exactly alike.

    Whoever entered all of a container's namespaces from outside is isolated as it is; that it
    came from outside is for `joins` to say.
    """
    containers: dict[Isolation, list[Owner]] = {}
    for owner, isolation in by_key:
        if owner is not None and owner.kind == "container" and UNREADABLE not in isolation:
            containers.setdefault(isolation, []).append(owner)
    for owner, isolation in list(by_key):
        claimants = containers.get(isolation, [])
        if owner is None and len(claimants) == 1:
            by_key[claimants[0], isolation].extend(by_key.pop((owner, isolation)))


def _group(
    owner: Owner | None, isolation: Isolation, tasks: list[Task], comms: dict[int, bytes]
) -> Group:
    pids = {task.pid for task in tasks}
    heads = [task for task in tasks if task.ppid not in pids]
    leader = min(heads or tasks, key=_AGE)
    if owner is None:
        owner = _leading(leader, tasks, comms)
    return Group(owner, isolation, tuple(sorted(pids)), leader.pid)


def _leading(leader: Task, tasks: list[Task], comms: dict[int, bytes]) -> Owner:
    """Name a group that nobody claims after the process that leads it.

    A debug shell is named after what it is beside. Bubblewrap keeps no state: a sandbox of its is
    named after what runs in it. Its own process may be the first inside, or wait outside.
    """
    target = debugged_by(leader.cgroup)
    if target:
        return Owner("process", f"debug of {target}", pid=leader.pid)
    program = leader
    if leader.comm == _BUBBLEWRAP:
        inside = [task for task in tasks if task.comm != _BUBBLEWRAP]
        program = min(inside, key=_AGE, default=leader)
    sandboxed = _BUBBLEWRAP in {leader.comm, comms.get(leader.ppid)}
    name = program.comm.decode("utf-8", "surrogateescape")
    return Owner("process", name, engine="bwrap" if sandboxed else "", pid=leader.pid)


_KINDS = {"host": 0, "container": 1, "service": 2, "process": 3}


def _order(group: Group) -> tuple[bool, int, str, str, int]:
    named = group.owner.kind in {"container", "service"}
    name = group.owner.name if named else ""
    return (
        UNREADABLE in group.isolation,
        _KINDS[group.owner.kind],
        group.owner.pod.rpartition(":")[2] or name,
        name,
        group.leader,
    )


def _container_members(snapshot: Snapshot) -> dict[int, Owner]:
    """Tell which processes are a container's.

    A process is a container's when it is in a control group that the engine gave the container,
    or below one, or when it descends from the container's first process (what is back in the
    host's user namespace does so in vain). That one is believed to be the container's only if it
    began when the engine says, where the engine says it.
    """
    owners: dict[int, Owner] = {}
    if not snapshot.containers:
        return owners
    starts = {task.pid: task.start for task in snapshot.tasks}
    by_cgroup: dict[bytes, Owner] = {}
    for container in snapshot.containers:
        owner = owner_of(container)
        start = starts.get(container.pid)
        if start is not None and (
            not container.start or abs(start - container.start) <= _START_SLACK
        ):
            owners[container.pid] = owner
        for path in container.cgroups:
            by_cgroup[path.encode("utf-8", "surrogateescape")] = owner
    claimed: dict[bytes, Owner | None] = {}
    for task in snapshot.tasks:
        if task.cgroup and by_cgroup:
            if task.cgroup not in claimed:
                claimed[task.cgroup] = _claim(task.cgroup, by_cgroup)
            owner_by_cgroup = claimed[task.cgroup]
            if owner_by_cgroup is not None:
                owners.setdefault(task.pid, owner_by_cgroup)
    _inherit(snapshot, owners)
    return owners


def _claim(cgroup: bytes, by_cgroup: dict[bytes, Owner]) -> Owner | None:
    """Find the container whose control group is this one or the nearest above it."""
    for _, path in paths(cgroup):
        above = path
        while len(above) > 1:
            if above in by_cgroup:
                return by_cgroup[above]
            above = above.rpartition(b"/")[0]
    return None


def _inherit(snapshot: Snapshot, owners: dict[int, Owner]) -> None:
    """Pass ownership on from each process to its children."""
    children: dict[int, list[Task]] = {}
    users: dict[int, int] = {}
    for task in snapshot.tasks:
        users[task.pid] = task.ns[_USER]
        if task.pid not in owners:
            children.setdefault(task.ppid, []).append(task)
    host = snapshot.host.ns[_USER]
    for pid, owner in list(owners.items()):
        is_host = users.get(owner.pid, host) == host
        above = [pid] if pid in children else []
        while above:
            for task in children.pop(above.pop(), ()):
                # Nobody comes back from a user namespace into the host's. Who is there was started
                # before his ancestor left, maybe by sudo(8), and is no part of a container.
                if is_host or task.ns[_USER] != host:
                    owners[task.pid] = owner
                    above.append(task.pid)


def owner_of(container: Container) -> Owner:
    """The owner that stands for a container."""
    return Owner(
        "container", container.name, container.engine, container.id, container.pod, container.pid
    )
