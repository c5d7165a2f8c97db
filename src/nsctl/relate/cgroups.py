"""What of the tree of control groups somebody can see, and which names of others leak.

A container sees what its mounts of the tree show, and of every process that it sees, its path from
the root of the container's own cgroup namespace, the way out included (cgroup_namespaces(7)).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from nsctl.model.cgroup import CgroupHierarchy
from nsctl.model.container import Container
from nsctl.model.mount import Mount
from nsctl.model.namespace import TYPES, UNREADABLE, NamespaceType
from nsctl.model.owner import Owner
from nsctl.model.part import Part
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.relate.cgroup_usage import Usage, tightest, usage
from nsctl.relate.find import Found
from nsctl.relate.groups import Group, groups, owner_of
from nsctl.relate.members import Membership, memberships
from nsctl.relate.sees import nested_pid_namespaces
from nsctl.relate.services import paths

NEEDS = (
    *(Part.TASKS, Part.CGROUPS, Part.NAMESPACES, Part.RELATIONS, Part.CHILDREN, Part.THREADS),
    *(Part.NSFS_PATHS, Part.MOUNTED, Part.DESCRIPTORS, Part.MOUNTS, Part.CONTAINERS),
    Part.CGROUP_TREE,
)
"""The parts of a snapshot that everything here reads."""

_CGROUP = TYPES.index(NamespaceType.CGROUP)
_MNT = TYPES.index(NamespaceType.MNT)
_PID = TYPES.index(NamespaceType.PID)
_UNIT = re.compile(rb"\.(?:service|scope|socket|mount|swap|timer)$")
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")


class Seen(NamedTuple):
    """What is seen of one hierarchy.

    Attributes:
        hierarchy: it.
        begins: the root of the cgroup namespace in it; None where that is not known.
        own: the group that is looked from; None where it is not in this hierarchy.
        groups: paths of the groups that mounts show.
        mine: how many of these are the own group and below.
        points: where it is mounted, and whether it can be written to there.
        roots: which group each of these mounts shows.
    """

    hierarchy: CgroupHierarchy
    begins: bytes | None
    own: bytes | None
    groups: frozenset[bytes]
    mine: int
    points: tuple[tuple[bytes, bool], ...]
    roots: tuple[bytes, ...] = ()


class Leak(NamedTuple):
    """A name of somebody else's that can be read.

    Attributes:
        name: of a unit of systemd, its escapes undone.
        way: "mount" (the tree shows it) or "proc" (the path of a process does).
    """

    name: str
    way: str


class View(NamedTuple):
    """What one group of processes sees.

    Attributes:
        owner: whose it is.
        leader: its first process.
        ino: its cgroup namespace.
        hosts: that is the host's.
        seen: by hierarchy.
        leaks: units of others, by name.
        containers: other containers whose groups it sees.
        used: what its own group uses and limits.
        limits: what limits it together with all groups above.
    """

    owner: Owner
    leader: int
    ino: int
    hosts: bool
    seen: tuple[Seen, ...]
    leaks: tuple[Leak, ...]
    containers: tuple[Owner, ...]
    used: Usage
    limits: Usage

    @property
    def number(self) -> int:
        """How many groups it sees, over all hierarchies."""
        return sum(len(each.groups) for each in self.seen)

    @property
    def mine(self) -> int:
        """How many of these are its own."""
        return sum(each.mine for each in self.seen)

    @property
    def of(self) -> int:
        """How many groups there are."""
        return sum(len(each.hierarchy.groups) for each in self.seen)

    @property
    def writable(self) -> tuple[bytes, ...]:
        """Where it can write to the tree, as far as mounts go."""
        return tuple(
            point for each in self.seen for point, is_writable in each.points if is_writable
        )


class _Tree(NamedTuple):
    """One hierarchy.

    Attributes:
        hierarchy: it.
        files: of each group, by path.
        keys: the paths, with NUL for "/", so that in order a group stands right before all below.
    """

    hierarchy: CgroupHierarchy
    files: Mapping[bytes, tuple[tuple[str, bytes], ...]]
    keys: tuple[bytes, ...]

    def below(self, top: bytes) -> set[bytes]:
        """The paths of a group and of all below it."""
        key = _sort_key(top)
        first, end = bisect_left(self.keys, key), bisect_left(self.keys, key + b"\1")
        return {each.replace(b"\0", b"/") or b"/" for each in self.keys[first:end]}


def _sort_key(path: bytes) -> bytes:
    return path.rstrip(b"/").replace(b"/", b"\0")


def views(snapshot: Snapshot, found: Found | None = None) -> list[View]:
    """Say of each group of processes what it sees.

    Args:
        snapshot: with `NEEDS`.
        found: only what this leads to; None for all but services that share all with the host.

    Returns:
        The host first.
    """
    look = _Look(snapshot)
    tasks = {task.pid: task for task in snapshot.tasks}
    by_owner = {owner_of(container): container for container in snapshot.containers}
    made = []
    for group in _wanted(snapshot, found):
        leader = tasks[group.leader]
        if found is not None and found.task is not None:
            leader = found.task
        own = _own_paths(look.trees, leader, by_owner.get(group.owner))
        sight = look.at(group, own)
        made.append(
            View(
                owner=group.owner,
                leader=leader.pid,
                ino=group.isolation[_CGROUP],
                hosts=group.isolation[_CGROUP] == snapshot.host.ns[_CGROUP],
                seen=sight.seen,
                leaks=() if group.owner.kind == "host" else sight.leaks,
                containers=tuple(each for each in sight.containers if each != group.owner),
                used=sight.used,
                limits=sight.limits,
            )
        )
    return made


class _Sight(NamedTuple):
    """What is seen from one place, whoever is there; as in `View`."""

    seen: tuple[Seen, ...]
    leaks: tuple[Leak, ...]
    containers: tuple[Owner, ...]
    used: Usage
    limits: Usage


class _Look:
    """Looks at the tree from one place after the other; thousands of processes share one."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.trees = [
            _Tree(row, dict(row.groups), tuple(sorted(_sort_key(each.path) for each in row.groups)))
            for row in snapshot.cgroups
        ]
        self._roots = {
            each.id.ino: dict(each.cgroup_roots or ())
            for each in snapshot.namespaces
            if each.id.type is NamespaceType.CGROUP
        }
        self._sights: dict[tuple[object, ...], _Sight] = {}
        self._texts: dict[int, set[bytes]] = {}
        for task in snapshot.tasks:
            if task.cgroup:
                self._texts.setdefault(task.ns[_PID], set()).add(task.cgroup)
        self._visible: dict[int, set[bytes]] = {}
        self._containers = {
            path.encode("utf-8", "surrogateescape"): owner_of(container)
            for container in snapshot.containers
            for path in container.cgroups
        }

    def at(self, group: Group, own: dict[int, bytes]) -> _Sight:
        """Look from where a group is.

        Args:
            group: it.
            own: its control group in each hierarchy, by device.
        """
        mnt, pid, cgroup = (group.isolation[column] for column in (_MNT, _PID, _CGROUP))
        key = (mnt, pid, cgroup, *own.items())
        if key not in self._sights:
            begins = self._roots.get(cgroup, {})
            table = self._snapshot.mounts.get(mnt, ())
            seen = tuple(
                _seen(tree, begins.get(tree.hierarchy.dev), own.get(tree.hierarchy.dev), mounts)
                for tree, mounts in zip(self.trees, _by_tree(table, self.trees), strict=True)
            )
            # The paths of processes are read from a procfs.
            has_proc = any(mount.fs_type == "proc" for mount in table)
            texts = self._paths_seen(pid) if has_proc else set()
            chains = _chains(self.trees, own)
            self._sights[key] = _Sight(
                seen,
                _leaks(seen, texts, begins),
                self._owners(seen),
                usage(chains[0]) if chains else Usage(),
                tightest(chains),
            )
        return self._sights[key]

    def _paths_seen(self, pid_ns: int) -> set[bytes]:
        """The /proc/PID/cgroup of all that have a number in a PID namespace, each text once."""
        if pid_ns not in self._visible:
            nested = nested_pid_namespaces(self._snapshot, pid_ns)
            self._visible[pid_ns] = {text for ino in nested for text in self._texts.get(ino, ())}
        return self._visible[pid_ns]

    def _owners(self, seen: Iterable[Seen]) -> tuple[Owner, ...]:
        """The containers whose groups are among those that are seen."""
        shown: set[bytes] = set()
        for each in seen:
            shown |= each.groups & self._containers.keys()
        return tuple(dict.fromkeys(self._containers[path] for path in sorted(shown)))


def without_process(snapshot: Snapshot, found: Found | None = None) -> list[Membership]:
    """List the cgroup namespaces that no process is in."""
    rows = [
        row
        for row in memberships(snapshot)
        if row.namespace.id.type is NamespaceType.CGROUP and not row.tasks
    ]
    if found is None:
        return rows
    named = found.namespace
    return [row for row in rows if named is not None and named.namespace.id == row.namespace.id]


def _wanted(snapshot: Snapshot, found: Found | None) -> list[Group]:
    known = [group for group in groups(snapshot) if UNREADABLE not in group.isolation]
    if found is None:
        host = snapshot.host.ns[: len(TYPES)]
        return [
            group for group in known if group.owner.kind != "service" or group.isolation != host
        ]
    if found.namespace is not None:
        ino = found.namespace.namespace.id.ino
        return [group for group in known if ino in group.isolation]
    if found.group is None:
        return []
    if found.group.owner.kind == "container" and found.task is None:
        return [group for group in known if group.owner == found.group.owner]
    return [found.group] if UNREADABLE not in found.group.isolation else []


def _own_paths(trees: list[_Tree], leader: Task, container: Container | None) -> dict[int, bytes]:
    """The group that somebody is in, by hierarchy: a container's, or that of its first process."""
    by_controllers = {_names(names): path for names, path in paths(leader.cgroup or b"")}
    found = {}
    for tree in trees:
        row = tree.hierarchy
        path = by_controllers.get(_key(row))
        if path is not None:
            found[row.dev] = path
        for named in container.cgroups if container is not None else ():
            top = named.encode("utf-8", "surrogateescape")
            if top in tree.files and (path is None or _is_below(path, top)):
                found[row.dev] = top
    return found


def _is_below(path: bytes, top: bytes) -> bool:
    """Tell whether a group is another, or below it."""
    return path == top or path.startswith(top.rstrip(b"/") + b"/")


def _by_tree(table: Iterable[Mount], trees: list[_Tree]) -> Iterator[list[Mount]]:
    """Sort the mounts of control groups by hierarchy."""
    by_dev: dict[int, list[Mount]] = {}
    for mount in table:
        if mount.fs_type in {"cgroup", "cgroup2"}:
            by_dev.setdefault(mount.dev, []).append(mount)
    for tree in trees:
        yield by_dev.get(tree.hierarchy.dev, [])


def _seen(tree: _Tree, begins: bytes | None, own: bytes | None, mounts: list[Mount]) -> Seen:
    shown: set[bytes] = set()
    for mount in mounts:
        shown |= tree.below(mount.root)
    mine = len(shown & tree.below(own)) if own is not None else 0
    points = tuple((mount.point, not mount.read_only) for mount in mounts)
    roots = tuple(mount.root for mount in mounts)
    return Seen(tree.hierarchy, begins, own, frozenset(shown), mine, points, roots)


def _chains(trees: list[_Tree], own: Mapping[int, bytes]) -> list[dict[str, bytes]]:
    """The files of the own groups, then of those above, over all hierarchies at each step."""
    chains: list[dict[str, bytes]] = []
    for tree in trees:
        path = own.get(tree.hierarchy.dev)
        step = 0
        while path is not None:
            if step == len(chains):
                chains.append({})
            for name, content in tree.files.get(path, ()):
                chains[step].setdefault(name, content)
            step += 1
            path = None if path == b"/" else path.rpartition(b"/")[0] or b"/"
    return chains


def units(path: bytes) -> Iterator[str]:
    """Name the units of systemd in the path of a group (systemd.unit(5)), slices aside."""
    for component in path.split(b"/"):
        if _UNIT.search(component):
            name = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), component)
            yield name.decode("utf-8", "surrogateescape")


def _leaks(
    seen: tuple[Seen, ...], texts: Iterable[bytes], begins: Mapping[int, bytes | None]
) -> tuple[Leak, ...]:
    """The units of others whose names can be read.

    Args:
        seen: what mounts show.
        texts: /proc/PID/cgroup of the processes in sight.
        begins: where the cgroup namespace begins, by device.
    """
    found: dict[str, str] = {}
    for each in seen:
        for path in each.groups:
            if each.own is None or not _is_below(path, each.own):
                for name in units(_shown_by_mount(path, each.roots)):
                    found.setdefault(name, "mount")
    by_controllers = {_key(each.hierarchy): each for each in seen}
    for text in texts:
        for controllers, path in paths(text):
            of = by_controllers.get(_names(controllers))
            root = None if of is None else begins.get(of.hierarchy.dev)
            if of is None or root is None:
                continue
            shown = _beyond(path, root)
            if of.own is not None and _is_below(path, of.own):
                # Of the own group only what lies around it tells of others.
                shown = _beyond(of.own, root).rpartition(b"/")[0]
            for name in units(shown):
                found.setdefault(name, "proc")
    return tuple(Leak(name, way) for name, way in sorted(found.items()))


def _names(controllers: bytes) -> frozenset[bytes]:
    return frozenset(controllers.split(b","))


def _key(hierarchy: CgroupHierarchy) -> frozenset[bytes]:
    """How /proc/PID/cgroup calls a hierarchy, whatever the order of its controllers."""
    if hierarchy.version == 2:
        return frozenset({b""})
    return _names(hierarchy.controllers.encode("utf-8", "surrogateescape"))


def _shown_by_mount(path: bytes, roots: Iterable[bytes]) -> bytes:
    """The part of a path that a mount shows: what lies below its root."""
    above = min((root for root in roots if _is_below(path, root)), key=len, default=path)
    return path[len(above.rstrip(b"/")) :]


def _beyond(path: bytes, root: bytes) -> bytes:
    """The names that stand in a path as it is shown from a root: behind where both part."""
    names, others = path.split(b"/"), root.rstrip(b"/").split(b"/")
    same = 0
    while same < min(len(names), len(others)) and names[same] == others[same]:
        same += 1
    return b"/".join(names[same:])
