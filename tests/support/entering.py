"""Something to enter: processes in namespaces of their own, with powers of our choice.

They live in the host's file system, so that an attacker among them can be written in Python.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from nsctl.child.stage2 import open_stage2
from nsctl.enter import entry, session
from nsctl.enter.request import Request
from nsctl.targets.live import resolve
from support.last_stage import children, eventually

NEW = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork", "--kill-child")
DOCKERS = (
    "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,"
    "+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap"
)
"""For setpriv(1): the bounding set that Docker gives."""

_SHELL = 'echo; exec "$@" >/dev/null'


@contextlib.contextmanager
def target(
    *command: str,
    bounding: str = "",
    namespaces: Sequence[str] = NEW,
    prefix: Sequence[str] = (),
) -> Iterator[int]:
    """Start a process in new namespaces, as PID 1 of its own.

    Args:
        command: what it runs; it sleeps by default.
        bounding: setpriv's --bounding-set, "" for all.
        namespaces: options of unshare(1).
        prefix: what runs unshare, such as setpriv.

    Yields:
        Its PID.
    """
    words = list(command or ("sleep", "1000"))
    if bounding:
        words = ["setpriv", "--bounding-set", bounding, "--inh-caps", "-all", "--", *words]
    ours, theirs = os.pipe()
    mount = ["--mount-proc"] if "--pid" in namespaces and "--mount" in namespaces else []
    # The shell's output says that it runs; what comes after it has none.
    shell = ["sh", "-c", _SHELL, "sh", *words]
    with subprocess.Popen(
        [*prefix, "unshare", *namespaces, *mount, "--", *shell], stdout=theirs
    ) as process:
        try:
            os.close(theirs)
            os.read(ours, 1)
            pid = children(process.pid)[0] if "--fork" in namespaces else process.pid
            eventually(lambda: _executed(pid), "the target did not start")
            yield pid
        finally:
            os.close(ours)
            process.kill()
            process.wait()


def _executed(pid: int) -> bool:
    """Whether the programs before the command are over."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    return os.fsencode(_SHELL) not in words and words[0] not in {b"setpriv", b"unshare"}


def enter_watched(pid: int, looked: Callable[[], bool], *argv: str) -> int:
    """Enter a process, and let the command wait before it runs until somebody has looked at it."""
    reading, writing = os.pipe()
    found = resolve(str(pid))
    program = open_stage2()
    try:
        prepared = entry.prepare(program, Request(found, argv), terminal=False)
        return session.run(
            program,
            prepared.plan,
            (reading, writing, writing),
            lambda _: eventually(looked, "nobody looked"),
            prepared.owner,
        )
    finally:
        found.close()
        for fd in (program, reading, writing):
            os.close(fd)


def enter(pid: int, *argv: str, said: list[str] | None = None, **asked: object) -> tuple[int, str]:
    """Enter a process through the library.

    Returns:
        Exit status and output of the command.
    """
    reading, writing = os.pipe()
    null = os.open("/dev/null", os.O_RDONLY)
    found = resolve(str(pid))
    says = [] if said is None else said
    try:
        status = entry.enter(
            Request(found, argv, **asked),  # type: ignore[arg-type]
            says.append,
            (null, writing, writing),
        )
    finally:
        found.close()
        os.close(null)
        os.close(writing)
        with open(reading, "rb") as file:
            output = file.read().decode(errors="replace")
    return status, output


def python(code: str, *arguments: str) -> tuple[str, ...]:
    """A command that runs Python."""
    return (sys.executable, "-c", code, *arguments)
