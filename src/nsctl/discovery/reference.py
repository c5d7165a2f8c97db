"""The known host process that tells "host's" from "own": never an inode constant.

Process 1 of the /proc that is read; where it may not be read, the kernel thread that started all
others (kthreadd, whose namespaces are the initial ones); where neither answers, the caller, and
then "host" means "where nsctl runs".
"""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.model.namespace import ABSENT, TYPES, UNREADABLE, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Reference
from nsctl.model.task import Task

_KTHREADD = 2
_MNT = TYPES.index(NamespaceType.MNT)


def run(draft: Draft) -> None:
    """Choose the known host process."""
    by_pid = {task.pid: task for task in draft.tasks if task.pid <= _KTHREADD}
    init, kthreadd = by_pid.get(1), by_pid.get(_KTHREADD)
    if init is not None and _is_readable(init):
        draft.reference = Reference("pid1", init.pid, init.ns)
        return
    why = "process 1 may not be read" if init else "process 1 is not shown"
    if kthreadd is not None and kthreadd.kernel and _is_readable(kthreadd):
        draft.reference = Reference("kernel-thread", kthreadd.pid, kthreadd.ns)
        return
    draft.reference = Reference("caller", draft.reader.pid, draft.reader.ns)
    draft.gaps.append(
        Gap(
            Part.TASKS,
            draft.proc.root,
            "which namespaces are the host's",
            PartState.PARTIAL,
            f"{why}, so nsctl's own namespaces are taken for the host's",
            draft.cure()[1],
        )
    )


def _is_readable(task: Task) -> bool:
    return UNREADABLE not in task.ns and task.ns[_MNT] != ABSENT
