"""matrix, show and tree tell the truth about known processes; each JSON document fits its schema."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

from nsctl.report.schema import load_schema
from support.world import World

pytestmark = pytest.mark.cli

TYPES = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")
_OWN_FROM = {
    "middle": {"user": "own"},
    "outer": {"user": "own"},
    "inner": {"user": "own"},
    "early": {"time": "own"},
    "net-a": {"net": "shared"},
    "net-b": {"net": "shared", "uts": "own"},
    "threads": {"ipc": "own"},
    "hidden": {"uts": "own"},
}
# By an actor's place in the world and that of the process among its own.
TRUTH: list[tuple[str, int, dict[str, str]]] = [
    ("all", 1, {**dict.fromkeys(TYPES, "shared"), "pid": "own", "time": "own"}),
    ("all", 0, {**dict.fromkeys(TYPES, "shared"), "pid": "host", "time": "host"}),
    ("pids", 1, {"pid": "own"}),
    ("pids", 2, {"pid": "own"}),
    ("grave", 0, {"user": "shared"}),
    ("grave", 1, {"user": "shared", "pid": "own"}),
    *((name, 0, cells) for name, cells in _OWN_FROM.items()),
]


def document(world: World, *arguments: str) -> dict[str, Any]:
    """The JSON that a command writes."""
    loaded: dict[str, Any] = json.loads(world.nsctl(*arguments).stdout)
    return loaded


def group_of(found: dict[str, Any], pid: int) -> dict[str, Any]:
    """The one group of a matrix that a process is in."""
    (group,) = [group for group in found["groups"] if pid in group["pids"]]
    assert isinstance(group, dict)
    return group


def violations(view: str, found: dict[str, Any]) -> list[str]:
    """What a document has that its schema has not, or the other way round."""
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(load_schema(view))
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(found)]


def test_the_matrix_says_of_each_group_what_it_has_of_its_own(known_world: World) -> None:
    found = document(known_world, "matrix", "-J")
    for name, place, cells in TRUTH:
        group = group_of(found, known_world.pids[name][place])
        expected = {kind: cells.get(kind, "host") for kind in TYPES}
        assert {kind: cell["is"] for kind, cell in group["cells"].items()} == expected, name
        for kind, cell in group["cells"].items():
            others = {other["pid"] for other in cell["with"]}
            assert bool(others) == bool(cell["group"]) == (expected[kind] == "shared")
    assert found["unreadable"] == []


def test_whoever_shares_all_namespaces_with_the_first_process_is_the_hosts(
    known_world: World,
) -> None:
    host = document(known_world, "matrix", "-J")["host"]
    assert (host["basis"], host["pid"]) == ("pid1", 1)
    assert {1, known_world.pids["plain"][0], known_world.pids["zombie"][0]} <= set(host["pids"])
    # A zombie has no more namespaces to tell it by.
    assert known_world.pids["zombie"][1] not in host["pids"]
    assert all(host["ns"].values())


def test_two_that_share_a_network_have_the_same_letter_and_name_each_other(
    known_world: World,
) -> None:
    found = document(known_world, "matrix", "-J")
    first, second = (known_world.pids[name][0] for name in ("net-a", "net-b"))
    cells = [group_of(found, pid)["cells"]["net"] for pid in (first, second)]
    assert cells[0]["ns"] == cells[1]["ns"]
    assert cells[0]["group"] == cells[1]["group"]
    assert [cell["with"][0]["pid"] for cell in cells] == [second, first]
    letters = [
        cell["group"]
        for group in found["groups"]
        for kind, cell in group["cells"].items()
        if cell["group"] and cell["ns"] != cells[0]["ns"]
    ]
    assert cells[0]["group"] not in letters


def test_clocks_that_are_set_off_are_said_with_their_sign(known_world: World) -> None:
    found = document(known_world, "matrix", "-J")
    late, early = known_world.pids["all"][1], known_world.pids["early"][0]
    second = 1_000_000_000
    assert group_of(found, late)["cells"]["time"]["offset"] == {
        "monotonic": 0,
        "boottime": 172800 * second,
    }
    assert group_of(found, early)["cells"]["time"]["offset"] == {
        "monotonic": -2 * second,
        "boottime": -3 * second,
    }
    card = known_world.nsctl("show", str(late)).stdout.decode()
    assert "\n time    own, boot time +2d, monotonic 0\n" in card
    card = known_world.nsctl("show", str(early)).stdout.decode()
    assert "\n time    own, boot time -3s, monotonic -2s\n" in card


def rows_of_matrix(text: str) -> dict[str, dict[str, str]]:
    """Cells by owner and type, read as a person does: by what stands under a heading."""
    heading, *lines = text[text.index("WHOSE") :].split("\n\n", maxsplit=1)[0].split("\n")
    starts = {kind: heading.index(f" {kind} ") + 1 for kind in TYPES}
    rows = {}
    for line in lines:
        owner = line.partition(" ")[0]
        rows[owner] = {kind: line[start:].partition(" ")[0] for kind, start in starts.items()}
    return rows


def test_the_matrix_shows_signs_under_their_headings(known_world: World) -> None:
    for text in (known_world.nsctl("matrix").stdout, known_world.nsctl().stdout):
        rows = rows_of_matrix(text.decode())
        pids = known_world.pids
        outer, inner = f"unshare[{pids['all'][0]}]", f"sh[{pids['all'][1]}]"
        assert rows[inner]["pid"] == "."
        assert rows[inner]["time"] == "+2d"
        assert rows[outer]["pid"] == rows[outer]["time"] == "H"
        for kind in ("mnt", "net", "ipc", "uts", "user", "cgroup"):
            assert rows[inner][kind] == rows[outer][kind]
            assert re.fullmatch("[a-z]", rows[inner][kind])
        assert rows[f"sh[{pids['early'][0]}]"] == {**dict.fromkeys(TYPES, "H"), "time": "-3s"}
        assert b"process" in text
        for sign in (b". own", b"H the host's", b"a shared", b"+2d own, clocks set off by that"):
            assert sign in text
        assert b"? not readable" not in text


def test_the_glance_names_the_host_and_counts_what_there_is(known_world: World) -> None:
    text = known_world.nsctl().stdout.decode()
    first = text.split("\n")[0]
    assert first.startswith(os.uname().nodename)
    assert re.search(r"  Linux \S+  up [0-9dhms ]+  [0-9]+ processes  [0-9]+ namespaces  ", first)


@pytest.mark.parametrize(("name", "place", "cells"), TRUTH)
def test_a_card_says_the_same_as_the_matrix(
    known_world: World, name: str, place: int, cells: dict[str, str]
) -> None:
    pid = known_world.pids[name][place]
    found = document(known_world, "show", "-J", str(pid))
    assert not violations("show", found)
    (card,) = found["targets"]
    expected = {kind: cells.get(kind, "host") for kind in TYPES}
    assert {kind: cell["is"] for kind, cell in card["cells"].items()} == expected
    assert card["pid"] == pid
    text = known_world.nsctl("show", str(pid)).stdout.decode()
    words = {"own": "own", "host": "the HOST's", "shared": "shared with "}
    for kind, meaning in expected.items():
        assert f"\n {kind:<8}{words[meaning]}" in text


def test_a_card_tells_powers_and_maps(known_world: World) -> None:
    (card,) = document(known_world, "show", "-J", str(known_world.pids["all"][1]))["targets"]
    assert card["uid"] == 0
    assert "CAP_SYS_ADMIN" in card["capabilities"]["effective"]
    assert card["seccomp"] in {"off", "filter"}
    assert card["uid_map"][0]["inside"] == 0
    assert card["uid_map"][0]["count"] == 1
    assert card["sees"]["host_processes"] == 0
    text = known_world.nsctl("show", str(known_world.pids["all"][1])).stdout.decode()
    assert "\n powers  uid 0 inside, " in text
    assert "\n sees    0 host processes" in text


def test_a_zombie_and_a_namespace_have_cards(known_world: World) -> None:
    dead = known_world.pids["grave"][2]
    assert b"a zombie" in known_world.nsctl("show", str(dead)).stdout
    (card,) = document(known_world, "show", "-J", str(dead))["targets"]
    assert (card["pid"], card["state"], card["pids"]) == (dead, "zombie", [])
    rows = document(
        known_world, "ls", "-Jl", "-o", "NS,TYPE,PROCESSES", "-t", "user", "-t", "time"
    )["namespaces"]
    for row in rows:
        target = f"{row['type']}:[{row['ns']}]"
        found = document(known_world, "show", "-J", target)
        assert not violations("show", found)
        (card,) = found["targets"]
        assert (card["ns"], card["type"]) == (row["ns"], row["type"])
        # The asking process itself is another each time.
        fixed = {pid for pids in known_world.pids.values() for pid in pids} | {1}
        assert set(card["processes"]) & fixed == set(row["processes"]) & fixed
        text = known_world.nsctl("show", target).stdout.decode()
        assert text.startswith(target)


def test_a_tree_of_users_has_the_one_without_processes_in_its_middle(known_world: World) -> None:
    found = document(known_world, "tree", "-J")
    (root,) = found["namespaces"]
    hidden = [node for node in root["children"] if node["nprocs"] == 0]
    assert len(hidden) == 1
    assert hidden[0]["whose"] is None
    (below,) = hidden[0]["children"]
    assert below["whose"]["pid"] == known_world.pids["middle"][0]
    assert below["pns"] == hidden[0]["ns"]
    text = known_world.nsctl("tree", "-t", "user").stdout.decode()
    assert "\n│ └─user  sh[" in text


def test_a_tree_of_pid_namespaces_is_nested_as_they_are(known_world: World) -> None:
    (root,) = document(known_world, "tree", "-J", "-t", "pid")["namespaces"]
    # Where a user namespace is around the world, the tree begins with it.
    while root["type"] != "pid":
        (root,) = root["children"]
    nested = {node["whose"]["pid"]: node["children"] for node in root["children"]}
    _, middle, last = known_world.pids["pids"]
    (below,) = nested[middle]
    assert below["whose"]["pid"] == last
    assert below["children"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("ls", "-l"),
        ("ls", "-Towner"),
        ("ls", "-Tparent", "-t", "pid"),
        ("ls", "-o", "NS,TYPE,COMMAND"),
        ("ls", "--output-all"),
        ("ls", "-t", "net"),
        ("ls", "-p", "1"),
        ("matrix",),
        ("tree",),
        ("tree", "--by", "owner"),
        ("tree", "-t", "pid", "-t", "mnt"),
        ("show", "@host"),
        ("show", "1"),
    ],
    ids=" ".join,
)
def test_json_fits_its_schema(known_world: World, arguments: tuple[str, ...]) -> None:
    found = document(known_world, *arguments, "-J")
    assert not violations(arguments[0], found)


def test_the_glance_and_the_matrix_are_one_document(known_world: World) -> None:
    found = document(known_world, "-J")
    assert not violations("matrix", found)
    assert found["groups"] == document(known_world, "matrix", "-J")["groups"]


def test_ndjson_has_one_row_of_ls_a_line(known_world: World) -> None:
    lines = known_world.nsctl("ls", "--ndjson").stdout.decode().split("\n")
    rows = document(known_world, "ls", "-J", "-l")["namespaces"]
    assert lines[-1] == ""
    assert [json.loads(line)["ns"] for line in lines[:-1]] == [row["ns"] for row in rows]


def test_holders_say_what_keeps_a_namespace_alive(known_world: World) -> None:
    rows = {row["ns"]: row for row in document(known_world, "ls", "-Jl")["namespaces"]}
    (empty,) = [row for row in rows.values() if not row["nprocs"]]
    assert empty["held"] == "namespaces"
    parent, child = known_world.pids["all"]
    waiting = [row for row in rows.values() if row["pid"] == child and row["holders"]]
    assert {row["type"] for row in waiting} == {"pid", "time"}
    assert all({"kind": "child", "pid": parent} in row["holders"] for row in waiting)
    assert all(row["held"] == "proc,child" for row in waiting)
