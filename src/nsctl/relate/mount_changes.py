"""What changed between two readings of a mount table, as findmnt --poll tells it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nsctl.model.mount import Mount
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Action = Literal["mount", "umount", "move", "remount"]
else:
    Action = str

ACTIONS: tuple[Action, ...] = ("mount", "umount", "move", "remount")


class Change(NamedTuple):
    """One change.

    Attributes:
        action: what happened.
        old: the mount before, None for a new one.
        new: the mount after, None for one that is gone.
    """

    action: Action
    old: Mount | None
    new: Mount | None


def changes(before: Sequence[Mount], after: Sequence[Mount]) -> list[Change]:
    """Compare two readings.

    Args:
        before: the table.
        after: the same, later.

    Returns:
        What came or was remounted in the later table's order, then what went. Mounts are told by
        source and place, as libmount does; one that went and came elsewhere was moved.
    """
    found: list[Change] = []
    there, here = _by_place(before), _by_place(after)
    moved: dict[tuple[int, bytes], int] = {}
    for mount in after:
        old = there.get((mount.source, mount.point))
        if old is None:
            moved.setdefault((mount.id, mount.source), len(found))
            found.append(Change("mount", None, mount))
        elif (old.options, old.super_options) != (mount.options, mount.super_options):
            found.append(Change("remount", old, mount))
    for mount in before:
        if (mount.source, mount.point) in here:
            continue
        place = moved.pop((mount.id, mount.source), None)
        if place is None:
            found.append(Change("umount", mount, None))
        else:
            found[place] = Change("move", mount, found[place].new)
    return found


def _by_place(table: Iterable[Mount]) -> dict[tuple[bytes, bytes], Mount]:
    found: dict[tuple[bytes, bytes], Mount] = {}
    for mount in table:
        found.setdefault((mount.source, mount.point), mount)
    return found
