"""Namespaces of one type as rows of a view: whose each is, and how it stands to the host's."""

from __future__ import annotations

from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.owner import Owner
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.find import Found
from nsctl.relate.members import Membership, memberships
from nsctl.relate.of_target import inodes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Standing = Literal["host", "own", "shared", "empty"]
else:
    Standing = str


class Row(NamedTuple):
    """One namespace.

    Attributes:
        member: it, and who is in it.
        standing: "host" (the host's), "own" (one owner's), "shared" (of several, not the host's),
            "empty" (no process is in it).
        guests: of the host's, the containers in it.
    """

    member: Membership
    standing: Standing
    guests: tuple[Owner, ...] = ()


def rows(snapshot: Snapshot, kind: NamespaceType, found: Found | None = None) -> list[Row]:
    """List the namespaces of one type.

    Args:
        snapshot: with tasks and namespaces; with containers, those are named.
        kind: the type.
        found: only those of what this leads to.

    Returns:
        The host's first, then those with processes by their owners' names, then the empty ones.

    Raises:
        TargetError: that is a namespace of another type.
    """
    members = [row for row in memberships(snapshot) if row.namespace.id.type is kind]
    host = snapshot.host.ns[TYPES.index(kind)]
    if found is not None:
        wanted = inodes_of(found, kind, members)
        members = [row for row in members if row.namespace.id.ino in wanted]
    return sorted((_row(member, host) for member in members), key=_order)


def _row(member: Membership, host: int) -> Row:
    if member.namespace.id.ino == host:
        guests = tuple(owner for owner in member.owners if owner.kind == "container")
        return Row(member, "host", guests)
    if not member.tasks:
        return Row(member, "empty")
    return Row(member, "own" if len(member.owners) <= 1 else "shared")


_KINDS = {"host": 0, "container": 1, "service": 2, "process": 3}


def _order(row: Row) -> tuple[bool, bool, int, str, int]:
    first = row.member.owners[0] if row.member.owners else None
    return (
        row.standing != "host",
        row.standing == "empty",
        _KINDS[first.kind] if first else len(_KINDS),
        first.name if first and first.kind != "process" else "",
        first.pid if first else row.member.namespace.id.ino,
    )
