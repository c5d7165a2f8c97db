"""The offsets of every time namespace.

/proc/PID/timens_offsets shows those of the namespace for children (time_namespaces(7)), so only a
process whose own and whose children's are the same can be asked.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.kernel.procfs import parse_ns_link, parse_timens_offsets, read_file
from nsctl.model.namespace import TIME_FOR_CHILDREN, TYPES, NamespaceType, TimeOffsets
from nsctl.model.part import Gap, Part, PartState

_TIME = TYPES.index(NamespaceType.TIME)


def run(draft: Draft) -> None:
    """Read the offsets of every time namespace."""
    unknown = 0
    by_ino: dict[int, list[int]] = {}
    for task in draft.tasks:
        for_children = task.ns[TIME_FOR_CHILDREN]
        if for_children > 0:
            by_ino.setdefault(for_children, []).append(task.pid)
    for (kind, ino), namespace in draft.namespaces.items():
        if kind is not NamespaceType.TIME:
            continue
        for pid in by_ino.get(ino, ()):
            offsets = _read(draft, pid, ino)
            if offsets is not None:
                draft.namespaces[kind, ino] = namespace._replace(offsets=offsets)
                break
        else:
            unknown += 1
    if unknown:
        draft.gaps.append(
            Gap(
                Part.TIME_OFFSETS,
                draft.proc.root,
                f"offsets of {unknown} time namespace{'s' if unknown > 1 else ''}",
                PartState.PARTIAL,
                "no process there could be asked for them",
            )
        )


def _read(draft: Draft, pid: int, ino: int) -> TimeOffsets | None:
    """Read the offsets through one process.

    Returns:
        The offsets, or None when it vanished, moved on or may not be read.
    """
    try:
        directory = draft.proc.open(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        offsets = parse_timens_offsets(read_file("timens_offsets", directory))
        if parse_ns_link(os.readlink("ns/time_for_children", dir_fd=directory)) != ino:
            return None
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    finally:
        os.close(directory)
    return offsets
