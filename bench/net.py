"""`nsctl net` and its peers on network namespaces full of sockets: does it stay linear?

    python bench/net.py --namespaces 25,50,100 --sockets 1000

Each namespace has one process with that many sockets (a third TCP listening, UDP, unix each). The
peers are what a person would run by hand, for every namespace in turn: `ss -anp` and `ip -j addr`
through nsenter(1). Figures of a shared machine are noisy: processor time and ratios matter. Root.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator

from run import run

_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _fill(number: int) -> None:
    """Be a process with a network namespace and sockets of its own."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if _libc.unshare(_CLONE_NEWNET) != 0:
        sys.exit("a network namespace cannot be made: run it as root")
    soft = number + 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(soft, _hard())))
    kept = []
    for place in range(number):
        kind = place % 3
        if kind == 0:
            made = socket.socket()
            made.bind(("0.0.0.0", 1024 + place))
            made.listen()
        elif kind == 1:
            made = socket.socket(type=socket.SOCK_DGRAM)
            made.bind(("0.0.0.0", 1024 + place))
        else:
            made = socket.socket(socket.AF_UNIX)
            made.bind(f"\0{place}")
            made.listen()
        kept.append(made)
    os.write(1, b"r")
    while True:
        signal.pause()


def _hard() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


@contextlib.contextmanager
def load(namespaces: int, sockets: int) -> Iterator[list[int]]:
    """Network namespaces with one process each.

    Yields:
        The processes.
    """
    pids = []
    try:
        for _ in range(namespaces):
            ready, said = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.dup2(said, 1)
                os.close(ready)
                _fill(sockets)
            pids.append(pid)
            os.close(said)
            with os.fdopen(ready, "rb") as pipe:
                if pipe.read(1) != b"r":
                    sys.exit("the load could not be made")
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def by_hand(pids: list[int], output: str) -> tuple[float, float]:
    """Run ss and ip in every namespace.

    Returns:
        Seconds by the clock, and of processor time.
    """
    began, cpu = time.perf_counter(), 0.0
    for pid in pids:
        for command in (("ss", "-anp"), ("ip", "-j", "addr")):
            cpu += run(("nsenter", "-t", str(pid), "-n", *command), output).cpu
    return time.perf_counter() - began, cpu


def main() -> int:
    """Measure each number of namespaces."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--namespaces", default="25,50,100", metavar="N,N..")
    parser.add_argument("--sockets", type=int, default=1000, metavar="N")
    parser.add_argument("--no-peers", action="store_true", help="measure nsctl alone")
    options = parser.parse_args()
    print(f"{'namespaces':>10} {'sockets':>8} {'nsctl net -J':>22} {'by hand':>22}")
    with tempfile.TemporaryDirectory(prefix="nsctl-bench-") as directory:
        output = os.path.join(directory, "out")
        for count in map(int, options.namespaces.split(",")):
            with load(count, options.sockets) as pids:
                ours = run(("nsctl", "net", "-J"), output)
                theirs = (0.0, 0.0) if options.no_peers else by_hand(pids, output)
            print(
                f"{count:>10} {count * options.sockets:>8} "
                f"{ours.wall:>9.2f} s {ours.cpu:>6.2f} cpu "
                f"{theirs[0]:>9.2f} s {theirs[1]:>6.2f} cpu",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
