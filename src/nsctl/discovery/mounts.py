"""The mount table of every mount namespace that a process is in, read through one of them.

A process that changed its root directory sees the table cut (chroot(2)); of a few members the
longest table is taken.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.errors import refused, vanished
from nsctl.kernel.mountinfo import MountLine, parse
from nsctl.kernel.procfs import read_file
from nsctl.model.mount import Mount
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Gap, Part, PartState

_MNT = TYPES.index(NamespaceType.MNT)
_ASKED = 3


def run(draft: Draft) -> None:
    """Read the mount tables."""
    members: dict[int, list[int]] = {}
    for task in draft.tasks:
        ino = task.ns[_MNT]
        if ino > 0 and not task.kernel and task.state not in "ZX":
            members.setdefault(ino, []).append(task.pid)
    unread = 0
    for ino, pids in members.items():
        tables = [table for pid in pids[:_ASKED] if (table := _table(draft, pid)) is not None]
        if tables:
            draft.mounts[ino] = max(tables, key=len)
        else:
            unread += 1
    if unread:
        draft.gaps.append(
            Gap(
                Part.MOUNTS,
                draft.proc.root,
                f"mounts of {unread} mount namespace{'s' if unread > 1 else ''}",
                PartState.PARTIAL,
                "no process there could be asked for them",
            )
        )


def _table(draft: Draft, pid: int) -> tuple[Mount, ...] | None:
    try:
        lines = parse(read_file(f"{draft.proc.root}/{pid}/mountinfo", limit=1 << 28))
    except OSError as error:
        if vanished(error) or refused(error):
            return None
        raise
    return tuple(map(_mount, lines)) or None


def _mount(line: MountLine) -> Mount:
    return Mount(
        id=line.mount_id,
        parent=line.parent_id,
        dev=os.makedev(line.major, line.minor),
        root=line.root,
        point=line.mount_point,
        read_only=b"ro" in line.options or b"ro" in line.super_options.split(b","),
        fs_type=line.fs_type.decode("utf-8", "surrogateescape"),
        source=line.source,
    )
