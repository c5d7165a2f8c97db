"""Containers of which nothing is known but their control groups.

The last to be asked: where no state was found (an engine of which nsctl knows no more, state that
may not be read, a monitor that was killed), the path still says that there is a container, and its
id. Only the outermost name of a path counts here, because whoever is in a container can make groups
below its own.
"""

from __future__ import annotations

from nsctl.engines.survey import Survey
from nsctl.model.container import Container
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.engines.cgroup_names import CgroupName

_SHORT = 12
_LONG_ID = 64
# Without one of these, a long component or an escape no path names a container.
_WORDS = (b"docker", b"libpod", b"cri", b"lxc", b"nspawn", b"machine", b"\\x")


def containers(survey: Survey) -> list[Container]:
    """List all containers that control groups name; discovery leaves out those known already.

    Args:
        survey: the processes that were seen, with their control groups.

    Returns:
        A row each, whose first process is the oldest one there.
    """
    seen: dict[bytes, CgroupName | None] = {}
    oldest: dict[tuple[str, str, int], tuple[CgroupName, Task]] = {}
    for task in survey.grouped:
        if not task.cgroup or task.state in "ZX":
            continue
        if task.cgroup not in seen:
            seen[task.cgroup] = _outermost(task.cgroup)
        name = seen[task.cgroup]
        if name is None:
            continue
        key = (name.engine, name.id, name.user)
        if key not in oldest or (task.start, task.pid) < (
            oldest[key][1].start,
            oldest[key][1].pid,
        ):
            oldest[key] = (name, task)
    return [
        Container(
            name=name.id[:_SHORT] if len(name.id) == _LONG_ID else name.id,
            engine=name.engine,
            id=name.id,
            pid=task.pid,
            start=task.start,
            state="running",
            pod=name.pod,
            cgroups=(name.path,),
            user=name.user,
        )
        for name, task in oldest.values()
    ]


def _outermost(cgroup: bytes) -> CgroupName | None:
    """The container that control groups name, the outermost of several; None where none."""
    if not may_name(cgroup):
        return None
    # What takes names apart takes longer to import than a host without containers has groups.
    from nsctl.engines.cgroup_names import names

    found = names(cgroup)
    return found[0] if found else None


def may_name(cgroup: bytes) -> bool:
    """Tell whether control groups may name a container; if not they certainly do not.

    Args:
        cgroup: a process's /proc/PID/cgroup, whole.
    """
    if any(word in cgroup for word in _WORDS):
        return True
    return any(len(component) >= _LONG_ID for component in cgroup.split(b"/"))
