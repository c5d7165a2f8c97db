"""Threads with namespaces of their own: setns(2) and unshare(2) act on one thread.

A process's row speaks for its first thread. What another thread is in, or what its next child will
be in, is noted with that thread; where the first has ended, with every thread that lives on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator

from nsctl.discovery.draft import Draft
from nsctl.errors import refused, vanished
from nsctl.kernel.procfs import parse_stat, read_file, read_ns_links
from nsctl.model.namespace import (
    ABSENT,
    NS_LINKS,
    PID_FOR_CHILDREN,
    TYPES,
    UNREADABLE,
    Holder,
    NamespaceType,
)
from nsctl.model.part import Part, PartState
from nsctl.model.task import Task

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_COLUMNS = (*TYPES, NamespaceType.PID, NamespaceType.TIME)
MNT = TYPES.index(NamespaceType.MNT)

_Thread = tuple[int, tuple[int, ...]]
"""Thread id, and its namespaces as in a Task."""


def run(draft: Draft) -> None:
    """Look at the threads of every process that has more than one."""
    look(draft, draft.tasks)


def look(draft: Draft, tasks: Iterable[Task]) -> None:
    """Look at the threads of some processes."""
    unreadable: list[int] = []
    for task in tasks:
        # Whose first thread may not be read is noted already.
        if task.kernel or task.threads < 2 or task.ns[MNT] == UNREADABLE:
            continue
        try:
            found = _process(draft, task)
        except OSError as error:
            if refused(error):
                unreadable.append(task.pid)
            elif not vanished(error):
                raise
            continue
        for tid, ns in found:
            note(draft, task, tid, ns)
    draft.note_refused(Part.THREADS, "threads' namespaces", unreadable, PartState.PARTIAL)


def _process(draft: Draft, task: Task) -> list[_Thread]:
    """Find the threads of one process that are elsewhere than its row says."""
    directory = draft.proc.open(task.pid)
    try:
        threads = os.open("task", _DIRECTORY, dir_fd=directory)
        try:
            headless = task.state in "ZX"
            found = [
                (tid, ns)
                for tid, ns in _threads(threads, task.pid)
                if (headless or ns != task.ns) and ns[MNT] != ABSENT
            ]
        finally:
            os.close(threads)
        # The number may be another process's by now, which is in no row.
        if found and draft.start_of(parse_stat(read_file("stat", directory)).start) != task.start:
            return []
        return found
    finally:
        os.close(directory)


def _threads(threads: int, leader: int) -> Iterator[_Thread]:
    """The namespaces of every thread but the first.

    Args:
        threads: descriptor of /proc/PID/task.
        leader: id of the first.

    Raises:
        PermissionError: the process may not be looked at.
    """
    for name in os.listdir(threads):
        if name == str(leader):
            continue
        try:
            thread = os.open(name, _DIRECTORY, dir_fd=threads)
        except (FileNotFoundError, ProcessLookupError):
            continue
        try:
            ns = read_ns_links(thread)
        except ProcessLookupError:
            continue
        finally:
            os.close(thread)
        if UNREADABLE in ns:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        yield int(name), ns


def note(draft: Draft, task: Task, tid: int, ns: tuple[int, ...]) -> None:
    """Note what a thread is in and its process's row does not say."""
    headless = task.state in "ZX"
    for column, (kind, link, ino) in enumerate(zip(_COLUMNS, NS_LINKS, ns, strict=True)):
        if column < len(TYPES):
            news = ino != task.ns[column] or headless
            holder = Holder("thread", pid=task.pid, tid=tid)
        else:
            news = ino != task.ns[column] and ino != ns[TYPES.index(kind)]
            holder = Holder("child", pid=task.pid, tid=tid)
        if news and ino > 0:
            draft.hold(kind, ino, holder, f"{task.pid}/task/{tid}/ns/{link}")
    if ns[PID_FOR_CHILDREN] == ABSENT:
        draft.childless.append((task.pid, tid))
    if ns[MNT] != task.ns[MNT]:
        draft.mount_tables.setdefault(ns[MNT], []).append(f"{task.pid}/task/{tid}")
