"""Pods: what their containers share with each other, apart from what they share with the host."""

from __future__ import annotations

from collections.abc import Sequence

from nsctl.model.container import Container
from nsctl.model.namespace import ABSENT, TYPES, UNREADABLE, NamespaceType
from nsctl.model.owner import Owner
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import Group, groups, owner_of


class Sharing(NamedTuple):
    """One namespace that containers of a pod are in.

    Attributes:
        ino: its inode, `UNREADABLE` or `ABSENT`.
        inside: the pod's containers in it.
        is_host: it is the host's.
        outside: who else is in it; () for the host's.
    """

    ino: int
    inside: tuple[Owner, ...]
    is_host: bool
    outside: tuple[Owner, ...]


class Pod(NamedTuple):
    """A pod.

    Attributes:
        name: with its namespace, where the engine has any.
        engine: whose it is.
        containers: all that are known of it, its sandbox too.
        namespaces: for each type those that its running containers are in.
    """

    name: str
    engine: str
    containers: tuple[Container, ...]
    namespaces: dict[NamespaceType, tuple[Sharing, ...]]


def pod_of(snapshot: Snapshot, containers: Sequence[Container]) -> Pod:
    """Say what a pod's containers share.

    Args:
        snapshot: with tasks and containers.
        containers: those of one pod, at least one.

    Returns:
        The pod, its containers by creation.
    """
    ordered = sorted(containers, key=lambda row: (not row.pid, row.created, row.start, row.name))
    # Whoever was injected is another engine's.
    engine = next((row.engine for row in ordered if row.created or row.image), ordered[0].engine)
    found = groups(snapshot)
    mine = [_first_of(found, owner_of(row), row.pid) for row in ordered]
    own = [group for group in mine if group is not None]
    owners = {group.owner for group in own}
    namespaces = {}
    for column, kind in enumerate(TYPES):
        inodes = dict.fromkeys(group.isolation[column] for group in own)
        namespaces[kind] = tuple(
            _sharing(snapshot, found, owners, own, column, ino) for ino in inodes
        )
    return Pod(ordered[0].pod, engine, tuple(ordered), namespaces)


def _first_of(found: Sequence[Group], owner: Owner, pid: int) -> Group | None:
    """The group of a container's first process; others of its were brought elsewhere."""
    own = [group for group in found if group.owner == owner]
    return next((group for group in own if pid in group.pids), None)


def _sharing(
    snapshot: Snapshot,
    found: Sequence[Group],
    owners: set[Owner],
    own: Sequence[Group],
    column: int,
    ino: int,
) -> Sharing:
    is_host = ino > 0 and ino == snapshot.host.ns[column]
    others: dict[Owner, None] = {}
    if not is_host and ino not in {ABSENT, UNREADABLE}:
        for group in found:
            if group.isolation[column] == ino and group.owner not in owners:
                others[group.owner] = None
    inside = tuple(group.owner for group in own if group.isolation[column] == ino)
    return Sharing(ino, inside, is_host, tuple(others))
