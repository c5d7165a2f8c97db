"""Threads that are elsewhere than their first one, from the kernel's own list."""

from __future__ import annotations

from nsctl.discovery import threads
from nsctl.discovery.draft import Draft
from nsctl.discovery.listed_tasks import SPACES
from nsctl.model.namespace import ABSENT


def run(draft: Draft) -> None:
    """Note the namespaces of every such thread."""
    if draft.lists is None:
        return
    by_pid = {task.pid: task for task in draft.tasks}
    for record in draft.lists.tasks:
        tid, pid, raw = record[0], record[1], record[9]
        task = by_pid.get(pid)
        if tid == pid or task is None:
            continue
        ns = SPACES.unpack(raw)
        if (task.state in "ZX" or ns != task.ns) and ns[threads.MNT] != ABSENT:
            threads.note(draft, task, tid, ns)
    threads.look(draft, draft.unlisted)
