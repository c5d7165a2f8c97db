"""Containers, as the engines that made them describe them on disk or over their socket."""

from __future__ import annotations

from typing import NamedTuple


class Container(NamedTuple):
    """One container of one engine.

    Attributes:
        name: as its engine names it.
        engine: "docker", "podman", "nsctl" ..
        id: the engine's whole id.
        image: image name or root file system, as the engine says it.
        pid: first process in the reader's numbers, 0 when it does not run.
        start: that process's start in clock ticks (see Task.start), 0 when it does not run.
        state: "created", "running", "stopped" ..
        created: seconds since the epoch, 0 unknown.
        pod: name of its pod, "" where it is in none.
        labels: key and value pairs.
        declared: what was asked for, namespace type or setting to value ("net": "host").
        cgroups: paths, each below its hierarchy, whose processes are the container's.
    """

    name: str
    engine: str
    id: str
    image: str = ""
    pid: int = 0
    start: int = 0
    state: str = ""
    created: float = 0.0
    pod: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    declared: tuple[tuple[str, str], ...] = ()
    cgroups: tuple[str, ...] = ()
