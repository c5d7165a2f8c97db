"""The offsets of every time namespace.

/proc/PID/timens_offsets shows those of the namespace for children (time_namespaces(7)), so
whatever process has a namespace for its children is asked, not whatever is in it.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.kernel.procfs import parse_ns_link, parse_timens_offsets, read_file
from nsctl.model.namespace import TIME_FOR_CHILDREN, NamespaceType, TimeOffsets
from nsctl.model.part import Gap, Part, PartState


def run(draft: Draft) -> None:
    """Read the offsets of every time namespace."""
    by_ino: dict[int, list[int]] = {}
    for task in draft.tasks:
        for_children = task.ns[TIME_FOR_CHILDREN]
        if for_children > 0:
            by_ino.setdefault(for_children, []).append(task.pid)
    refused: set[tuple[NamespaceType, int]] = set()
    unknown = 0
    for (kind, ino), namespace in draft.namespaces.items():
        if kind is not NamespaceType.TIME:
            continue
        unknown += ino not in by_ino
        for pid in by_ino.get(ino, ()):
            try:
                offsets = _read(draft, pid, ino)
            except PermissionError:
                refused.add((kind, ino))
                continue
            if offsets is not None:
                refused.discard((kind, ino))
                draft.namespaces[kind, ino] = namespace._replace(offsets=offsets)
                break
    draft.note_unopened(Part.TIME_OFFSETS, "offsets", refused)
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
        The offsets, or None when it vanished or moved on.
    """
    try:
        directory = draft.proc.open(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        raw = read_file("timens_offsets", directory)
        # A zombie has an empty file and no link: ask for the link before the text is parsed.
        if parse_ns_link(os.readlink("ns/time_for_children", dir_fd=directory)) != ino:
            return None
    except (FileNotFoundError, ProcessLookupError):
        return None
    finally:
        os.close(directory)
    return parse_timens_offsets(raw)
