"""Worlds: a PID and mount namespace with a procfs of its own, and known processes in it.

A view of a world is the same each time it is asked for, whatever else runs on the machine, less
the process that asks and what helps it: they are the only ones that come and go, and they are in
the namespaces of the world's first process. When that one ends, the kernel ends all others.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest

from support.terminal import on_terminal
from support.tiers import unmet_need
from support.users import ORDINARY_UID, clean_environment

_INIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "world_init.py")

# Written when its namespaces are all made; it waits without another exec.
WAIT = ("sh", "-c", "echo ready; read line")
_PYTHON = (sys.executable, "-I", "-c")
_ZOMBIE = (
    "import os,sys; pid=os.fork() or os._exit(0); os.waitid(os.P_PID,pid,os.WEXITED|os.WNOWAIT)"
)
_READY = "print(1,flush=True); sys.stdin.read()"
_THREADS = (
    "import sys,threading,time; e=threading.Event(); "
    "[threading.Thread(target=e.wait,daemon=True).start() for _ in range(20)]"
)
_HIDDEN = "import ctypes,sys; ctypes.CDLL(None).prctl(4,0,0,0,0)"

# A line of `ls`, up to the number of processes.
_ROW = re.compile(
    r"(?P<before>(?:[│├└─|` -]|\\x[0-9a-f]{2})*(?P<ns>[0-9]{10}) +[a-z]+(?: +/proc/\S+)? )"
    r"(?P<gap> *)(?P<count>[0-9]+)"
)
_NODE = re.compile(r"\[[0-9]+ process(?:es)?, ([0-9]{10})\]")
_COUNTS = re.compile(r"\b[0-9]+ process(?:es)?( of the host in|  [0-9]+ namespaces)")

Actors = Sequence[tuple[str, Sequence[str]]]

ACTORS: Actors = (
    # In the order of their process ids.
    ("plain", WAIT),
    (
        "all",
        ("unshare", "-UrmuinpCTf", "--mount-proc", "--boottime", "172800", *WAIT),
    ),
    # A user namespace that no process is in, between two that have some.
    ("middle", ("unshare", "-Ur", "unshare", "-Ur", *WAIT)),
    ("outer", ("unshare", "-Ur", *WAIT)),
    (
        "inner",
        ("nsenter", "-t", "{outer}", "-U", "--preserve-credentials", "unshare", "-Ur", *WAIT),
    ),
    ("pids", ("unshare", "-pf", "unshare", "-pf", *WAIT)),
    ("early", ("unshare", "-T", "--boottime", "-3", "--monotonic", "-2", *WAIT)),
    ("net-a", ("unshare", "-n", *WAIT)),
    ("net-b", ("nsenter", "-t", "{net-a}", "-n", "unshare", "-u", *WAIT)),
    ("zombie", (*_PYTHON, f"{_ZOMBIE}; {_READY}")),
    ("grave", ("unshare", "-Urpf", *_PYTHON, f"{_ZOMBIE}; {_READY}")),
    ("threads", ("unshare", "-i", *_PYTHON, f"{_THREADS}; {_READY}")),
    # No other process may look at it, but one with all of its capabilities.
    ("hidden", ("unshare", "-u", *_PYTHON, f"{_HIDDEN}; {_READY}")),
)
"""Processes that differ in every way that the views tell apart."""

ROOTS_ACTORS: Actors = (
    ("stranger", ("unshare", "-u", "setpriv", f"--reuid={ORDINARY_UID}", "--clear-groups", *WAIT)),
    # It changed its user and ran nothing since: not dumpable, so /proc shows it as root's.
    ("changed", (*_PYTHON, f"import os,sys; os.setresuid(*[{ORDINARY_UID}]*3); {_READY}")),
)
"""More of them, where other users exist."""


class World(NamedTuple):
    """A world.

    Attributes:
        prefix: what puts a command into it.
        pids: of each actor, its process and its descendants, numbered as in the world.
        home: HOME of what runs there.
        shared: inodes of the namespaces that whoever asks is in.
    """

    prefix: tuple[str, ...]
    pids: dict[str, list[int]]
    home: str
    shared: frozenset[int]

    @property
    def settled(self) -> frozenset[int]:
        """The processes that do not come and go."""
        return frozenset({1, *(pid for pids in self.pids.values() for pid in pids)})

    def less_askers(self, text: str) -> str:
        """Make out figures that count who asked: of ``ls``, lsns, ``tree`` and ``matrix``."""
        lines = text.split("\n")
        for place, line in enumerate(lines):
            row = _ROW.match(line)
            if row is not None and int(row["ns"]) in self.shared:
                # Right-aligned, where it is aligned at all.
                blot = "#" * len(row["gap"] + row["count"]) if row["gap"] else "#"
                lines[place] = row["before"] + blot + line[row.end() :]
                continue
            node = _NODE.search(line)
            if node is not None and int(node[1]) in self.shared:
                lines[place] = line.replace(node[0], "[#]")
        return _COUNTS.sub("# processes\\1", "\n".join(lines))

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of a command."""
        return clean_environment(self.home, extra)

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, check: int | None = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the world to its end.

        Args:
            command: program and arguments.
            env: what is added to the environment.
            check: the exit status that it must have; None for any.
        """
        done = subprocess.run(
            (*self.prefix, *command),
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert check is None or done.returncode == check, (command, done.returncode, done.stderr)
        return done

    def nsctl(
        self, *arguments: str, env: Mapping[str, str] | None = None, check: int | None = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run nsctl in the world, see `run`."""
        return self.run(sys.executable, "-m", "nsctl", *arguments, env=env, check=check)

    def terminal(self, columns: int, *command: str, env: Mapping[str, str] | None = None) -> bytes:
        """Run a command in the world on a terminal."""
        return on_terminal((*self.prefix, *command), columns, self.environment(env))


def skip_without_worlds() -> None:
    """Skip a test where no world can be made, and say why."""
    reason = unmet_need("privileged" if os.geteuid() == 0 else "userns")
    if reason:
        pytest.skip(reason)


@contextlib.contextmanager
def world(home: str, actors: Actors, *, init: Sequence[str] = ()) -> Iterator[World]:
    """Make a world, and end it.

    Args:
        home: HOME of what runs there.
        actors: who lives in it.
        init: options of unshare(1) for its first process besides ``-mpf --mount-proc``.

    Yields:
        The world, with its actors ready. Whoever is not root has a user namespace around it.
    """
    user = () if os.geteuid() == 0 else ("-Ur",)
    command = ("unshare", *user, "-mpf", "--mount-proc", *init, sys.executable, "-I", _INIT)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment(home),
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(actors).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, "the world ended before it was ready"
            # unshare(1) itself waits outside the PID namespace, which is that of its children.
            links = f"/proc/{process.pid}/ns"
            joined: tuple[str, ...] = (f"--mount={links}/mnt", f"--pid={links}/pid_for_children")
            if user:
                joined = (*joined, f"--user={links}/user", "--preserve-credentials")
            names = ("mnt", "pid_for_children", "net", "ipc", "uts", "user", "cgroup", "time")
            shared = frozenset(os.stat(f"{links}/{name}").st_ino for name in names)
            yield World(("nsenter", *joined), json.loads(line), home, shared)
        finally:
            process.stdin.close()
