"""Hierarchies of namespaces: user and PID namespaces by parent, all types by owner."""

from __future__ import annotations

from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.members import Membership, memberships

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    By = Literal["parent", "owner"]
else:
    By = str


class Node(NamedTuple):
    """A namespace and those below it."""

    row: Membership
    children: tuple[Node, ...]


def hierarchy(snapshot: Snapshot, kinds: frozenset[NamespaceType], by: By = "parent") -> list[Node]:
    """Arrange namespaces as a forest.

    Args:
        snapshot: with tasks, namespaces and relations.
        kinds: the types that are wanted; user namespaces are kept where others hang on them.
        by: "parent" (only user and PID namespaces have one; others hang on their owner) or
            "owner" (the user namespace that each belongs to).

    Returns:
        The roots, by inode: namespaces whose parent or owner does not exist or is out of scope.
    """
    rows = {(row.namespace.id.type, row.namespace.id.ino): row for row in memberships(snapshot)}
    below: dict[tuple[NamespaceType, int] | None, list[Membership]] = {}
    for row in rows.values():
        above = _above(row, by)
        below.setdefault(above if above in rows else None, []).append(row)
    return _build(None, below, kinds)


def _above(row: Membership, by: By) -> tuple[NamespaceType, int]:
    namespace = row.namespace
    if by == "parent" and namespace.id.type in {NamespaceType.USER, NamespaceType.PID}:
        return namespace.id.type, namespace.parent
    return NamespaceType.USER, namespace.owner


def _build(
    above: tuple[NamespaceType, int] | None,
    below: dict[tuple[NamespaceType, int] | None, list[Membership]],
    kinds: frozenset[NamespaceType],
) -> list[Node]:
    # The kernel nests user and PID namespaces 32 deep at most: recursion is bounded.
    nodes = []
    for row in below.get(above, ()):
        identity = row.namespace.id
        children = _build((identity.type, identity.ino), below, kinds)
        if identity.type in kinds or children:
            nodes.append(Node(row, tuple(children)))
    return nodes
