"""Runs pytest on a small generated suite, to see what the suite's own machinery makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_SUPPORT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run_nested(
    directory: Path,
    source: str,
    *,
    tier: str = "unit",
    env: Mapping[str, str] | None = None,
    grace: float = 5.0,
    prefix: tuple[str, ...] = (),
) -> tuple[int, str]:
    """Run one file of tests in a pytest of its own, with the machinery of ``tests/support``.

    Args:
        directory: an empty directory for the file.
        source: the tests.
        tier: of which tier they are.
        env: what is added to the environment, from which this suite's settings are removed.
        grace: seconds that what it leaves may take to go away by itself.
        prefix: a command that starts pytest, such as ``("unshare", "--mount")``.

    Returns:
        pytest's exit status and its output.
    """
    folder = directory / "tests" / tier
    folder.mkdir(parents=True)
    (folder / "test_nested.py").write_text(source)
    markers = "\n".join(f"    {name}" for name in ("unit", "userns", "privileged", "cli"))
    (directory / "pytest.ini").write_text(f"[pytest]\nmarkers =\n{markers}\n")
    plugins = [
        word
        for name in ("leaks", "users", "examples", "tiers", "limits")
        for word in ("-p", f"support.{name}")
    ]
    command = [*prefix, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugins]
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("NSCTL_TEST_")
    }
    settings = {"PYTHONPATH": _SUPPORT, "COLUMNS": "200", "NSCTL_TEST_GRACE": str(grace)}
    done = subprocess.run(
        [*command, "-rs", "--basetemp", str(directory / "tmp"), str(folder)],
        cwd=directory,
        env={**inherited, **settings, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")
