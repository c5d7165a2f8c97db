"""PID namespaces that no process was ever in, from the kernel's own list of tasks."""

from __future__ import annotations

from nsctl.discovery import children
from nsctl.discovery.draft import Draft
from nsctl.model.namespace import Holder, NamespaceType


def run(draft: Draft) -> None:
    """Note what the next child of each process and thread would be in, and nothing was yet."""
    if draft.lists is None:
        return
    if not draft.lists.spaces:
        # Nothing else would tell what these say of themselves: they must be opened.
        children.run(draft)
        return
    shown = {task.pid for task in draft.tasks}
    for record in draft.lists.tasks:
        tid, pid, childless = record[0], record[1], record[10]
        if childless and pid in shown:
            holder = Holder("child", pid=pid, tid=tid if tid != pid else 0)
            draft.hold(NamespaceType.PID, childless, holder)
    children.look(draft, draft.unlisted)
