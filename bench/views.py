"""The other views of a whole host, and a saved one: how they grow."""

from __future__ import annotations

from load import Load
from measure import Case, Row, compare


def rows(load: Load, rounds: int) -> list[Row]:
    """Measure on one load."""
    cases = [
        Case("matrix", ("nsctl", "matrix")),
        Case("tree user", ("nsctl", "tree", "-t", "user")),
        Case("ps", ("nsctl", "ps")),
        Case("diff", ("nsctl", "diff", "{tmp}/saved", "{tmp}/saved")),
    ]
    saving = Case("saved", ("nsctl", "snapshot", "{tmp}/saved"))
    return compare([saving, *cases] if load.processes else [], max(rounds // 2, 1))[1:]
