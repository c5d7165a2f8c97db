"""Command lines of the processes that stand for a namespace: the first in it.

Most lists show no others, and there are ten times as many.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.errors import refused, vanished
from nsctl.kernel.procfs import COMMAND_LIMIT, parse_stat, read_file
from nsctl.model.part import Part, PartState
from nsctl.model.task import Task


def run(draft: Draft) -> None:
    """Read the command line of the first process of each set of namespaces."""
    seen: set[tuple[int, ...]] = set()
    refusing: list[int] = []
    for place, task in enumerate(draft.tasks):
        if task.ns in seen:
            continue
        seen.add(task.ns)
        if task.command is None and task.pid not in draft.covered:
            try:
                command = b"" if task.kernel else _read(draft, task)
            except OSError as error:
                if refused(error):
                    refusing.append(task.pid)
                elif not vanished(error):
                    raise
                continue
            draft.tasks[place] = task._replace(command=command)
    draft.note_refused(Part.LEADERS, "command lines", refusing, PartState.PARTIAL)


def _read(draft: Draft, task: Task) -> bytes | None:
    """Read one command line; None where the number is another process's by now."""
    directory = draft.proc.open(task.pid)
    try:
        command = read_file("cmdline", directory, COMMAND_LIMIT)
        shown = parse_stat(read_file("stat", directory)).start
    finally:
        os.close(directory)
    return command if abs(draft.start_of(shown) - task.start) <= 1 else None
