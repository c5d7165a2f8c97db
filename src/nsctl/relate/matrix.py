"""The matrix: groups by eight namespaces, in meaning instead of numbers."""

from __future__ import annotations

from typing import Literal, NamedTuple

from nsctl.model.namespace import (
    ABSENT,
    TYPES,
    UNREADABLE,
    NamespaceType,
    TimeOffsets,
)
from nsctl.model.owner import Owner
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import Group, groups

Meaning = Literal["own", "host", "shared", "unreadable", "absent"]


class Cell(NamedTuple):
    """What one namespace of one group means.

    Attributes:
        meaning: "own" (nobody else's), "host" (the host's), "shared" (with other groups, not the
            host), "unreadable" (unknown, neither of these), "absent" (the kernel has no such type).
        ino: its inode, `UNREADABLE` or `ABSENT`.
        shared_with: the other groups' owners.
        letter: names the shared namespace within this matrix, "" where it is not shared.
        offsets: for a time namespace that differs from the host's clocks, by how much.
    """

    meaning: Meaning
    ino: int
    shared_with: tuple[Owner, ...] = ()
    letter: str = ""
    offsets: TimeOffsets | None = None


class Row(NamedTuple):
    """One group and its eight cells, in the order of TYPES."""

    group: Group
    cells: tuple[Cell, ...]


class Matrix(NamedTuple):
    """All groups.

    Attributes:
        host: the group of the host's own processes; None where none could be read.
        rows: every other group that could be read.
        unreadable: processes whose namespaces could not be read.
    """

    host: Group | None
    rows: tuple[Row, ...]
    unreadable: tuple[int, ...]


def matrix(snapshot: Snapshot) -> Matrix:
    """Say of every group and type whether the namespace is its own, the host's or shared.

    Args:
        snapshot: with tasks; time offsets, cgroups and containers make it say more.

    Returns:
        The matrix, rows in the order of `groups`.
    """
    found = groups(snapshot)
    readable = [group for group in found if UNREADABLE not in group.isolation]
    host = next((group for group in readable if group.owner.kind == "host"), None)
    others = [group for group in readable if group.owner.kind != "host"]
    users: dict[tuple[int, int], list[Group]] = {}
    for group in others:
        for column, ino in enumerate(group.isolation):
            users.setdefault((column, ino), []).append(group)
    offsets = {
        ns.id.ino: ns.offsets for ns in snapshot.namespaces if ns.id.type is NamespaceType.TIME
    }
    letters = _Letters()
    rows = tuple(
        Row(group, tuple(_cells(group, snapshot.host.ns, users, offsets, letters)))
        for group in others
    )
    unreadable = sorted(
        pid for group in found if UNREADABLE in group.isolation for pid in group.pids
    )
    return Matrix(host, rows, tuple(unreadable))


def _cells(
    group: Group,
    host: tuple[int, ...],
    users: dict[tuple[int, int], list[Group]],
    offsets: dict[int, TimeOffsets | None],
    letters: _Letters,
) -> list[Cell]:
    cells = []
    for column, ino in enumerate(group.isolation):
        if ino == ABSENT:
            cells.append(Cell("absent", ino))
        elif host[column] == UNREADABLE:
            cells.append(Cell("unreadable", ino))
        elif ino == host[column]:
            cells.append(Cell("host", ino))
        else:
            shift = offsets.get(ino) if TYPES[column] is NamespaceType.TIME else None
            shift = shift if shift and any(shift) else None
            others = tuple(other.owner for other in users[column, ino] if other is not group)
            if others:
                letter = letters.of(column, ino)
                cells.append(Cell("shared", ino, others, letter, shift))
            else:
                cells.append(Cell("own", ino, offsets=shift))
    return cells


class _Letters:
    """Names shared namespaces in the order they are met: a .. z, aa, ab .."""

    def __init__(self) -> None:
        self._given: dict[tuple[int, int], str] = {}

    def of(self, column: int, ino: int) -> str:
        key = (column, ino)
        if key not in self._given:
            self._given[key] = _letters(len(self._given))
        return self._given[key]


def _letters(number: int) -> str:
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text
