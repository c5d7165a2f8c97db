"""`nsctl run`, `containers`, `stop`, `rm` and `tour` as their user types them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl.report.schema import load_schema
from support.containers import make_root
from support.tiers import unmet_need
from support.users import Nsctl, clean_environment

pytestmark = pytest.mark.cli

_PREFIX = f"t{os.getpid()}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A busybox root, where containers can be made at all."""
    reason = unmet_need("privileged" if os.geteuid() == 0 else "userns")
    if reason:
        pytest.skip(reason)
    base = tmp_path_factory.mktemp("root")
    for part in (base, *base.parents[:2]):
        part.chmod(0o755)
    return make_root(str(base / "root"))


@pytest.fixture
def named(nsctl: Nsctl) -> Iterator[list[str]]:
    """Names of containers that are removed when the test ends."""
    names: list[str] = []
    try:
        yield names
    finally:
        for name in reversed(names):
            nsctl("rm", "-f", name)


def of_the_tour(nsctl: Nsctl) -> set[str]:
    """Names of the tour's containers that are there now."""
    return {name for name in listed(nsctl, "--own") if name.startswith("tour-")}


def listed(nsctl: Nsctl, *words: str) -> dict[str, dict[str, Any]]:
    """Our containers by name, from valid JSON."""
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    document = json.loads(nsctl("containers", "-J", *words, check=0).stdout)
    jsonschema.validate(document, load_schema("containers"))
    return {row["name"]: row for row in document["containers"]}


def test_a_container_in_the_foreground_gives_its_output_and_status(nsctl: Nsctl, root: str) -> None:
    done = nsctl("run", "--rm", root, "sh", "-c", "id -u; hostname; exit 7", check=7)
    uid, name = done.stdout.split("\n")[:2]
    assert uid == "0"
    assert name.startswith("c-")
    assert name not in listed(nsctl)


def test_a_container_can_open_its_standard_streams_by_name(nsctl: Nsctl, root: str) -> None:
    script = "echo out >/dev/stdout; echo err >/dev/stderr; echo more >/proc/1/fd/1"
    done = nsctl("run", "--rm", root, "sh", "-c", script, check=0)
    assert (done.stdout, done.stderr) == ("out\nmore\n", "err\n")


def test_output_and_errors_in_one_pipe_keep_their_order(root: str, tmp_path: Path) -> None:
    script = "for i in 1 2 3; do echo o$i; echo e$i >&2; done"
    done = subprocess.run(
        [sys.executable, "-m", "nsctl", "run", "--rm", root, "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=clean_environment(str(tmp_path)),
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["o1", "e1", "o2", "e2", "o3", "e3"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("no-such-command",), 127),
        (("/etc/passwd",), 126),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
    ],
)
def test_the_exit_status_says_how_the_command_ended(
    nsctl: Nsctl, root: str, words: tuple[str, ...], status: int
) -> None:
    nsctl("run", "--rm", root, *words, check=status)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("/no/such/root",),
        ("/",),
        ("--boottime", "tomorrow", "/tmp"),
        ("--pid", "elsewhere", "/tmp"),
        ("--network", "container:nobody-has-this-name", "/tmp"),
        ("--name", "a/b", "/tmp"),
        ("--cap-add", "SYS_NOTHING", "/tmp"),
        ("--no-such-option",),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_sentence_and_125(
    nsctl: Nsctl, words: tuple[str, ...]
) -> None:
    done = nsctl("run", *words, check=125)
    assert done.stdout == ""
    assert done.stderr.startswith("nsctl: ")
    assert "Traceback" not in done.stderr


def test_a_dry_run_prints_steps_and_does_nothing(nsctl: Nsctl, root: str) -> None:
    steps = nsctl("run", "--dry-run", "--name", f"{_PREFIX}-dry", root, check=0).stdout
    assert "mount a new proc on /proc" in steps
    assert "unshare" in steps
    assert f"{_PREFIX}-dry" not in listed(nsctl)


def test_the_four_modes_are_seen_as_what_they_are(
    nsctl: Nsctl, root: str, named: list[str]
) -> None:
    alone, nosy, web, late = (f"{_PREFIX}-{name}" for name in ("alone", "nosy", "web", "late"))
    for name, *options in (
        (alone,),
        (nosy, "--pid", "host", "--uts", "host"),
        (web,),
        (late, "--network", f"container:{web}", "--boottime", "2d"),
    ):
        named.append(name)
        assert nsctl("run", "-d", "--name", name, *options, root, "sleep", "600", check=0).stdout
    rows = listed(nsctl, "--own")
    told = {
        name: {kind: ns["is"] for kind, ns in rows[name]["namespaces"].items()} for name in rows
    }
    assert set(told[alone].values()) == {"own"}
    assert {kind for kind, said in told[nosy].items() if said == "host"} == {"pid", "uts"}
    assert told[late]["net"] == "shared"
    assert rows[late]["namespaces"]["net"]["with"] == [web]
    assert rows[late]["declared"]["net"] == f"container:{web}"
    card = nsctl("show", late, check=0).stdout
    assert "boot time +2d" in card
    assert f"shared with {web} (nsctl)" in card
    assert "no files of the host" in card
    assert "sleep 600" in nsctl("matrix", check=0).stdout

    assert nsctl("stop", "-t", "0", alone, check=0).stdout == f"{alone}\n"
    assert listed(nsctl)[alone]["state"] == "stopped"
    refused = nsctl("rm", nosy)
    assert refused.returncode != 0
    assert nosy in listed(nsctl)
    nsctl("rm", alone, check=0)
    assert alone not in listed(nsctl)


def valid(nsctl: Nsctl, view: str, *words: str) -> list[dict[str, Any]]:
    """Rows of a view's JSON, which its schema allows."""
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    document = json.loads(nsctl(view, *words, "-J", check=0).stdout)
    jsonschema.validate(document, load_schema(view))
    rows: list[dict[str, Any]] = document["processes"]
    return rows


def test_processes_have_their_numbers_and_users_inside_and_outside(
    nsctl: Nsctl, root: str, named: list[str]
) -> None:
    name = f"{_PREFIX}-ps"
    named.append(name)
    nsctl("run", "-d", "--name", name, root, "sleep", "600", check=0)
    first, second = valid(nsctl, "ps", name)
    assert [first["pids"][-1], second["pids"][-1]] == [1, 2]
    assert {first["uid_inside"], second["uid_inside"]} == {0}
    outside = os.stat(f"/proc/{second['pid']}").st_uid
    assert second["uid"] == outside
    assert second["command"] == "sleep 600"
    assert second["whose"]["name"] == name
    shown = nsctl("ps", name, check=0).stdout
    assert re.search(rf"{second['pid']} +2 .* 0 S .*{name} \(nsctl\) +sleep 600", shown)

    (found,) = valid(nsctl, "pid", "2", "--in", name)
    assert found["pid"] == second["pid"]
    assert found["pids"] == second["pids"]
    own = os.stat(f"/proc/{second['pid']}/ns/pid").st_ino
    assert found["namespaces"][-1] == own
    (back,) = valid(nsctl, "pid", str(second["pid"]))
    assert back == found
    missing = nsctl("pid", "4000", "--in", name, check=2)
    assert "nobody has this number there" in missing.stderr
    nsctl("pid", "zero", check=2)


def test_a_name_that_nobody_has_does_not_stop_the_others(
    nsctl: Nsctl, root: str, named: list[str]
) -> None:
    name = f"{_PREFIX}-one"
    named.append(name)
    nsctl("run", "-d", "--name", name, root, "sleep", "600", check=0)
    done = nsctl("rm", "-f", f"{_PREFIX}-none", name)
    assert done.returncode == 2
    assert name in done.stdout
    assert name not in listed(nsctl)


def test_the_tour_shows_each_command_before_its_output_and_leaves_nothing(
    nsctl: Nsctl, root: str
) -> None:
    assert root
    lines = nsctl("tour", check=0).stdout.split("\n")
    commands = [line for line in lines if line.startswith("$ nsctl")]
    assert len(commands) >= 10
    overview = lines.index("$ nsctl")
    assert any(line.startswith("tour-late") for line in lines[overview:])
    assert not any(line.startswith("tour-late") for line in lines[:overview])
    held = [line for line in lines if re.search(r" net +0 .* fd \S+\[[0-9]+\]/[0-9]+", line)]
    assert len(held) == 1
    assert not of_the_tour(nsctl)


def test_a_tour_that_is_ended_leaves_nothing(nsctl: Nsctl, root: str, tmp_path: Path) -> None:
    assert root
    started = subprocess.Popen(
        [sys.executable, "-m", "nsctl", "tour"],
        stdout=subprocess.PIPE,
        env=clean_environment(str(tmp_path)),
        text=True,
    )
    try:
        assert started.stdout is not None
        for line in started.stdout:
            if line.startswith("1. "):
                break
        started.terminate()
        started.communicate(timeout=60)
    finally:
        started.kill()
        started.wait()
    for _ in range(100):
        if not of_the_tour(nsctl):
            break
        time.sleep(0.05)
    assert not of_the_tour(nsctl)
