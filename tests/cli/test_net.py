"""`nsctl net` on the command line: its schema, its widths, its table and its refusals."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest

from nsctl.report.schema import load_schema
from support.world import World

pytestmark = pytest.mark.cli


def document(world: World, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.nsctl("net", "-J", *words).stdout)
    return found


def violations(found: dict[str, Any]) -> list[str]:
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(load_schema("net"))
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(found)]


@pytest.mark.parametrize("words", [(), ("-s",), ("-l", "-4"), ("-o", "LOCAL,PROCESS")])
def test_every_document_fits_its_schema(known_world: World, words: tuple[str, ...]) -> None:
    found = document(known_world, *words)
    assert violations(found) == []
    assert found["net"]


def test_networks_are_told_with_who_is_in_them(known_world: World) -> None:
    rows = {row["ns"]: row for row in document(known_world)["net"]}
    first, second = (known_world.pids[name][0] for name in ("net-a", "net-b"))
    (shared,) = [row for row in rows.values() if first in row["processes"]]
    assert second in shared["processes"]
    assert shared["is"] == "shared"
    assert [link["ifname"] for link in shared["interfaces"]][:1] == ["lo"]
    host = next(row for row in rows.values() if row["is"] == "host")
    assert known_world.pids["plain"][0] in host["processes"]


def test_a_target_is_its_network_alone(known_world: World) -> None:
    pid = known_world.pids["net-a"][0]
    (row,) = document(known_world, str(pid))["net"]
    assert pid in row["processes"]
    assert document(known_world, f"net:[{row['ns']}]")["net"][0]["ns"] == row["ns"]


@pytest.mark.parametrize(
    ("columns", "words"), [(80, ()), (80, ("-s", "-a")), (80, ("-a",)), (200, ())]
)
def test_no_line_is_wider_than_the_terminal(
    known_world: World, columns: int, words: tuple[str, ...]
) -> None:
    shown = known_world.terminal(columns, sys.executable, "-m", "nsctl", "net", *words)
    assert b"Traceback" not in shown
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert max(len(line) for line in text.split("\n")) <= columns


def test_colour_is_for_terminals_that_have_it(known_world: World) -> None:
    command = (sys.executable, "-m", "nsctl", "net")
    assert b"\x1b[" in known_world.terminal(80, *command, env={"TERM": "xterm"})
    plain = known_world.terminal(80, *command, env={"TERM": "xterm", "NO_COLOR": "1"})
    assert b"\x1b[" not in plain
    assert b"\x1b[" not in known_world.nsctl("net").stdout


def test_the_table_has_the_columns_that_were_asked_for(known_world: World) -> None:
    shown = known_world.nsctl("net", "-a", "-o", "netid,ns").stdout.decode()
    assert shown.split("\n")[0].split() == ["NETID", "NS"]
    rows = known_world.nsctl("net", "-a", "-n", "-r", "-o", "netid,ns,ino").stdout.decode()
    assert all(re.fullmatch(r"\w+ \d+ [\d-]+", line) for line in rows.split("\n") if line)
    found = document(known_world, "-a", "-o", "netid,ns,ino")
    keys = {tuple(each) for row in found["net"] for each in row["sockets"]}
    assert keys == {("netid", "inode")}


def test_each_line_of_ndjson_is_a_network(known_world: World) -> None:
    lines = known_world.nsctl("net", "--ndjson").stdout.decode().split("\n")
    rows = [json.loads(line) for line in lines if line]
    assert {row["ns"] for row in rows} == {row["ns"] for row in document(known_world)["net"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "nosuch"), b"unknown column: NOSUCH"),
        (("-o", ","), b"no column was named"),
        (("nobody-is-called-so",), b"nothing has this name"),
        (("-f", "ipx"), b"invalid choice"),
    ],
)
def test_a_mistake_is_a_sentence(known_world: World, words: tuple[str, ...], said: bytes) -> None:
    done = known_world.nsctl("net", *words, check=2)
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_namespace_of_another_type_is_refused(known_world: World) -> None:
    pid = known_world.pids["net-a"][0]
    done = known_world.nsctl("net", f"/proc/{pid}/ns/uts", check=2)
    assert b"it is a UTS namespace, not a network namespace" in done.stderr


def test_a_saved_moment_shows_the_same(known_world: World) -> None:
    file = f"{known_world.home}/net.json"
    known_world.nsctl("snapshot", file)
    saved = document(known_world, "--from", file)
    assert violations(saved) == []
    # Who asks comes and goes; the two that share a network stay.
    pid = known_world.pids["net-a"][0]
    row = next(row for row in saved["net"] if pid in row["processes"])
    assert row == next(row for row in document(known_world)["net"] if pid in row["processes"])
