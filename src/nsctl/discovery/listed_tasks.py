"""Processes from the kernel's own list, compared with what /proc lists.

Control groups and command lines are read from /proc, of one process for all that share them: the
kernel has no other safe way to a command line, which may lie in a file that somebody serves.
"""

from __future__ import annotations

import os
import struct

from nsctl.discovery.draft import Draft
from nsctl.discovery.tasks import TaskReader, note_lacking
from nsctl.errors import refused, vanished
from nsctl.kernel.lists import (
    GROUPS,
    PF_EXITING,
    PF_KTHREAD,
    PF_WQ_WORKER,
    Lists,
    state_letter,
    unpack_identity,
)
from nsctl.kernel.mountinfo import parse_line
from nsctl.kernel.procfs import (
    CLOCK_TICKS,
    COMMAND_LIMIT,
    parse_stat,
    read_file,
    read_record,
)
from nsctl.model.namespace import ABSENT, NS_LINKS, TYPES, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.task import CapabilitySets, Credentials, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TICK = 1_000_000_000 // CLOCK_TICKS
_MNT = TYPES.index(NamespaceType.MNT)
SPACES = struct.Struct(f"={len(NS_LINKS)}I")
"""The inodes of a record, in the order of a Task's ``ns``."""
_ENDED = "ZX"
_UPID = "i12x"
_UNCOUNTED = 0xFFFFFFFF
_GID = 4
_LONGEST_COMM = 15
_NAMED = 8
# A process that starts while /proc is being listed may be in either list alone.
_SLACK = 2


def run(draft: Draft) -> None:
    """Make a row of every process."""
    found = draft.lists
    if found is None:
        raise ValueError("the kernel's lists were not read")
    draft.covered = _covered(draft)
    rows = _Rows(draft, found)
    rows.make()
    by_pid = {task.pid: task for task in rows.tasks}
    _add_unlisted(draft, by_pid, rows.reader)
    _note_hidden(draft, by_pid)
    draft.tasks = [by_pid[pid] for pid in sorted(by_pid)]
    note_lacking(draft, rows.reader)


class _Rows:
    """Makes rows of records.

    Attributes:
        tasks: by process id.
        reader: reads single processes from /proc, and keeps count of what it may not.
    """

    def __init__(self, draft: Draft, found: Lists) -> None:
        self.tasks: list[Task] = []
        self.reader = TaskReader(draft)
        self._draft = draft
        self._found = found
        self._cgroups = Part.CGROUPS in draft.parts
        self._commands = Part.COMMANDS in draft.parts
        self._leaders = Part.LEADERS in draft.parts
        # A kernel thread and a zombie have no command line.
        self._silence = b"" if self._commands or self._leaders else None
        self._spaces: dict[bytes, tuple[int, ...]] = {}
        self._names: dict[bytes, bytes] = {}
        self._known: dict[tuple[int, int, int], bytes] = {}
        self._credentials: dict[tuple[bytes, bytes], Credentials] = {}
        # What unpacks a process's numbers in that many PID namespaces.
        self._numbers: dict[int, struct.Struct] = {}

    def make(self) -> None:
        """Make all rows."""
        known, spaces = self._known, self._spaces
        helper = self._draft.helper_pid
        credentials = self._found.credentials
        letters: dict[tuple[int, int], str] = {}
        late: list[tuple[int, tuple[int, int, int]]] = []
        # What it saves, of thousands, to go round a constructor that is a function of Python's.
        new, tasks = tuple.__new__, self.tasks
        for index, record in enumerate(self._found.tasks):
            tid, pid, ppid, flags, start, state, ended, threads, euid, raw = record[:10]
            if tid != pid or pid == helper:
                continue
            letter = letters.get((state, ended))
            if letter is None:
                letter = letters[state, ended] = state_letter(state, ended)
            ns = spaces.get(raw)
            is_first = ns is None
            if ns is None:
                ns = spaces[raw] = SPACES.unpack(raw)
            if letter in _ENDED and threads > 1:
                ns = self._of_threads(pid) or ns
            # Of one that ends /proc tells other control groups (version 1) than of the others.
            key = record[12], record[13], flags & PF_EXITING
            wants_groups = self._cgroups and key not in known
            speaks = not flags & PF_KTHREAD and letter not in _ENDED
            command = None if speaks else self._silence
            wants_command = speaks and (self._commands or (self._leaders and is_first))
            start //= _TICK
            if wants_groups or wants_command:
                groups, words = self._look(pid, start, cgroup=wants_groups, command=wants_command)
                if groups is not None:
                    known[key] = groups
                elif wants_groups:
                    late.append((len(tasks), key))
                if speaks:
                    command = words
            kernel = flags & PF_KTHREAD != 0
            name = self._name(pid, flags, record[14])
            row = pid, ppid, start, letter, kernel, name, euid, threads, ns, known.get(key), command
            identity = self._identity(pid, start, credentials[index]) if credentials else _UNASKED
            tasks.append(new(Task, row + identity))
        for place, key in late:
            tasks[place] = tasks[place]._replace(cgroup=known.get(key))

    def _name(self, pid: int, flags: int, comm: bytes) -> bytes:
        """The name of a process, as /proc shows it."""
        name = self._names.get(comm)
        if name is None:
            name = self._names[comm] = comm.partition(b"\0")[0]
        if flags & PF_KTHREAD and (flags & PF_WQ_WORKER or len(name) == _LONGEST_COMM):
            return self._long_name(pid, name)
        return name

    def _look(
        self, pid: int, start: int, *, cgroup: bool, command: bool
    ) -> tuple[bytes | None, bytes | None]:
        """Read control groups and command line, as far as wanted, of the process of a row.

        Returns:
            Both, None for what is not wanted, may not be read, or is another process's by now.
        """
        draft = self._draft
        if pid in draft.covered:
            return None, None
        path = f"{draft.proc.root}/{pid}"
        try:
            groups = read_record(f"{path}/cgroup") if cgroup else None
            words = read_record(f"{path}/cmdline", limit=COMMAND_LIMIT) if command else None
            # As long as its directory is the one that was listed first, so is the process.
            if os.stat(path).st_ino == draft.listing.pids.get(pid):
                return groups, words
        except OSError as error:
            if not vanished(error) and not refused(error):
                raise
        return self._look_closely(pid, start, cgroup=cgroup, command=command)

    def _look_closely(
        self, pid: int, start: int, *, cgroup: bool, command: bool
    ) -> tuple[bytes | None, bytes | None]:
        """Read the same where it is not certain whose it is, or all may not be read."""
        draft = self._draft
        try:
            directory = draft.proc.open(pid)
        except OSError as error:
            if refused(error) and pid not in self.reader.hidden:
                self.reader.hidden.append(pid)
            elif not vanished(error) and not refused(error):
                raise
            return None, None
        try:
            # The number may be another process's by now.
            if abs(draft.start_of(parse_stat(read_file("stat", directory)).start) - start) > 1:
                return None, None
            groups = self.reader.cgroup(directory, pid) if cgroup else None
            words = self.reader.command(directory, pid) if command else None
        except OSError as error:
            if vanished(error):
                return None, None
            raise
        finally:
            os.close(directory)
        return groups, words

    def _long_name(self, pid: int, name: bytes) -> bytes:
        """Read the name of a kernel thread, which /proc tells longer than the kernel's list."""
        if pid in self._draft.covered:
            return name
        try:
            return self._draft.proc.read(f"{pid}/comm").removesuffix(b"\n") or name
        except OSError as error:
            if vanished(error) or refused(error):
                return name
            raise

    def _of_threads(self, leader: int) -> tuple[int, ...]:
        """The namespaces of the first thread of an ended one that has some, () where none has."""
        for record in self._found.tasks:
            if record[1] == leader and record[0] != leader:
                ns: tuple[int, ...] = SPACES.unpack(record[9])
                if ns[_MNT] != ABSENT:
                    return ns
        return ()

    def _identity(self, pid: int, start: int, record: tuple[Any, ...]) -> _Identity:
        """The numbers of a process in nested PID namespaces, and what it may do."""
        raw, count, gids, levels, numbers = record
        if count > GROUPS:
            whole = self.reader.read(pid) if pid not in self._draft.covered else None
            if whole is None or abs(whole.start - start) > 1:
                return _UNASKED
            return whole.nspids, whole.credentials
        key = raw, gids[: count * _GID]
        credentials = self._credentials.get(key)
        if credentials is None:
            told = unpack_identity(raw)
            ids, filters = told.ids, told.filters
            credentials = self._credentials[key] = Credentials(
                uids=(ids[0], ids[1], ids[2], ids[3]),
                gids=(ids[4], ids[5], ids[6], ids[7]),
                groups=struct.unpack_from(f"={count}I", gids),
                caps=CapabilitySets._make(told.caps),
                no_new_privs=bool(told.flags & 1),
                seccomp=told.seccomp,
                seccomp_filters=None if filters == _UNCOUNTED else filters,
            )
        form = self._numbers.get(levels)
        if form is None:
            form = self._numbers[levels] = struct.Struct("=" + _UPID * levels)
        return form.unpack_from(numbers), credentials


_Identity = tuple[tuple[int, ...], Credentials | None]
_UNASKED: _Identity = ((), None)


def _add_unlisted(draft: Draft, by_pid: dict[int, Task], reader: TaskReader) -> None:
    """Read from /proc what only /proc lists, and tell of it."""
    lacking = []
    for pid in draft.listing.pids:
        if pid in by_pid or pid == draft.helper_pid:
            continue
        task = reader.read(pid)
        if task is not None and task.pid == pid:
            by_pid[pid] = task
            draft.unlisted.append(task)
            if task.start <= draft.listing.at:
                lacking.append(task)
    if lacking:
        draft.remarks.append(
            f"The kernel's own list lacks {_named(lacking)}, which {draft.proc.root} shows."
        )


def _note_hidden(draft: Draft, by_pid: dict[int, Task]) -> None:
    """Tell of processes that live and that /proc does not list, or shows another thing for."""
    listed = {*draft.listing.pids, draft.helper_pid}
    hidden = [
        task
        for pid, task in by_pid.items()
        if pid not in listed and task.start < draft.listing.at - _SLACK
    ]
    if hidden:
        again = set(draft.proc.pids())
        hidden = [task for task in hidden if task.pid not in again and _lives(task.pid)]
    root = draft.proc.root
    for tasks, cause in (
        (hidden, f"{root} hides what the kernel's own list has: hidepid, or somebody's doing"),
        (
            [by_pid[pid] for pid in sorted(draft.covered) if pid in by_pid],
            f"something is mounted there on what {root} shows of it",
        ),
    ):
        if tasks:
            draft.gaps.append(
                Gap(
                    Part.TASKS,
                    root,
                    f"{_named(tasks)} in {root}",
                    PartState.PARTIAL,
                    cause,
                    "",
                    tuple(task.pid for task in tasks),
                )
            )


def _named(tasks: list[Task]) -> str:
    """Name processes: numbers and command names, the first of many."""
    names = [
        f"{task.pid} ({task.comm.decode('utf-8', 'surrogateescape')})" for task in tasks[:_NAMED]
    ]
    more = f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else ""
    return f"process{'es' if len(tasks) > 1 else ''} {', '.join(names)}{more}"


def _lives(pid: int) -> bool:
    try:
        os.close(os.pidfd_open(pid))
    except ProcessLookupError:
        return False
    return True


def _covered(draft: Draft) -> frozenset[int]:
    """Processes over whose directories in /proc, or over files there, something is mounted."""
    start = f"{draft.proc.root}/".encode()
    found = set()
    for line in draft.proc.read("self/mountinfo", limit=1 << 28).split(b"\n"):
        if b" " + start in line:
            name, _, _ = parse_line(line).mount_point.removeprefix(start).partition(b"/")
            if name.isdigit():
                found.add(int(name))
    return frozenset(found)
