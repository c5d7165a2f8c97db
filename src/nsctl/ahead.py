"""What is begun before anything else is imported: the walk of the kernel's own lists.

The kernel takes longer to check what walks them than all of nsctl takes to be imported, and does it
on another processor meanwhile. Whoever knows that it will read a large host says so first.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.kernel.lists import Walk

SMALL = 150
"""So many processes /proc tells of in the time that the kernel takes to check the programs."""

PROC = "/proc"
"""The procfs whose processes have the numbers that these lists have."""

_expected: list[Walk] = []


def begin(source: str, *, credentials: bool = False) -> Walk | None:
    """Have the kernel check the programs, where a snapshot will walk its lists.

    Args:
        source: as for `nsctl.discovery.take.take`, of this host's own /proc.
        credentials: the snapshot will have them.

    Returns:
        A walk that is to be handed to the snapshot, or closed; None where /proc will do.
    """
    if source not in {"auto", "kernel"}:
        return None
    try:
        processes = os.stat(PROC).st_nlink
    except OSError:  # whoever reads it says so
        return None
    if processes < SMALL and source == "auto":
        return None
    # A small host does not pay for what makes system calls.
    from nsctl.kernel import lists

    return lists.Walk(processes, credentials=credentials)


def source() -> str:
    """Where processes are to be read from: NSCTL_SOURCE, "auto" where it is not set."""
    return os.environ.get("NSCTL_SOURCE") or "auto"


def expect_snapshot() -> None:
    """Begin what the next snapshot needs; for a program's first thing to do."""
    if not _expected and (walk := begin(source())):
        _expected.append(walk)


def expected() -> Walk | None:
    """Hand over what was begun for the next snapshot, None where nothing was."""
    return _expected.pop() if _expected else None
