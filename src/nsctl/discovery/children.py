"""PID namespaces that no process was ever in: made by unshare(2), waiting for the first child.

The link pid_for_children does not exist until that child is born (pid_namespaces(7)); a pidfd
opens the namespace all the same (ioctl_pidfd(2), since 6.11).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from nsctl.discovery.draft import Draft
from nsctl.errors import refused, vanished
from nsctl.kernel import nsfs
from nsctl.kernel.procfs import parse_stat
from nsctl.model.namespace import (
    ABSENT,
    PID_FOR_CHILDREN,
    TYPES,
    UNREADABLE,
    Holder,
    NamespaceType,
)
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.task import Task

_MNT = TYPES.index(NamespaceType.MNT)
_NO_REQUEST = frozenset({errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP})


def run(draft: Draft) -> None:
    """Open what the next child of each such process and thread would be in."""
    look(draft, draft.tasks)


def look(draft: Draft, tasks: Iterable[Task]) -> None:
    """Open it for some processes, and the threads that were noted for it."""
    waiting = [
        (task.pid, 0)
        for task in tasks
        if task.ns[PID_FOR_CHILDREN] == ABSENT
        and task.state not in "ZX"
        and task.ns[_MNT] not in {ABSENT, UNREADABLE}
    ]
    waiting += draft.childless
    if not waiting:
        return
    unknown = 0
    unreadable: list[int] = []
    starts = {task.pid: task.start for task in draft.tasks}
    for pid, tid in waiting:
        try:
            known = draft.own_numbers and _open(draft, pid, tid, starts[pid])
        except OSError as error:
            if refused(error):
                unreadable.append(pid)
                continue
            if error.errno in _NO_REQUEST:
                known = False
            elif vanished(error):
                continue
            else:
                raise
        unknown += not known
    draft.note_refused(Part.CHILDREN, "PID namespaces for children", unreadable, PartState.PARTIAL)
    if unknown:
        draft.gaps.append(
            Gap(
                Part.CHILDREN,
                "pidfd",
                f"{unknown} PID namespace{'s' if unknown > 1 else ''} without a process yet",
                PartState.PARTIAL,
                "this kernel does not open them"
                if draft.own_numbers
                else "this procfs is of another PID namespace",
            )
        )


def _open(draft: Draft, pid: int, tid: int, start: int) -> bool:
    """Note the namespace that one process or thread has for children.

    Returns:
        True; also where the process is another by now, or has had its child meanwhile.
    """
    from nsctl.kernel.pidfd import open_pid_for_children

    pidfd = os.pidfd_open(tid or pid, os.O_EXCL if tid else 0)  # PIDFD_THREAD, since 6.9
    try:
        # Read after the pidfd was opened: its process is the one of the row.
        if draft.start_of(parse_stat(draft.proc.read(f"{pid}/stat")).start) != start:
            return True
        fd = open_pid_for_children(pidfd)
    finally:
        os.close(pidfd)
    try:
        ino = nsfs.inode(fd)
        draft.hold(NamespaceType.PID, ino, Holder("child", pid=pid, tid=tid))
        draft.keep(NamespaceType.PID, ino, fd)
    finally:
        os.close(fd)
    return True
