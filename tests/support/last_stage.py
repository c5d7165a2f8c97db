"""Runs a plan through the real last stage, in a helper of its own, and sees what comes of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from nsctl.child.plan import Plan
from nsctl.child.report import Failure, await_ready, await_start
from nsctl.child.stage2 import open_last_stage

HELPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "last_stage_helper.py")
LIMIT = 30.0
"""Seconds after which something has hung; nothing is expected to take long."""


class Running(NamedTuple):
    """A helper that has become, or is becoming, the last stage.

    Attributes:
        process: the helper, or the parent of the new PID namespace's first process.
        report: the report's reading end.
        go: writing end of what the plan calls ``go``, if it has one.
    """

    process: subprocess.Popen[bytes]
    report: int
    go: int | None

    @property
    def inner(self) -> int:
        """The PID of the last stage where the helper made a PID namespace."""
        return children(self.process.pid)[0]

    def started(self) -> None:
        """Wait until all is applied, give the go, wait until the command runs."""
        await_ready(self.report)
        self.release()

    def release(self) -> None:
        """Give the go to one that is ready, and wait until the command runs."""
        if self.go is not None:
            os.write(self.go, b"!")
        await_start(self.report)

    def end(self, stdin: bytes = b"") -> tuple[int, str]:
        """Wait for the end of a command that runs; its exit status and output."""
        output, _ = self.process.communicate(stdin, timeout=LIMIT)
        return self.process.returncode, output.decode()

    def finish(self, stdin: bytes = b"") -> tuple[int, str]:
        """Start the command and wait for its end; its exit status and output."""
        self.started()
        return self.end(stdin)


def children(pid: int) -> list[int]:
    """The children of a process's leader."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


@contextlib.contextmanager
def running(
    plan: Plan,
    *acts: str,
    twin: bool,
    go: bool = False,
    pass_fds: Sequence[int] = (),
    **options: Any,
) -> Iterator[Running]:
    """Start a plan.

    Args:
        plan: what to apply; with ``go`` its descriptor is filled in.
        acts: what the helper does before, see `support.last_stage_helper`.
        twin: the Python twin, not stage2.
        go: let the command wait for a go.
        pass_fds: more descriptors that the helper gets, under the same numbers.
        options: for subprocess.Popen.

    Yields:
        It, running; whatever of it is left is killed afterwards.
    """
    with contextlib.ExitStack() as stack:
        report, theirs = os.pipe()
        stack.callback(os.close, report)
        plan_read, plan_write = os.pipe()
        ends: tuple[int, ...] = (theirs, plan_read)
        go_write = None
        if go:
            go_read, go_write = os.pipe()
            plan = plan._replace(go=go_read)
            ends += (go_read,)
            stack.callback(os.close, go_write)
        stage = stack.enter_context(open_last_stage(twin=twin))
        program = "-" if stage.program is None else str(stage.program)
        process = subprocess.Popen(
            [sys.executable, HELPER, program, str(plan_read), str(theirs), *acts],
            executable=stage.executable,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(*ends, *pass_fds, *([] if stage.program is None else [stage.program])),
            **options,
        )
        for fd in ends:
            os.close(fd)
        with open(plan_write, "wb") as file:
            file.write(plan.encode())
        try:
            with process:
                try:
                    yield Running(process, report, go_write)
                finally:
                    for child in [] if process.poll() is not None else children(process.pid):
                        os.kill(child, 9)
                    process.kill()
        finally:
            process.wait()


def run(plan: Plan, *acts: str, twin: bool, **options: Any) -> tuple[int, str]:
    """Run a plan to its command's end.

    Returns:
        Exit status (negative for a signal) and what the command wrote.

    Raises:
        Failure: the command was not started.
    """
    with running(plan, *acts, twin=twin, **options) as started:
        return started.finish()


def refusal(plan: Plan, *acts: str, twin: bool, **options: Any) -> tuple[Failure, int]:
    """Run a plan that cannot be applied.

    Returns:
        What was reported, and the exit status.
    """
    with running(plan, *acts, twin=twin, **options) as started:
        try:
            started.started()
        except Failure as failure:
            return failure, started.process.wait(LIMIT)
    raise AssertionError("the command was started")


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until something has come about that nobody tells us of.

    Args:
        condition: asked until it holds.
        what: what to say if it does not.
    """
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(what)
        os.sched_yield()


def status_of(pid: int) -> dict[str, str]:
    """Read the status of a process, see `fields`."""
    with open(f"/proc/{pid}/status") as file:
        return fields(file.read())


def fields(text: str) -> dict[str, str]:
    """Read /proc/PID/status: values by their names."""
    pairs = (line.partition(":\t") for line in text.split("\n") if line)
    return {name: value.strip() for name, _, value in pairs}
