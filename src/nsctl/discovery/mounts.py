"""The mount table of every mount namespace that a process is in, read through one of them.

A process that changed its root directory sees the table cut (chroot(2)); of a few members the
longest table is taken.
"""

from __future__ import annotations

import errno
import os

from nsctl.discovery.draft import Draft
from nsctl.errors import refused, vanished
from nsctl.kernel.mountinfo import MountLine, parse
from nsctl.kernel.procfs import parse_ns_link, read_file
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
        answers = [_table(draft, pid, ino) for pid in pids[:_ASKED]]
        tables = [table for table in answers if table is not None]
        longest = max(tables, key=len, default=None)
        if longest:
            draft.mounts[ino] = longest
        elif longest is not None:
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


def _table(draft: Draft, pid: int, ino: int) -> tuple[Mount, ...] | None:
    """Read the table of a mount namespace through one process.

    Returns:
        The table; empty where the process may not be asked or sees none, None where it vanished
        or is not in that namespace any more.
    """
    try:
        directory = draft.proc.open(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        return ()
    try:
        lines = parse(read_file("mountinfo", directory, 1 << 28))
        if parse_ns_link(os.readlink("ns/mnt", dir_fd=directory)) != ino:
            return None
    except OSError as error:
        if vanished(error) or error.errno == errno.EINVAL:  # a zombie has no mounts
            return None
        if refused(error):
            return ()
        raise
    finally:
        os.close(directory)
    return tuple(map(_mount, lines))


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
