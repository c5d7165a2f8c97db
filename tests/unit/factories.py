"""Small snapshots by hand: only what a test is about need be said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nsctl.model.container import Container
from nsctl.model.namespace import (
    PID_FOR_CHILDREN,
    TIME_FOR_CHILDREN,
    TYPES,
    Holder,
    Namespace,
    NamespaceId,
    NamespaceType,
    TimeOffsets,
)
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Reader, Reference, Snapshot
from nsctl.model.task import CapabilitySets, Credentials, Task

DEV = 4
HOST = dict(zip(TYPES, range(101, 101 + len(TYPES)), strict=True))
"""Inodes of the host's namespaces in every snapshot made here."""

_FOR_CHILDREN = {"pid_for_children": PID_FOR_CHILDREN, "time_for_children": TIME_FOR_CHILDREN}


def ns(**inodes: int) -> tuple[int, ...]:
    """A task's namespaces: the host's but for those named ("net", "pid_for_children" ..)."""
    own = [inodes.get(str(kind), HOST[kind]) for kind in TYPES]
    own += [own[TYPES.index(NamespaceType.PID)], own[TYPES.index(NamespaceType.TIME)]]
    for name, column in _FOR_CHILDREN.items():
        own[column] = inodes.get(name, own[column])
    return tuple(own)


def all_own(base: int) -> tuple[int, ...]:
    """A task's namespaces: none of them the host's."""
    return ns(**{str(kind): base + column for column, kind in enumerate(TYPES)})


def task(
    pid: int,
    inodes: tuple[int, ...] | None = None,
    *,
    ppid: int = 0,
    start: int | None = None,
    comm: bytes = b"x",
    state: str = "S",
    cgroup: bytes | None = None,
    threads: int = 1,
) -> Task:
    """A process, the host's by default."""
    return Task(
        pid=pid,
        ppid=ppid,
        start=pid * 10 if start is None else start,
        state=state,
        kernel=False,
        comm=comm,
        owner=0,
        threads=threads,
        ns=ns() if inodes is None else inodes,
        cgroup=cgroup,
    )


def credentials(caps: int = 0) -> Credentials:
    """Credentials of root with some capabilities in every set."""
    return Credentials(
        (0, 0, 0, 0), (0, 0, 0, 0), (), CapabilitySets(*[caps] * 5), no_new_privs=False,
        seccomp=0, seccomp_filters=0,
    )  # fmt: skip


def namespace(
    kind: NamespaceType,
    ino: int,
    *,
    parent: int = 0,
    owner: int = 0,
    offsets: TimeOffsets | None = None,
    holders: tuple[Holder, ...] = (),
) -> Namespace:
    """A namespace."""
    identity = NamespaceId(kind, DEV, ino)
    return Namespace(identity, parent=parent, owner=owner, offsets=offsets, holders=holders)


def container(
    name: str,
    *,
    engine: str = "docker",
    full_id: str = "",
    pid: int = 0,
    start: int = 0,
    cgroups: Sequence[str] = (),
) -> Container:
    """A container; its id is its name in hexadecimal unless it is given."""
    return Container(
        name=name,
        engine=engine,
        id=full_id or name.encode().hex(),
        pid=pid,
        start=start,
        state="running" if pid else "exited",
        cgroups=tuple(cgroups),
    )


def snapshot(
    tasks: Iterable[Task],
    namespaces: Iterable[Namespace] = (),
    containers: Iterable[Container] = (),
    *,
    host: tuple[int, ...] | None = None,
    gaps: Iterable[Gap] = (),
) -> Snapshot:
    """A snapshot of these tasks, with all of their namespaces whether they are named or not."""
    rows = sorted(tasks, key=lambda row: row.pid)
    named = {(row.id.type, row.id.ino): row for row in namespaces}
    columns = (*TYPES, NamespaceType.PID, NamespaceType.TIME)
    for row in rows:
        for kind, ino in zip(columns, row.ns, strict=True):
            if ino > 0:
                named.setdefault((kind, ino), namespace(kind, ino))
    return Snapshot(
        began=1.0,
        ended=2.0,
        boot_id="boot",
        host_name=b"host",
        kernel="6.18",
        uptime=1000.0,
        read_from=("/proc",),
        reader=Reader(99, 0, 0, ns()),
        host=Reference("pid1", 1, ns() if host is None else host),
        parts=dict.fromkeys(Part, PartState.READ),
        tasks=tuple(rows),
        namespaces=tuple(sorted(named.values(), key=lambda row: row.id.ino)),
        containers=tuple(containers),
        gaps=tuple(gaps),
    )
