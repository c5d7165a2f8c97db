"""nsctl and its peers in turn, alternated, on the same generated load.

    make bench
    make bench BENCH="--processes 100,600 --rounds 5"
    make bench BENCH="--topics lists --keep"

A shared machine is noisy, so what counts is the ratio of medians that were measured in one run. No
figure decides the exit status; a command that fails does. With --keep the tables and the plot of
docs/performance.md are written anew.

A topic is a file beside this one with ``rows(load, rounds)``; `lists` and `views` are. One with
``alone(rounds)`` is measured once, without a load: `enter`. Others make loads of their own and are
run by themselves: `python bench/net.py`, `python bench/engines.py`.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

from load import LIMIT, Load
from measure import Row, processes
from measure import run_until_done as run

__all__ = ["run"]

_HERE = os.path.dirname(os.path.abspath(__file__))
_DOCUMENT = os.path.join(os.path.dirname(_HERE), "docs", "performance.md")
_PLOT = os.path.join(os.path.dirname(_HERE), "docs", "performance.svg")
_BEGIN, _END = "<!-- written by bench/run.py --keep -->\n", "<!-- end -->\n"
_PLOTTED = ("lsns", "nsctl ls", "nsctl ls, /proc", "bare, /proc", "full", "mounts")


_ON_LOAD, _ALONE = "\ndef rows(load: Load", "\ndef alone(rounds: int"


def topics(function: str = _ON_LOAD) -> list[str]:
    """Names of the files that have a function."""
    found = []
    for name in sorted(os.listdir(_HERE)):
        path = os.path.join(_HERE, name)
        if name.endswith(".py") and path != os.path.abspath(__file__):
            with open(path) as file:
                if function in file.read():
                    found.append(name.removesuffix(".py"))
    return found


def describe(rounds: int) -> str:
    """What this was measured on."""
    lsns = subprocess.run(["lsns", "-V"], capture_output=True, text=True, check=False).stdout
    return (
        f"Linux {platform.release()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}, {lsns.strip() or 'no lsns'}; medians of {rounds} rounds"
    )


def table(rows: Sequence[Row]) -> list[str]:
    """Lay out what was found on one load."""
    lines = [
        (
            f"  {'case':<18} {'wall':>10} {'least':>10} {'CPU':>10} {'peak':>8} {'lines':>6}"
            f" {'wall':>7} {'CPU':>6}  asked"
        )
    ]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        cpu = "" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}"
        goal = row.case.goal
        asked = "" if goal is None else f"<= {goal:.3f}"
        lines.append(
            f"  {row.case.name:<18} {row.wall * 1000:>7.1f} ms {row.least * 1000:>7.1f} ms"
            f" {row.cpu * 1000:>7.1f} ms {row.peak / 1024:>5.0f} MB {row.lines:>6}"
            f" {ratio:>7} {cpu:>6}  {asked}".rstrip()
        )
    return lines


def growth(loads: Sequence[Sequence[Row]]) -> list[str]:
    """Exponents of growth of processor time, from each load to the next: 1 is linear."""
    names = dict.fromkeys(row.case.name for rows in loads for row in rows)
    by_load = [{row.case.name: row for row in rows} for rows in loads]
    lines = []
    for name in names:
        exponents = []
        for small, large in itertools.pairwise(by_load):
            one, other = small.get(name), large.get(name)
            if one is None or other is None or one.processes == other.processes:
                exponents.append("     ")
                continue
            exponent = math.log(other.cpu / one.cpu) / math.log(other.processes / one.processes)
            exponents.append(f"{exponent:>5.2f}")
        lines.append(f"  {name:<18} {'  '.join(exponents)}")
    return lines


def keep(text: str, loads: Sequence[Sequence[Row]]) -> None:
    """Write tables and plot into the documentation."""
    import plot

    series: dict[str, list[tuple[float, float]]] = {}
    for rows in loads:
        for row in rows:
            if row.case.name in _PLOTTED:
                points = series.setdefault(row.case.name, [])
                points.append((row.processes, row.wall * 1000))
    with open(_PLOT, "w") as file:
        file.write(plot.svg({name: series[name] for name in _PLOTTED if name in series}))
    with open(_DOCUMENT) as file:
        before, _, rest = file.read().partition(_BEGIN)
    after = rest.partition(_END)[2]
    with open(_DOCUMENT, "w") as file:
        file.write(f"{before}{_BEGIN}\n```text\n{text}\n```\n\n{_END}{after}")


def numbers(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(word) for word in text.split(",")]


def main() -> int:
    """Measure each size of load."""
    on_load, alone = topics(), topics(_ALONE)
    known = on_load + alone
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--processes", type=numbers, default=[100, 600, 3000, 10000], metavar="N,N.."
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--topics", default=",".join(known), metavar="NAME,NAME..")
    parser.add_argument("--keep", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    chosen = options.topics.split(",")
    if unknown := set(chosen) - set(known):
        parser.error(f"no such topic: {', '.join(unknown)}; there are {', '.join(known)}")
    if any(not 0 <= size <= LIMIT for size in options.processes):
        parser.error(f"a load has 0 to {LIMIT} processes")
    if shutil.which("lsns") is None:
        print("lsns is not there, and nothing is compared with it")
    text = [describe(options.rounds)]
    print(text[0])
    for name in alone:
        if name in chosen:
            lines: Callable[[int], list[str]] = importlib.import_module(name).alone
            made = ["", *lines(options.rounds)]
            print("\n".join(made), flush=True)
            text += made
    chosen = [name for name in chosen if name in on_load]
    by_topic: dict[str, list[Sequence[Row]]] = {name: [] for name in chosen}
    for size in options.processes if chosen else ():
        with Load(size) as load:
            said = f"\n{size} processes more, {processes()} in all, in {load.groups} containers:"
            print(said, flush=True)
            text.append(said)
            for name in chosen:
                measure: Callable[[Load, int], list[Row]] = importlib.import_module(name).rows
                rows = measure(load, options.rounds)
                by_topic[name].append(rows)
                made = table(rows)
                print("\n".join(made), flush=True)
                text += made
    if chosen and len(options.processes) > 1:
        said = "\ngrowth of processor time, as an exponent of the processes, from load to load:"
        text.append(said)
        print(said)
        for loads in by_topic.values():
            made = growth(loads)
            text += made
            print("\n".join(made))
    if options.keep:
        keep("\n".join(text), by_topic.get("lists", []))
    return 0


if __name__ == "__main__":
    sys.exit(main())
