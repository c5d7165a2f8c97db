"""Which namespaces of one type a TARGET is about."""

from __future__ import annotations

from collections.abc import Iterable

from nsctl.errors import TargetError
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.relate.find import Found
from nsctl.relate.members import Membership


def inodes_of(found: Found, kind: NamespaceType, rows: Iterable[Membership]) -> set[int]:
    """Name the namespaces of one type that a TARGET's processes are in, or the one that it is.

    Args:
        found: what the TARGET leads to.
        kind: the type that is looked at.
        rows: all namespaces of that type.

    Returns:
        Inodes. A container may be in several, where some of its processes went on to others.

    Raises:
        TargetError: it is a namespace of another type.
    """
    if found.namespace is not None:
        identity = found.namespace.namespace.id
        if identity.type is not kind:
            raise TargetError(
                "use",
                f"{identity.type}:[{identity.ino}]",
                f"it is a {identity.type.word} namespace, not a {kind.word} namespace",
            )
        return {identity.ino}
    column = TYPES.index(kind)
    if found.group is None:
        return {found.task.ns[column]} if found.task is not None else set()
    inodes = {found.group.isolation[column]}
    if found.task is not None:
        return {found.task.ns[column]}
    if found.group.owner.kind == "container":
        inodes |= {row.namespace.id.ino for row in rows if found.group.owner in row.owners}
    return inodes
