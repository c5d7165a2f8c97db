"""conmon(8), the monitor of one container, which Podman and CRI-O start for each.

It is the parent of the container's first process, and its arguments tell the container's id and
name, and where its bundle is.
"""

from __future__ import annotations

import os

from nsctl.engines.fields import is_id
from nsctl.engines.state_files import View
from nsctl.engines.survey import Survey
from nsctl.model.record import NamedTuple
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Options without a value; all others have one.
_FLAGS = frozenset(
    {
        *("-e", "--exec", "--exec-attach", "--full-attach", "-i", "--stdin", "--leave-stdin-open"),
        *("--no-new-keyring", "--no-pivot", "--no-sync-log", "--replace-listen-pid", "--sync"),
        *("-s", "--systemd-cgroup", "--syslog", "-t", "--terminal", "-V", "--version"),
    }
)
_LONG = {"--cid": "-c", "--name": "-n", "--bundle": "-b", "--container-pidfile": "-p"}
_PID_LIMIT = 64


class Conmon(NamedTuple):
    """What the arguments of one conmon tell.

    Attributes:
        task: its process.
        id: the container's.
        name: the container's.
        bundle: directory of its configuration.
        pid_file: where the container's process id is.
        ends_with: name of the program that is called when the container has ended, "" for none.
    """

    task: Task
    id: str
    name: str
    bundle: str
    pid_file: str
    ends_with: str


def conmon_of(task: Task, arguments: Iterable[str]) -> Conmon | None:
    """Read the arguments of a conmon.

    Args:
        task: its process.
        arguments: its command line, the program's name first.

    Returns:
        What they tell; None where they are not whole, or where it watches a command that was
        brought into a container later.
    """
    told: dict[str, str] = {}
    words = iter(arguments)
    next(words, None)
    for word in words:
        key, equals, value = word.partition("=")
        if key in _FLAGS:
            if key in {"-e", "--exec"}:
                return None
            continue
        told[_LONG.get(key, key)] = value if equals else next(words, "")
    container_id, bundle = told.get("-c", ""), told.get("-b", "")
    if not is_id(container_id) or not bundle.startswith("/"):
        return None
    return Conmon(
        task,
        container_id,
        told.get("-n", "") or container_id[:12],
        os.path.normpath(bundle),
        told.get("-p", ""),
        os.path.basename(told.get("--exit-command", "")),
    )


def first_process(
    survey: Survey, view: View, monitor: Task, pid_file: str, group: str, engine: str
) -> Task | None:
    """Find the first process of a monitor's container.

    Args:
        survey: the processes that were seen.
        view: the monitor's view of the file system.
        monitor: the conmon.
        pid_file: where the process id is.
        group: a word of the container's control group, "" for none.
        engine: whose container it is, for the note.

    Returns:
        Its only child, else the one that the file names; None where it has none.
    """
    alive = [task for task in survey.children(monitor.pid) if task.state not in "ZX"]
    if len(alive) == 1:
        return alive[0]
    raw = survey.read(view, pid_file, engine, limit=_PID_LIMIT) or b""
    digits = raw.strip(b" \n")
    return survey.process(int(digits), monitor, cgroup=group) if digits.isdigit() else None
