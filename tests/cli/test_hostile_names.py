r"""What processes call themselves reaches nobody's terminal: names, arguments, host names."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.users import Nsctl
from support.world import World, skip_without_worlds, world

pytestmark = pytest.mark.cli

NAMES = {
    "colour": b"\x1b[31mred\x1b[0m",
    "lines": b"a\nb\tc\rd\x0b\x0ce",
    "bidi": "\u202eevil\u2066".encode(),
    "bytes": b"\xff\xfe\xc3(\xed\xa0\x80",
    "stat": b"x) Z 1 1 (y",
    "backslash": b"\\x1b[0m\\",
    "c1": b"\x7f\xc2\x9b31m\x9b31m",
    "breaks": "\u2028\u2029\u0085".encode(),
    "blanks": b"  two  ",
    "nothing": b"",
    "unseen": "\u200b\ufeff\u2800\u00ad".encode(),
    "title": b"\x1b]0;owned\x07",
}
# A process that is called so, has such an argument, and calls its host so.
_ACTOR = """
import ctypes, os, socket, sys
name = os.fsencode(sys.argv[1])
libc = ctypes.CDLL(None)
libc.prctl(15, name, 0, 0, 0)
libc.sethostname(name, len(name))
print(1, flush=True)
sys.stdin.read()
"""
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world of processes with such names."""
    skip_without_worlds()
    actors = [
        (key, ("unshare", "-un", sys.executable, "-I", "-c", _ACTOR, os.fsdecode(name)))
        for key, name in NAMES.items()
    ]
    with world(str(tmp_path_factory.mktemp("hostile")), actors) as made:
        yield made


def views(hostile: World) -> list[tuple[str, ...]]:
    """Every view of the world and of each of its processes."""
    return [
        (),
        ("ls",),
        ("ls", "-r"),
        ("ls", "-u", "-Towner"),
        ("ls", "--output-all"),
        ("ls", "-o", "WHOSE,MEMBERS,COMMAND"),
        (
            "ls",
            str(json.loads(hostile.nsctl("ls", "-J", "-t", "pid").stdout)["namespaces"][0]["ns"]),
        ),
        ("matrix",),
        ("tree",),
        ("tree", "--by", "owner"),
        *(("show", str(pids[0])) for pids in hostile.pids.values()),
        *(("show", f"uts:[{row['ns']}]") for row in own_rows(hostile)[:4]),
        *(("show", os.fsdecode(name[:15])) for name in NAMES.values()),
        *(("show", os.fsdecode(NAMES[key]) + "?") for key in ("colour", "bidi", "bytes")),
    ]


def own_rows(hostile: World) -> list[dict[str, Any]]:
    """Rows of the UTS namespaces that the processes have of their own."""
    rows = json.loads(hostile.nsctl("ls", "-Jl", "-t", "uts").stdout)["namespaces"]
    mine = {pids[0] for pids in hostile.pids.values()}
    return [row for row in rows if row["pid"] in mine]


def assert_tame(output: bytes, *, ascii_only: bool = False) -> None:
    """Nothing in it can move a cursor, hide or turn text, or is no text at all."""
    text = output.decode()  # strictly
    for line in text.split("\n"):
        assert line.isprintable(), repr(line)
        assert not _BIDI.search(line)
        assert not ascii_only or line.isascii(), repr(line)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_nothing_reaches_a_terminal_unescaped(hostile: World, locale: str) -> None:
    for view in views(hostile):
        done = hostile.nsctl(*view, env={"LC_ALL": locale}, check=None)
        assert done.returncode in ({0, 2} if view[:1] == ("show",) else {0}), (view, done.stderr)
        assert_tame(done.stdout, ascii_only=locale == "C")
        assert_tame(done.stderr, ascii_only=locale == "C")
        assert done.stdout or done.stderr


def test_nothing_but_our_own_colours_reaches_a_terminal(hostile: World) -> None:
    for view in views(hostile)[:12]:
        words = (sys.executable, "-m", "nsctl", *view, "--color", "always")
        shown = hostile.terminal(100, *words).decode()
        for line in re.sub("\x1b\\[[0-9;]*m", "", shown).split("\n"):
            assert line.isprintable(), repr(line)
            assert len(line) <= 100 or view[:2] in {
                ("ls", "-u"),
                ("ls", "--output-all"),
                ("ls", "-r"),
            }
        assert not set(re.findall("\x1b\\[([0-9;]*)m", shown)) - {"0", "1", "32", "35", "36", "7"}


def test_the_name_of_the_host_is_escaped(hostile: World) -> None:
    for key, name in NAMES.items():
        pid = str(hostile.pids[key][0])
        done = hostile.run(
            "nsenter", "-t", pid, "--uts", sys.executable, "-m", "nsctl", env={"LC_ALL": "C"}
        )
        assert_tame(done.stdout, ascii_only=True)
        if name.isascii() and name.decode().isprintable() and b"\\" not in name:
            assert done.stdout.startswith(name)
        if key == "colour":
            assert done.stdout.startswith(b"\\x1b[31mred\\x1b[0m  Linux ")


def test_json_has_readable_text_and_the_raw_bytes(hostile: World) -> None:
    for key, name in NAMES.items():
        pid = hostile.pids[key][0]
        done = hostile.nsctl("show", "-J", str(pid))
        assert_tame(done.stdout)
        (card,) = json.loads(done.stdout)["targets"]
        assert_text(card, "comm", name[:15])
        assert_text(card["whose"], "name", name[:15])
        command = b" ".join([sys.executable.encode(), b"-I", b"-c", _ACTOR.encode(), name])
        assert_text(card, "command", command)
    for view in (("ls", "-J"), ("matrix", "-J"), ("tree", "-J"), ("ls", "--ndjson")):
        assert_tame(hostile.nsctl(*view, env={"LC_ALL": "C"}).stdout)
    rows = {row["pid"]: row for row in own_rows(hostile)}
    for key, name in NAMES.items():
        row = rows[hostile.pids[key][0]]
        assert_text(row["whose"], "name", name[:15])
        assert row["command"].endswith(name.decode(errors="replace")[-1:])


def assert_text(row: dict[str, Any], key: str, raw: bytes) -> None:
    """A field is the text, or what is readable of it with the bytes beside it."""
    try:
        assert row[key] == raw.decode()
        assert f"{key}_raw" not in row
    except UnicodeDecodeError:
        assert "\ufffd" in row[key]
        assert bytes.fromhex(row[f"{key}_raw"]) == raw


def test_columns_asked_for_keep_their_raw_bytes_and_bring_no_other(hostile: World) -> None:
    pid = hostile.pids["bytes"][0]
    rows = json.loads(hostile.nsctl("ls", "-J", "-t", "uts", "-o", "command,pid").stdout)[
        "namespaces"
    ]
    found = rows + [child for row in rows for child in row.get("children", ())]
    (row,) = [row for row in found if row["pid"] == pid]
    assert list(row) == ["command", "command_raw", "pid"]
    assert bytes.fromhex(row["command_raw"]).endswith(NAMES["bytes"])


def test_what_was_escaped_can_be_told_from_what_was_written_so(hostile: World) -> None:
    lines = hostile.nsctl("ls", "-l", "-n", "-t", "uts", "-o", "PID,COMMAND").stdout.decode()
    by_pid = {int(line.split()[0]): line for line in lines.split("\n") if line}
    assert by_pid[hostile.pids["backslash"][0]].endswith("\\x5cx1b[0m\\")
    assert by_pid[hostile.pids["colour"][0]].endswith(" \\x1b[31mred\\x1b[0m")
    assert by_pid[hostile.pids["bytes"][0]].endswith(" \\xff\\xfe\\xc3(\\xed\\xa0\\x80")
    assert by_pid[hostile.pids["bidi"][0]].endswith(" \\xe2\\x80\\xaeevil\\xe2\\x81\\xa6")


def test_a_name_that_poses_as_a_state_does_not(hostile: World) -> None:
    (card,) = json.loads(hostile.nsctl("show", "-J", str(hostile.pids["stat"][0])).stdout)[
        "targets"
    ]
    assert card["cells"]["uts"]["is"] == "own"


def test_a_saved_snapshot_keeps_the_bytes(hostile: World, tmp_path: Any) -> None:
    path = str(tmp_path / "saved\x1b[31m")
    done = hostile.nsctl("snapshot", path)
    assert_tame(done.stdout)
    for key, name in NAMES.items():
        pid = str(hostile.pids[key][0])
        (card,) = json.loads(hostile.nsctl("show", "-J", pid, "--from", path).stdout)["targets"]
        assert_text(card, "comm", name[:15])


@pytest.mark.parametrize(
    "words",
    [
        ("show", "\x1b[31mred"),
        ("show", "\u202e"),
        ("show", "/proc/1/\x1b[31m"),
        ("show", "\udcff"),
        ("\x1b[31m",),
        ("--\x1b[31m",),
        ("ls", "-t", "\x1b[31m"),
        ("ls", "-o", "\x1b[31m"),
        ("ls", "-p", "\x1b[31m"),
        ("ls", "-T\x1b[31m"),
        ("ls", "--\x1b[31m"),
        ("ls", "-\x1b"),
        ("ls", "\x1b[31m"),
        ("ls", "--color", "\x1b[31m"),
        ("ls", "--from", "/\x1b[31m"),
        ("ls", "--host-proc", "/\x1b[31m"),
        ("matrix", "--\x1b[31m"),
        ("matrix", "--color", "\x1b[31m"),
        ("tree", "-t", "\x1b[31m"),
        ("tree", "\x1b[31m\u202e\udcff"),
        ("snapshot", "/nowhere/\x1b[31m"),
    ],
    ids=ascii,
)
def test_what_a_user_types_comes_back_escaped(nsctl: Nsctl, words: tuple[str, ...]) -> None:
    for locale in ("C", "C.UTF-8"):
        done = nsctl(*map(os.fsencode, words), env={"LC_ALL": locale})
        assert done.returncode in {1, 2}
        assert done.stdout == ""
        assert_tame(done.stderr.encode("utf-8", "surrogateescape"), ascii_only=locale == "C")
        assert done.stderr.startswith("nsctl: ")
        assert "Traceback" not in done.stderr
        assert "fault" not in done.stderr
