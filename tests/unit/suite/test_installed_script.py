"""The program that is installed is scripts/nsctl (see pyproject.toml)."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "nsctl"


def test_it_is_what_the_package_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    scripts = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-scripts"]
    assert scripts == {"scripts/nsctl": "nsctl"}


def test_an_installer_puts_its_interpreter_in_front_and_lets_it_be_executed() -> None:
    """The form that installers look for is that of the specification of wheels."""
    assert SCRIPT.read_text().startswith("#!python\n")
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize(("words", "status"), [(("--version",), 0), (("nothing",), 2)])
def test_its_exit_status_and_its_output_are_the_commands(
    words: tuple[str, ...], status: int
) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert (done.stdout or done.stderr).startswith("nsctl")


def test_output_that_cannot_be_written_is_an_error_although_the_interpreter_just_stops() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, SCRIPT, "--help"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert b"standard output" in done.stderr
