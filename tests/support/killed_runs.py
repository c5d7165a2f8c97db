"""Kills runs of a container at each of their steps in turn, in a process of its own.

    killed_runs.py BASE VICTIM DETACH

VICTIM is "starter" (whoever called `run`) or "builder". Being a subreaper, this process sees every
process of a run end. For each step it prints what is left, after the next command where the
starter was killed; "steps N" at the end says that it has come through all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from nsctl.errors import NsctlError
from nsctl.kernel.process import set_child_subreaper
from nsctl.run import lifecycle
from nsctl.run.spec import Mount, Spec
from support.containers import Box

NAME = f"killed{os.getpid()}"
"""Of the containers; other tests may run at the same time."""


def run(box: Box, number: int, victim: str, *, detach: bool) -> int:
    """Run until a step and kill there; the number of steps done when there is none of it."""
    done = 0

    def step(_text: str) -> None:
        nonlocal done
        if done == number:
            if victim == "starter":
                os.kill(os.getpid(), signal.SIGKILL)
            for child in children():
                os.kill(child, signal.SIGKILL)
        done += 1

    argv = ("sleep", "1000") if detach else ("true",)
    spec = Spec(
        box.root,
        argv,
        name=NAME,
        detach=detach,
        remove=True,
        # A step of every kind.
        mounts=(Mount("bind", box.root, "/mnt/a", "ro"), Mount("tmpfs", "", "/mnt/b", "size=1m")),
        limits=(("memory", 64 << 20), ("pids", 50)),
        cwd="/some/where",
        make_cwd=True,
        uid=7,
    )
    # Killed after all was done, it may as well have come through.
    with contextlib.suppress(NsctlError):
        lifecycle.run(spec, box.store, streams=(), on_step=step, alone=True)
    return done


def children() -> list[int]:
    """The children of this process, which is single-threaded."""
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
        return [int(word) for word in file.read().split()]


def reap() -> None:
    """Wait until every process below this one has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def groups() -> list[str]:
    """Control groups of all containers of ours."""
    found = []
    with open("/proc/self/mountinfo", "rb") as file:
        places = [line.split(b" ")[4].decode() for line in file if b" - cgroup" in line]
    for place in places:
        with contextlib.suppress(FileNotFoundError):
            found += [
                f"{place}/{name}" for name in os.listdir(f"{place}/nsctl") if name.startswith(NAME)
            ]
    return found


def main(base: str, victim: str, detach: str) -> None:
    """Kill at each step in turn."""
    set_child_subreaper()
    box = Box.at(base)
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = file.read()
    number, killed = 0, True
    while killed:
        if victim == "builder":
            killed = run(box, number, victim, detach=detach == "yes") > number
        elif starter := os.fork():
            # Not of just any child: a monitor or builder that lost its parent is one now.
            status = os.waitpid(starter, 0)[1]
            killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        else:
            run(box, number, victim, detach=detach == "yes")
            os._exit(0)
        for row in lifecycle.list_containers(box.store):
            # What came through after all: the builder was killed when it was not needed any more.
            if victim == "starter" and killed:
                sys.stdout.write(f"step {number}: a container that is {row.state}\n")
            lifecycle.remove(row.name, box.store, force=True)
        reap()
        left = [*box.left_over(), *groups()]
        with open("/proc/self/mountinfo", "rb") as file:
            if file.read() != mounts:
                left.append("mounts of the host")
        if left:
            sys.stdout.write(f"step {number}: {left}\n")
        number += 1
    sys.stdout.write(f"steps {number - 1}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
