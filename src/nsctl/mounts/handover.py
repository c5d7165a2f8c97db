"""Handing over to the installed findmnt, for what reads fstab(5) or verifies it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from nsctl.errors import NsctlError

_PLACES = ("/usr/bin", "/bin", "/usr/local/bin")
_NAME = "findmnt"


def exec_findmnt(words: Sequence[str], why: str) -> NoReturn:
    """Become the installed findmnt.

    Args:
        words: its command line, without its name.
        why: what it is needed for, where it is not installed.

    Raises:
        NsctlError: there is none.
    """
    path = installed()
    if path is None:
        raise NsctlError(
            "serve",
            why,
            "it reads fstab, which nsctl leaves to findmnt, and no findmnt is installed",
            "install util-linux",
        )
    os.execv(path, [_NAME, *words])  # noqa: S606  (a program of the system, by its whole path)


def installed() -> str | None:
    """Find findmnt where programs are, and leave out what leads back to nsctl.

    Returns:
        Its path; None where there is none. A link or a script of that name is nsctl's.
    """
    for directory in (*os.environ.get("PATH", "").split(":"), *_PLACES):
        path = os.path.join(directory, _NAME)
        if directory.startswith("/") and _is_program(path):
            return path
    return None


def _is_program(path: str) -> bool:
    if not os.access(path, os.X_OK):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False
