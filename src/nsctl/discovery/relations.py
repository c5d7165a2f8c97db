"""What a namespace says of itself: its 64-bit id, its parent and the user namespace that owns it.

Parents and owners that no process is in are found here too: the kernel opens them for us.
Source: ioctl_nsfs(2).
"""

from __future__ import annotations

import os
from collections.abc import Collection

from nsctl.discovery.draft import Draft
from nsctl.discovery.members import Members
from nsctl.errors import refused
from nsctl.kernel import nsfs
from nsctl.model.namespace import NamespaceType
from nsctl.model.part import Gap, Part, PartState

_HIERARCHICAL = frozenset({NamespaceType.USER, NamespaceType.PID})


def run(draft: Draft) -> None:
    """Ask every namespace that can be opened."""
    fill(draft, list(draft.namespaces))


def fill(draft: Draft, keys: Collection[tuple[NamespaceType, int]]) -> None:
    """Ask some namespaces."""
    if not keys:
        return
    members = Members(draft)
    closed = 0
    for kind, ino in keys:
        with members.open(kind, ino) as fd:
            if fd is not None:
                _ask(draft, kind, ino, fd)
            else:
                closed += not members.has_way(kind, ino)
    draft.note_unopened(Part.RELATIONS, "parents and owners", members.refused)
    if closed:
        draft.gaps.append(
            Gap(
                Part.RELATIONS,
                draft.proc.root,
                f"parents and owners of {closed} namespace{'s' if closed > 1 else ''}",
                PartState.PARTIAL,
                "nothing that can be opened leads to them",
            )
        )


def _ask(draft: Draft, kind: NamespaceType, ino: int, fd: int) -> None:
    """Fill one namespace and, where they are new, those above it."""
    parent = _related(draft, fd, kind) if kind in _HIERARCHICAL else 0
    owner = _related(draft, fd, None)
    draft.namespaces[kind, ino] = draft.namespaces[kind, ino]._replace(
        ns_id=nsfs.get_id(fd),
        parent=parent,
        owner=owner,
        owner_uid=nsfs.get_owner_uid(fd) if kind is NamespaceType.USER else None,
    )


def _related(draft: Draft, fd: int, parent_of: NamespaceType | None) -> int:
    """Ask for the parent (of a type) or, with None, for the owner.

    Returns:
        Its inode; 0 where there is none or it is out of the reader's scope (both are EPERM).
    """
    try:
        related = nsfs.get_userns(fd) if parent_of is None else nsfs.get_parent(fd)
    except OSError as error:
        if refused(error):
            return 0
        raise
    try:
        kind, ino = parent_of or NamespaceType.USER, nsfs.inode(related)
        if (kind, ino) not in draft.namespaces:
            draft.add_namespace(kind, ino)
            # Nothing else may lead to it, and what it says of itself is asked later.
            draft.keep(kind, ino, related)
            _ask(draft, kind, ino, related)
        return ino
    finally:
        os.close(related)
