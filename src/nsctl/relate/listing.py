"""The rows of a list of namespaces, and what each hangs on: lsns(8)'s orders and trees."""

from __future__ import annotations

from collections.abc import Callable

from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.task import Task
from nsctl.relate.members import Membership

_Key = tuple[NamespaceType, int]


class Row(NamedTuple):
    """One line: a namespace, and the process that stands for it.

    Attributes:
        member: the namespace.
        task: the process; None where no process is in it, and where it only stands in the tree.
        nprocs: how many processes are in it; 0 where it only stands in the tree.
    """

    member: Membership
    task: Task | None
    nprocs: int

    @classmethod
    def of(cls, member: Membership) -> Row:
        """The row of a namespace that was asked for."""
        return cls(member, member.tasks[0] if member.tasks else None, len(member.tasks))


def found_by_lsns(
    members: list[Membership], kinds: frozenset[NamespaceType], relation: str
) -> list[Membership]:
    """Leave what lsns 2.42 finds.

    It looks at processes, at the descriptors and sockets of each (not of single threads), and at
    the mounts that it sees itself; then at the parents and owners of what has no process, and in
    a tree of either at those of all.
    """
    found = [
        member
        for member in members
        if member.tasks
        or member.namespace.nsfs_paths
        or any(holder.kind in {"fd", "socket"} and not holder.tid for holder in member.holders)
    ]
    if relation in {"parent", "owner"}:
        return with_related(members, found)
    known = {_key(member) for member in found}
    empty = [member for member in found if not member.tasks and member.namespace.id.type in kinds]
    related = [m for m in members if m.namespace.id.type in kinds]
    known |= {_key(member) for member in with_related(related, empty)}
    return [member for member in members if _key(member) in known]


def by_process(rows: list[Row]) -> list[int]:
    """Hang each row below the last one before it that its process's parent stands for."""
    latest: dict[int, int] = {}
    parents = []
    for index, row in enumerate(rows):
        parents.append(latest.get(row.task.ppid, -1) if row.task else -1)
        if row.task:
            latest[row.task.pid] = index
    return parents


def _key(member: Membership) -> _Key:
    return member.namespace.id.type, member.namespace.id.ino


def _parent(member: Membership) -> _Key:
    return member.namespace.id.type, member.namespace.parent


def _owner(member: Membership) -> _Key:
    return NamespaceType.USER, member.namespace.owner


def with_related(members: list[Membership], wanted: list[Membership]) -> list[Membership]:
    """Add all parents and owners, of whatever type, that the wanted namespaces lead to."""
    known = {_key(member): member for member in members}
    kept = {_key(member) for member in wanted}
    queue = list(wanted)
    while queue:
        member = queue.pop()
        for key in (_parent(member), _owner(member)):
            if key in known and key not in kept:
                kept.add(key)
                queue.append(known[key])
    return [member for member in members if _key(member) in kept]


def by_relation(
    members: list[Membership],
    shown: list[Membership],
    kinds: frozenset[NamespaceType],
    relation: str,
    keep: Callable[[Row], bool] | None,
) -> tuple[list[Row], list[int]]:
    """Hang namespaces on their parents or owners, in the original's order.

    What a namespace hangs on is brought in before it, and in a tree of parents the owner stands
    before whatever has no parent. A namespace of a type that was not asked for only stands in
    the tree: as in the original it is shown without processes. What hangs on a row that the
    filter does not choose is a root.
    """
    known = {_key(member): member for member in members}
    place: dict[_Key, int] = {}
    rows: list[Row] = []
    parents: list[int] = []
    for member in shown:
        chain: dict[_Key, Membership] = {}
        above: Membership | None = member
        while above is not None and _key(above) not in place and _key(above) not in chain:
            chain[_key(above)] = above
            by_owner = known.get(_owner(above))
            above = by_owner if relation == "owner" else known.get(_parent(above), by_owner)
        for key, each in reversed(chain.items()):
            row = Row.of(each) if key[0] in kinds else Row(each, None, 0)
            if keep is not None and not keep(row):
                place[key] = -1
                continue
            place[key] = len(rows)
            rows.append(row)
            parents.append(place.get(_owner(each) if relation == "owner" else _parent(each), -1))
    return rows, parents
