"""Which namespaces there are: those of every process, and those waiting for its children."""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.model.namespace import TYPES, Namespace, NamespaceId, NamespaceType

_COLUMNS = (*TYPES, NamespaceType.PID, NamespaceType.TIME)
_UNTOLD = tuple(Namespace(NamespaceId(NamespaceType.MNT, 0, 0))[1:])


def run(draft: Draft) -> None:
    """Collect the namespaces of all processes."""
    # Most processes share one combination; only distinct ones are taken apart.
    distinct = zip(*{task.ns for task in draft.tasks}, strict=True)
    dev, new, namespaces = draft.dev, tuple.__new__, draft.namespaces
    for kind, inodes in zip(_COLUMNS, distinct, strict=False):
        for ino in set(inodes):
            if ino > 0 and (kind, ino) not in namespaces:
                # What it saves, of thousands, to go round a constructor of Python's.
                identity = new(NamespaceId, (kind, dev, ino))
                namespaces[kind, ino] = new(Namespace, (identity, *_UNTOLD))
