"""The uid and gid maps of every user namespace, once each, in the reader's numbers."""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.discovery.members import Members
from nsctl.kernel.procfs import parse_id_map, parse_ns_link, read_file
from nsctl.model.namespace import IdMaps, NamespaceType
from nsctl.model.part import Gap, Part, PartState

# 340 extents of three numbers of up to ten digits, padded.
_MAP_LIMIT = 65536


def run(draft: Draft) -> None:
    """Read the maps of every user namespace."""
    members = Members(draft)
    refused: set[tuple[NamespaceType, int]] = set()
    empty = 0
    for (kind, ino), namespace in draft.namespaces.items():
        if kind is not NamespaceType.USER:
            continue
        pids = members.pids(kind, ino)
        empty += not pids
        for pid in pids:
            try:
                maps = _read(draft, pid, ino)
            except PermissionError:
                refused.add((kind, ino))
                continue
            if maps is not None:
                refused.discard((kind, ino))
                draft.namespaces[kind, ino] = namespace._replace(maps=maps)
                break
    draft.note_unopened(Part.ID_MAPS, "id maps", refused)
    if empty:
        draft.gaps.append(
            Gap(
                Part.ID_MAPS,
                draft.proc.root,
                f"id maps of {empty} namespace{'s' if empty > 1 else ''} without a process",
                PartState.PARTIAL,
                "the kernel shows them through a process only",
            )
        )


def _read(draft: Draft, pid: int, ino: int) -> IdMaps | None:
    """Read the maps through one member.

    Returns:
        The maps, or None when the process vanished or is not in that namespace any more.
    """
    try:
        directory = draft.proc.open(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        uids = parse_id_map(read_file("uid_map", directory, _MAP_LIMIT))
        gids = parse_id_map(read_file("gid_map", directory, _MAP_LIMIT))
        setgroups = read_file("setgroups", directory).rstrip(b"\n").decode("ascii", "replace")
        if parse_ns_link(os.readlink("ns/user", dir_fd=directory)) != ino:
            return None
    except (FileNotFoundError, ProcessLookupError):
        return None
    finally:
        os.close(directory)
    return IdMaps(uids, gids, setgroups)
