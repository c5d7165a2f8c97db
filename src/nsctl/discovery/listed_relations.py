"""Namespaces, their ids, parents and owners from the kernel's own lists of them.

Those that nothing else leads to are found here. The lists are walked before and after everything
else is looked at: one that is new since, or that is being taken down, is not taken for one that
nothing explains.
"""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.model.namespace import TYPES, Namespace, NamespaceId, NamespaceType

_TYPE_OF_FLAG = {kind.clone_flag: kind for kind in TYPES}
# The first fields of a Namespace are what the lists tell: its ids, its parent and its owner.
_TOLD = Namespace._fields.index("owner_uid") + 1
_UNTOLD = tuple(Namespace(NamespaceId(NamespaceType.MNT, 0, 0))[_TOLD:])


def run(draft: Draft) -> None:
    """Fill every namespace; ask those that the lists do not have."""
    found = draft.lists
    if found is None:
        return
    namespaces, dev, earlier = draft.namespaces, draft.dev, found.earlier
    told: set[tuple[NamespaceType, int]] = set()
    # What it saves, of thousands, to go round a constructor that is a function of Python's.
    new = tuple.__new__
    for id_, flag, inum, owner, parent, uid, refs in found.spaces:
        kind = _TYPE_OF_FLAG.get(flag)
        if kind is None or not refs:
            continue
        key = kind, inum
        before = namespaces.get(key)
        if before is not None:
            identity, rest = before[0], before[_TOLD:]
        elif id_ in earlier:
            identity, rest = new(NamespaceId, (kind, dev, inum)), _UNTOLD
        else:
            continue
        told.add(key)
        owner_uid = uid if kind is NamespaceType.USER else None
        namespaces[key] = new(Namespace, (identity, id_, parent, owner, owner_uid, *rest))
    if len(told) < len(namespaces):
        from nsctl.discovery import relations

        relations.fill(draft, [key for key in namespaces if key not in told])
