"""The id maps of every user namespace, once each, in the reader's numbers (user_namespaces(7)).

The kernel shows them through a process only: where there is none, a child of a helper joins the
namespace for as long as they are read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from nsctl.discovery.draft import Draft
from nsctl.discovery.members import Members
from nsctl.kernel.procfs import parse_id_map, parse_ns_link, read_file
from nsctl.model.namespace import IdMaps, NamespaceType
from nsctl.model.part import Gap, Part, PartState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.child.visit import Hall

_FILES = ("uid_map", "gid_map", "setgroups")
# 340 extents of three numbers of up to ten digits, padded.
_MAP_LIMIT = 65536


def run(draft: Draft) -> None:
    """Read the maps of every user namespace."""
    members = Members(draft)
    refused: set[tuple[NamespaceType, int]] = set()
    empty: list[int] = []
    for (kind, ino), namespace in draft.namespaces.items():
        if kind is not NamespaceType.USER:
            continue
        pids = members.pids(kind, ino)
        if not pids:
            empty.append(ino)
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
        _visit(draft, empty)


def _visit(draft: Draft, inodes: list[int]) -> None:
    """Read the maps of namespaces that no process is in."""
    if not draft.own_numbers:
        count = len(inodes)
        draft.gaps.append(
            Gap(
                Part.ID_MAPS,
                draft.proc.root,
                f"id maps of {count} namespace{'s' if count > 1 else ''} without a process",
                PartState.PARTIAL,
                "this procfs is of another PID namespace, and shows none that could join them",
            )
        )
        return
    from nsctl.discovery.visiting import Visits

    def take(ino: int, hall: Hall, _: int) -> None:
        key = NamespaceType.USER, ino
        maps = _parse(hall.texts)
        draft.namespaces[key] = draft.namespaces[key]._replace(maps=maps)

    Visits(draft, Part.ID_MAPS, "id maps").each(NamespaceType.USER, inodes, take)


def _parse(texts: Mapping[str, bytes]) -> IdMaps:
    return IdMaps(
        parse_id_map(texts["uid_map"]),
        parse_id_map(texts["gid_map"]),
        texts["setgroups"].rstrip(b"\n").decode("ascii", "replace"),
        parse_id_map(texts.get("projid_map", b"")),
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
        texts = {name: read_file(name, directory, _MAP_LIMIT) for name in _FILES}
        with contextlib.suppress(FileNotFoundError):
            texts["projid_map"] = read_file("projid_map", directory, _MAP_LIMIT)
        if parse_ns_link(os.readlink("ns/user", dir_fd=directory)) != ino:
            return None
    except (FileNotFoundError, ProcessLookupError):
        return None
    finally:
        os.close(directory)
    return _parse(texts)
