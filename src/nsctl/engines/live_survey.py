"""A survey for whoever looks for containers that run: processes by their names, the rest when asked.

One pass reads what each process is called; whoever looks for one name reads no more than that of
those that are no engine's program. Namespaces, control groups, arguments and credentials are read
of those alone that an engine asks for: its daemons, shims and monitors, and their containers' first
processes.
"""

from __future__ import annotations

import os

from nsctl.engines.survey import Survey
from nsctl.errors import refused, vanished
from nsctl.kernel.procfs import ProcFs, parse_stat, read_children, read_file
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from nsctl.engines.state_files import View
    from nsctl.model.snapshot import Reader, Reference

_COMM_SIZE = 15  # TASK_COMM_LEN without its NUL (proc_pid_comm(5))
_COMM_MOST = 64  # a kernel thread's may be longer


def programs(proc: ProcFs, shift: int, wanted: Collection[str]) -> list[Task]:
    """Make a pass over all processes that finds those of a few names.

    Args:
        proc: the procfs.
        shift: as for `names`.
        wanted: names of programs; the kernel keeps 15 bytes of each.

    Returns:
        As `names`, of those alone.
    """
    known = frozenset(name.encode()[:_COMM_SIZE] + b"\n" for name in wanted)
    found = []
    top, flags = proc.root, os.O_RDONLY | os.O_CLOEXEC
    for pid in os.listdir(top):
        if not pid.isdecimal():
            continue
        try:
            fd = os.open(f"{top}/{pid}/comm", flags)
        except OSError as error:
            if vanished(error) or refused(error):
                continue
            raise
        try:
            comm = os.read(fd, _COMM_MOST)
        except OSError as error:
            if vanished(error) or refused(error):
                continue
            raise
        finally:
            os.close(fd)
        if comm in known:
            found.append(int(pid))
    rows = (_named(proc, pid, shift) for pid in sorted(found))
    return [row for row in rows if row is not None]


def names(proc: ProcFs, shift: int) -> list[Task]:
    """Make a pass over all processes, and read no more than their names.

    Args:
        proc: the procfs.
        shift: what is added to a start time as this procfs shows it (see Task.start).

    Returns:
        Rows without namespaces (``ns`` is empty), control groups or arguments; none of processes
        that ended meanwhile or that procfs hides.
    """
    rows = (_named(proc, pid, shift) for pid in proc.pids())
    return [row for row in rows if row is not None]


def _named(proc: ProcFs, pid: int, shift: int) -> Task | None:
    try:
        stat = parse_stat(read_file(f"{proc.root}/{pid}/stat"))
    except OSError as error:
        if vanished(error) or refused(error):
            return None
        raise
    return Task(
        pid=stat.pid,
        ppid=stat.ppid,
        start=stat.start + shift,
        state=stat.state,
        kernel=stat.kernel,
        comm=stat.comm,
        owner=-1,
        threads=stat.threads,
        ns=(),
    )


class LiveSurvey(Survey):
    """A survey that completes its rows when they are asked for.

    Args:
        proc: the procfs they were read from.
        tasks: all of them, as `names` gives them; or a few, as `programs` does.
        reference: the known host process.
        reader: who looks.
        shift: as for `names`.
        read: reads the whole row of a process; None where it has ended.
        wanted: the name, or the beginning of an id, that is looked for: then tasks are a few, and
            engines of other users or in containers, whose containers' names all end in "@WHOSE",
            are passed over. "" for all containers.
    """

    running_only = True

    def __init__(
        self,
        proc: ProcFs,
        tasks: Iterable[Task],
        reference: Reference,
        reader: Reader,
        shift: int,
        read: Callable[[int], Task | None],
        wanted: str = "",
    ) -> None:
        super().__init__(proc, tasks, reference, reader, shift)
        self.wanted = wanted
        self._read_row = read
        self._groups: list[Task] = []
        self._lacks_some = bool(wanted)

    @property
    def tasks(self) -> Sequence[Task]:
        """All processes, each row whole: as slow as a snapshot."""
        self._see_all()
        return self._whole(list(self._rows.values()))

    @property
    def grouped(self) -> Sequence[Task]:
        """All processes with their control groups, whatever else their rows lack."""
        self._see_all()
        if not self._groups:
            self._groups = [self._with_groups(task) for task in self._rows.values()]
        return self._groups

    @property
    def known(self) -> Sequence[Task]:
        """All processes as far as they were asked for."""
        return tuple(self._rows.values())

    def row_of(self, pid: int) -> Task | None:
        """The process with a number of the reader's own, None where there is none."""
        task = self._rows.get(pid)
        if task is None and self._lacks_some and pid > 0:
            task = self._read_row(pid)
            if task is not None:
                self._rows[pid] = task
        whole = self._whole([task]) if task is not None else []
        return whole[0] if whole else None

    def named(self, *names: str) -> list[Task]:
        """All living processes of these command names; whoever likes can have such a name."""
        found = self._whole(super().named(*names))
        if not self.wanted:
            return found
        return [task for task in found if task.owner in {0, self.reader.uid}]

    def view_of(self, task: Task) -> View | None:
        """A process's own view of the file system; None where nothing of it counts."""
        view = super().view_of(task)
        if view is None or not self.wanted or view.trust.kind == "host":
            return view
        # An engine's in a container, or another user's: the helper that reads such costs 30 ms.
        is_own = view.trust.kind == "user" and view.trust.uid == self.reader.uid
        return view if is_own else None

    def children(self, pid: int) -> Sequence[Task]:
        """The children of a process, zombies too."""
        if self._lacks_some:
            pids = read_children(self.proc.root, pid)
            if pids is not None:
                rows = (self.row_of(each) for each in pids)
                return [row for row in rows if row is not None and row.ppid == pid]
            self._see_all()
        return self._whole(super().children(pid))

    def _see_all(self) -> None:
        """Make up for the pass that was spared."""
        if self._lacks_some:
            self._lacks_some = False
            known, self._rows, self._by_comm, self._children = self._rows, {}, {}, {}
            for task in names(self.proc, self._shift):
                self._add(known.get(task.pid, task))

    def _whole(self, tasks: Iterable[Task]) -> list[Task]:
        """Complete rows, and leave out those of processes that ended since the pass."""
        found = []
        for task in tasks:
            row = self._rows.get(task.pid)
            if row is not None and not row.ns:
                row = self._read_row(task.pid)
                # Another process may have the number by now.
                if row is None or row.start != task.start:
                    del self._rows[task.pid]
                    continue
                self._rows[task.pid] = row
            if row is not None:
                found.append(row)
        return found

    def _with_groups(self, task: Task) -> Task:
        if task.ns:
            return task
        raw = self._read_of(task, "cgroup", 1 << 20)
        return task._replace(cgroup=raw or None)
