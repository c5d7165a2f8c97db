"""Running commands in turn and comparing them; what every topic of the benchmark is made of.

Whole processes are measured, interpreter start included, with their output going to a file. All
commands of a topic run alternately on one load, so that what else the machine does falls on all.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

_TRIES = 30


class Failed(Exception):
    """A command's exit status was not 0."""


class Case(NamedTuple):
    """A command to measure.

    Attributes:
        name: what it is called in the tables.
        command: its words; "nsctl" is the one beside this Python.
        peer: name of the case that it is compared with, "" for none.
        environ: variables that are set for it.
        goal: the ratio to the peer, by the clock, that it is to stay below; None for none.
    """

    name: str
    command: tuple[str, ...]
    peer: str = ""
    environ: tuple[tuple[str, str], ...] = ()
    goal: float | None = None


class Measurement(NamedTuple):
    """One run of one command: seconds by the clock, of processor time, and KiB of memory."""

    wall: float
    cpu: float
    peak: int


class Row(NamedTuple):
    """What was found of one case.

    Attributes:
        case: what was measured.
        processes: how many there were on the host.
        wall: median, in seconds by the clock.
        least: the shortest run, likewise.
        cpu: median of processor time, user and system, its children's too.
        peak: KiB of memory that the largest run had at once (VmHWM).
        lines: how many lines it printed.
        ratio: of the medians by the clock, of this and the peer; None without a peer.
        cpu_ratio: the same of processor time.
    """

    case: Case
    processes: int
    wall: float
    least: float
    cpu: float
    peak: int
    lines: int
    ratio: float | None
    cpu_ratio: float | None


def program(name: str) -> str | None:
    """Where a command lies; nsctl is the one beside this Python."""
    beside = os.path.join(os.path.dirname(sys.executable), name)
    return beside if name == "nsctl" else shutil.which(name)


def run(
    command: tuple[str, ...], output: str, environ: Sequence[tuple[str, str]] = ()
) -> Measurement:
    """Run a command to its end, its output going to a file.

    A process is charged the memory of whoever started it, if that had more; this one has little.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, f"{output}.errors", flags, 0o600),
    ]
    path = program(command[0]) or command[0]
    variables = {**os.environ, **dict(environ)}
    began = time.perf_counter()
    pid = os.posix_spawn(path, command, variables, file_actions=files)
    try:
        _, status, usage = os.wait4(pid, 0)
    except BaseException:
        # An interrupt reaches both from a terminal, and else nobody but this one.
        os.kill(pid, 15)
        os.waitpid(pid, 0)
        raise
    wall = time.perf_counter() - began
    if (code := os.waitstatus_to_exitcode(status)) != 0:
        with open(f"{output}.errors", errors="replace") as file:
            raise Failed(f"{' '.join(command)} failed with status {code}\n{file.read()}")
    return Measurement(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def run_until_done(
    command: tuple[str, ...], output: str, environ: Sequence[tuple[str, str]] = ()
) -> Measurement:
    """Run a command, again where it fails: lsns does when a process ends while it looks at it."""
    for left in reversed(range(_TRIES)):
        try:
            return run(command, output, environ)
        except Failed as error:
            if not left:
                sys.exit(str(error))
    raise AssertionError("it has ended or failed")


def lines(path: str) -> int:
    """How many lines a command has printed."""
    with open(path, "rb") as file:
        return file.read().count(b"\n")


def processes() -> int:
    """How many processes /proc lists."""
    return sum(name.isdecimal() for name in os.listdir("/proc"))


def compare(cases: Sequence[Case], rounds: int) -> list[Row]:
    """Run all cases in turn, some rounds, and once before that for the caches.

    Args:
        cases: those whose program is not there are left out.
        rounds: how often each is counted.

    Returns:
        A row each.
    """
    there = [case for case in cases if program(case.command[0])]
    found: dict[str, list[Measurement]] = {case.name: [] for case in there}
    printed: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="nsctl-bench-") as directory:
        output = os.path.join(directory, "output")
        for number in range(rounds + 1):
            for case in there:
                words = tuple(word.replace("{tmp}", directory) for word in case.command)
                measured = run_until_done(words, output, case.environ)
                if number:
                    found[case.name].append(measured)
                printed[case.name] = lines(output)
    count = processes()
    return [_row(case, count, found, printed[case.name]) for case in there]


def _row(case: Case, count: int, found: dict[str, list[Measurement]], printed: int) -> Row:
    own, peer = found[case.name], found.get(case.peer)
    wall, cpu = _median(own, "wall"), _median(own, "cpu")
    return Row(
        case,
        count,
        wall,
        min(one.wall for one in own),
        cpu,
        max(one.peak for one in own),
        printed,
        wall / _median(peer, "wall") if peer else None,
        cpu / _median(peer, "cpu") if peer else None,
    )


def _median(runs: Sequence[Measurement], field: str) -> float:
    return float(statistics.median(getattr(one, field) for one in runs))
