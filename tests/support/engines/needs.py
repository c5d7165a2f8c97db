"""What an engine's tests need, and nsctl as they ask it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

STAGE = ("ip", "busybox", "nsenter", "setpriv", "unshare")
"""Programs that a stage needs."""


def require(*programs: str) -> None:
    """Skip what needs programs that are not here."""
    missing = [program for program in (*STAGE, *programs) if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def nsctl(*words: str, prefix: Sequence[str] = (), status: int = 0) -> str:
    """Run nsctl.

    Args:
        words: its arguments.
        prefix: what stands before it, such as nsenter(1) and its options.
        status: with which it must exit.

    Returns:
        What it printed.
    """
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "nsctl", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def rows(view: str, key: str, prefix: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a view's JSON."""
    found: list[dict[str, Any]] = json.loads(nsctl(view, "-J", prefix=prefix))[key]
    return found
