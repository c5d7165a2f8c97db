"""containerd's shims: one process a container or pod, which stays when the daemon is gone.

Docker runs its containers through containerd too, in containerd's namespace "moby"; the CRI plugin
in "k8s.io". A shim's arguments name the namespace, a container and the daemon's socket; its working
directory is the container's bundle, wherever the daemon keeps its state. A pod's shim serves all
containers of the pod, whose bundles lie beside that one.
"""

from __future__ import annotations

import os

from nsctl.engines.fields import Fields
from nsctl.engines.survey import Survey, View, option
from nsctl.errors import refused, vanished
from nsctl.model.record import NamedTuple
from nsctl.model.task import Task

MOBY = "moby"
KUBERNETES = "k8s.io"

# All versions' names begin so; the kernel keeps these 15 bytes (containerd-shim-runc-v2).
_COMM = "containerd-shim"
_PID_SIZE = 64


class Shim(NamedTuple):
    """A shim.

    Attributes:
        task: the process.
        namespace: containerd's namespace.
        id: the container, or the pod's sandbox.
        view: in which its files are.
        bundle: its directory, "" where it could not be read.
    """

    task: Task
    namespace: str
    id: str
    view: View
    bundle: str


def shims(survey: Survey) -> list[Shim]:
    """Find all shims whose word counts for something."""
    found = []
    for task in survey.named(_COMM):
        arguments = survey.command(task)
        namespace = option(arguments, "-namespace", "--namespace")
        if not namespace:
            continue
        container = option(arguments, "-id", "--id")
        if not container:
            # Of version 1: the directory says which.
            workdir = option(arguments, "-workdir", "--workdir")
            container = workdir.rpartition("/")[2]
        view = survey.view_of(task)
        if view is None or not container:
            continue
        found.append(Shim(task, namespace, container, view, _directory(survey, task, container)))
    return found


def _directory(survey: Survey, task: Task, container: str) -> str:
    """The bundle: the shim works there, and it is named like the container."""
    try:
        path = os.readlink(f"{survey.proc.root}/{task.pid}/cwd")
    except OSError as error:
        if vanished(error) or refused(error):
            return ""
        raise
    return path if path.rpartition("/")[2] == container else ""


def init_pid(survey: Survey, view: View, bundle: str, engine: str) -> int:
    """Read the process id in a bundle's file ``init.pid``, in the numbers of its shim.

    Returns:
        The number; 0 where there is none.
    """
    path = f"{bundle}/init.pid"
    raw = survey.read(view, path, engine, limit=_PID_SIZE)
    if raw is None:
        return 0
    if not (raw.isascii() and raw.isdigit()):
        survey.note(engine, path, "it is no process id")
        return 0
    return int(raw)


def config(survey: Survey, view: View, bundle: str, engine: str) -> Fields:
    """Read a bundle's OCI configuration; {} where that cannot be."""
    return survey.read_json(view, f"{bundle}/config.json", engine) or {}
