"""What an ordinary user sees: only what may be seen, what is missing, and nothing made up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.users import Nsctl, OrdinaryUser, clean_environment

pytestmark = pytest.mark.userns

TYPES = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")
# Not dumpable: nobody but a holder of CAP_SYS_PTRACE may look at its namespaces.
_HIDDEN = (
    "import ctypes,sys; ctypes.CDLL(None).prctl(4,0,0,0,0); print(1,flush=True); sys.stdin.read()"
)
_WAIT = ("sh", "-c", "echo ready; read line")


class Processes(NamedTuple):
    """What the ordinary user has started.

    Attributes:
        hidden: PID of a process that they themselves may not look into.
        apart: PID of a process in a user, a network and a UTS namespace of its own.
    """

    hidden: int
    apart: int


@pytest.fixture
def processes(ordinary_user: OrdinaryUser) -> Iterator[Processes]:
    """One process that may not be looked into, one that may."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in (
            (sys.executable, "-I", "-c", _HIDDEN),
            ("unshare", "-Urnu", *_WAIT),
        ):
            process = ordinary_user.start(*command, stdin=subprocess.PIPE)
            started.append(process)
            assert process.stdout is not None
            assert process.stdout.readline()
        yield Processes(started[0].pid, started[1].pid)
    finally:
        for process in started:
            process.communicate(timeout=30)


def test_each_view_ends_well_and_says_what_it_lacks(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, processes: Processes
) -> None:
    for view in (
        (),
        ("ls",),
        ("ls", "-o", "NS"),
        ("ls", "-Towner"),
        ("matrix",),
        ("tree",),
        ("tree", "-t", "pid"),
        ("show", str(processes.apart)),
        ("show", "@host"),
    ):
        done = nsctl(*view, user=ordinary_user, check=0, columns=500)
        text = done.stdout + done.stderr
        (note,) = re.findall("^Not read: .*", text, re.MULTILINE)
        assert re.search(r"\bnamespaces of [0-9]+ process", note)
        assert "CAP_SYS_PTRACE" in note
        assert done.stderr == ("" if view[:1] != ("ls",) else f"{note}\n")
        done = nsctl(*view, "--strict", user=ordinary_user, check=3)
        assert "Not read: " in done.stdout + done.stderr


def test_json_says_what_is_missing_too(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, processes: Processes
) -> None:
    for view in (("ls", "-J"), ("matrix", "-J"), ("tree", "-J"), ("show", "-J", "@host"), ("-J",)):
        done = nsctl(*view, user=ordinary_user, check=0)
        assert done.stderr == ""
        rows = json.loads(done.stdout)["completeness"]
        (row,) = [row for row in rows if row["object"].startswith("namespaces of")]
        assert row["source"] == "/proc"
        assert row["state"] == "unreadable"
        assert row["needs"] == "CAP_SYS_PTRACE"
        nsctl(*view, "--strict", user=ordinary_user, check=3)
    assert processes.hidden


def test_what_may_not_be_read_is_neither_own_nor_the_hosts_nor_shared(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, processes: Processes
) -> None:
    pid = processes.hidden
    found = json.loads(nsctl("matrix", "-J", user=ordinary_user, check=0).stdout)
    assert pid in found["unreadable"]
    assert pid not in found["host"]["pids"]
    assert all(pid not in group["pids"] for group in found["groups"])
    assert not any(
        other.get("pid") == pid
        for group in found["groups"]
        for cell in group["cells"].values()
        for other in cell["with"]
    )
    (card,) = json.loads(nsctl("show", "-J", str(pid), user=ordinary_user, check=0).stdout)[
        "targets"
    ]
    assert {kind: cell["is"] for kind, cell in card["cells"].items()} == dict.fromkeys(
        TYPES, "unreadable"
    )
    assert card["pids"] == [pid]
    assert card["sees"]["host_processes"] is None
    text = nsctl("show", str(pid), user=ordinary_user, check=0).stdout
    for kind in TYPES:
        assert f"\n {kind:<8}not readable\n" in text
    rows: list[dict[str, Any]] = json.loads(
        nsctl("ls", "-J", "-l", user=ordinary_user, check=0).stdout
    )["namespaces"]
    assert all(pid not in row["processes"] for row in rows)
    assert nsctl("ls", "-p", str(pid), user=ordinary_user, check=0).stdout == ""


def test_what_may_be_read_is_told_from_the_rest(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, processes: Processes
) -> None:
    target = str(processes.apart)
    (card,) = json.loads(nsctl("show", "-J", target, user=ordinary_user, check=0).stdout)["targets"]
    cells = {kind: cell["is"] for kind, cell in card["cells"].items()}
    assert cells == {**dict.fromkeys(TYPES, "host"), "user": "own", "net": "own", "uts": "own"}
    assert card["uid_map"] == [{"inside": 0, "outside": ordinary_user.uid, "count": 1}]
    note = nsctl("matrix", user=ordinary_user, check=0, columns=500).stdout
    # Whose namespaces are called the host's is an assumption where no host process may be read.
    basis = json.loads(nsctl("matrix", "-J", user=ordinary_user, check=0).stdout)["host"]["basis"]
    assert ("which namespaces are the host's" in note) == (basis == "caller")


def test_a_snapshot_keeps_what_was_missing(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, processes: Processes
) -> None:
    nsctl("snapshot", "saved", user=ordinary_user, check=0)
    done = nsctl("snapshot", "saved", "--strict", user=ordinary_user, check=3)
    assert "Not read: " in done.stdout
    for view in (("ls",), ("matrix",), ("tree",), ("show", str(processes.hidden))):
        done = nsctl(*view, "--from", "saved", user=ordinary_user, check=0)
        assert "Not read: " in done.stdout + done.stderr
        nsctl(*view, "--from", "saved", "--strict", user=ordinary_user, check=3)


def test_lsns_shows_an_ordinary_user_the_same(
    ordinary_user: OrdinaryUser, processes: Processes
) -> None:
    # Not the number of processes: those that ask are some of them.
    columns = ("-lnr", "-o", "NS,TYPE,PATH,PID,PPID,UID,USER,PNS,ONS,COMMAND")
    environment = {**clean_environment(ordinary_user.home)}

    def answer(*command: str) -> dict[str, str]:
        done = ordinary_user.run(*command, *columns, env=environment, check=0)
        return {line.partition(" ")[0]: line for line in done.stdout.split("\n") if line}

    # Until each namespace was the same once: others come and go, a mistake would stay.
    confirmed: set[str] = set()
    wrong: dict[str, tuple[str, str | None]] = {}
    for _ in range(60):
        before = answer("lsns")
        ours = answer(sys.executable, "-m", "nsctl", "ls")
        after = answer("lsns")
        for number, line in before.items():
            if after.get(number) == line == ours.get(number):
                confirmed.add(number)
            elif after.get(number) == line:
                wrong[number] = (line, ours.get(number))
        left = {number for number in wrong.keys() & after.keys() if number not in confirmed}
        mine = {number for number, line in after.items() if f" {processes.apart} " in line}
        if not left and len(mine) >= 3 and mine <= confirmed:
            return
    assert mine <= confirmed, "lsns never agreed with itself, or never with nsctl"
    pytest.fail(f"lsns and nsctl differ each time: {[wrong[number] for number in left]}")


def test_of_a_target_that_may_not_be_looked_into_the_note_says_so_first(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, processes: Processes
) -> None:
    pid = str(processes.hidden)
    views = {"net": "network", "idmap": "user", "time": "time", "uts": "UTS", "ipc": "IPC"}
    for view, kind in {**views, "cgroup": "cgroup"}.items():
        done = nsctl(view, pid, user=ordinary_user, check=0, columns=500)
        lacking = f"0 shown. Not read: which {kind} namespace {pid} is in, "
        assert lacking in done.stdout, view
        nsctl(view, pid, "--strict", user=ordinary_user, check=3)
    done = nsctl("pid", "1", "--in", pid, user=ordinary_user, check=1)
    assert done.stderr == (
        f"nsctl: cannot find process 1 in {pid}: the kernel does not tell which PID namespace "
        "that is\n       CAP_SYS_PTRACE would help\n"
    )


def test_processes_that_may_not_be_looked_into_are_not_one_groups(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, processes: Processes
) -> None:
    pid = processes.hidden
    (row,) = json.loads(nsctl("ps", "-J", str(pid), user=ordinary_user, check=0).stdout)[
        "processes"
    ]
    assert (row["pid"], row["whose"]) == (pid, None)
    everybody = json.loads(nsctl("ps", "-J", user=ordinary_user, check=0).stdout)["processes"]
    of_ours = [each["whose"] for each in everybody if each["pid"] == pid]
    assert of_ours == [None]
    lines = nsctl("ps", str(pid), user=ordinary_user, check=0, columns=500).stdout.split("\n")
    assert lines[1].split()[6] == "?"
