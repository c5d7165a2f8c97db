"""The benchmark's load goes with whoever asked for it, however that one ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.privileged

BENCH = Path(__file__).resolve().parents[2] / "bench"
CODE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from load import Load
with Load(30):
    print("ready", flush=True)
    time.sleep(1000)
"""


def below(pid: int) -> set[int]:
    """All processes that descend from one."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                stat = Path(f"/proc/{name}/stat").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(name)] = int(stat[stat.rindex(b")") + 4 :].split(b" ")[0])
    found: set[int] = set()
    while new := {child for child, parent in parents.items() if parent in {pid, *found}} - found:
        found |= new
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_load_whose_benchmark_ends(number: signal.Signals) -> None:
    command = [sys.executable, "-c", CODE, str(BENCH)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            load = below(process.pid)
            assert len(load) >= 30
            pidfds = [os.pidfd_open(pid) for pid in load]
        finally:
            process.send_signal(number)
            process.wait()
    try:
        left = set(pidfds)
        end = time.monotonic() + 30
        while left and time.monotonic() < end:
            left -= set(select.select(left, [], [], 1)[0])
        assert not left, f"{len(left)} of {len(load)} processes are left"
    finally:
        for fd in pidfds:
            os.close(fd)
