"""`nsctl pid`: how N may be written, and what is said where it is nobody's."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest

from support.users import Nsctl

pytestmark = pytest.mark.cli


@pytest.fixture
def thread() -> Iterator[int]:
    """The number of a second thread of this process."""
    told: list[int] = []
    ready, end = threading.Event(), threading.Event()

    def run() -> None:
        told.append(threading.get_native_id())
        ready.set()
        end.wait()

    other = threading.Thread(target=run)
    other.start()
    ready.wait()
    try:
        yield told[0]
    finally:
        end.set()
        other.join()


def test_a_number_may_be_pinned_by_an_inode(nsctl: Nsctl) -> None:
    pid = os.getpid()
    pidfd = os.pidfd_open(pid)
    try:
        inodes = [os.fstat(pidfd).st_ino, os.stat("/proc/self/ns/mnt").st_ino]
    finally:
        os.close(pidfd)
    for inode in inodes:
        (row,) = json.loads(nsctl("pid", f"{pid}:{inode}", "-J", check=0).stdout)["processes"]
        assert row["pids"][0] == pid
    done = nsctl("pid", f"{pid}:1", check=2)
    assert done.stdout == ""
    assert "the PID may be another process's by now" in done.stderr


def test_a_number_inside_is_not_pinned(nsctl: Nsctl) -> None:
    done = nsctl("pid", "1:4026531836", "--in", str(os.getpid()), check=2)
    assert done.stderr == (
        "nsctl: invalid PID argument: '1:4026531836'\n       with --in, N is a number alone\n"
    )


def test_a_thread_is_told_from_a_number_that_nobody_has(nsctl: Nsctl, thread: int) -> None:
    pid = os.getpid()
    done = nsctl("pid", str(thread), check=2)
    assert done.stderr == (
        f"nsctl: cannot find process {thread}: it is a thread of process {pid}\n       name {pid}\n"
    )
    done = nsctl("pid", "4194304", check=2)
    assert "there is no such process" in done.stderr


@pytest.mark.parametrize("text", ["0", "x", "-1", "1 ", "99999999999999999999", "1:", "1:x"])
def test_what_is_no_number_is_refused_in_one_sentence(nsctl: Nsctl, text: str) -> None:
    done = nsctl("pid", text, check=2)
    assert done.stdout == ""
    assert done.stderr.startswith("nsctl: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.split("\n")) <= 3
