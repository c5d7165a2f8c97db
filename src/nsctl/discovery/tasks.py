"""Processes and their namespaces, from /proc: one directory descriptor a process.

Everything of one process is read through one descriptor, so that no row mixes two processes. A
row that turned into a zombie half-way is shown as the zombie that it is, one that vanished is
left out: both are normal.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.errors import Suppressed
from nsctl.kernel.procfs import (
    COMMAND_LIMIT,
    ProcStat,
    parse_stat,
    parse_status,
    read_ns_links,
    read_record,
)
from nsctl.model.namespace import ABSENT, TYPES, UNREADABLE, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.task import Credentials, Task

_MNT = TYPES.index(NamespaceType.MNT)
_KEPT_BY_ZOMBIES = frozenset({TYPES.index(NamespaceType.PID), TYPES.index(NamespaceType.USER)})


def run(draft: Draft) -> None:
    """Read every process."""
    reader = TaskReader(draft)
    for pid in draft.proc.pids():
        if pid == draft.helper_pid:
            continue
        task = reader.read(pid)
        if task is not None:
            draft.tasks.append(task)
    note_lacking(draft, reader)
    _note_hidden(draft, reader.hidden)


def note_lacking(draft: Draft, reader: TaskReader) -> None:
    """Note what could not be read of which processes."""
    unreadable = [task.pid for task in draft.tasks if task.ns[_MNT] == UNREADABLE]
    draft.note_refused(Part.TASKS, "namespaces", unreadable, PartState.UNREADABLE)
    draft.note_refused(Part.CGROUPS, "control groups", reader.no_cgroup, PartState.PARTIAL)
    draft.note_refused(Part.COMMANDS, "command lines", reader.no_command, PartState.PARTIAL)


class TaskReader:
    """Reads one process after another, as far as the draft's parts ask.

    Attributes:
        hidden: processes that the kernel lists and says nothing of.
        no_cgroup: those whose control groups it does not tell.
        no_command: those whose command line it does not tell.
    """

    def __init__(self, draft: Draft) -> None:
        self.hidden: list[int] = []
        self.no_cgroup: list[int] = []
        self.no_command: list[int] = []
        self._proc = draft.proc
        self._shift = draft.start_of(0)
        self._cgroups = Part.CGROUPS in draft.parts
        self._commands = Part.COMMANDS in draft.parts
        self._leaders = Part.LEADERS in draft.parts
        self._credentials = Part.CREDENTIALS in draft.parts
        # Types that this kernel has: the reader, who lives, is in one of each.
        own = draft.reader.ns[: len(TYPES)]
        self._types = [column for column, ino in enumerate(own) if ino > 0] or [_MNT]
        # Ten thousand processes have a few hundred cgroups: one copy of each.
        self._seen: dict[bytes, bytes] = {}
        self._spaces: dict[tuple[str, ...], tuple[int, ...]] = {}
        self._led: set[tuple[int, ...]] = set()

    def read(self, pid: int) -> Task | None:
        """Read one process.

        Returns:
            Its row, or None when it vanished or is hidden.
        """
        try:
            directory = self._proc.open(pid)
        except (FileNotFoundError, ProcessLookupError):
            return None
        except PermissionError:
            self.hidden.append(pid)
            return None
        try:
            return self._read(directory)
        except (FileNotFoundError, ProcessLookupError):
            return None
        finally:
            os.close(directory)

    def _read(self, directory: int) -> Task:
        stat = parse_stat(read_record("stat", directory))
        ns = read_ns_links(directory, self._spaces)
        if UNREADABLE in ns or (ABSENT in ns and any(ns[i] == ABSENT for i in self._types)):
            # The process may have ended between the two reads, and then the kernel refuses
            # or answers for some types only: ask again what it is now.
            stat = parse_stat(read_record("stat", directory))
            ns = _of_ending(directory, stat, ns)
        owner = os.fstat(directory).st_uid
        cgroup = self.cgroup(directory, stat.pid) if self._cgroups else None
        command = None
        if self._commands:
            command = b"" if stat.kernel else self.command(directory, stat.pid)
        elif self._leaders and ns not in self._led:
            # What is refused here is noted where leaders are looked for.
            self._led.add(ns)
            with Suppressed(PermissionError):
                command = b"" if stat.kernel else read_record("cmdline", directory, COMMAND_LIMIT)
        nspids: tuple[int, ...] = ()
        credentials: Credentials | None = None
        if self._credentials:
            status = parse_status(read_record("status", directory))
            nspids, credentials = status.nspids, status.credentials
        # By place: naming thirteen fields takes as long as reading one.
        return Task(
            stat.pid,
            stat.ppid,
            stat.start + self._shift,
            stat.state,
            stat.kernel,
            stat.comm,
            owner,
            stat.threads,
            ns,
            cgroup,
            command,
            nspids,
            credentials,
        )

    def cgroup(self, directory: int, pid: int) -> bytes | None:
        """Read the control groups of one process.

        Args:
            directory: descriptor of its directory.
            pid: its number.
        """
        try:
            raw = read_record("cgroup", directory)
        except PermissionError:
            self.no_cgroup.append(pid)
            return None
        return self._seen.setdefault(raw, raw)

    def command(self, directory: int, pid: int) -> bytes | None:
        """Read the command line of one process, as `cgroup` its control groups."""
        try:
            return read_record("cmdline", directory, COMMAND_LIMIT)
        except PermissionError:
            self.no_command.append(pid)
            return None


def _of_ending(directory: int, stat: ProcStat, ns: tuple[int, ...]) -> tuple[int, ...]:
    """Tell the namespaces of a process that may have ended while they were read.

    Args:
        directory: descriptor of /proc/PID.
        stat: what it is now.
        ns: what its links said, some of which are missing or unreadable.

    Returns:
        What its other threads are in, where only the first has ended. Where all have, or it is
        about to, those two that a process keeps until somebody waits for it. Else ``ns``.
    """
    ended = stat.state in "ZX"
    if ended and stat.threads > 1:
        return _of_threads(directory, stat.pid) or ns
    if ended or UNREADABLE not in ns:
        return tuple(ino if i in _KEPT_BY_ZOMBIES else ABSENT for i, ino in enumerate(ns))
    return ns


def _of_threads(directory: int, leader: int) -> tuple[int, ...]:
    """The namespaces of the first thread that has some, () where none has."""
    threads = os.open("task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        for name in os.listdir(threads):
            if name == str(leader):
                continue
            try:
                thread = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=threads)
            except (FileNotFoundError, ProcessLookupError):
                continue
            try:
                ns = read_ns_links(thread)
            except ProcessLookupError:
                continue
            finally:
                os.close(thread)
            if ns[_MNT] != ABSENT:
                return ns
        return ()
    finally:
        os.close(threads)


def _note_hidden(draft: Draft, pids: list[int]) -> None:
    """Say so when /proc hides other users' processes (hidepid, proc(5))."""
    cause = "this procfs does not show process 1: it hides processes (hidepid)"
    if pids:
        cause = "this procfs shows their numbers and no more (hidepid)"
    elif draft.tasks and draft.tasks[0].pid == 1:
        return
    draft.gaps.append(
        Gap(
            Part.TASKS,
            draft.proc.root,
            "processes of other users",
            PartState.PARTIAL,
            cause,
            "CAP_SYS_PTRACE",
            tuple(pids),
        )
    )
