"""The offsets of every time namespace.

/proc/PID/timens_offsets shows those of the namespace for children (time_namespaces(7)), so
whatever process has a namespace for its children is asked, not whatever is in it. A namespace that
is for nobody's children is visited: who joins it is in it and has it for its children.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.kernel.procfs import parse_ns_link, parse_timens_offsets, read_file
from nsctl.model.namespace import TIME_FOR_CHILDREN, NamespaceType, TimeOffsets
from nsctl.model.part import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.child.visit import Hall


def run(draft: Draft) -> None:
    """Read the offsets of every time namespace."""
    by_ino: dict[int, list[int]] = {}
    for task in draft.tasks:
        for_children = task.ns[TIME_FOR_CHILDREN]
        if for_children > 0:
            by_ino.setdefault(for_children, []).append(task.pid)
    unknown: list[int] = []
    for kind, ino in draft.namespaces:
        if kind is NamespaceType.TIME:
            offsets = _ask(draft, ino, by_ino.get(ino, []))
            if offsets is None:
                unknown.append(ino)
            else:
                _put(draft, ino, offsets)
    if unknown:
        _visit(draft, unknown)


def _put(draft: Draft, ino: int, offsets: TimeOffsets) -> None:
    key = NamespaceType.TIME, ino
    draft.namespaces[key] = draft.namespaces[key]._replace(offsets=offsets)


def _ask(draft: Draft, ino: int, pids: list[int]) -> TimeOffsets | None:
    """Read the offsets through whichever process answers."""
    for pid in pids:
        try:
            offsets = _read(draft, pid, ino)
        except PermissionError:
            continue
        if offsets is not None:
            return offsets
    return None


def _visit(draft: Draft, inodes: list[int]) -> None:
    from nsctl.discovery.visiting import Visits

    def take(ino: int, hall: Hall, _: int) -> None:
        _put(draft, ino, parse_timens_offsets(hall.texts["offsets"]))

    Visits(draft, Part.TIME_OFFSETS, "offsets").each(NamespaceType.TIME, inodes, take)


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
