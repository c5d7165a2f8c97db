from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.nested import run_nested

pytestmark = pytest.mark.unit


def test_a_session_that_leaves_nothing_succeeds(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import os, subprocess

def test_process():
    subprocess.run(["sh", "-c", "setsid true & exit 0"], check=True)

def test_descriptor():
    os.close(os.open("/dev/null", os.O_RDONLY))
""",
    )
    assert status == 0, output
    assert "2 passed" in output


def test_an_orphaned_process_that_hides_its_environment_is_found_and_ended(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import subprocess

def test_process():
    script = "setsid env -i sleep 86399 >/dev/null 2>&1 & echo $! > pid"
    subprocess.run(["sh", "-c", script], check=True)
""",
        grace=0.1,
    )
    assert status == 1, output
    assert "1 passed, 1 error" in output
    assert "process " in output
    assert "'sleep' '86399'" in output
    pid = int((tmp_path / "pid").read_text())
    assert not os.path.exists(f"/proc/{pid}")


def test_an_orphan_is_reaped_while_the_session_goes_on(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import os, subprocess

def test_orphan():
    script = "sleep 86399 >/dev/null 2>&1 & echo $!"
    pid = int(subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    pidfd = os.pidfd_open(pid)
    os.kill(pid, 9)
    import select
    select.select([pidfd], [], [])
    os.close(pidfd)
    while os.path.exists(f"/proc/{pid}"):
        pass
""",
    )
    assert status == 0, output


def test_a_descriptor_left_open_fails_its_test_and_the_session(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import os
kept = []

def test_descriptor():
    kept.append(os.open("/dev/null", os.O_RDONLY))

def test_another():
    pass
""",
        grace=0.1,
    )
    assert status == 1, output
    assert "ERROR at teardown of test_descriptor" in output
    assert "2 passed, 2 errors" in output
    assert output.count("of the test process: '/dev/null'") == 2


def test_an_object_in_a_cycle_of_references_is_no_leak(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import os

class Descriptor:
    def __init__(self):
        self.number = os.open("/dev/null", os.O_RDONLY)
        self.cycle = self

    def __del__(self):
        os.close(self.number)

def test_descriptor():
    Descriptor()
""",
    )
    assert status == 0, output


def test_a_test_that_hangs_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import signal

def test_hangs():
    signal.pause()

def test_ends():
    pass
""",
        env={"NSCTL_TEST_LIMIT": "1", "NSCTL_TEST_EXAMPLES": ""},
    )
    assert status == 1, output
    assert "1 failed, 1 passed" in output
    assert "the test did not end within 1 seconds" in output


@pytest.mark.parametrize("target", ["os.getpid()", "os.getppid()"])
def test_a_session_that_is_terminated_still_cleans_up(tmp_path: Path, target: str) -> None:
    status, output = run_nested(
        tmp_path,
        f"""
import os, pathlib, signal, pytest

@pytest.fixture
def place():
    yield
    pathlib.Path("cleaned").touch()

def test_is_terminated(place):
    os.kill({target}, signal.SIGTERM)
    while True:
        signal.pause()
""",
    )
    assert status == 2, output
    assert (tmp_path / "cleaned").exists()
