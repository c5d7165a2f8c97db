"""Where the engines' daemons listen: among their own open sockets, so at any path.

A path alone is nobody's word: containers and ordinary users can make sockets of any name. So it
goes the other way round, from the daemons whose word counts (`Survey.trust`) to the listening
sockets that they hold, and from these to their paths. What a service manager keeps for a daemon
that does not run is not found, and must not be: to connect would start it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator

from nsctl.engines.state_files import View
from nsctl.engines.survey import Survey, options
from nsctl.errors import refused, vanished
from nsctl.kernel.procfs import read_file
from nsctl.kernel.unix import Listening, held_inodes, parse_listening
from nsctl.model.record import NamedTuple
from nsctl.model.task import Task

_TABLE_LIMIT = 32 << 20
# A path of a forged line is tried in vain, and costs one connect(2).
_MOST_PATHS = 8
_USUAL = ("docker.sock", "podman.sock")


class Daemon(NamedTuple):
    """A daemon that can be asked.

    Attributes:
        task: its process.
        engine: "docker" or "podman".
        view: its view of the file system.
        paths: of its API's socket there, the likeliest first; who really listens at each must
            be seen when it is connected to.
    """

    task: Task
    engine: str
    view: View
    paths: tuple[str, ...]


def daemons(survey: Survey) -> list[Daemon]:
    """Find the daemons of the host's engines, and of the reader's own.

    Args:
        survey: the processes that were seen.

    Returns:
        Those that listen somewhere; what could not be read is noted.
    """
    found = []
    for engine, task in _candidates(survey):
        view = survey.view_of(task)
        if view is None or not _may_be_asked(survey, view):
            continue
        try:
            listening = _listening(survey, task)
        except OSError as error:
            if not vanished(error):
                cause = error.strerror or str(error)
                needs = "CAP_SYS_PTRACE" if refused(error) else ""
                survey.note(engine, f"sockets of {engine}'s process {task.pid}", cause, needs)
            continue
        named = [survey.path_of(task, path) for path in _named(survey.command(task))]
        paths = _likeliest((survey.path_of(task, each.path) for each in listening), named)
        if paths:
            found.append(Daemon(task, engine, view, paths))
    return found


def _candidates(survey: Survey) -> Iterator[tuple[str, Task]]:
    for task in survey.named("dockerd"):
        yield "docker", task
    for task in survey.named("podman"):
        words = survey.command(task)
        # As podman-system-service(1) is called.
        if ("system", "service") in itertools.pairwise(words):
            yield "podman", task


def _may_be_asked(survey: Survey, view: View) -> bool:
    """Tell whether a daemon is the host's or the reader's own: nobody else's is spoken to."""
    kind, uid = view.trust
    return kind == "host" or (kind == "user" and uid == survey.reader.uid)


def _listening(survey: Survey, task: Task) -> list[Listening]:
    """The listening sockets that a process holds, of its own network namespace."""
    directory = survey.directory_of(task)
    if directory is None:
        return []
    try:
        held = held_inodes(directory)
        found = parse_listening(read_file("net/unix", directory, _TABLE_LIMIT))
    finally:
        os.close(directory)
    return [each for each in found if each.inode in held]


def _named(arguments: Iterable[str]) -> list[str]:
    """Paths of sockets in a command line: ``-H unix://PATH``, and podman's last word."""
    words = list(arguments)
    hosts = [*options(words, "-H", "--host"), *words[-1:]]
    return [word.removeprefix("unix://") for word in hosts if word.startswith("unix://")]


def _likeliest(paths: Iterable[str], named: list[str]) -> tuple[str, ...]:
    """Put the paths of one daemon in order, without those where it speaks something else."""
    own = [path for path in dict.fromkeys(paths) if not _is_internal(path)]
    own.sort(key=lambda path: (path not in named, os.path.basename(path) not in _USUAL))
    return tuple(own[:_MOST_PATHS])


def _is_internal(path: str) -> bool:
    """Tell dockerd's sockets for its helpers (libnetwork) and for metrics of plugins."""
    parent, name = os.path.split(path)
    return name == "metrics.sock" or os.path.basename(parent) == "libnetwork"
