"""One line of a diagnosis."""

from __future__ import annotations

import errno
import os
from typing import Literal, NamedTuple

State = Literal["ok", "partial", "missing", "refused", "absent", "unknown"]
Section = Literal["rights", "kernel", "sources", "engines"]

# What a kernel answers to what it does not know.
_MISSING = frozenset(
    {
        errno.ENOSYS,
        errno.ENOTTY,
        errno.EINVAL,
        errno.ENODEV,
        errno.ENOENT,
        errno.EOPNOTSUPP,
        errno.EPROTONOSUPPORT,
    }
)


class Answer(NamedTuple):
    """What was found out about one thing.

    Attributes:
        section: what it belongs to.
        id: stable name, for scripts.
        state: "ok"; "partial" (some of it); "missing" (the kernel or machine has it not);
            "refused" (it is there, and not for us); "absent" (not installed, and nobody's
            fault); "unknown" (no answer in time).
        what: it, in words.
        cause: what was found, or why it failed.
        remedy: what would mend it, "" where nothing need or can be mended.
        needs: the capability that would mend it, "" where none would.
    """

    section: Section
    id: str
    state: State
    what: str
    cause: str = ""
    remedy: str = ""
    needs: str = ""


def state_of(number: int) -> State:
    """Tell from an error number whether something is missing or refused.

    Args:
        number: as in errno(3), 0 for success.
    """
    if not number:
        return "ok"
    return "missing" if number in _MISSING else "refused"


def words_of(number: int) -> str:
    """An error in words, with its name."""
    return f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"
