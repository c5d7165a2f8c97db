"""A survey for whoever looks for one container: processes by their names, the rest when asked.

One pass reads what proc_pid_stat(5) tells of each process. Namespaces, control groups, arguments
and credentials are read of those alone that an engine asks for: its daemons, shims and monitors,
and their containers' first processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nsctl.engines.survey import Survey
from nsctl.errors import refused, vanished
from nsctl.kernel.procfs import ProcFs, parse_stat, read_file
from nsctl.model.snapshot import Reader, Reference
from nsctl.model.task import Task


def names(proc: ProcFs, shift: int) -> list[Task]:
    """Make a pass over all processes, and read no more than their names.

    Args:
        proc: the procfs.
        shift: what is added to a start time as this procfs shows it (see Task.start).

    Returns:
        Rows without namespaces (``ns`` is empty), control groups or arguments; none of processes
        that ended meanwhile or that procfs hides.
    """
    found = []
    for pid in proc.pids():
        try:
            stat = parse_stat(read_file(f"{proc.root}/{pid}/stat"))
        except OSError as error:
            if vanished(error) or refused(error):
                continue
            raise
        found.append(
            Task(
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
        )
    return found


class LiveSurvey(Survey):
    """A survey that completes its rows when they are asked for.

    Args:
        proc: the procfs they were read from.
        tasks: all of them, as `names` gives them.
        reference: the known host process.
        reader: who looks.
        shift: as for `names`.
        read: reads the whole row of a process; None where it has ended.
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
    ) -> None:
        super().__init__(proc, tasks, reference, reader, shift)
        self._read_row = read
        self._groups: list[Task] = []

    @property
    def tasks(self) -> Sequence[Task]:
        """All processes, each row whole: as slow as a snapshot."""
        return self._whole(list(self._rows.values()))

    @property
    def grouped(self) -> Sequence[Task]:
        """All processes with their control groups, whatever else their rows lack."""
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
        whole = self._whole([task]) if task is not None else []
        return whole[0] if whole else None

    def named(self, *names: str) -> list[Task]:
        """All living processes of these command names; whoever likes can have such a name."""
        return self._whole(super().named(*names))

    def children(self, pid: int) -> Sequence[Task]:
        """The children of a process, zombies too."""
        return self._whole(super().children(pid))

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
