"""What an engine's module is given: the processes that were seen, and whose word counts.

An engine is found by its daemons, shims and monitors: by the name of their command, then by their
arguments and the files that they mean, each read in their own view of the file system. Anybody can
call a process ``containerd-shim``, so what one says counts only as far as its maker's powers reach
(`Trust`), and a process id from a file counts only if the process agrees (`Survey.process`).

What could not be read is noted (`Survey.note`) and is no reason to stop.
"""

from __future__ import annotations

import os

from nsctl.engines.state_files import StateFiles, Trust, View
from nsctl.errors import refused, vanished
from nsctl.kernel.procfs import COMMAND_LIMIT, ProcFs, parse_stat, parse_status, read_file
from nsctl.model.container import Container
from nsctl.model.namespace import ABSENT, TYPES, UNREADABLE, NamespaceType
from nsctl.model.snapshot import Reader, Reference
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Survey", "Trust", "View", "option", "options"]

_ARGUMENTS_LIMIT = 1 << 17
_COMM_SIZE = 15  # TASK_COMM_LEN without its NUL (proc_pid_comm(5))
_MNT = TYPES.index(NamespaceType.MNT)
_PID = TYPES.index(NamespaceType.PID)
_USER = TYPES.index(NamespaceType.USER)
_JUDGED = (_MNT, _PID, _USER)
_CAP_SYS_PTRACE = 19
_CAP_SYS_ADMIN = 21
_HOSTLIKE = 1 << _CAP_SYS_PTRACE | 1 << _CAP_SYS_ADMIN
# A start that was read in a time namespace set off by a fraction of a tick is one off.
_START_SLACK = 1
_ENDED = "ZX"
_HOST_TRUST = Trust("host", 0)


class Survey(StateFiles):
    """The processes that were seen, and what engines want to know of them.

    Args:
        proc: the procfs they were read from.
        tasks: all of them, with their control groups.
        reference: the known host process.
        reader: who looks.
        shift: what is added to a start time as this procfs shows it (see Task.start).

    Attributes:
        proc: as given.
        reference: as given.
        running_only: who asks wants containers that run and how they are called, and nothing that
            must be looked for besides.
        wanted: of those only the ones that this is the name, id or beginning of the id of are
            looked for, and no more than what they are called, where they are told apart at little
            cost; "" for all.
    """

    running_only = False
    wanted = ""

    def may_be_wanted(self, container_id: str, raw: bytes) -> bool:
        """Tell whether a container can be the one that is looked for.

        Args:
            container_id: its id.
            raw: the file that its name stands in.
        """
        return container_id.startswith(self.wanted) or os.fsencode(self.wanted) in raw

    def __init__(
        self,
        proc: ProcFs,
        tasks: Iterable[Task],
        reference: Reference,
        reader: Reader,
        shift: int = 0,
    ) -> None:
        super().__init__(reader)
        self.proc = proc
        self._rows: dict[int, Task] = {}
        self.reference = reference
        self._shift = shift
        self._by_comm: dict[bytes, list[Task]] = {}
        self._children: dict[int, list[Task]] = {}
        self._trust: dict[int, Trust | None] = {}
        self._commands: dict[int, tuple[str, ...]] = {}
        self._nspids: dict[int, tuple[int, ...]] = {}
        self._numbers: dict[int, dict[int, Task]] = {}
        for task in tasks:
            self._add(task)

    def _add(self, task: Task) -> None:
        self._rows[task.pid] = task
        if not task.kernel and task.state not in _ENDED:
            self._by_comm.setdefault(task.comm, []).append(task)
        self._children.setdefault(task.ppid, []).append(task)

    # --- Processes ---------------------------------------------------------------------------

    @property
    def tasks(self) -> Sequence[Task]:
        """All processes that were seen."""
        return tuple(self._rows.values())

    @property
    def grouped(self) -> Sequence[Task]:
        """The same for whoever asks for their control groups alone."""
        return self.tasks

    def row_of(self, pid: int) -> Task | None:
        """The process with a number of the reader's own, None where there is none."""
        return self._rows.get(pid)

    def named(self, *names: str) -> list[Task]:
        """All living processes of these command names; whoever likes can have such a name.

        Args:
            names: names of programs; the kernel keeps 15 bytes of each.
        """
        found: list[Task] = []
        for comm in dict.fromkeys(name.encode()[:_COMM_SIZE] for name in names):
            found += self._by_comm.get(comm, ())
        return found

    def children(self, pid: int) -> Sequence[Task]:
        """The children of a process, zombies too."""
        return self._children.get(pid, ())

    def command(self, task: Task) -> tuple[str, ...]:
        """The arguments of a process, the program's own name first.

        Returns:
            () where it has ended, or they cannot be read.
        """
        if task.pid not in self._commands:
            raw = task.command
            # Discovery cuts long ones short.
            if raw is None or len(raw) >= COMMAND_LIMIT:
                raw = self._read_of(task, "cmdline", _ARGUMENTS_LIMIT)
            self._commands[task.pid] = _words(raw)
        return self._commands[task.pid]

    def environ(self, task: Task) -> dict[str, str]:
        """The environment that a process was started with (proc_pid_environ(5)).

        Returns:
            Variables; {} where it has ended, or they cannot be read.
        """
        pairs = (word.partition("=") for word in _words(self._read_of(task, "environ", 1 << 20)))
        return {key: value for key, equals, value in pairs if equals}

    def nspids(self, task: Task) -> tuple[int, ...]:
        """A process's id in each nested PID namespace, outermost first; () where unknown."""
        if task.nspids:
            return task.nspids
        if task.pid not in self._nspids:
            self._nspids[task.pid] = ()
            raw = self._read_of(task, "status", 1 << 16)
            if raw:
                self._nspids[task.pid] = parse_status(raw).nspids
        return self._nspids[task.pid]

    def trust(self, task: Task) -> Trust | None:
        """How far a process's word counts.

        Who is root in the host's user and PID namespaces and has CAP_SYS_PTRACE and
        CAP_SYS_ADMIN there without a filter can do as host root, whatever mount namespace it is
        in, as a daemon that a service manager gives a private one.

        Returns:
            None where it has ended or the kernel does not tell: then nothing of it counts.
        """
        if task.pid not in self._trust:
            self._trust[task.pid] = self._judge(task)
        return self._trust[task.pid]

    def _judge(self, task: Task) -> Trust | None:
        if any(task.ns[column] in {ABSENT, UNREADABLE} for column in _JUDGED):
            return None
        raw = self._read_of(task, "status", 1 << 16)
        if not raw:
            return None
        # All of them: the owner of /proc/PID is only the effective one.
        held = parse_status(raw).credentials
        uid = held.uids[0]
        host = self.reference.ns
        if task.ns[_USER] == host[_USER] and task.ns[_PID] == host[_PID]:
            is_root = not any(held.uids)
            mighty = held.caps.permitted & _HOSTLIKE == _HOSTLIKE and not held.seccomp
            if is_root and (mighty or task.ns[_MNT] == host[_MNT]):
                return _HOST_TRUST
            if uid and task.ns[_MNT] == host[_MNT]:
                return Trust("user", uid)
        elif task.ns[_PID] == host[_PID] and uid:
            return Trust("user", uid)
        return Trust("inside", uid)

    def row(self, container: Container, by: Task | None, first: Task | None) -> Container:
        """Complete a container's row with what was seen.

        Args:
            container: what its engine says.
            by: the daemon, shim or monitor that says so; None for a file of the host without one.
            first: its first process, as `process` gives it; None where it does not run.

        Returns:
            The row with that process, the control groups that are its own, and whose word it is.
        """
        trust = _HOST_TRUST if by is None else self.trust(by)
        is_host = trust is not None and trust.kind == "host"
        groups: tuple[str, ...] = ()
        if first is not None and first.cgroup and not self.wanted:
            from nsctl.engines.cgroup_names import groups_of

            above = b"" if is_host or by is None else by.cgroup or b""
            groups = groups_of(first.cgroup, container.id, above)
        return container._replace(
            pid=first.pid if first else 0,
            start=first.start if first else 0,
            state=container.state or ("running" if first else "stopped"),
            cgroups=groups,
            user=trust.uid if trust is not None and trust.kind == "user" else 0,
            vouched_by=by.pid if by is not None and not is_host else 0,
        )

    def process(
        self, pid: int, by: Task | None, *, start: int = 0, cgroup: str = ""
    ) -> Task | None:
        """Find the living process that a file or an argument means, if it can be believed.

        Args:
            pid: in the numbers of whoever wrote it.
            by: the daemon, shim or monitor; None for a file of the host without one.
            start: clock ticks since boot as the writer saw them, 0 where it does not say.
            cgroup: a word that must be in one of its control groups, "" where none need be.

        Returns:
            The process, or None where there is none, or neither its parent (which is ``by``),
            nor its start, nor its control group agrees, or ``by`` cannot speak for it.
        """
        task = self.numbered(pid, by)
        if task is None or task.state in _ENDED or not self.may_speak_for(by, task):
            return None
        if start and abs(task.start - start) <= _START_SLACK:
            return task
        if by is not None and task.ppid == by.pid:
            return task
        if cgroup and task.cgroup and cgroup.encode("utf-8", "surrogateescape") in task.cgroup:
            return task
        return None

    def may_speak_for(self, by: Task | None, task: Task) -> bool:
        """Tell whether a process's word counts for another one (see `Trust`)."""
        if by is None:
            return True
        trust = self.trust(by)
        if trust is None:
            return False
        if trust.kind == "host":
            return True
        own = trust.kind == "inside" and by.ns[_PID] != self.reference.ns[_PID]
        seen: set[int] = set()
        above: Task | None = task
        # Rows are not read at one moment: parents may run in a circle.
        while above is not None and above.pid not in seen:
            if above.pid == by.pid or (own and above.ns[_PID] == by.ns[_PID]):
                return True
            seen.add(above.pid)
            above = self.row_of(above.ppid)
        return False

    def numbered(self, pid: int, by: Task | None) -> Task | None:
        """Find the process that has a number where another one is; nothing is believed yet.

        Args:
            pid: in the numbers of ``by``'s PID namespace.
            by: that process; None for the reader's own numbers.
        """
        if by is None or by.ns[_PID] == self.reader.ns[_PID]:
            return self.row_of(pid)
        level = len(self.nspids(by)) - 1
        if level <= 0:
            return self.row_of(pid) if level == 0 else None
        return self._inside(by.ns[_PID], level).get(pid)

    def _inside(self, pidns: int, level: int) -> dict[int, Task]:
        """Sort the processes in a PID namespace and in those below it by their number in it.

        Args:
            pidns: inode of the namespace.
            level: how deep it is nested.
        """
        if pidns not in self._numbers:
            inside = {task.pid: True for task in self.tasks if task.ns[_PID] == pidns}
            found: dict[int, Task] = {}
            for task in self.tasks:
                # The kernel refuses to say in which PID namespace a zombie's or another's is.
                if task.ns[_PID] in {ABSENT, UNREADABLE, self.reference.ns[_PID]}:
                    continue
                # Only these are asked for their numbers, which takes a file each.
                if self._descends(task, inside):
                    nspids = self.nspids(task)
                    if len(nspids) > level:
                        found.setdefault(nspids[level], task)
            self._numbers[pidns] = found
        return self._numbers[pidns]

    def _descends(self, task: Task, known: dict[int, bool]) -> bool:
        """Tell whether a process or one above it is among some, and remember it of all on the way.

        Args:
            task: the process.
            known: process ids, with the answer.
        """
        chain: list[int] = []
        above: Task | None = task
        while above is not None and above.pid not in known:
            # Rows are not read at one moment: parents may run in a circle, which leads nowhere.
            known[above.pid] = False
            chain.append(above.pid)
            above = self.row_of(above.ppid)
        answer = above is not None and known[above.pid]
        known.update(dict.fromkeys(chain, answer))
        return answer

    def directory_of(self, task: Task) -> int | None:
        """Open /proc/PID, if the process is still the same.

        Returns:
            A descriptor, which the caller closes; None where the process has ended.
        """
        try:
            directory = self.proc.open(task.pid)
        except OSError as error:
            if vanished(error) or refused(error):
                return None
            raise
        is_same = False
        try:
            seen = parse_stat(read_file("stat", directory))
            is_same = abs(seen.start + self._shift - task.start) <= _START_SLACK
        except OSError as error:
            if not vanished(error) and not refused(error):
                raise
        finally:
            if not is_same:
                os.close(directory)
        return directory if is_same else None

    def _read_of(self, task: Task, name: str, limit: int) -> bytes:
        """Read a file below /proc/PID, if the process is still the same; b"" otherwise."""
        directory = self.directory_of(task)
        if directory is None:
            return b""
        try:
            return read_file(name, directory, limit)
        except OSError as error:
            if vanished(error) or refused(error):
                return b""
            raise
        finally:
            os.close(directory)

    # --- Files -------------------------------------------------------------------------------

    def host_view(self) -> View | None:
        """The host's own file system; None where no way leads to it."""
        mntns = self.reference.ns[_MNT]
        if self.reader.ns[_MNT] == mntns and self.proc.root == "/proc":
            return View("/", _HOST_TRUST, None, mntns)
        root = f"{self.proc.root}/{self.reference.pid}/root"
        try:
            os.stat(root)
        except OSError as error:
            if vanished(error) or refused(error):
                return None
            raise
        return View(root, _HOST_TRUST, None, mntns)

    def view_of(self, task: Task) -> View | None:
        """A process's own view of the file system; None where nothing of it counts."""
        trust = self.trust(task)
        if trust is None:
            return None
        return View(f"{self.proc.root}/{task.pid}/root", trust, task, task.ns[_MNT])

    def path_of(self, task: Task, path: str) -> str:
        """Make a path of a process's arguments one from its root."""
        if path.startswith("/"):
            return path
        try:
            return os.path.join(os.readlink(f"{self.proc.root}/{task.pid}/cwd"), path)
        except OSError as error:
            if vanished(error) or refused(error):
                return f"/{path}"
            raise


def _words(raw: bytes) -> tuple[str, ...]:
    if not raw:
        return ()
    words = raw.removesuffix(b"\0").split(b"\0")
    return tuple(word.decode("utf-8", "surrogateescape") for word in words)


def options(arguments: Sequence[str], *names: str) -> list[str]:
    """All values of an option in a command line.

    Args:
        arguments: the words.
        names: spellings with their dashes; the value follows, or stands after "=".

    Returns:
        Values in order.
    """
    found = []
    take_next = False
    for word in arguments:
        if take_next:
            found.append(word)
            take_next = False
            continue
        key, equals, value = word.partition("=")
        if key in names:
            if equals:
                found.append(value)
            else:
                take_next = True
    return found


def option(arguments: Sequence[str], *names: str) -> str:
    """The last value of an option in a command line (see `options`), "" without one."""
    found = options(arguments, *names)
    return found[-1] if found else ""
