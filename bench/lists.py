"""Lists and snapshots of the whole host, against lsns(8): from the kernel's lists and from /proc.

"bare", "full" and "mounts" are snapshots that a program takes, see take.py; "saved" is all that
nsctl knows of a host, written to a file.
"""

from __future__ import annotations

import os
import sys

from load import Load
from measure import Case, Row, compare

_TAKE = (sys.executable, "-I", os.path.join(os.path.dirname(__file__), "take.py"))
_PROC = (("NSCTL_SOURCE", "proc"),)
_KERNEL = (("NSCTL_SOURCE", "kernel"),)
# The small host is where an interpreter's start weighs most, the large one where lsns is slowest.
_GOALS = {100: 2.5, 3000: 0.1, 10000: 0.04}


def rows(load: Load, rounds: int) -> list[Row]:
    """Measure on one load."""
    size = load.processes
    large = size >= 3000
    cases = [
        Case("lsns", ("lsns",)),
        Case("nsctl ls", ("nsctl", "ls"), "lsns", (), _GOALS.get(size)),
        Case("nsctl ls, kernel", ("nsctl", "ls"), "lsns", _KERNEL),
        Case("nsctl ls, /proc", ("nsctl", "ls"), "lsns", _PROC),
        Case("nsctl ls -J", ("nsctl", "ls", "-J"), "lsns"),
        Case("bare, /proc", (*_TAKE, "bare"), "lsns", _PROC, 1 / 3 if large else None),
        Case("full", (*_TAKE, "full"), "lsns", (), 0.2 if large else None),
        Case("mounts", (*_TAKE, "mounts"), "lsns", (), 1 / 3 if large else None),
        Case("saved", ("nsctl", "snapshot", "{tmp}/saved"), "lsns"),
    ]
    return compare(cases, rounds)
