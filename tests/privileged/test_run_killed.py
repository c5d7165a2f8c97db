"""Whoever starts or builds a container is killed at each step in turn, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import killed_runs
from support.containers import make_root

pytestmark = pytest.mark.privileged

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(killed_runs.__file__)))


@pytest.mark.parametrize("detach", ["no", "yes"])
@pytest.mark.parametrize("victim", ["starter", "builder"])
def test_nothing_is_left_of_a_run_that_is_killed_at_any_step(
    tmp_path: Path, victim: str, detach: str
) -> None:
    make_root(str(tmp_path / "root"))
    done = subprocess.run(
        [sys.executable, "-m", "support.killed_runs", str(tmp_path), victim, detach],
        env={**os.environ, "PYTHONPATH": TESTS},
        capture_output=True,
        check=False,
        text=True,
    )
    lines = done.stdout.split("\n")
    assert done.stderr == ""
    assert len(lines) == 2, done.stdout
    word, steps = lines[0].split()
    assert word == "steps"
    assert int(steps) > 60
