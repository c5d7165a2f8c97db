"""`nsctl mounts` and its peer on many mount namespaces: how long does a look at all of them take?

    python bench/mounts.py --namespaces 25,50,100 --mounts 10

Each namespace has one process and that many mounts of its own, besides those that it was made with.
The peer is what a person would run by hand, for every namespace in turn: `findmnt -N`. Figures of a
shared machine are noisy: processor time and ratios matter. Root.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import signal
import subprocess
import sys
import time

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _fill(mounts: int) -> None:
    """Be a process with a mount namespace and mounts of its own."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if _libc.unshare(_CLONE_NEWNS) != 0:
        sys.exit("a mount namespace cannot be made: run it as root")
    _libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
    for _ in range(mounts):
        _libc.mount(b"many", b"/mnt", b"tmpfs", ctypes.c_ulong(0), None)
    os.write(1, b"r")
    while True:
        signal.pause()


def _load(namespaces: int, mounts: int) -> list[subprocess.Popen[bytes]]:
    command = [sys.executable, "-I", "-S", __file__, "--fill", str(mounts)]
    made = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        for _ in range(namespaces)
    ]
    for process in made:
        assert process.stdout is not None
        process.stdout.read(1)
    return made


def _timed(command: list[str]) -> tuple[float, float]:
    """Seconds of the clock and of the processor that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--namespaces", default="25,50,100")
    parser.add_argument("--mounts", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fill is not None:
        _fill(given.fill)
    print(f"{'namespaces':>10} {'mounts':>7} {'what':<24} {'wall s':>7} {'cpu s':>7}")
    for namespaces in map(int, given.namespaces.split(",")):
        made = _load(namespaces, given.mounts)
        try:
            pids = [str(process.pid) for process in made]
            total = 0
            for pid in pids:
                with open(f"/proc/{pid}/mountinfo", "rb") as file:
                    total += file.read().count(b"\n")
            each = "for pid; do findmnt -N $pid; done"
            for name, command in (
                ("nsctl mounts PID -J", [sys.executable, "-m", "nsctl", "mounts", "-J", pids[0]]),
                ("findmnt -N, each", ["sh", "-c", each, "sh", *pids]),
            ):
                rounds = [_timed(command) for _ in range(given.rounds)]
                wall, used = min(rounds)
                print(f"{namespaces:>10} {total:>7} {name:<24} {wall:>7.3f} {used:>7.3f}")
        finally:
            for process in made:
                process.kill()
                process.communicate()


if __name__ == "__main__":
    main()
