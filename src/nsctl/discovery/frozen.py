"""Containers whose processes the kernel's freezer has stopped.

Engines write down that they paused a container, or do not (bare runtimes, LXC), and somebody else
may have let it go on since. Only its control groups tell what is so.
"""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.errors import KernelRefusal, refused, vanished
from nsctl.kernel import cgroup
from nsctl.kernel.mountinfo import MountLine, parse
from nsctl.model.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# By their engine's own word; all others say "paused".
_WORDS = {"lxc": "frozen"}
_ALIVE = frozenset({"running", "paused", "frozen"})


def told(draft: Draft, rows: Sequence[Container]) -> list[Container]:
    """Say of each running container whether it is frozen.

    Args:
        draft: with the processes that rows name.
        rows: containers.

    Returns:
        The same with their states; where no control group tells, as their engines said.
    """
    alive = {row.pid for row in rows if row.pid and row.state in _ALIVE}
    if not alive:
        return list(rows)
    groups = {task.pid: task.cgroup for task in draft.tasks if task.pid in alive and task.cgroup}
    mounts = _mounts(draft)
    known: dict[bytes, bool | None] = {}
    found = []
    for row in rows:
        raw = groups.get(row.pid) if row.state in _ALIVE else None
        if raw is None:
            found.append(row)
            continue
        if raw not in known:
            known[raw] = _is_frozen(raw, mounts)
        is_frozen = known[raw]
        if is_frozen is None:
            found.append(row)
        else:
            word = _WORDS.get(row.engine, "paused") if is_frozen else "running"
            found.append(row._replace(state=word))
    return found


def _mounts(draft: Draft) -> list[MountLine]:
    """The reader's mounts of the freezer and of version 2."""
    try:
        lines = parse(draft.proc.read("self/mountinfo", limit=1 << 28))
    except OSError as error:
        if vanished(error) or refused(error):
            return []
        raise
    return [
        line
        for line in lines
        if line.fs_type == b"cgroup2"
        or (line.fs_type == b"cgroup" and b"freezer" in line.super_options.split(b","))
    ]


def _is_frozen(raw: bytes, mounts: Sequence[MountLine]) -> bool | None:
    try:
        members = [
            each
            for each in cgroup.parse(raw)
            if not each.controllers or b"freezer" in each.controllers
        ]
        # A mount may be covered by another: then nothing is found through it.
        said = [cgroup.is_frozen(cgroup.places(members, [line])) for line in mounts]
        return max((each for each in said if each is not None), default=None)
    except (KernelRefusal, ValueError):
        # As where nobody tells: the engine's word stands.
        return None
