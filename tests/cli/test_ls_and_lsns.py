"""`nsctl ls` against the lsns that is installed: the same rows, figures, order and layout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from support.users import Nsctl, clean_environment
from support.world import World

pytestmark = pytest.mark.cli

# Those that lsns shows by default; nsctl has two more then.
PLAIN = ("-o", "NS,TYPE,NPROCS,PID,USER,COMMAND")
EVERY = ("-o", "NS,TYPE,PATH,NPROCS,PID,PPID,COMMAND,UID,USER,NETNSID,NSFS,PNS,ONS")
TYPES = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")
_LSNS_COLUMNS = EVERY[1].split(",")


def both(world: World, *options: str, env: dict[str, str] | None = None) -> tuple[str, str]:
    """What lsns and nsctl write, less the processes that ask."""
    original = world.run("lsns", *options, env=env)
    ours = world.nsctl("ls", *options, env=env)
    # From inside a world not all that is outside can be found, and no process has the last number.
    remarks = rb"(Not read: [^\n]*\n)?(There is no process 4194303.\n)?"
    assert re.fullmatch(remarks, ours.stderr)
    assert not re.search(rb"[0-9] process(es)?\b(?! 4194303)", ours.stderr)
    return world.less_askers(original.stdout.decode()), world.less_askers(ours.stdout.decode())


@pytest.fixture(scope="module")
def empty(known_world: World) -> str:
    """The namespace that only we show in a list, because nobody is in it."""
    rows = load(known_world.nsctl("ls", "-Jl", "-o", "NS,NPROCS").stdout.decode())
    (number,) = {str(row["ns"]) for row in rows if row["nprocs"] == 0}
    return number


def without(number: str, original: str, ours: str) -> str:
    """Our list without the line of one namespace, which lsns must not have."""
    assert number not in re.findall("^[0-9]+", original, re.MULTILINE)
    lines = ours.split("\n")
    return "\n".join(line for line in lines if line.partition(" ")[0] != number)


def load(text: str) -> list[dict[str, Any]]:
    """The rows of a JSON document."""
    rows: list[dict[str, Any]] = json.loads(text)["namespaces"]
    return rows


def both_json(world: World, *options: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that lsns and nsctl write, less the processes that ask."""
    original, ours = map(load, both(world, "-J", *options))
    for rows in (original, ours):
        queue = list(rows)
        while queue:
            row = queue.pop()
            queue += row.get("children", ())
            if row.get("ns") in world.shared:
                row.pop("nprocs", None)
    return original, ours


LISTS = [
    (),
    ("-l",),
    ("-n",),
    ("-r",),
    ("-u",),
    ("-W",),
    ("-rl",),
    ("-p", "0"),
    ("-p", "4194303"),
    *(("-t", kind) for kind in TYPES),
    ("--type=net", "--type", "mnt", "-l"),
    ("--nohead", "--raw", "--list", "--notr"),
    ("-Tprocess", "-l"),
    ("-T=process",),
    ("--tree=process", "-t", "uts"),
    EVERY,
    (*EVERY, "-l"),
    (*EVERY, "-r"),
    (*EVERY, "-t", "net"),
]


@pytest.mark.parametrize("options", LISTS, ids=" ".join)
def test_a_list_is_byte_for_byte_that_of_lsns(
    known_world: World, empty: str, options: tuple[str, ...]
) -> None:
    original, ours = both(known_world, *PLAIN, *options)
    assert without(empty, original, ours) == original


TREES = [
    ("-T",),
    ("-Towner", "-r"),
    ("-T=owner", "-l"),
    ("-Tparent",),
    ("--tree=parent", "-n"),
    *((f"-T{relation}", "-t", kind) for relation in ("owner", "parent") for kind in TYPES),
    ("-Tparent", "-t", "pid", "-t", "user"),
    (*EVERY, "-Towner"),
    (*EVERY, "-Tparent"),
]


@pytest.mark.parametrize("options", TREES, ids=" ".join)
def test_a_tree_of_namespaces_is_byte_for_byte_that_of_lsns(
    known_world: World, options: tuple[str, ...]
) -> None:
    original, ours = both(known_world, *PLAIN, *options)
    assert ours == original


@pytest.mark.parametrize("actor", ["all", "inner", "pids", "zombie", "grave"])
@pytest.mark.parametrize("options", [(), ("-Towner",), ("-Tparent",)], ids=" ".join)
def test_the_namespaces_of_a_process_are_those_of_lsns(
    known_world: World, actor: str, options: tuple[str, ...]
) -> None:
    for pid in known_world.pids[actor]:
        original, ours = both(known_world, *PLAIN, "-p", str(pid), *options)
        assert ours == original
        # A zombie is in a PID and a user namespace alone.
        assert len(ours.split("\n")) > 3


@pytest.mark.parametrize(
    "columns",
    [
        "NS",
        "TYPE",
        "ns,command",
        "COMMAND,NS",
        "PID,PPID,UID,USER",
        "NS,TYPE,PNS,ONS",
        "PATH",
        "NETNSID,NSFS,NS",
        "USER",
        "COMMAND",
    ],
)
@pytest.mark.parametrize("options", [(), ("-Towner",), ("-r",)], ids=" ".join)
def test_a_choice_of_columns_is_that_of_lsns(
    known_world: World, empty: str, columns: str, options: tuple[str, ...]
) -> None:
    if columns.lower().startswith("ns,") or columns == "NS":
        original, ours = both(known_world, "-o", columns, *options)
        assert without(empty, original, ours) == original
    else:
        # A type has processes in all of its namespaces, so both have the same rows.
        original, ours = both(known_world, "-o", columns, *options, "-t", "pid")
        # lsns leaves the last place of a line empty; ours may have the blanks of its column.
        assert [line.rstrip(" ") for line in ours.split("\n")] == [
            line.rstrip(" ") for line in original.split("\n")
        ]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_tree_is_drawn_in_what_the_locale_has(
    known_world: World, empty: str, locale: str
) -> None:
    for name in ("LANG", "LC_ALL"):
        for options in ((*PLAIN, "-n"), (*PLAIN, "-Tparent"), (*PLAIN, "-r")):
            original, ours = both(known_world, *options, env={name: locale})
            assert without(empty, original, ours) == original
            assert ours.isascii() == (locale == "C" or "-r" in options)


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_terminal_shows_the_same_places_as_with_lsns(
    known_world: World, empty: str, columns: int, locale: str
) -> None:
    mark = ">" if locale == "C" else "…"
    for options in ((), ("-l",), ("-n",), ("-u",), ("-r",), ("-Towner",), ("-t", "net"), EVERY):
        chosen = options if "-o" in options else (*PLAIN, *options)
        env = {"LC_ALL": locale}
        original = known_world.terminal(columns, "lsns", *chosen, env=env).decode()
        original = known_world.less_askers(original)
        nsctl = (sys.executable, "-m", "nsctl", "ls")
        ours = known_world.terminal(columns, *nsctl, *chosen, env=env).decode()
        ours = known_world.less_askers(ours)
        lines = without(empty, original, ours).split("\n")
        for line, expected in zip(lines, original.split("\n"), strict=True):
            # lsns cuts without saying so; we put a mark in the last place.
            place = line.find(mark)
            if place >= 0 and len(line) == len(expected):
                assert not {"-u", "-r"} & set(options)
                assert line[:place] + expected[place] + line[place + 1 :] == expected
            else:
                assert line == expected


def rows_with(rows: list[dict[str, Any]], keys: set[str]) -> list[dict[str, Any]]:
    """The rows that lsns has too, with its keys."""
    return [
        {
            key: rows_with(value, keys) if key == "children" else value
            for key, value in row.items()
            if key in keys or key == "children"
        }
        for row in rows
        if row.get("nprocs", 1) or "children" in row or row["type"] != "user"
    ]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-l",),
        ("-n",),
        ("-Towner",),
        ("-Tparent",),
        ("--output-all",),
        ("--output-all", "-Tparent"),
        ("-t", "net"),
        ("-t", "user", "-t", "pid"),
        ("-Towner", "-t", "net"),
    ],
    ids=" ".join,
)
def test_json_has_the_rows_keys_and_nesting_of_lsns(
    known_world: World, options: tuple[str, ...]
) -> None:
    original, ours = both_json(known_world, *options)
    keys = set(original[0]) - {"children"} | {"nprocs"}
    assert keys - {"nprocs"} < set(ours[0])
    if "-Towner" in options or "-Tparent" in options:
        assert [strip(row, keys) for row in ours] == original
    else:
        assert rows_with(ours, keys) == original


def strip(row: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    """A row with lsns's keys alone, and those below it."""
    kept = {key: value for key, value in row.items() if key in keys}
    if "children" in row:
        kept["children"] = [strip(child, keys) for child in row["children"]]
    return kept


@pytest.mark.parametrize("columns", ["NS", "command,nprocs,ns", ",".join(_LSNS_COLUMNS)])
@pytest.mark.parametrize("options", [(), ("-Towner",), ("-Tparent",)], ids=" ".join)
def test_json_with_a_choice_of_columns_has_exactly_these_keys(
    known_world: World, columns: str, options: tuple[str, ...]
) -> None:
    original, ours = both_json(known_world, "-t", "pid", "-o", columns, *options)
    assert ours == original


def test_more_columns_are_added_to_the_default_ones(known_world: World) -> None:
    # lsns 2.38 takes "+" for a part of a name; 2.39 and later add as we do.
    heading = known_world.nsctl("ls", "-o", "+PNS,ONS").stdout.decode().split("\n")[0]
    assert re.fullmatch(r" *NS TYPE +NPROCS +PID USER +WHOSE +HELD +COMMAND +PNS +ONS", heading)


@pytest.mark.parametrize("options", [(), ("-t", "net"), ("-t", "mnt"), ("--output-all",)])
def test_the_default_columns_are_those_of_lsns_and_more(
    known_world: World, options: tuple[str, ...]
) -> None:
    original, ours = both(known_world, *options)
    theirs, mine = (text.split("\n")[0].split() for text in (original, ours))
    assert [name for name in mine if name in _LSNS_COLUMNS] == theirs
    assert {"WHOSE", "HELD"} <= set(mine) - set(theirs)


@pytest.mark.parametrize("options", [(), ("-l", "-n"), ("-r",), ("-Towner",)])
def test_the_processes_of_a_namespace_are_those_of_lsns(
    known_world: World, options: tuple[str, ...]
) -> None:
    numbers = [row["ns"] for row in load(both(known_world, "-J", "-t", "pid", "-o", "NS")[0])]
    for number in numbers:
        original, ours = both(known_world, str(number), *options)
        assert settled(known_world, ours) == settled(known_world, original)


def settled(world: World, text: str) -> list[str]:
    """The lines of processes other than those that ask."""
    return [
        line
        for line in text.split("\n")
        if (pid := re.match(" *([0-9]+) ", line)) is None or int(pid[1]) in world.settled
    ]


def test_json_of_the_processes_of_a_namespace_nests_as_that_of_lsns(known_world: World) -> None:
    number = load(both(known_world, "-J", "-t", "pid", "-o", "NS,PID")[0])[-1]["ns"]
    original, ours = map(load, both(known_world, "-J", str(number)))
    assert ours == original


def test_the_number_of_processes_is_that_of_lsns_less_those_that_ask(known_world: World) -> None:
    original = load(known_world.run("lsns", "-J", "-l", "-o", "NS,NPROCS").stdout.decode())
    ours = load(known_world.nsctl("ls", "-J", "-l", "-o", "NS,NPROCS,PROCESSES").stdout.decode())
    assert all(row["nprocs"] == len(row["processes"]) for row in ours)
    by_number = {row["ns"]: len(known_world.settled & set(row["processes"])) for row in ours}
    for row in original:
        asking = 1 if row["ns"] in known_world.shared else 0
        assert by_number[row["ns"]] == row["nprocs"] - asking


@pytest.mark.parametrize(
    ("options", "theirs", "status"),
    [
        # Where it is the command line that is wrong, our commands all exit with 2.
        (("-t", "bogus"), 1, 2),
        (("-t", "mnt,net"), 1, 2),
        (("-t", ""), 1, 2),
        (("-o", "BOGUS"), 1, 2),
        (("-o", "NS,"), 1, 2),
        (("-o", ""), 1, 2),
        (("-p", "abc"), 1, 2),
        (("-p", ""), 1, 2),
        (("-p", "0x1"), 1, 2),
        (("-p", "4294967299"), 1, 2),
        (("-Tbogus",), 1, 2),
        (("-T", "owner"), 1, 2),
        (("-J", "-r"), 1, 2),
        (("bogus",), 1, 2),
        (("-p", "1", "4026531837"), 1, 2),
        (("--bogus",), 1, 2),
        (("-x",), 1, 2),
        (("-p",), 1, 2),
        (("-o",), 1, 2),
        # Where what it names is not there, they are the same.
        (("12345",), 1, 1),
        (("-p", "4194303"), 0, 0),
    ],
    ids=str,
)
def test_what_lsns_refuses_is_refused(
    known_world: World, options: tuple[str, ...], theirs: int, status: int
) -> None:
    original = known_world.run("lsns", *options, check=None)
    ours = known_world.nsctl("ls", *options, check=None)
    assert (original.returncode, ours.returncode) == (theirs, status)
    assert b"Traceback" not in ours.stderr
    if status:
        assert ours.stderr.startswith(b"nsctl: ")
        assert ours.stdout == b""


def _answer(command: tuple[str, ...], home: str) -> dict[str, list[str]]:
    done = subprocess.run(
        (*command, "-lnr", *EVERY), env=clean_environment(home), capture_output=True, check=True
    )
    lines = [line.split(" ") for line in done.stdout.decode().split("\n") if line]
    return {line[0]: line for line in lines}


def test_on_the_host_all_that_lsns_shows_is_shown_with_the_same_figures(
    known_world: World, nsctl: Nsctl
) -> None:
    """Ask lsns, nsctl, lsns: what both answers of lsns agree on must stand in ours.

    Other processes come and go, so this is tried a number of times, until each namespace was the
    same once: a mistake of ours would be there each time. Whoever asks is in its own namespaces:
    there the numbers of processes may differ, by the one that helps us.
    """
    mine = {str(os.stat(f"/proc/self/ns/{kind}").st_ino) for kind in TYPES}
    needed = mine | {str(os.stat(known_world.prefix[1].removeprefix("--mount=")).st_ino)}
    confirmed: set[str] = set()
    wrong: dict[str, tuple[list[str], list[str] | None]] = {}
    for _ in range(60):
        before = _answer(("lsns",), nsctl.home)
        ours = _answer((sys.executable, "-m", "nsctl", "ls"), nsctl.home)
        after = _answer(("lsns",), nsctl.home)
        for number, line in before.items():
            if after.get(number) != line:
                continue
            if _same(line, ours.get(number), helped=number in mine):
                confirmed.add(number)
            else:
                wrong[number] = (line, ours.get(number))
        left = {number for number in wrong.keys() & after.keys() if number not in confirmed}
        if not left and needed <= confirmed:
            return
    assert needed <= confirmed, "lsns never agreed with itself, or never with nsctl"
    pytest.fail(f"lsns and nsctl differ each time: {[wrong[number] for number in left]}")


def _same(theirs: list[str], ours: list[str] | None, *, helped: bool) -> bool:
    if ours is None or not helped:
        return ours == theirs
    place = _LSNS_COLUMNS.index("NPROCS")
    more = int(ours[place]) - int(theirs[place])
    return (
        more in {0, 1} and ours[:place] + ours[place + 1 :] == theirs[:place] + theirs[place + 1 :]
    )
