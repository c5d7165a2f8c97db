"""The helper that sockets are looked at with, started first so that it is ready when it is asked."""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.errors import Suppressed


def run(draft: Draft) -> None:
    """Start it, where system calls find processes by the numbers of this procfs."""
    # Where the kernel lists what sockets are of, few have to be asked, or none.
    if draft.own_numbers and draft.lists is None:
        # What asks it later starts it again, and notes why it cannot.
        with Suppressed(OSError):
            draft.foreign.start()
