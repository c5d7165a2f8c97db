"""Containers, as the engines that made them describe them on disk or over their socket."""

from __future__ import annotations

from nsctl.model.record import NamedTuple


class Container(NamedTuple):
    """One container of one engine.

    Attributes:
        name: as its engine names it; NAME@UID for one of another ordinary user's engine,
            NAME@CONTAINER for one whose engine runs in a container, so that none of these can be
            taken for the host's own.
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
        mnt_ns_id: the kernel's id of its mount namespace in this boot, 0 unknown.
        user: whose word this is: 0 root's, else the ordinary user's whose engine made it.
        vouched_by: the daemon, shim or monitor that tells of it, where that is not the host's
            own: it is an ordinary user's who is not the reader, or runs in a container. Else 0.
        scope: where its name is unique: the engine's own namespace (containerd's) or path (LXC's),
            "" where it has none.
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
    mnt_ns_id: int = 0
    user: int = 0
    vouched_by: int = 0
    scope: str = ""
