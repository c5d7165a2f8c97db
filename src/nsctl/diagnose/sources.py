"""Which sources answered for which part of a snapshot, and what each lacks and why."""

from __future__ import annotations

from nsctl.diagnose.answer import Answer, State
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Snapshot

_WORDS: dict[Part, str] = {
    Part.TASKS: "processes",
    Part.CGROUPS: "control groups of processes",
    Part.COMMANDS: "command lines",
    Part.LEADERS: "commands of first processes",
    Part.CREDENTIALS: "users and capabilities",
    Part.NAMESPACES: "namespaces",
    Part.RELATIONS: "parents and owners",
    Part.ID_MAPS: "id maps",
    Part.TIME_OFFSETS: "clocks",
    Part.NETNSIDS: "network namespace ids",
    Part.NSFS_PATHS: "bind mounts seen from here",
    Part.DESCRIPTORS: "open descriptors",
    Part.THREADS: "threads elsewhere",
    Part.CHILDREN: "namespaces of next children",
    Part.MOUNTED: "bind mounts everywhere",
    Part.RINGS: "io_uring files",
    Part.SOCKETS: "sockets",
    Part.INFLIGHT: "unread messages",
    Part.MOUNTS: "mounts",
    Part.CONTAINERS: "containers",
    Part.UTS_NAMES: "host names inside",
    Part.IPC_OBJECTS: "System V and POSIX objects",
    Part.CGROUP_TREE: "tree of control groups",
    Part.ACCOUNTS: "accounts and subordinate ids",
}
_STATES: dict[PartState, State] = {
    PartState.READ: "ok",
    PartState.PARTIAL: "partial",
    PartState.UNREADABLE: "refused",
    PartState.NOT_ASKED: "unknown",
}
_BASIS = {
    "pid1": "process 1",
    "kernel-thread": "a thread of the kernel, as process 1 may not be read",
    "caller": "nsctl's own, as nothing else tells",
}


def answers(snapshot: Snapshot) -> list[Answer]:
    """Tell of a snapshot of everything.

    Args:
        snapshot: taken just now, with all parts.

    Returns:
        A line for what tells the host's namespaces, and one for each part.
    """
    source = ", ".join(snapshot.read_from)
    basis = _BASIS.get(snapshot.host.basis, snapshot.host.basis)
    best = snapshot.host.basis != "caller"
    found = [
        Answer(
            "sources",
            "reference",
            "ok" if best else "partial",
            "the host's namespaces",
            f"told by {basis}",
        ),
        _hidden(snapshot),
    ]
    for part in Part:
        state = snapshot.parts.get(part, PartState.NOT_ASKED)
        gaps = [gap for gap in snapshot.gaps if gap.part is part]
        found.append(_answer(part, state, gaps, source))
    return found


def _hidden(snapshot: Snapshot) -> Answer:
    """Whether /proc hides processes of other users."""
    what = "processes of other users"
    pids = {task.pid for task in snapshot.tasks}
    listed = {pid for gap in snapshot.gaps if gap.part is Part.TASKS for pid in gap.pids}
    if 1 not in pids or listed - pids:
        return Answer(
            "sources",
            "hidepid",
            "refused",
            what,
            "the procfs hides them (hidepid)",
            "needs CAP_SYS_PTRACE, or a procfs mounted without hidepid",
            "CAP_SYS_PTRACE",
        )
    return Answer("sources", "hidepid", "ok", what, "the procfs shows them")


def _answer(part: Part, state: PartState, gaps: list[Gap], source: str) -> Answer:
    what = _WORDS.get(part, str(part))
    if not gaps:
        words = f"read from {source}" if state is PartState.READ else str(state)
        return Answer("sources", str(part), _STATES[state], what, words)
    causes: dict[str, list[str]] = {}
    for gap in gaps:
        causes.setdefault(gap.cause, []).append(gap.object)
    lacking = "; ".join(f"{', '.join(objects)}: {cause}" for cause, objects in causes.items())
    needs = list(dict.fromkeys(gap.needs for gap in gaps if gap.needs))
    remedy = f"needs {', '.join(needs)}" if needs else ""
    first = needs[0] if needs else ""
    return Answer("sources", str(part), _STATES[state], what, f"lacking {lacking}", remedy, first)
