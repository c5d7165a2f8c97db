"""Processes and their namespaces, from /proc: one directory descriptor a process.

Everything of one process is read through one descriptor, so that no row mixes two processes. A
row that turned into a zombie half-way is shown as the zombie that it is, one that vanished is
left out: both are normal.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.kernel.procfs import (
    CLOCK_TICKS,
    COMMAND_LIMIT,
    ProcStat,
    parse_stat,
    parse_status,
    read_file,
    read_ns_links,
)
from nsctl.model.namespace import ABSENT, TYPES, UNREADABLE, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.task import Credentials, Task

CAP_SYS_PTRACE = 19

_MNT = TYPES.index(NamespaceType.MNT)
_KEPT_BY_ZOMBIES = frozenset({TYPES.index(NamespaceType.PID), TYPES.index(NamespaceType.USER)})
_TICK = 1_000_000_000 // CLOCK_TICKS


def run(draft: Draft) -> None:
    """Read every process."""
    reader = _TaskReader(draft)
    unreadable: list[int] = []
    for pid in draft.proc.pids():
        task = reader.read(pid)
        if task is None:
            continue
        draft.tasks.append(task)
        if task.ns[_MNT] == UNREADABLE:
            unreadable.append(pid)
    if unreadable:
        draft.gaps.append(_namespaces_gap(draft, unreadable))
    _note_hidden(draft)


class _TaskReader:
    """Reads one process after another, as far as the draft's parts ask."""

    def __init__(self, draft: Draft) -> None:
        self._proc = draft.proc
        self._shift = draft.boottime_offset // _TICK
        self._cgroups = Part.CGROUPS in draft.parts
        self._commands = Part.COMMANDS in draft.parts
        self._credentials = Part.CREDENTIALS in draft.parts
        # Ten thousand processes have a few hundred cgroups: one copy of each.
        self._seen: dict[bytes, bytes] = {}

    def read(self, pid: int) -> Task | None:
        """Read one process.

        Returns:
            Its row, or None when it vanished.
        """
        try:
            directory = self._proc.open(pid)
        except (FileNotFoundError, ProcessLookupError):
            return None
        try:
            return self._read(directory)
        except (FileNotFoundError, ProcessLookupError):
            return None
        finally:
            os.close(directory)

    def _read(self, directory: int) -> Task:
        stat = parse_stat(read_file("stat", directory))
        ns = read_ns_links(directory)
        if ns[_MNT] in {ABSENT, UNREADABLE}:
            # The process may have ended between the two reads, and then the kernel refuses
            # or answers for some types only: ask again what it is now.
            stat = parse_stat(read_file("stat", directory))
            if stat.state in "ZX":
                ns = tuple(ino if i in _KEPT_BY_ZOMBIES else ABSENT for i, ino in enumerate(ns))
        owner = os.fstat(directory).st_uid
        cgroup = self._cgroup(directory) if self._cgroups else None
        command = None
        if self._commands:
            command = b"" if stat.kernel else self._command(directory)
        nspids: tuple[int, ...] = ()
        credentials: Credentials | None = None
        if self._credentials:
            status = parse_status(read_file("status", directory))
            nspids, credentials = status.nspids, status.credentials
        return _row(stat, self._shift, owner, ns)._replace(
            cgroup=cgroup, command=command, nspids=nspids, credentials=credentials
        )

    def _cgroup(self, directory: int) -> bytes | None:
        try:
            raw = read_file("cgroup", directory)
        except PermissionError:
            return None
        return self._seen.setdefault(raw, raw)

    @staticmethod
    def _command(directory: int) -> bytes | None:
        try:
            return read_file("cmdline", directory, COMMAND_LIMIT)
        except PermissionError:
            return None


def _row(stat: ProcStat, shift: int, owner: int, ns: tuple[int, ...]) -> Task:
    return Task(
        pid=stat.pid,
        ppid=stat.ppid,
        start=stat.start - shift,
        state=stat.state,
        kernel=stat.kernel,
        comm=stat.comm,
        owner=owner,
        threads=stat.threads,
        ns=ns,
    )


def _namespaces_gap(draft: Draft, pids: list[int]) -> Gap:
    count = "1 process" if len(pids) == 1 else f"{len(pids)} processes"
    named = f" ({', '.join(map(str, pids))})" if len(pids) <= 3 else ""
    if draft.holds(CAP_SYS_PTRACE):
        cause, needs = "the kernel refuses although CAP_SYS_PTRACE is held", ""
    else:
        cause, needs = "they belong to other users or have more powers", "CAP_SYS_PTRACE"
    return Gap(
        Part.TASKS,
        draft.proc.root,
        f"namespaces of {count}{named}",
        PartState.UNREADABLE,
        cause,
        needs,
        tuple(pids),
    )


def _note_hidden(draft: Draft) -> None:
    """Say so when /proc hides other users' processes (hidepid, proc(5))."""
    if draft.tasks and draft.tasks[0].pid != 1:
        draft.gaps.append(
            Gap(
                Part.TASKS,
                draft.proc.root,
                "processes of other users",
                PartState.PARTIAL,
                "this procfs does not show process 1: it hides processes (hidepid)",
                "CAP_SYS_PTRACE",
            )
        )
