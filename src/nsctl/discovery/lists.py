"""Which source processes, files and namespaces are read from; reading the kernel's own lists.

These are the faster the more processes there are, and hide nothing from who may walk them. Having
the kernel check what walks them takes longer than reading a small /proc does. /proc is the other
source, and the check on this one.
"""

from __future__ import annotations

import importlib
import time

from nsctl.ahead import PROC
from nsctl.discovery.draft import Draft, Listing
from nsctl.errors import NsctlError
from nsctl.kernel.procfs import CLOCK_TICKS
from nsctl.model.namespace import ABSENT, TYPES
from nsctl.model.part import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.kernel.lists import Walk

SOURCES = ("auto", "kernel", "proc")
_FOLLOW = "the kernel's own lists follow the caller's PID namespace"


def run(draft: Draft) -> None:
    """Read the kernel's own lists, where they serve."""
    wanted, root = draft.wanted_source, draft.proc.root
    if wanted not in SOURCES:
        raise NsctlError("read from", wanted, "there is no such source", f"use {_listed(SOURCES)}")
    if wanted == "proc":
        return
    if root != PROC or not draft.own_numbers:
        draft.remarks.append(f"Read from {root}: {_FOLLOW}.")
        return
    if draft.walk is None:
        return
    why = _read(draft, draft.walk)
    if why:
        draft.remarks.append(f"Read from {root}: {why}.")
    else:
        draft.remarks.append(f"Read from the kernel's own lists and {root}.")


def _read(draft: Draft, walk: Walk) -> str:
    """Read them.

    Returns:
        Why not, "" where they were read.
    """
    from nsctl.kernel import lists
    from nsctl.kernel.lists_refusal import explain

    parts = draft.parts
    files = lists.SOME_FILES if Part.DESCRIPTORS in parts else 0
    if files and Part.NET_SOCKETS in parts:
        files = lists.ALL_SOCKETS
    try:
        # Whatever is listed here and lives on must be in the kernel's lists, and the other way
        # round.
        now = draft.start_of(int(time.clock_gettime(time.CLOCK_BOOTTIME) * CLOCK_TICKS))
        draft.listing = Listing(now, draft.proc.numbered())
        walk.begin(files)
        for module in draft.ahead:
            importlib.import_module(module)
        found = walk.read()
        rings = any(file[0] == lists.RING for file in found.files)
        if rings and files == lists.SOME_FILES and Part.RINGS in parts:
            # Which of its sockets only a ring has, the list of all sockets tells.
            found = walk.read(lists.ALL_SOCKETS)
    except OSError as error:
        return f"the kernel's own lists {explain(error, draft.reader.caps)[0]}"
    finally:
        walk.close()
        draft.walk = None
    if found.level:
        return f"{_FOLLOW}, which is not the initial one"
    draft.lists = found
    if found.walked < sum(ino != ABSENT for ino in draft.reader.ns[: len(TYPES)]):
        draft.lists = found._replace(spaces=(), earlier=frozenset())
    return ""


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
