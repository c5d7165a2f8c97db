"""Mount tables in meaning: what is hidden and by what, who receives whose mounts, what is locked.

Sources: mount_namespaces(7), and the kernel's sharedsubtree documentation. Nothing here recurses:
mounts may be stacked as high as their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from nsctl.model.mount import Layers, Mount
from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.members import Membership, memberships

_FIELD = re.compile(rb"(shared|master|propagate_from):([0-9]+)")
# User namespaces nest 32 deep (user_namespaces(7)).
_DEEPEST = 64


class Propagation(NamedTuple):
    """Where mounts and unmounts go to and come from.

    Attributes:
        group: peer group that it is in, 0 for none: it is not shared.
        master: peer group that it receives from, 0 for none: it is no slave.
        origin: the nearest group above that one that the reader sees, where that is another.
        unbindable: it may not be bind-mounted.
    """

    group: int
    master: int
    origin: int
    unbindable: bool

    @property
    def words(self) -> str:
        """The kinds, as mount_namespaces(7) calls them."""
        kinds = ["shared"] if self.group else []
        kinds += ["slave"] if self.master else []
        kinds += ["unbindable"] if self.unbindable else []
        return ", ".join(kinds) or "private"


class Place(NamedTuple):
    """A mount in the table of a mount namespace.

    Attributes:
        ns: inode of the namespace.
        mount: the mount.
    """

    ns: int
    mount: Mount


class Relative(NamedTuple):
    """A mount that another one shares mounts with.

    Attributes:
        kind: "peer" (each receives what the other has), "master" (it passes on to the other),
            "slave" (it receives from the other).
        place: the mount.
    """

    kind: str
    place: Place


class Told(NamedTuple):
    """What is known of one mount table.

    Attributes:
        ns: inode of the mount namespace.
        table: its mounts, or those of them that one process sees.
        members: who is in each mount namespace, by its inode.
        hidden: see `hidden_by`.
        groups: see `groups`.
        locked: see `locked`.
        layers: directories of its overlays, by number.
    """

    ns: int
    table: Sequence[Mount]
    members: Mapping[int, Membership]
    hidden: Mapping[int, Mount]
    groups: Mapping[int, Group]
    locked: frozenset[int] | None
    layers: Mapping[int, Layers]


class Group(NamedTuple):
    """The mounts of a peer group, and those that receive from it."""

    peers: list[Place]
    slaves: list[Place]


def tell(snapshot: Snapshot, ns: int, table: Sequence[Mount], layers: Mapping[int, Layers]) -> Told:
    """Find out what is known of one mount table.

    Args:
        snapshot: with the mounts of all namespaces.
        ns: inode of the mount namespace.
        table: its mounts, or those of them that one process sees.
        layers: directories of its overlays, by number.
    """
    members = {
        row.namespace.id.ino: row
        for row in memberships(snapshot)
        if row.namespace.id.type is NamespaceType.MNT
    }
    known = groups(snapshot.mounts)
    return Told(ns, table, members, hidden_by(table), known, locked(snapshot, ns), layers)


def propagation(mount: Mount) -> Propagation:
    """Read the optional fields of a mount."""
    found = {match[1]: int(match[2]) for match in _FIELD.finditer(mount.fields)}
    return Propagation(
        found.get(b"shared", 0),
        found.get(b"master", 0),
        found.get(b"propagate_from", 0),
        b"unbindable" in mount.fields.split(b" "),
    )


def hidden_by(table: Sequence[Mount]) -> dict[int, Mount]:
    """Find what hides mounts.

    A mount is hidden where something is mounted over its root, or over a directory that leads to
    its mount point, and where what it is mounted on cannot be reached itself.

    Args:
        table: all mounts of a namespace, or those that one process sees.

    Returns:
        By number, for each hidden mount the one that hides it: what lies right upon it, or upon
        the nearest directory above it.
    """
    by_id = {mount.id: mount for mount in table}
    points: dict[int, dict[bytes, Mount]] = {}
    for mount in table:
        if mount.parent != mount.id:
            points.setdefault(mount.parent, {})[mount.point] = mount
    covers: dict[int, Mount] = {}
    unreached: dict[int, Mount | None] = {}
    for mount in table:
        cover = points.get(mount.id, {}).get(mount.point)
        if cover is not None:
            covers[mount.id] = cover
    for mount in table:
        chain: list[Mount] = []
        current: Mount | None = mount
        met: set[int] = set()
        while current is not None and current.id not in unreached and current.id not in met:
            met.add(current.id)
            chain.append(current)
            current = by_id.get(current.parent)
        for each in reversed(chain):
            above = by_id.get(each.parent) if each.parent != each.id else None
            unreached[each.id] = None if above is None else _blocker(each, above, points, unreached)
    found = {number: mount for number, mount in unreached.items() if mount is not None}
    return {**covers, **found}


def _blocker(
    mount: Mount,
    above: Mount,
    points: Mapping[int, Mapping[bytes, Mount]],
    unreached: Mapping[int, Mount | None],
) -> Mount | None:
    """What lies between the root of a mount and another one's place on it, None for nothing."""
    beyond = unreached.get(above.id)
    if beyond is not None:
        return beyond
    beside = points.get(above.id, {})
    path = mount.point
    while path not in {above.point, b"/", b""}:
        path = path.rpartition(b"/")[0] or b"/"
        other = beside.get(path)
        if other is not None and other.id != mount.id:
            return other
    return None


def groups(mounts: Mapping[int, Iterable[Mount]]) -> dict[int, Group]:
    """Sort the mounts of all namespaces by their peer groups.

    Args:
        mounts: tables by the inode of their namespace.
    """
    found: dict[int, Group] = {}
    for ns, table in mounts.items():
        for mount in table:
            if not mount.fields:
                continue
            how = propagation(mount)
            if how.group:
                found.setdefault(how.group, Group([], [])).peers.append(Place(ns, mount))
            if how.master:
                found.setdefault(how.master, Group([], [])).slaves.append(Place(ns, mount))
    return found


def relatives(place: Place, known: Mapping[int, Group]) -> list[Relative]:
    """Find the mounts that share mounts with one.

    Args:
        place: the mount.
        known: from `groups`.

    Returns:
        Its peers, then its masters, then its slaves, without itself.
    """
    how = propagation(place.mount)
    found = []
    if how.group and (own := known.get(how.group)):
        found += [Relative("peer", other) for other in own.peers if not _same(other, place)]
    if how.master and (above := known.get(how.master)):
        found += [Relative("master", other) for other in above.peers]
    if how.group and (own := known.get(how.group)):
        found += [Relative("slave", other) for other in own.slaves if not _same(other, place)]
    return found


def _same(one: Place, other: Place) -> bool:
    return one.ns == other.ns and one.mount.id == other.mount.id


def locked(snapshot: Snapshot, ns: int) -> frozenset[int] | None:
    """Find the mounts of a namespace that cannot be unmounted alone in it.

    A mount namespace that is owned by a less privileged user namespace than that from which its
    mounts came has these locked together (mount_namespaces(7)). The kernel does not tell which
    they are: they are those that lie at the same place of the same file system in a namespace that
    an outer user namespace owns.

    Args:
        snapshot: with mounts, namespaces and their owners.
        ns: inode of the mount namespace.

    Returns:
        Numbers of mounts; None where the owner is not known, or no table to compare with.
    """
    owners = {
        each.id.ino: each.owner for each in snapshot.namespaces if each.id.type is NamespaceType.MNT
    }
    outer = _outer_users(snapshot, owners.get(ns, 0))
    if outer is None:
        return None
    if not outer:
        return frozenset()
    others = [other for other, owner in owners.items() if owner in outer and other != ns]
    tables = [snapshot.mounts[other] for other in others if other in snapshot.mounts]
    if not tables:
        return None
    there: dict[tuple[object, ...], int] = {}
    for table in tables:
        counts: dict[tuple[object, ...], int] = {}
        for key in _places(table).values():
            counts[key] = counts.get(key, 0) + 1
        for key, count in counts.items():
            there[key] = max(there.get(key, 0), count)
    found = []
    mounts = {mount.id: mount for mount in snapshot.mounts.get(ns, ())}
    # Of two alike, the one that was there first came from outside.
    for number, key in sorted(
        _places(mounts.values()).items(), key=lambda item: mounts[item[0]].unique_id
    ):
        if there.get(key, 0) > 0:
            there[key] -= 1
            found.append(number)
    return frozenset(found)


def _outer_users(snapshot: Snapshot, user: int) -> frozenset[int] | None:
    """The user namespaces around one, empty for the outermost; None where that is not known."""
    parents = {
        each.id.ino: each.parent
        for each in snapshot.namespaces
        if each.id.type is NamespaceType.USER
    }
    if user not in parents:
        return None
    found: list[int] = []
    current = parents[user]
    while current in parents and current not in found and len(found) < _DEEPEST:
        found.append(current)
        current = parents[current]
    return frozenset(found)


def _places(table: Iterable[Mount]) -> dict[int, tuple[object, ...]]:
    """Where each mount lies: what it is, and the path within the file system that it is on.

    A root is not there: nothing holds it.
    """
    mounts = list(table)
    by_id = {mount.id: mount for mount in mounts}
    found: dict[int, tuple[object, ...]] = {}
    for mount in mounts:
        above = by_id.get(mount.parent)
        if above is None or above.id == mount.id:
            continue
        inside = mount.point[len(above.point.rstrip(b"/")) :]
        path = above.root.rstrip(b"/") + inside
        found[mount.id] = (mount.dev, mount.root, above.dev, path)
    return found
