"""nsctl and its peers in turn, alternated, on the same generated load.

    make bench
    make bench BENCH="--processes 100,600 --rounds 5"

Whole processes are measured, interpreter start included, with their output going to a file. A
shared machine is noisy, so figures that matter are CPU time and the ratio of medians that were
measured in one run; they never decide the exit status, a command that fails does.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from typing import NamedTuple

from load import Load


class Measurement(NamedTuple):
    """One run of one command: seconds by the clock, and of processor time."""

    wall: float
    cpu: float


class Pair(NamedTuple):
    """A peer and nsctl, asked for the same thing."""

    peer: tuple[str, ...]
    ours: tuple[str, ...]


PAIRS = (
    Pair(("lsns",), ("nsctl", "ls")),
    Pair(("lsns", "-J"), ("nsctl", "ls", "-J")),
)


def program(name: str) -> str | None:
    """Where a command lies; nsctl is the one beside this Python."""
    beside = os.path.join(os.path.dirname(sys.executable), name)
    return beside if name == "nsctl" else shutil.which(name)


def run(command: tuple[str, ...], output: str) -> Measurement:
    """Run a command to its end, its output going to a file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, f"{output}.errors", flags, 0o600),
    ]
    began = time.perf_counter()
    path = program(command[0]) or command[0]
    pid = os.posix_spawn(path, command, os.environ, file_actions=files)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    if (code := os.waitstatus_to_exitcode(status)) != 0:
        with open(f"{output}.errors", errors="replace") as file:
            sys.exit(f"{' '.join(command)} failed with status {code}\n{file.read()}")
    return Measurement(wall, usage.ru_utime + usage.ru_stime)


def lines(path: str) -> int:
    """How many lines a command has printed."""
    with open(path, "rb") as file:
        return file.read().count(b"\n")


def measure(commands: list[tuple[str, ...]], rounds: int) -> None:
    """Run all commands in turn, `rounds` times, and print a table of medians."""
    with tempfile.TemporaryDirectory(prefix="nsctl-bench-") as directory:
        outputs = [os.path.join(directory, str(number)) for number in range(len(commands))]
        found: list[list[Measurement]] = [[] for _ in commands]
        for number, command in enumerate(commands):  # once for the caches, not counted
            run(command, outputs[number])
        for _ in range(rounds):
            for number, command in enumerate(commands):
                found[number].append(run(command, outputs[number]))
        printed = [lines(output) for output in outputs]
    print(f"  {'command':<14} {'wall':>9} {'min':>9} {'CPU':>9} {'lines':>6}")
    for command, runs, count in zip(commands, found, printed, strict=True):
        wall = statistics.median(one.wall for one in runs) * 1000
        least = min(one.wall for one in runs) * 1000
        cpu = statistics.median(one.cpu for one in runs) * 1000
        print(
            f"  {' '.join(command):<14} {wall:>6.1f} ms {least:>6.1f} ms {cpu:>6.1f} ms {count:>6}"
        )
    for pair in PAIRS:
        if pair.peer in commands and pair.ours in commands:
            peer = found[commands.index(pair.peer)]
            ours = found[commands.index(pair.ours)]
            wall, cpu = (
                statistics.median(getattr(one, field) for one in ours)
                / statistics.median(getattr(one, field) for one in peer)
                for field in Measurement._fields
            )
            print(
                f"  {' '.join(pair.ours)} / {' '.join(pair.peer)}: wall {wall:.2f}, CPU {cpu:.2f}"
            )


def numbers(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(word) for word in text.split(",")]


def main() -> int:
    """Measure each size of load."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=numbers, default=[0, 100, 600, 3000], metavar="N,N..")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    options = parser.parse_args()
    commands = [command for pair in PAIRS for command in pair if program(command[0])]
    missing = {command[0] for pair in PAIRS for command in pair} - {word[0] for word in commands}
    if missing:
        print(f"not found, and left out: {', '.join(sorted(missing))}")
    print(
        f"Linux {platform.release()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}, load average {os.getloadavg()[0]:.1f}, "
        f"{options.rounds} rounds, medians"
    )
    for processes in options.processes:
        with Load(processes) as load:
            print(f"\n{processes} processes more, in {load.groups} groups:", flush=True)
            measure(commands, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
