"""What a command line gets wrong is said in a sentence, with the exit status that it should have."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from support.users import Nsctl
from support.world import World

pytestmark = pytest.mark.cli

VIEWS = ("ls", "matrix", "show", "tree", "snapshot")


def assert_usage_error(stderr: str) -> None:
    """One sentence, perhaps a hint, and nothing of Python's."""
    assert re.fullmatch(r"nsctl: [^\n]+\n( {7}[^\n]+\n)?", stderr)
    assert "Traceback" not in stderr
    assert "fault" not in stderr


@pytest.mark.parametrize(
    "words",
    [
        *((view, "--no-such-option") for view in VIEWS),
        *((view, "-%") for view in VIEWS),
        *((view, "--from") for view in ("ls", "matrix", "show", "tree")),
        *((view, "--color", "green") for view in ("ls", "matrix", "show", "tree")),
        *((view, "--strict=yes") for view in VIEWS),
        *((view, "--json=yes") for view in ("ls", "matrix", "show", "tree")),
        ("matrix", "operand"),
        ("tree", "operand"),
        ("tree", "-t", "bogus"),
        ("tree", "--by", "bogus"),
        ("show",),
        ("show", "1", "2"),
        ("show", ""),
        ("snapshot",),
        ("snapshot", "a", "b"),
        ("ls", "a", "b"),
        ("ls", "--from", "a", "--host-proc", "b"),
        ("matrix", "--from", "a", "--host-proc", "b"),
        ("--no-such-option",),
        ("-%",),
        ("no-such-command",),
        ("",),
        ("ls", "--json", "--raw"),
        ("ls", "--n"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_said_and_exits_with_2(
    nsctl: Nsctl, words: tuple[str, ...]
) -> None:
    done = nsctl(*words, check=2)
    assert done.stdout == ""
    assert_usage_error(done.stderr)


def test_a_command_that_is_nearly_right_is_named(nsctl: Nsctl) -> None:
    assert "matrix" in nsctl("matrx", check=2).stderr
    assert "snapshot" in nsctl("snapshoot", check=2).stderr


@pytest.mark.parametrize("view", [*VIEWS, ""])
def test_help_is_written_to_standard_output(nsctl: Nsctl, view: str) -> None:
    done = nsctl(*filter(None, (view, "--help")), check=0)
    assert done.stderr == ""
    assert done.stdout.lower().startswith("usage:")
    for option in ("--from", "--host-proc", "--strict", "--color"):
        assert option in done.stdout or view in {"", "snapshot"}


def test_a_procfs_that_is_none_is_said(nsctl: Nsctl, tmp_path: Path) -> None:
    for place in (str(tmp_path), str(tmp_path / "absent"), "/dev/null"):
        for view in (("ls",), ("matrix",), ("show", "1"), ("tree",), ("snapshot", "saved"), ()):
            done = nsctl(*view, "--host-proc", place, check=1)
            assert done.stdout == ""
            assert_usage_error(done.stderr)
    assert os.listdir(tmp_path) == []


def test_an_unknown_target_is_answered_with_the_nearest_names(
    known_world: World,
) -> None:
    done = known_world.nsctl("show", "pythn", check=2)
    assert b"did you mean python" in done.stderr
    for target in ("no-such-name", "docker://no-such-name", "4194303", "net:[1]", "@nobody"):
        done = known_world.nsctl("show", target, check=2)
        assert done.stdout == b""
        assert_usage_error(done.stderr.decode())
        assert target.encode() in done.stderr


def test_an_ambiguous_target_lists_all_that_it_may_be(known_world: World) -> None:
    done = known_world.nsctl("show", "sh", check=2)
    found = json.loads(known_world.nsctl("matrix", "-J").stdout)["groups"]
    leaders = [group["leader"] for group in found if group["whose"]["name"] == "sh"]
    assert len(leaders) > 5
    for leader in leaders:
        assert re.search(rf"\b{leader}\b", done.stderr.decode())


def test_a_name_that_one_group_has_is_a_target(known_world: World) -> None:
    found = json.loads(known_world.nsctl("matrix", "-J").stdout)["groups"]
    names = [group["whose"]["name"] for group in found]
    for name in {name for name in names if names.count(name) == 1}:
        (card,) = json.loads(known_world.nsctl("show", "-J", name).stdout)["targets"]
        assert card["whose"]["name"] == name


def test_a_process_can_be_pinned_by_one_of_its_namespaces(known_world: World) -> None:
    pid = known_world.pids["net-a"][0]
    (card,) = json.loads(known_world.nsctl("show", "-J", str(pid)).stdout)["targets"]
    for cell in card["cells"].values():
        (pinned,) = json.loads(known_world.nsctl("show", "-J", f"{pid}:{cell['ns']}").stdout)[
            "targets"
        ]
        assert pinned["pid"] == pid
    other = known_world.pids["threads"][0]
    (card,) = json.loads(known_world.nsctl("show", "-J", str(other)).stdout)["targets"]
    done = known_world.nsctl("show", f"{pid}:{card['cells']['ipc']['ns']}", check=2)
    assert b"the PID may be another process's by now" in done.stderr


def test_a_path_is_a_target_where_it_leads_to_a_namespace(known_world: World) -> None:
    pid = known_world.pids["all"][1]
    for kind in ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"):
        (card,) = json.loads(known_world.nsctl("show", "-J", f"/proc/{pid}/ns/{kind}").stdout)[
            "targets"
        ]
        assert card["type"] == kind
        assert pid in card["processes"]
    for path in ("/etc/hostname", "/dev/null", "/", "./x", "/proc/self/nothing"):
        done = known_world.nsctl("show", path, check=None)
        assert done.returncode in {1, 2}
        assert_usage_error(done.stderr.decode())
        assert path.encode() in done.stderr


def test_the_host_is_a_target(known_world: World) -> None:
    (card,) = json.loads(known_world.nsctl("show", "-J", "@host").stdout)["targets"]
    assert card["whose"]["kind"] == "host"
    assert card["pid"] == 1
    assert {cell["is"] for cell in card["cells"].values()} == {"host"}


@pytest.mark.parametrize(
    ("env", "options", "coloured"),
    [
        ({"TERM": "xterm"}, (), True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, (), False),
        ({"TERM": "xterm", "NO_COLOR": ""}, (), True),
        ({"TERM": "dumb"}, (), False),
        ({"TERM": "dumb"}, ("--color", "always"), True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, ("--color=always",), True),
        ({"TERM": "xterm"}, ("--color", "never"), False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    known_world: World, env: dict[str, str], options: tuple[str, ...], coloured: bool
) -> None:
    for view in (("matrix",), ("ls",), ("show", "1"), ()):
        words = (sys.executable, "-m", "nsctl", *view, *options)
        assert (b"\x1b[" in known_world.terminal(80, *words, env=env)) == coloured
    # Not on a terminal: only when it is asked for.
    done = known_world.nsctl("matrix", *options, env=env)
    assert (b"\x1b[" in done.stdout) == ("always" in " ".join(options))


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_view_fits_the_terminal(known_world: World, columns: int) -> None:
    for view in (
        (),
        ("matrix",),
        ("tree",),
        ("tree", "--by", "owner"),
        ("show", "@host"),
        *(("show", str(pids[-1])) for pids in known_world.pids.values()),
    ):
        words = (sys.executable, "-m", "nsctl", *view)
        lines = known_world.terminal(columns, *words).decode().split("\n")
        too_long = [line for line in lines if len(line) > columns]
        assert not too_long, view


def test_output_that_nobody_reads_ends_quietly(known_world: World) -> None:
    script = 'set -o pipefail 2>/dev/null; "$@" | true'
    words = (sys.executable, "-m", "nsctl", "ls", "-u")
    done = known_world.run("bash", "-c", script, "bash", *words, check=None)
    assert done.stderr == b""
    done = known_world.run("sh", "-c", '"$@" >/dev/full', "sh", *words, check=1)
    assert re.fullmatch(rb"nsctl: cannot write [^\n]*No space left[^\n]*\n", done.stderr)
