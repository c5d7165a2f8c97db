"""A missing TARGET is asked for on a terminal, and nowhere else."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from nsctl import host
from support.terminal import on_terminal
from support.users import Nsctl, clean_environment
from unit.factories import all_own, container, snapshot, task

pytestmark = pytest.mark.cli

MISSING = "nsctl: show what? a TARGET is missing\n"


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = str(tmp_path / "snapshot")
    rows = [container("web", full_id="aa", pid=5), container("d\x1bb", full_id="bb", pid=6)]
    tasks = [task(1), task(5, all_own(500)), task(6, all_own(600)), task(7, all_own(700))]
    host.save_snapshot(snapshot(tasks, containers=rows), path)
    return path


def show(saved: str, typed: bytes, programs: str = "/nonexistent") -> str:
    """What `nsctl show` says on a terminal when this is typed at its question."""
    command = (sys.executable, "-m", "nsctl", "show", "--from", saved)
    environment = {**clean_environment(os.path.dirname(saved)), "PATH": programs}
    asked = [(b": ", typed)] if typed else []
    return on_terminal(command, 100, environment, errors=True, typed=asked).decode(errors="replace")


def test_a_numbered_list_is_asked_from_and_its_number_is_the_target(saved: str) -> None:
    output = show(saved, b"1\n")
    listed, _, card = output.partition("TARGET, 1 to 4: ")
    assert listed.split("\n") == [
        "1  docker://web  running",
        r"2  docker://d\x1bb  running",
        "3  7  x[7]",
        "4  @host",
        "",
    ]
    assert "docker://aa" in card
    assert "x[7]" in show(saved, b"3\n").partition("TARGET,")[2]


def test_a_name_that_is_escaped_in_the_list_can_be_chosen(saved: str) -> None:
    assert r"d\x1bb" in show(saved, b"2\n").partition("TARGET,")[2]


@pytest.mark.parametrize("typed", [b"\n", b"\x04"])
def test_choosing_nothing_is_the_usage_error(saved: str, typed: bytes) -> None:
    assert MISSING in show(saved, typed)


@pytest.mark.parametrize("typed", [b"0\n", b"5\n", b"web\n", b"-1\n", b"\xff\n"])
def test_what_is_no_number_of_the_list_is_refused(saved: str, typed: bytes) -> None:
    assert "is no number from 1 to 4" in show(saved, typed)


def finder(directory: Path, script: str) -> str:
    """A directory with an fzf that does this."""
    programs = directory / "programs"
    programs.mkdir()
    fzf = programs / "fzf"
    fzf.write_text(f"#!/bin/sh\n{script}\n")
    fzf.chmod(0o755)
    return f"{programs}:/usr/bin:/bin"


def test_fzf_is_asked_where_it_is_there(saved: str, tmp_path: Path) -> None:
    programs = finder(tmp_path, f"tee {tmp_path}/given | grep web")
    output = show(saved, b"", programs)
    assert "docker://aa" in output
    assert "TARGET, 1" not in output
    assert (tmp_path / "given").read_text().split("\n")[:2] == [
        "1\tdocker://web  running",
        "2\tdocker://d\\x1bb  running",
    ]


def test_the_real_fzf_gives_back_what_was_chosen(saved: str, tmp_path: Path) -> None:
    real = shutil.which("fzf")
    if real is None:
        pytest.skip("fzf is not installed")
    programs = finder(tmp_path, f'exec {real} "$@" --select-1 --query=web')
    assert "docker://aa" in show(saved, b"", programs)


def test_an_fzf_that_cannot_work_is_followed_by_the_list(saved: str, tmp_path: Path) -> None:
    programs = finder(tmp_path, "exit 2")
    assert "docker://aa" in show(saved, b"1\n", programs).partition("TARGET, 1 to 4: ")[2]


@pytest.mark.parametrize("status", [1, 130])
def test_leaving_fzf_is_the_usage_error(saved: str, tmp_path: Path, status: int) -> None:
    assert MISSING in show(saved, b"", finder(tmp_path, f"exit {status}"))


def test_nobody_is_asked_without_a_terminal(nsctl: Nsctl, saved: str) -> None:
    done = nsctl("show", "--from", saved)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(MISSING)
