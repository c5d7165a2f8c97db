"""Which namespaces of one type a TARGET is about, and whether that may be told."""

from __future__ import annotations

from collections.abc import Iterable

from nsctl.errors import TargetError
from nsctl.model.namespace import TYPES, UNREADABLE, NamespaceType
from nsctl.model.part import Gap, Part, PartState
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
                f"it is {_with_article(identity.type)} namespace, not {_with_article(kind)} namespace",
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


def _with_article(kind: NamespaceType) -> str:
    return f"an {kind.word}" if kind is NamespaceType.IPC else f"a {kind.word}"


def unread(found: Found, kind: NamespaceType, text: str) -> Gap | None:
    """Say that it may not be told which namespace of a type a TARGET is in.

    Args:
        found: what the TARGET leads to.
        kind: the type that is looked at.
        text: the TARGET as it was typed.

    Returns:
        What is lacking; None where nothing is.
    """
    column = TYPES.index(kind)
    if found.task is not None:
        known = found.task.ns[column]
    elif found.group is not None:
        known = found.group.isolation[column]
    else:
        return None
    if known != UNREADABLE:
        return None
    what = f"which {kind.word} namespace {text} is in"
    cause = "the kernel does not tell whose namespaces they are"
    return Gap(Part.NAMESPACES, text, what, PartState.UNREADABLE, cause, "CAP_SYS_PTRACE")
