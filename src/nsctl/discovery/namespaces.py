"""Which namespaces there are: those of every process, and those waiting for its children."""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.model.namespace import TYPES, NamespaceType

_COLUMNS = (*TYPES, NamespaceType.PID, NamespaceType.TIME)


def run(draft: Draft) -> None:
    """Collect the namespaces of all processes."""
    # Most processes share one combination; only distinct ones are taken apart.
    distinct = zip(*{task.ns for task in draft.tasks}, strict=True)
    for kind, inodes in zip(_COLUMNS, distinct, strict=False):
        for ino in set(inodes):
            if ino > 0:
                draft.add_namespace(kind, ino)
