"""The matrix: groups by eight namespaces, in meaning instead of numbers."""

from __future__ import annotations

from nsctl.model.namespace import (
    ABSENT,
    TYPES,
    UNREADABLE,
    NamespaceType,
    TimeOffsets,
)
from nsctl.model.owner import Owner
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import Group, groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Meaning = Literal["own", "host", "shared", "unreadable", "absent"]
else:
    Meaning = str


class Cell(NamedTuple):
    """What one namespace of one group means.

    Attributes:
        meaning: "own" (nobody else's), "host" (the host's), "shared" (with other groups, not the
            host), "unreadable" (unknown, neither of these), "absent" (the kernel has no such type).
        ino: its inode, `UNREADABLE` or `ABSENT`.
        shared_with: the other groups' owners.
        letter: names the shared namespace within this matrix, "" where it is not shared.
        in_pod: it is shared with nobody but the group's own pod.
        offsets: for a time namespace that differs from the host's clocks, by how much.
    """

    meaning: Meaning
    ino: int
    shared_with: tuple[Owner, ...] = ()
    letter: str = ""
    in_pod: bool = False
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
    letters = _Letters()
    context = _context(snapshot, found)
    rows = tuple(
        Row(group, tuple(_cells(group, context, letters)))
        for group in found
        if group.owner.kind != "host" and UNREADABLE not in group.isolation
    )
    host = next((group for group in found if group.owner.kind == "host"), None)
    unreadable = sorted(
        pid for group in found if UNREADABLE in group.isolation for pid in group.pids
    )
    return Matrix(host, rows, tuple(unreadable))


def cells_of(snapshot: Snapshot, group: Group) -> tuple[Cell, ...]:
    """The cells of one group alone, in the order of TYPES.

    Args:
        snapshot: see `matrix`.
        group: one of its groups.

    Returns:
        Eight cells; letters are of no use for one row.
    """
    if UNREADABLE in group.isolation:
        return tuple(Cell("unreadable", UNREADABLE) for _ in TYPES)
    return tuple(_cells(group, _context(snapshot, groups(snapshot)), _Letters()))


class _Context(NamedTuple):
    """What the meaning of a cell depends on besides its own group."""

    host: tuple[int, ...]
    users: dict[tuple[int, int], list[Group]]
    offsets: dict[int, TimeOffsets | None]


def _context(snapshot: Snapshot, found: list[Group]) -> _Context:
    users: dict[tuple[int, int], list[Group]] = {}
    for group in found:
        if group.owner.kind != "host" and UNREADABLE not in group.isolation:
            for column, ino in enumerate(group.isolation):
                users.setdefault((column, ino), []).append(group)
    offsets = {
        ns.id.ino: ns.offsets for ns in snapshot.namespaces if ns.id.type is NamespaceType.TIME
    }
    return _Context(snapshot.host.ns, users, offsets)


def _cells(group: Group, context: _Context, letters: _Letters) -> list[Cell]:
    cells = []
    for column, ino in enumerate(group.isolation):
        if ino == ABSENT:
            cells.append(Cell("absent", ino))
        elif context.host[column] == UNREADABLE:
            cells.append(Cell("unreadable", ino))
        elif ino == context.host[column]:
            cells.append(Cell("host", ino))
        else:
            cells.append(_private(group, column, ino, context, letters))
    return cells


def _private(group: Group, column: int, ino: int, context: _Context, letters: _Letters) -> Cell:
    """A namespace that is not the host's: own or shared, perhaps with clocks of its own."""
    shift = context.offsets.get(ino) if TYPES[column] is NamespaceType.TIME else None
    shift = shift if shift and any(shift) else None
    others = tuple(g.owner for g in context.users[column, ino] if g != group)
    if not others:
        return Cell("own", ino, offsets=shift)
    pod = group.owner.pod
    in_pod = bool(pod) and all(
        (owner.engine, owner.pod) == (group.owner.engine, pod) for owner in others
    )
    # What a pod's containers share by design needs no letter to be told from other pods'.
    letter = "" if in_pod else letters.of(column, ino)
    return Cell("shared", ino, others, letter, in_pod, shift)


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
