"""Whose ids are whose: maps of user namespaces in the host's numbers, overlaps, subordinate ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from nsctl.model.accounts import Account, Accounts, Grant
from nsctl.model.namespace import TYPES, IdExtent, IdMaps, NamespaceType
from nsctl.model.owner import Owner
from nsctl.model.part import Part
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.find import Found
from nsctl.relate.idmap import (
    ALL_IDS,
    Span,
    common,
    compose,
    contains,
    inverted,
    meeting,
    outward,
    spans,
    to_outside,
    total,
)
from nsctl.relate.members import Membership, memberships
from nsctl.relate.of_target import inodes_of

NEEDS = (
    *(Part.TASKS, Part.CGROUPS, Part.NAMESPACES, Part.RELATIONS, Part.ID_MAPS),
    *(Part.CHILDREN, Part.THREADS, Part.NSFS_PATHS, Part.MOUNTED, Part.DESCRIPTORS),
    *(Part.CONTAINERS, Part.ACCOUNTS),
)
"""The parts of a snapshot that everything here reads."""

MOST_OVERLAPS = 64
"""How many overlaps of one namespace are listed; the others are counted."""

_USER = TYPES.index(NamespaceType.USER)
_IDENTITY = (IdExtent(0, 0, ALL_IDS),)


class Overlap(NamedTuple):
    """Ids that a namespace has in common with another.

    Attributes:
        other: the other namespace.
        uids: which user ids, in the host's numbers.
        gids: which group ids, likewise.
    """

    other: Membership
    uids: tuple[Span, ...]
    gids: tuple[Span, ...]


class MapRow(NamedTuple):
    """One user namespace and its ids, in the host's numbers.

    Attributes:
        member: the namespace and who is in it.
        host: it is the host's.
        level: how many user namespaces are around it, as far as they can be seen.
        uids: map of user ids; None where it was not read.
        gids: map of group ids, likewise.
        unseen: extents that lie outside of what the reader can see.
        above: the parent's map from its own numbers, where that is not the host's: user ids.
        root: what user 0 inside is outside, None for nobody.
        root_group: what group 0 inside is outside, None for nobody.
        overlaps: with namespaces that are neither around it nor in it, and of somebody else.
        more_overlaps: how many more there are than those.
        people: accounts of people whose ids it has, but of its own creator.
        system: accounts of the system whose ids it has, root's first.
        creator: the account of who made it, if its id is among those that it has.
    """

    member: Membership
    host: bool
    level: int
    uids: tuple[IdExtent, ...] | None
    gids: tuple[IdExtent, ...] | None
    unseen: int = 0
    above: tuple[IdExtent, ...] = ()
    root: int | None = None
    root_group: int | None = None
    overlaps: tuple[Overlap, ...] = ()
    more_overlaps: int = 0
    people: tuple[Account, ...] = ()
    system: tuple[Account, ...] = ()
    creator: Account | None = None


class Given(NamedTuple):
    """One line of subuid(5) or subgid(5), and what became of it.

    Attributes:
        grant: the line.
        users: who has any of these ids, each once.
        twice: other lines that give some of the same ids.
        accounts: accounts that have one of these ids.
        known: there is a user of that name or number.
    """

    grant: Grant
    users: tuple[Owner, ...]
    twice: tuple[Grant, ...]
    accounts: tuple[Account, ...]
    known: bool


class Ids(NamedTuple):
    """All of it.

    Attributes:
        rows: a row a user namespace, the host's first, each behind its parent.
        own: the map of the reader's own user namespace where that is not the host's: numbers are
            then those of the namespace around it. None where they are the host's.
        subuids: subordinate user ids.
        subgids: subordinate group ids.
    """

    rows: tuple[MapRow, ...]
    own: IdMaps | None
    subuids: tuple[Given, ...]
    subgids: tuple[Given, ...]


def ids(snapshot: Snapshot) -> Ids:
    """Say of every user namespace which ids it has, and whose else they are.

    Args:
        snapshot: with `NEEDS`.
    """
    members = [row for row in memberships(snapshot) if row.namespace.id.type is NamespaceType.USER]
    by_ino = {row.namespace.id.ino: row for row in members}
    readers = by_ino.get(snapshot.reader.ns[_USER])
    own = readers.namespace.maps if readers is not None else None
    if own is not None and own.uids == own.gids == _IDENTITY:
        own = None
    rows = [_row(snapshot, member, by_ino, own) for member in _nested(members)]
    rows = _with_overlaps(rows, by_ino)
    accounts = snapshot.accounts or Accounts((), (), (), ())
    rows = [_with_accounts(row, accounts) for row in rows]
    return Ids(
        tuple(rows),
        own,
        _given(accounts.subuids, rows, accounts.users, accounts.users, groups=False),
        _given(accounts.subgids, rows, accounts.groups, accounts.users, groups=True),
    )


def of_target(found: Ids, target: Found) -> Ids:
    """Keep what concerns a TARGET: the user namespaces of its processes, or that namespace."""
    named = target.namespace.namespace if target.namespace is not None else None
    if named is not None and named.id.type is not NamespaceType.USER:
        wanted = {named.owner}
    else:
        wanted = inodes_of(target, NamespaceType.USER, [row.member for row in found.rows])
    rows = tuple(row for row in found.rows if row.member.namespace.id.ino in wanted)
    return found._replace(rows=rows, subuids=(), subgids=())


def _nested(members: list[Membership]) -> list[Membership]:
    """Put each namespace behind its parent."""
    below: dict[int, list[Membership]] = {}
    known = {row.namespace.id.ino for row in members}
    for row in members:
        parent = row.namespace.parent if row.namespace.parent in known else 0
        below.setdefault(parent, []).append(row)
    ordered: list[Membership] = []
    queue = list(reversed(below.get(0, [])))
    while queue:
        row = queue.pop()
        ordered.append(row)
        queue += reversed(below.get(row.namespace.id.ino, []))
    return ordered


def _around(ino: int, by_ino: dict[int, Membership]) -> list[int]:
    """The user namespaces around one, the nearest first, as far as they can be seen."""
    found: list[int] = []
    row = by_ino.get(ino)
    while row is not None and row.namespace.parent and row.namespace.parent not in found:
        found.append(row.namespace.parent)
        row = by_ino.get(row.namespace.parent)
    return found


def _row(
    snapshot: Snapshot, member: Membership, by_ino: dict[int, Membership], own: IdMaps | None
) -> MapRow:
    ino = member.namespace.id.ino
    hosts = ino == snapshot.host.ns[_USER]
    level = len(_around(ino, by_ino))
    maps = member.namespace.maps
    if maps is None:
        return MapRow(member, hosts, level, None, None)
    uids, gids = _outside(snapshot, ino, maps, own)
    unseen = len(maps.uids) + len(maps.gids) - len(uids) - len(gids)
    parent = by_ino.get(member.namespace.parent)
    above: tuple[IdExtent, ...] = ()
    if parent is not None and parent.namespace.maps is not None and level > 1:
        around = _outside(snapshot, parent.namespace.id.ino, parent.namespace.maps, own)[0]
        above = compose(uids, inverted(around))
    return MapRow(
        member,
        hosts,
        level,
        uids,
        gids,
        unseen,
        above,
        to_outside(0, uids),
        to_outside(0, gids),
    )


def _outside(
    snapshot: Snapshot, ino: int, maps: IdMaps, own: IdMaps | None
) -> tuple[tuple[IdExtent, ...], tuple[IdExtent, ...]]:
    """A namespace's maps in the outermost numbers that can be told.

    The kernel shows a reader his own map in the numbers around him, all others in his own.
    """
    if own is None or ino == snapshot.reader.ns[_USER]:
        return _seen(maps.uids), _seen(maps.gids)
    return outward(maps.uids, own.uids), outward(maps.gids, own.gids)


def _seen(extents: Sequence[IdExtent]) -> tuple[IdExtent, ...]:
    """Leave out what has no number here."""
    return tuple(each for each in extents if each.outside != ALL_IDS)


_Ranges = tuple[tuple[Span, ...], tuple[Span, ...]]
"""User and group ids of a namespace."""


def _with_overlaps(rows: list[MapRow], by_ino: dict[int, Membership]) -> list[MapRow]:
    """Find who has ids in common; thousands of sandboxes may all have the same ones."""
    alike: dict[_Ranges, list[int]] = {}
    for index, row in enumerate(rows):
        if not row.host:
            alike.setdefault((spans(row.uids or ()), spans(row.gids or ())), []).append(index)
    ranges = list(alike)
    pairs = {*meeting([each[0] for each in ranges]), *meeting([each[1] for each in ranges])}
    met: dict[int, list[int]] = {place: [place] for place in range(len(ranges))}
    for one, other in sorted(pairs):
        met[one].append(other)
        met[other].append(one)
    apart = _no_strangers(rows, by_ino)
    made = list(rows)
    for place, mine in enumerate(ranges):
        for index in alike[mine]:
            found: list[Overlap] = []
            count = 0
            for theirs in (ranges[other] for other in met[place]):
                shared = common(mine[0], theirs[0]), common(mine[1], theirs[1])
                others = alike[theirs]
                if any(shared):
                    count += len(others) - len(apart[index].intersection(others))
                    wanted = MOST_OVERLAPS - len(found)
                    strangers = (other for other in others if other not in apart[index])
                    found += (
                        Overlap(rows[other].member, *shared) for other in islice(strangers, wanted)
                    )
            made[index] = rows[index]._replace(
                overlaps=tuple(found), more_overlaps=count - len(found)
            )
    return made


def _no_strangers(rows: list[MapRow], by_ino: dict[int, Membership]) -> list[set[int]]:
    """For each namespace those that may have its ids: around it, in it, or of the same owner."""
    place = {row.member.namespace.id.ino: index for index, row in enumerate(rows)}
    found: list[set[int]] = [{index} for index in range(len(rows))]
    of_owner: dict[Owner, list[int]] = {}
    for index, row in enumerate(rows):
        for ino in _around(row.member.namespace.id.ino, by_ino):
            if ino in place and not rows[place[ino]].host:
                found[index].add(place[ino])
                found[place[ino]].add(index)
        for owner in row.member.owners:
            of_owner.setdefault(owner, []).append(index)
    for indices in of_owner.values():
        for index in indices if len(indices) > 1 else ():
            found[index].update(indices)
    return found


def _with_accounts(row: MapRow, accounts: Accounts) -> MapRow:
    if row.host or row.uids is None:
        return row
    ranges = spans(row.uids)
    met = [each for each in accounts.users if contains(ranges, each.id)]
    people = [each for each in met if accounts.uid_min <= each.id <= accounts.uid_max]
    system = [each for each in met if each not in people]
    # Who may map his own id only is in no danger from himself.
    made_by = next((each for each in people if each.id == row.member.namespace.owner_uid), None)
    return row._replace(
        people=tuple(each for each in people if each != made_by),
        system=tuple(sorted(system, key=lambda each: each.id != 0)),
        creator=made_by,
    )


def _given(
    grants: Sequence[Grant],
    rows: Iterable[MapRow],
    accounts: Sequence[Account],
    users: Sequence[Account],
    *,
    groups: bool,
) -> tuple[Given, ...]:
    """Say what became of subordinate ids."""
    ranges = [(Span(grant.first, grant.size),) for grant in grants]
    twice: list[list[Grant]] = [[] for _ in grants]
    for one, other in meeting(ranges):
        twice[one].append(grants[other])
        twice[other].append(grants[one])
    taken = [(row, spans((row.gids if groups else row.uids) or ())) for row in rows if not row.host]
    names = {name for user in users for name in (user.name, str(user.id))}
    found = []
    for grant, mine, others in zip(grants, ranges, twice, strict=True):
        owners = dict.fromkeys(
            owner
            for row, theirs in taken
            if total(common(mine, theirs))
            for owner in row.member.owners or ((row.member.was,) if row.member.was else ())
        )
        inside = tuple(each for each in accounts if contains(mine, each.id))
        found.append(Given(grant, tuple(owners), tuple(others), inside, grant.owner in names))
    return tuple(found)
