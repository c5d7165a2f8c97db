"""What came, went and changed between two snapshots: namespaces, who is in them, what holds them.

A namespace is the same when type, device and inode are, and the kernel's 64-bit id where both
snapshots have it: an inode that was used again is one namespace gone and one new. A process is
the same when its number and its start are. What one side could not have seen is unknown: neither
new nor gone. Across boots nothing of this identifies anything; then containers and services are
compared by name, in meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from nsctl.model.namespace import TYPES, UNREADABLE, Holder, Namespace, NamespaceId, NamespaceType
from nsctl.model.owner import Owner
from nsctl.model.part import Part, PartState
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.relate.matrix import Meaning, matrix
from nsctl.relate.members import Membership
from nsctl.relate.moment import Moment
from nsctl.relate.services import service_of

Kind = Literal["new", "gone", "changed", "unknown"]
Side = Literal["before", "after", "both"]
Boot = Literal["same", "other", "unknown"]

_COLUMN = {kind: column for column, kind in enumerate(TYPES)}
# Both clocks are set by hand or by the network meanwhile: no boot is as short as that.
_BOOT_SLACK = 60.0


class Process(NamedTuple):
    """A process that came into a namespace or went out of it.

    Attributes:
        task: it, as it was on the side where it is in.
        owner: whose it is there; None for a zombie.
        moved: it lives on the other side too, in another namespace of this type.
    """

    task: Task
    owner: Owner | None
    moved: bool


class Change(NamedTuple):
    """What became of one namespace.

    Attributes:
        kind: "new", "gone", "changed"; "unknown" where one side could not have seen it.
        seen: on which side it was seen.
        namespace: it, as it was last seen.
        owners: whose it is, or was when it was last somebody's.
        was: no process of theirs is in it any more.
        host: it is one of the host's.
        came: processes that are in it now; of a new one, all.
        went: processes that were in it; of one that is gone, all.
        owners_came: containers and services none of whose processes was in it before.
        owners_went: containers and services none of whose processes is in it any more.
        held: what holds it now, besides processes.
        released: what held it.
        reused: its inode is another namespace's on the other side.
        why: for "unknown", the reason.
    """

    kind: Kind
    seen: Side
    namespace: Namespace
    owners: tuple[Owner, ...]
    was: bool = False
    host: bool = False
    came: tuple[Process, ...] = ()
    went: tuple[Process, ...] = ()
    owners_came: tuple[Owner, ...] = ()
    owners_went: tuple[Owner, ...] = ()
    held: tuple[Holder, ...] = ()
    released: tuple[Holder, ...] = ()
    reused: bool = False
    why: str = ""


class NameChange(NamedTuple):
    """What became of a container or service, by its name, across boots.

    Attributes:
        kind: as in `Change`.
        owner: it, as it was last seen.
        cells: for "changed", what a namespace of a type meant before and what it means after.
    """

    kind: Kind
    owner: Owner
    cells: tuple[tuple[NamespaceType, tuple[Meaning, ...], tuple[Meaning, ...]], ...] = ()


class Diff(NamedTuple):
    """All that differs.

    Attributes:
        boot: whether both are of one boot; "unknown" where a side does not say and the clocks
            do not speak against it.
        changes: by type and inode; () across boots.
        alike: both number processes alike; where they do not, processes are not compared.
        names: containers and services by name, across boots only.
        came: processes that began in between, as far as both sides show them.
        went: processes that ended in between, likewise.
        unread: processes that live on both sides and whose namespaces one of them could not read.
    """

    boot: Boot
    changes: tuple[Change, ...] = ()
    alike: bool = True
    names: tuple[NameChange, ...] = ()
    came: tuple[Task, ...] = ()
    went: tuple[Task, ...] = ()
    unread: tuple[int, ...] = ()


def diff(before: Snapshot, after: Snapshot) -> Diff:
    """Compare two snapshots.

    Args:
        before: with tasks and namespaces.
        after: likewise; nothing is assumed about which of them is older.

    Returns:
        What differs; ``diff(b, a)`` says the opposite of ``diff(a, b)``.
    """
    boot = _boot(before, after)
    if boot == "other":
        return Diff(boot, names=_names(before, after))
    own = _lookers(before) | _lookers(after)
    old, new = Moment(before, own), Moment(after, own)
    changes: list[Change] = []
    for identity in sorted(old.rows.keys() | new.rows.keys(), key=_order):
        changes += _compare(identity, old, new)
    return Diff(
        boot,
        tuple(changes),
        alike=old.numbers_like(new),
        came=_only(new, old),
        went=_only(old, new),
        unread=_unread(old, new),
    )


def _boot(before: Snapshot, after: Snapshot) -> Boot:
    if before.boot_id and after.boot_id:
        return "same" if before.boot_id == after.boot_id else "other"
    began = [side.began - side.uptime for side in (before, after)]
    return "unknown" if abs(began[0] - began[1]) <= _BOOT_SLACK else "other"


def _order(identity: NamespaceId) -> tuple[int, int, int]:
    return _COLUMN[identity.type], identity.dev, identity.ino


def _lookers(snapshot: Snapshot) -> frozenset[tuple[int, int]]:
    """The process that took the snapshot and its helpers: number and start of each."""
    below: dict[int, list[Task]] = {}
    for task in snapshot.tasks:
        below.setdefault(task.ppid, []).append(task)
    found = [task for task in snapshot.tasks if task.pid == snapshot.reader.pid]
    seen: set[tuple[int, int]] = set()
    while found:
        task = found.pop()
        if (task.pid, task.start) not in seen:
            seen.add((task.pid, task.start))
            found += below.get(task.pid, [])
    return frozenset(seen)


def _compare(identity: NamespaceId, old: Moment, new: Moment) -> list[Change]:
    before, after = old.rows.get(identity), new.rows.get(identity)
    if before and after:
        ids = before.namespace.ns_id, after.namespace.ns_id
        if None not in ids and ids[0] != ids[1]:
            return [_gone(before, old, new, reused=True), _new(after, old, new, reused=True)]
        change = _changed(before, after, old, new)
        return [change] if change else []
    if before:
        if _only_looked(before, old):
            return []
        why = new.why_unseen(before, old)
        return [_unknown(before, old, "before", why) if why else _gone(before, old, new)]
    if after and not _only_looked(after, new):
        why = old.why_unseen(after, new)
        return [_unknown(after, new, "after", why) if why else _new(after, old, new)]
    return []


def _only_looked(row: Membership, moment: Moment) -> bool:
    """Tell whether a namespace was there only because somebody looked."""
    return row.namespace.id in moment.looked and not row.tasks and not row.holders


def _unknown(row: Membership, moment: Moment, side: Side, why: str) -> Change:
    host = _is_hosts(row.namespace.id, moment.snapshot)
    owners = _whose(row)
    was = not row.owners
    return Change("unknown", side, row.namespace, owners, was=was, host=host, why=why)


def _whose(row: Membership) -> tuple[Owner, ...]:
    """Whose a namespace is, or was when it last had a process."""
    return row.owners or ((row.was,) if row.was else ())


def _new(row: Membership, old: Moment, new: Moment, *, reused: bool = False) -> Change:
    processes = _processes(row.tasks, row.namespace.id, new, old)
    return Change(
        "new",
        "after",
        row.namespace,
        _whose(row),
        was=not row.owners,
        host=_is_hosts(row.namespace.id, new.snapshot),
        came=processes,
        owners_came=_named(row.owners),
        held=tuple(new.held(row).values()),
        reused=reused,
    )


def _gone(row: Membership, old: Moment, new: Moment, *, reused: bool = False) -> Change:
    processes = _processes(row.tasks, row.namespace.id, old, new)
    return Change(
        "gone",
        "before",
        row.namespace,
        _whose(row),
        was=True,
        host=_is_hosts(row.namespace.id, old.snapshot),
        went=processes,
        owners_went=_named(row.owners),
        released=tuple(old.held(row).values()),
        reused=reused,
    )


def _changed(before: Membership, after: Membership, old: Moment, new: Moment) -> Change | None:
    """What changed about a namespace that both sides have; None for nothing."""
    came = _arrivals(after, before, new, old)
    went = _arrivals(before, after, old, new)
    held = _new_holders(after, before, new, old)
    released = _new_holders(before, after, old, new)
    if not (came or went or held or released):
        return None
    return Change(
        "changed",
        "both",
        after.namespace,
        after.owners or before.owners or _whose(after),
        was=not after.owners,
        host=_is_hosts(after.namespace.id, new.snapshot),
        came=came,
        went=went,
        owners_came=_whole(came, after, new, _named(before.owners)),
        owners_went=_whole(went, before, old, _named(after.owners)),
        held=held,
        released=released,
    )


def _is_hosts(identity: NamespaceId, snapshot: Snapshot) -> bool:
    return snapshot.host.ns[_COLUMN[identity.type]] == identity.ino


def _processes(
    tasks: Iterable[Task], identity: NamespaceId, here: Moment, there: Moment
) -> tuple[Process, ...]:
    """Say of processes that are in a namespace here whether they were elsewhere there."""
    column = _COLUMN[identity.type]
    found = []
    for task in tasks:
        other = there.counterpart(task)
        moved = other is not None and other.ns[column] > 0
        found.append(Process(task, here.of_owner(task), moved))
    return tuple(found)


def _arrivals(
    row: Membership, other: Membership, here: Moment, there: Moment
) -> tuple[Process, ...]:
    """The processes that are in a namespace here, and surely not there."""
    if not there.numbers_like(here):
        return ()
    kind = row.namespace.id.type
    inside = {task.pid for task in other.tasks}
    tasks = [
        task
        for task in row.tasks
        if not (task.pid in inside and there.counterpart(task)) and not there.why_not_in(task, kind)
    ]
    return _processes(tasks, row.namespace.id, here, there)


def _new_holders(
    row: Membership, other: Membership, here: Moment, there: Moment
) -> tuple[Holder, ...]:
    """What holds a namespace here, and surely does not there."""
    if not there.numbers_like(here):
        return ()
    known = set()
    for key in there.held(other):
        task = there.tasks.get(key.holder.pid)
        same = here.counterpart(task) if task else None
        known.add(key._replace(start=same.start) if same else key)
    kind = row.namespace.id.type
    return tuple(
        holder
        for key, holder in here.held(row).items()
        # That nothing else was found is the absence of a finding, and no holder.
        if key not in known
        and holder.kind != "kernel"
        and not there.why_not_held(holder, kind, here)
    )


def _key(owner: Owner) -> tuple[str, str, str]:
    """What a container or service stays the same by."""
    return owner.kind, owner.engine, owner.id or owner.name


def _named(owners: Iterable[Owner]) -> tuple[Owner, ...]:
    """Those that have a name of their own, each once."""
    found = {_key(owner): owner for owner in owners if owner.kind in {"container", "service"}}
    return tuple(found.values())


def _whole(
    moving: tuple[Process, ...], row: Membership, here: Moment, others: tuple[Owner, ...]
) -> tuple[Owner, ...]:
    """Containers and services all of whose processes in a namespace came, or went."""
    pids = {process.task.pid for process in moving}
    staying = [here.of_owner(task) for task in row.tasks if task.pid not in pids]
    known = {_key(owner) for owner in (*staying, *others) if owner}
    whose = _named(process.owner for process in moving if process.owner)
    return tuple(owner for owner in whose if _key(owner) not in known)


def _only(here: Moment, there: Moment) -> tuple[Task, ...]:
    """Processes that one side has and the other surely has not."""
    if not there.numbers_like(here):
        return ()
    return tuple(
        task
        for task in here.snapshot.tasks
        if not there.counterpart(task)
        and not here.is_own(task.pid)
        and not there.why_not_in(task, NamespaceType.USER)
    )


def _unread(old: Moment, new: Moment) -> tuple[int, ...]:
    if not old.numbers_like(new):
        return ()
    return tuple(
        task.pid
        for task in old.snapshot.tasks
        if (other := new.counterpart(task)) and (UNREADABLE in task.ns) != (UNREADABLE in other.ns)
    )


def _names(before: Snapshot, after: Snapshot) -> tuple[NameChange, ...]:
    """Compare containers and services of two boots by name, in meaning."""
    old, new = _meanings(before), _meanings(after)
    found: list[NameChange] = []
    for key in sorted(old.keys() | new.keys()):
        if key not in new:
            owner = old[key][0]
            found.append(NameChange("unknown" if _may_have(after, owner) else "gone", owner))
        elif key not in old:
            owner = new[key][0]
            found.append(NameChange("unknown" if _may_have(before, owner) else "new", owner))
        else:
            pairs = zip(TYPES, old[key][1], new[key][1], strict=True)
            cells = tuple(
                (kind, was, now)
                for kind, was, now in pairs
                if was != now and "unreadable" not in {*was, *now}
            )
            if cells:
                found.append(NameChange("changed", new[key][0], cells))
    return tuple(found)


def _may_have(snapshot: Snapshot, owner: Owner) -> bool:
    """Tell whether a container or service may run there, though nothing of it could be read."""
    if owner.kind == "container":
        if snapshot.parts.get(Part.CONTAINERS) is not PartState.READ:
            return True
        running = {(each.engine, each.name) for each in snapshot.containers if each.pid}
        return (owner.engine, owner.name) in running
    if snapshot.parts.get(Part.CGROUPS, PartState.NOT_ASKED) is PartState.NOT_ASKED:
        return True
    return any(
        UNREADABLE in task.ns and (task.cgroup is None or service_of(task.cgroup) == owner.name)
        for task in snapshot.tasks
    )


_Meanings = tuple[tuple[Meaning, ...], ...]


def _meanings(snapshot: Snapshot) -> dict[tuple[str, str, str], tuple[Owner, _Meanings]]:
    """What each of the eight types means for each container and service, by name."""
    sets: dict[tuple[str, str, str], tuple[Owner, tuple[set[Meaning], ...]]] = {}
    for row in matrix(snapshot).rows:
        owner = row.group.owner
        if owner.kind in {"container", "service"}:
            key = owner.kind, owner.engine, owner.name
            _, cells = sets.setdefault(key, (owner, tuple(set() for _ in TYPES)))
            for cell, meanings in zip(row.cells, cells, strict=True):
                meanings.add(cell.meaning)
    return {
        key: (owner, tuple(tuple(sorted(cell)) for cell in cells))
        for key, (owner, cells) in sets.items()
    }
