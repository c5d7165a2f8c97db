"""The process that tries things: each in a child of its own, with a time limit.

Whoever uses nsctl may have threads and must stay in its namespaces, so a helper is started anew,
single-threaded. It forks for each probe, because what a probe changes about itself is for good.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn

from nsctl.errors import NsctlError
from nsctl.kernel import unshare

PROBE_SECONDS = 3.0
"""How long one probe may take."""
TOTAL_SECONDS = 15.0
"""How long all may take."""

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from nsctl.diagnose.helper import main; main(sys.argv[2:])"
)
_CHUNK = 65536
_USER = "--user="


class Outcome(NamedTuple):
    """How a probe went.

    Attributes:
        error: error number, 0 for success; -1 where there was no answer in time, -2 where the
            probe itself failed, -3 where a filter of system calls killed it (seccomp(2)).
        detail: the step that failed, or what was found.
    """

    error: int
    detail: str = ""


NO_ANSWER = Outcome(-1, "no answer in time")
KILLED = Outcome(-3, "killed by a filter of system calls")


def ask(
    probes: Iterable[str], seconds: float = TOTAL_SECONDS, *, user: tuple[int, int] | None = None
) -> dict[str, Outcome]:
    """Try things in a helper process.

    Args:
        probes: names of `nsctl.diagnose.probes.PROBES` or `nsctl.diagnose.userns_trials.TRIALS`.
        seconds: how long all of them may take together.
        user: user and group id to try them as, which takes root; None for the caller.

    Returns:
        How each went; `NO_ANSWER` for those that were not tried in time.

    Raises:
        OSError: no process could be started.
    """
    wanted = list(probes)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    who = [] if user is None else [f"{_USER}{user[0]}:{user[1]}"]
    command = [sys.executable, "-I", "-S", "-B", "-c", _BOOT, root, *who, *wanted]
    reading, writing = os.pipe()
    # Its end of file stands for /dev/null, which a changed root may lack.
    nothing, other = os.pipe()
    os.close(other)
    try:
        pid = os.posix_spawn(
            sys.executable,
            command,
            {"PATH": os.defpath},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing, 0),
                (os.POSIX_SPAWN_DUP2, writing, 1),
            ],
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
        os.close(nothing)
    try:
        lines = _read(reading, seconds)
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)  # it has ended, or takes too long; it is ours until waited for
        os.waitpid(pid, 0)
    found = dict.fromkeys(wanted, NO_ANSWER)
    for line in lines:
        name, error, detail = json.loads(line)
        found[name] = Outcome(error, detail)
    return found


def _read(fd: int, seconds: float) -> list[bytes]:
    """Read whole lines until the end, or until the time is over."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    data = b""
    while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000):
        chunk = os.read(fd, _CHUNK)
        if not chunk:
            break
        data += chunk
    return data.split(b"\n")[:-1]


def die_with(parent: int) -> None:
    """Let this process end when its parent does, or at once if that has ended already."""
    unshare.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main(names: list[str]) -> NoReturn:
    """Try one probe after the other and write a line for each; never returns."""
    unshare.set_parent_death_signal(signal.SIGKILL)
    from nsctl.diagnose.probes import PROBES

    known = dict(PROBES)
    if any(name not in known for name in names):
        from nsctl.diagnose.userns_trials import TRIALS

        known.update(TRIALS)
    if names and names[0].startswith(_USER):
        _become(*map(int, names[0].removeprefix(_USER).split(":")))
        names = names[1:]
    for name in names:
        outcome = _try(name, known[name])
        line = json.dumps([name, *outcome]).encode() + b"\n"
        os.write(1, line)
    os._exit(0)


def _become(uid: int, gid: int) -> None:
    """Become an ordinary user whose own files of /proc stay his."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    unshare.set_dumpable(True)
    unshare.set_parent_death_signal(signal.SIGKILL)


def _try(name: str, probe: Callable[[], str | None]) -> Outcome:
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with(parent)
        os.close(reading)
        _attempt(name, probe, writing)
    os.close(writing)
    try:
        lines = _read(reading, PROBE_SECONDS)
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if not lines:
        return KILLED if os.waitstatus_to_exitcode(status) == -signal.SIGSYS else NO_ANSWER
    error, detail = json.loads(lines[0])
    return Outcome(error, detail)


def _attempt(name: str, probe: Callable[[], str | None], writing: int) -> NoReturn:
    """Try one probe in the process that is there for it."""
    from nsctl.diagnose.probes import Failed

    outcome = Outcome(-2, f"the probe {name} failed")
    try:
        outcome = Outcome(0, probe() or "")
    except Failed as failure:
        outcome = Outcome(failure.number, failure.step)
    except OSError as error:
        outcome = Outcome(error.errno or -2)
    except NsctlError as error:
        outcome = Outcome(getattr(error, "errno", 0) or -2, error.sentence)
    except Exception as error:  # noqa: BLE001  (reported as what it is: the probe's own fault)
        outcome = Outcome(-2, f"{type(error).__name__}: {error}")
    finally:
        os.write(writing, json.dumps(outcome).encode() + b"\n")
        os._exit(0)
