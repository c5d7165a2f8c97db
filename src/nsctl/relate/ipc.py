"""What IPC namespaces hold, with owners translated into the user namespace that owns each."""

from __future__ import annotations

from nsctl.model.contents import IpcObjects
from nsctl.model.namespace import IdExtent, IdMaps, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.contents import Row, rows
from nsctl.relate.find import Found
from nsctl.relate.processes import to_inside


class Inside(NamedTuple):
    """How ids are called inside an IPC namespace: in the user namespace that owns it.

    Attributes:
        other: they are other numbers there, or may be.
        uids: map of that user namespace; None where it is not known.
        gids: likewise.
    """

    other: bool
    uids: tuple[IdExtent, ...] | None
    gids: tuple[IdExtent, ...] | None

    def uid(self, outside: int) -> int | None:
        """A user id inside; None where it has none, or that is not known."""
        return None if self.uids is None else to_inside(outside, self.uids)

    def gid(self, outside: int) -> int | None:
        """A group id inside, likewise."""
        return None if self.gids is None else to_inside(outside, self.gids)


class Holding(NamedTuple):
    """One IPC namespace.

    Attributes:
        row: the namespace, whose it is, how it stands to the host's.
        inside: how ids are called there.
    """

    row: Row
    inside: Inside

    @property
    def objects(self) -> IpcObjects | None:
        """What it holds; None where it was not read."""
        return self.row.member.namespace.ipc

    @property
    def number(self) -> int:
        """How many objects it holds."""
        objects = self.objects
        if objects is None:
            return 0
        held = (objects.memory, objects.semaphores, objects.queues, objects.posix or ())
        return sum(map(len, held))


def holdings(snapshot: Snapshot, found: Found | None = None) -> list[Holding]:
    """List the IPC namespaces.

    Args:
        snapshot: with IPC objects, relations and id maps.
        found: only those of what this leads to.
    """
    users = {
        each.id.ino: each for each in snapshot.namespaces if each.id.type is NamespaceType.USER
    }
    made = []
    for row in rows(snapshot, NamespaceType.IPC, found):
        owner = users.get(row.member.namespace.owner)
        maps = owner.maps if owner is not None else None
        same = row.standing == "host" or (maps is not None and _is_identity(maps))
        uids, gids = (maps.uids, maps.gids) if maps else (None, None)
        made.append(Holding(row, Inside(not same, uids, gids)))
    return made


def _is_identity(maps: IdMaps) -> bool:
    return all(each.inside == each.outside for each in (*maps.uids, *maps.gids))
