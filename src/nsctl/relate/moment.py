"""One of two snapshots that are compared: its rows by identity, and what it could not have seen.

What a snapshot does not list is missing only where it could have been seen. Everything here is
asked of one moment about something that another moment has, and works both ways.
"""

from __future__ import annotations

from nsctl.model.namespace import (
    PID_FOR_CHILDREN,
    TIME_FOR_CHILDREN,
    TYPES,
    UNREADABLE,
    Holder,
    Namespace,
    NamespaceId,
    NamespaceType,
)
from nsctl.model.owner import Owner
from nsctl.model.part import Part, PartState
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.relate.groups import groups
from nsctl.relate.members import Membership, memberships

_TICKS = 100
# A start that was read in a time namespace set off by a fraction of a tick is one off.
_START_SLACK = 1

_COLUMN = {kind: column for column, kind in enumerate(TYPES)}
_FOR_CHILDREN = {NamespaceType.PID: PID_FOR_CHILDREN, NamespaceType.TIME: TIME_FOR_CHILDREN}

_RANK = {
    PartState.NOT_ASKED: 0,
    PartState.UNREADABLE: 1,
    PartState.PARTIAL: 2,
    PartState.READ: 3,
}
_BY_DESCRIPTOR = (Part.DESCRIPTORS,)
_FINDS: dict[str, tuple[Part, ...]] = {
    "thread": (Part.THREADS,),
    "child": (Part.CHILDREN,),
    "fd": _BY_DESCRIPTOR,
    "socket": (Part.SOCKETS, *_BY_DESCRIPTOR),
    "tun": (Part.SOCKETS, *_BY_DESCRIPTOR),
    "inflight": (Part.INFLIGHT, *_BY_DESCRIPTOR),
    "ioring": (Part.RINGS, *_BY_DESCRIPTOR),
    "bind": (Part.NSFS_PATHS, Part.MOUNTED),
    "kernel": (Part.MOUNTED, Part.RELATIONS),
}
_ABOUT_HOLDERS = frozenset(part for parts in _FINDS.values() for part in parts)

NOT_ASKED = "it was not asked for there"
NOT_ALL_READ = "not all that could hold it was read there"
NOT_SHOWN = "processes were not shown there"
OUT_OF_SCOPE = "what is above other namespaces could not be read there"
OTHER_NUMBERS = "processes have other numbers there"


class HeldBy(NamedTuple):
    """What keeps a namespace alive, told from what another process does under the same number.

    Attributes:
        holder: it, without the number of the descriptor, which may be another each time.
        start: when its process began, 0 where there is none or it is not known.
    """

    holder: Holder
    start: int


class Moment:
    """A snapshot, indexed.

    Args:
        snapshot: with tasks and namespaces.
        own: processes, by number and start, that only looked: nsctl and its helpers.

    Attributes:
        snapshot: as passed in.
        rows: members and holders by namespace, without those that only looked.
        tasks: by process id, all of them.
        owners: whose each process is.
        below: by inode, the namespaces that have it as parent or owner.
        looked: namespaces in which somebody who only looked is.
    """

    def __init__(self, snapshot: Snapshot, own: frozenset[tuple[int, int]] = frozenset()) -> None:
        self.snapshot = snapshot
        self.tasks = {task.pid: task for task in snapshot.tasks}
        self._own = own
        self.owners: dict[int, Owner] = {}
        for group in groups(snapshot):
            self.owners.update(dict.fromkeys(group.pids, group.owner))
        self.looked: set[NamespaceId] = set()
        self.rows: dict[NamespaceId, Membership] = {}
        self.below: dict[int, list[NamespaceId]] = {}
        for row in memberships(snapshot):
            identity = row.namespace.id
            self.rows[identity] = self._without_own(row)
            for above in {row.namespace.parent, row.namespace.owner}:
                self.below.setdefault(above, []).append(identity)
        self._last = (snapshot.uptime + snapshot.ended - snapshot.began) * _TICKS
        self._hides = self._are_hidden()
        self._unread: dict[Part, frozenset[int]] = {}
        for gap in snapshot.gaps:
            known = self._unread.get(gap.part, frozenset())
            self._unread[gap.part] = known.union(gap.pids)

    def _without_own(self, row: Membership) -> Membership:
        if not self._own:
            return row
        tasks = tuple(task for task in row.tasks if not self.is_own(task.pid))
        holders = tuple(holder for holder in row.holders if not self.is_own(holder.pid))
        if len(tasks) < len(row.tasks) or len(holders) < len(row.holders):
            self.looked.add(row.namespace.id)
        owners = tuple(dict.fromkeys(self.owners[t.pid] for t in tasks if t.pid in self.owners))
        ordered = tuple(owner for owner in row.owners if owner in owners)
        return row._replace(tasks=tasks, owners=ordered, holders=holders)

    def is_own(self, pid: int) -> bool:
        """Tell whether a process only looked."""
        task = self.tasks.get(pid)
        return task is not None and (pid, task.start) in self._own

    def _are_hidden(self) -> bool:
        """Tell whether there may be processes that are not listed (hidepid of proc(5))."""
        if 1 not in self.tasks:
            return True
        # A process that is listed and could not be read is in the tasks; a hidden one is not.
        return any(
            pid not in self.tasks
            for gap in self.snapshot.gaps
            if gap.part is Part.TASKS
            for pid in gap.pids
        )

    def counterpart(self, task: Task) -> Task | None:
        """Find a process of another moment in this one, by number and start."""
        found = self.tasks.get(task.pid)
        return found if found and abs(found.start - task.start) <= _START_SLACK else None

    def numbers_like(self, other: Moment) -> bool:
        """Tell whether both number processes alike: the first one began at the same time."""
        first, second = self.tasks.get(1), other.tasks.get(1)
        return first is None or second is None or abs(first.start - second.start) <= _START_SLACK

    def of_owner(self, task: Task) -> Owner | None:
        """Whose a process of this moment is; None for a zombie."""
        return self.owners.get(task.pid)

    def held(self, row: Membership) -> dict[HeldBy, Holder]:
        """The holders of a row of this moment, each once, by what tells them from others."""
        found: dict[HeldBy, Holder] = {}
        for holder in row.holders:
            task = self.tasks.get(holder.pid)
            key = HeldBy(holder._replace(fd=-1), task.start if task else 0)
            found.setdefault(key, holder)
        return found

    def lacks(self, part: Part, other: Moment) -> bool:
        """Tell whether less was read of a part than at another moment.

        Processes that are named in a gap are not meant: of these it is known what is lacking.
        """
        ours = self.snapshot.parts.get(part, PartState.NOT_ASKED)
        theirs = other.snapshot.parts.get(part, PartState.NOT_ASKED)
        if ours in {PartState.NOT_ASKED, PartState.UNREADABLE}:
            return _RANK[ours] < _RANK[theirs]
        return not self._gaps(part) <= other._gaps(part)

    def _gaps(self, part: Part) -> set[tuple[str, str]]:
        """What was not read of a part, where no processes are named."""
        return {
            (gap.object, gap.cause)
            for gap in self.snapshot.gaps
            if gap.part is part and not gap.pids
        }

    def why_not_in(self, task: Task, kind: NamespaceType, *, waiting: bool = False) -> str:
        """Why it is unknown whether a process of another moment was in a namespace here.

        Args:
            task: the process.
            kind: the namespace's type.
            waiting: whether it is about the namespace for its children.

        Returns:
            The reason, or "" where it is known.
        """
        found = self.counterpart(task)
        if found is None:
            return NOT_SHOWN if self._hides and task.start <= self._last else ""
        column = _FOR_CHILDREN.get(kind, _COLUMN[kind]) if waiting else _COLUMN[kind]
        return self._not_readable(task.pid) if found.ns[column] == UNREADABLE else ""

    @staticmethod
    def _not_readable(pid: int) -> str:
        return f"process {pid} could not be read there"

    def why_not_held(self, holder: Holder, kind: NamespaceType, other: Moment) -> str:
        """Why it is unknown whether a namespace was held here as it is at another moment.

        Args:
            holder: what holds it there.
            kind: the namespace's type.
            other: that moment.

        Returns:
            The reason, or "" where it is known.
        """
        task = other.tasks.get(holder.pid)
        if task is not None and holder.kind == "child" and not holder.tid:
            return self.why_not_in(task, kind, waiting=True)
        parts = _FINDS.get(holder.kind, tuple(_ABOUT_HOLDERS))
        if any(self.lacks(part, other) for part in parts):
            return NOT_ASKED if self._asked_less(parts) else NOT_ALL_READ
        if task is None:
            return ""
        if self.counterpart(task) is None:
            return NOT_SHOWN if self._hides and task.start <= self._last else ""
        unread = any(task.pid in self._unread.get(part, ()) for part in parts)
        return self._not_readable(task.pid) if unread else ""

    def _asked_less(self, parts: tuple[Part, ...]) -> bool:
        states = self.snapshot.parts
        return any(states.get(part, PartState.NOT_ASKED) is PartState.NOT_ASKED for part in parts)

    def why_unseen(self, row: Membership, other: Moment) -> str:
        """Why a namespace of another moment might be here though it is not listed.

        Args:
            row: the namespace, with its members and holders there.
            other: that moment.

        Returns:
            The reason; "" where nothing that led to it there does so here, and all could be read.
        """
        return self._why_unseen(row, other, set())

    def _why_unseen(self, row: Membership, other: Moment, asked: set[NamespaceId]) -> str:
        identity = row.namespace.id
        asked.add(identity)
        if not self.numbers_like(other):
            return OTHER_NUMBERS
        if self.lacks(Part.NAMESPACES, other):
            return NOT_ASKED
        for task in row.tasks:
            why = self.why_not_in(task, identity.type)
            if why:
                return why
        for holder in row.holders:
            why = self.why_not_held(holder, identity.type, other)
            if why:
                return why
        if row.tasks or any(holder.kind != "kernel" for holder in row.holders):
            return ""
        return self._why_unrelated(row.namespace, other, asked)

    def _why_unrelated(self, namespace: Namespace, other: Moment, asked: set[NamespaceId]) -> str:
        """The same of a namespace that only others lead to, as their parent or owner."""
        if self.lacks(Part.RELATIONS, other):
            return NOT_ASKED
        ino = namespace.id.ino
        for identity in other.below.get(ino, ()):
            if identity in asked:
                continue
            row = other.rows[identity]
            here = self.rows.get(identity)
            if here is None:
                why = self._why_unseen(row, other, asked)
            else:
                as_parent = row.namespace.parent == ino
                above = here.namespace.parent if as_parent else here.namespace.owner
                why = "" if above else OUT_OF_SCOPE
            if why:
                return why
        return ""
