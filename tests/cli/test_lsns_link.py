"""A link named lsns that leads to nsctl is lsns, as the installed one shows where it can."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl import __version__
from support.world import WAIT, World, world

pytestmark = pytest.mark.cli

EVERY = "NS,TYPE,PATH,NPROCS,PID,PPID,COMMAND,UID,USER,NETNSID,NSFS,PNS,ONS"
TYPES = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A link named lsns that leads to the installed nsctl."""
    script = os.path.join(os.path.dirname(sys.executable), "nsctl")
    if not os.access(script, os.X_OK):
        pytest.skip(f"nsctl is not installed beside {sys.executable}")
    directory = tmp_path_factory.mktemp("bin")
    path = directory / "lsns"
    path.symlink_to(script)
    return str(path)


OPTIONS = [
    (),
    ("-l",),
    ("-n",),
    ("-r",),
    ("-u",),
    ("-W",),
    ("-rln",),
    ("-p", "0"),
    ("-p", "4194303"),
    *(("-t", kind) for kind in TYPES),
    *(("-t", kind, "--raw") for kind in ("net", "user")),
    ("--type=net", "--type", "mnt", "-l"),
    ("--nohead", "--raw", "--list", "--notr", "--now"),
    ("--output-all",),
    ("--output-all", "-r"),
    ("-o", EVERY),
    ("-o", EVERY, "-t", "net", "-l"),
    ("-o", "ns,ns,type"),
    ("-o", "COMMAND"),
    ("-T",),
    ("-l", "-Tprocess"),
    ("-T=process",),
    ("--tree=process", "-t", "uts"),
    ("-Towner", "-r"),
    ("--tree=parent", "-n"),
    ("--output-all", "-Tparent"),
    *((f"-T{relation}", "-t", kind) for relation in ("owner", "parent") for kind in TYPES),
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_it_writes_byte_for_byte_what_lsns_writes(
    known_world: World, link: str, options: tuple[str, ...]
) -> None:
    original = known_world.run("lsns", *options)
    ours = known_world.run(link, *options)
    assert ours.stdout == original.stdout
    assert (ours.stderr, original.stderr) == (b"", b"")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-l",),
        ("-t", "net"),
        ("-tnet", "-W"),
        ("-o", EVERY),
        ("--output-all", "-Tparent"),
        ("-Towner",),
    ],
    ids=" ".join,
)
def test_its_json_is_that_of_lsns_and_nothing_more(
    known_world: World, link: str, options: tuple[str, ...]
) -> None:
    original, ours = (known_world.run(name, "-J", *options) for name in ("lsns", link))
    assert json.loads(ours.stdout) == json.loads(original.stdout)
    assert ours.stderr == b""


@pytest.mark.parametrize("actor", ["all", "inner", "pids", "zombie"])
def test_the_namespaces_of_a_process_are_those_of_lsns(
    known_world: World, link: str, actor: str
) -> None:
    for pid in known_world.pids[actor]:
        for options in ((), ("-Towner",), ("-Tparent", "--output-all"), ("-r", "-l")):
            original, ours = (
                known_world.run(name, "-p", str(pid), *options).stdout for name in ("lsns", link)
            )
            assert ours == original


def test_the_processes_of_a_namespace_are_those_of_lsns(known_world: World, link: str) -> None:
    (pid, *_) = known_world.pids["net-a"]
    row = known_world.run("lsns", "-nr", "-o", "NS", "-t", "net", "-p", str(pid)).stdout
    for options in ((), ("-l", "-n"), ("-J",), ("-o", EVERY), ("-Towner",)):
        original, ours = (
            known_world.run(name, row.decode().strip(), *options).stdout for name in ("lsns", link)
        )
        if "-J" in options:
            assert json.loads(ours) == json.loads(original)
        else:
            assert ours == original


@pytest.mark.parametrize(
    "options",
    [
        ("-t", "bogus"),
        ("-t", "mnt,net"),
        ("-o", "BOGUS"),
        ("-o", "WHOSE"),
        ("-o", "NS,"),
        ("-p", "abc"),
        ("-p", ""),
        ("-Tbogus",),
        ("-J", "-r"),
        ("bogus",),
        ("net",),
        ("12345",),
        ("-p", "1", "4026531837"),
        ("--bogus",),
        ("--no",),
        ("--debug",),
        ("--from", "x"),
        ("--strict",),
        ("-x",),
        ("-p",),
        ("--list=1",),
    ],
    ids=" ".join,
)
def test_what_lsns_refuses_it_refuses_with_the_same_status(
    known_world: World, link: str, options: tuple[str, ...]
) -> None:
    original = known_world.run("lsns", *options, check=1)
    ours = known_world.run(link, *options, check=original.returncode)
    assert ours.stderr.startswith(b"lsns: ")
    assert b"nsctl" not in ours.stderr
    assert ours.stdout == b""


def test_it_says_what_it_is(known_world: World, link: str) -> None:
    version = known_world.run(link, "--version").stdout.decode()
    assert version == f"lsns from nsctl {__version__} (util-linux 2.42 compatible)\n"
    assert known_world.run(link, "-V").stdout.decode() == version
    text = known_world.run(link, "--help").stdout.decode()
    assert text.startswith("Usage:\n lsns [options] [<namespace>]\n")
    original = known_world.run("lsns", "--help").stdout.decode()
    options = [line.split()[0] for line in original.split("\n") if line.startswith(" -")]
    assert options
    assert all(f"\n {option} " in text for option in options)
    assert not {"WHOSE", "HELD", "--strict"} & set(text.split())


def test_a_name_that_is_no_programs_is_nsctl(known_world: World, tmp_path: Path, link: str) -> None:
    version = f"nsctl {__version__}\n"
    other = tmp_path / "namespaces"
    other.symlink_to(os.readlink(link))
    assert known_world.run(str(other), "--version").stdout.decode() == version
    assert known_world.nsctl("--version").stdout.decode() == version


def test_a_fault_of_its_output_is_told_by_its_name(known_world: World, link: str) -> None:
    done = known_world.run("sh", "-c", 'exec "$1" > /dev/full', "sh", link, check=1)
    assert done.stderr.startswith(b"lsns: cannot write standard output: ")


# What follows has network namespaces that are bind-mounted: one in two places with a process in
# it, one that nobody is in; and an IPC namespace that only descriptors hold. lsns 2.38 does not
# list the latter two, 2.42 does.

_NET = """
mount -t tmpfs none "$1" && cd "$1" && shift && touch a b e i && unshare --net=a true &&
mount --bind a b && unshare --net=e true &&
unshare --ipc=i true && exec 4<i && umount -l i && exec nsenter --net=a sh -c 'unshare -n "$@"; :' sh "$@"
"""
# A user namespace in three places, with a child.
_USER = """
cd "$1" && shift && touch x y z && mkfifo made && exec 3<>made || exit
unshare -Ur sh -c 'echo >made; unshare -Ur sh -c "echo >made; exec sleep infinity"; :' &
read line <&3 && read line <&3 || exit
for place in x y z; do mount --bind "/proc/$!/ns/user" "$place" || exit; done
exec "$@"
"""


@pytest.fixture(scope="module")
def bound_world(tmp_path_factory: pytest.TempPathFactory, known_world: World) -> Iterator[World]:
    """A world with bind mounts of network namespaces; their places are below its `home`."""
    assert known_world  # where no world can be made, that says why
    home = str(tmp_path_factory.mktemp("bound"))
    places = f"{home}/ns"
    os.mkdir(places)
    actors = [
        ("net", ("sh", "-c", _NET, "sh", places, *WAIT)),
        ("user", ("sh", "-c", _USER, "sh", places, *WAIT)),
    ]
    with world(home, actors) as made:
        yield made


def inode(bound: World, name: str) -> str:
    """The number of a namespace by its place."""
    return bound.run("stat", "-c", "%i", f"{bound.home}/ns/{name}").stdout.decode().strip()


def without(number: str, text: str) -> str:
    """Text without the lines that a namespace has; its NSFS must take one line."""
    return "".join(line for line in text.splitlines(keepends=True) if number not in line)


MULTI_LINE = [
    ("-t", "net"),
    ("-t", "net", "-l"),
    ("-t", "net", "-r"),
    ("-t", "net", "-W"),
    ("-t", "net", "-n", "-u"),
    ("-t", "net", "-o", "NSFS"),
    ("-t", "net", "-o", "NS,NSFS"),
    ("-t", "net", "-o", "NSFS,COMMAND,NS"),
    ("-t", "net", "-o", "COMMAND,NSFS,NS"),
    ("-t", "net", "-o", "NS,NSFS,NPROCS"),
    ("-t", "net", "-o", EVERY),
    ("-t", "net", "-Tprocess"),
    ("-t", "net", "-Towner", "-o", "NSFS,NS"),
    ("-t", "net", "-Towner", "-o", "NS,NSFS,NPROCS"),
    ("-t", "user", "-Tparent", "-o", "NS,NSFS"),
    ("-t", "user", "-Towner", "-o", "NS,NSFS,PID"),
    ("-t", "user", "-Tparent", "-o", "NSFS,NS,PID"),
    ("-t", "user", "-Towner", "-o", "TYPE,NSFS,PID,NS"),
    ("-t", "user", "-o", "NS,NSFS,COMMAND"),
    ("-t", "user", "-o", "COMMAND,NS,NSFS"),
]


@pytest.mark.parametrize("options", MULTI_LINE, ids=" ".join)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_cells_of_several_lines_stand_as_those_of_lsns(
    bound_world: World, link: str, options: tuple[str, ...], locale: str
) -> None:
    original, ours = (
        bound_world.run(name, *options, env={"LC_ALL": locale}).stdout.decode()
        for name in ("lsns", link)
    )
    place = "z" if "user" in options else "b"
    assert f"{bound_world.home}/ns/{place}" in original
    if "user" in options:
        assert ours == original
    elif "NSFS" in options:
        assert f"{bound_world.home}/ns/e\n" in ours
    else:
        kept = without(inode(bound_world, "e"), ours).split("\n")
        if "-Towner" in options:
            # The row that lsns 2.38 lacks may have been the last one of its parent.
            kept, original = bare(kept), "\n".join(bare(original.split("\n")))
        assert kept == original.split("\n")


def bare(lines: list[str]) -> list[str]:
    """Lines of a tree without what is drawn."""
    return [line.translate({ord(c): " " for c in "├─└│|`-"}).rstrip(" ") for line in lines]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal_cells_of_several_lines_stand_as_those_of_lsns(
    bound_world: World, link: str, columns: int
) -> None:
    number = inode(bound_world, "e")
    original = bound_world.terminal(columns, "lsns", "-t", "net").decode()
    ours = without(number, bound_world.terminal(columns, link, "-t", "net").decode())
    for mine, theirs in zip(ours.split("\n"), original.split("\n"), strict=True):
        place = mine.find("…")
        if place < 0:
            assert mine == theirs
        else:  # lsns cuts without saying so
            assert mine == f"{theirs[:place]}…{theirs[place + 1 :]}"


@pytest.mark.parametrize("options", [(), ("-W",)])
def test_json_has_the_places_of_a_namespace_as_lsns_has_them(
    bound_world: World, link: str, options: tuple[str, ...]
) -> None:
    number = int(inode(bound_world, "e"))
    arguments = ("-J", "-t", "net", "-o", "NS,NSFS", *options)
    original, ours = (
        json.loads(bound_world.run(name, *arguments).stdout)["namespaces"]
        for name in ("lsns", link)
    )
    assert [row for row in ours if row["ns"] != number] == original
    mark = "," if options else "\n"
    places = f"{bound_world.home}/ns"
    assert {"ns": number, "nsfs": f"{places}/e"} in ours
    assert {"ns": int(inode(bound_world, "a")), "nsfs": f"{places}/a{mark}{places}/b"} in ours


def rows(done: bytes) -> list[list[str]]:
    """The rows of raw output without headings."""
    return [line.split(" ") for line in done.decode().split("\n") if line]


# Constructed from the manual page and the sources of lsns 2.42, which is newer than what is
# installed where these tests run.


def test_persistent_shows_namespaces_without_processes_alone(bound_world: World, link: str) -> None:
    columns = ("-nr", "-o", "NS,TYPE,NPROCS,PID,NSFS")
    place = f"{bound_world.home}/ns/e"
    for command in ((link,), (sys.executable, "-m", "nsctl", "ls")):
        for option in ("-P", "--persistent", "--pers"):
            done = bound_world.run(*command, option, "-t", "net", *columns)
            assert rows(done.stdout) == [[inode(bound_world, "e"), "net", "0", "", place]]
        refused = bound_world.run(*command, "-P", "-p", "1", check=None)
        assert refused.returncode == (1 if command == (link,) else 2)
        assert b"mutually exclusive arguments: --persistent --task" in refused.stderr


def test_a_namespace_that_descriptors_hold_is_listed(bound_world: World, link: str) -> None:
    columns = ("-nr", "-o", "TYPE,NPROCS,PID,UID,USER,PATH,COMMAND,NSFS")
    expected = [["ipc", "0", "", "0", "root", "", "", ""]]
    assert rows(bound_world.run(link, "-t", "ipc", "-P", *columns).stdout) == expected
    assert rows(bound_world.run(link, "-t", "ipc", "-l", *columns).stdout)[-1:] == expected
    assert rows(bound_world.nsctl("ls", "ipc", "-P", *columns).stdout) == expected


def test_a_filter_chooses_rows_by_any_column(bound_world: World, link: str) -> None:
    number = inode(bound_world, "e")
    for command in ((link,), (sys.executable, "-m", "nsctl", "ls")):

        def chosen(expression: str, *options: str, by: tuple[str, ...] = command) -> list[str]:
            done = bound_world.run(*by, "-nr", "-o", "NS", *options, "-Q", expression)
            return [row[0] for row in rows(done.stdout)]

        assert chosen("NPROCS == 0 and TYPE == 'net'") == [number]
        assert chosen("nprocs == 0 && NSFS =~ '/e$'") == [number]
        assert chosen("!PID && NSFS") == [number]
        assert chosen("NSFS", "-t", "net") == sorted([number, inode(bound_world, "a")])
        assert chosen(f"NS == {number}", "-l") == [number]
        assert chosen(f"NS == {number}", "-Towner") == [number]
        assert chosen("TYPE == 'nothing'") == []
        everything = chosen("")
        assert len(everything) > 8
        assert sorted(chosen("TYPE == 'net'") + chosen("TYPE != 'net'")) == everything


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("NS ==", b"character 6: "),
        ("BOGUS == 1", b"character 1: unknown column: BOGUS"),
        ("NSFS =~ '('", b"character 9: not a regular expression"),
    ],
)
def test_a_wrong_filter_is_refused(
    known_world: World, link: str, expression: str, part: bytes
) -> None:
    done = known_world.run(link, "--filter", expression, check=1)
    assert part in done.stderr
    assert done.stdout == b""
    done = known_world.nsctl("ls", "-Q", expression, check=2)
    assert part in done.stderr


_COLUMNS = """\
     NS <integer> namespace identifier (inode number)
   TYPE <string>  kind of namespace
   PATH <string>  path to the namespace
 NPROCS <integer> number of processes in the namespace
    PID <integer> lowest PID in the namespace
   PPID <integer> PPID of the PID
COMMAND <string>  command line of the PID
    UID <integer> UID of the PID
   USER <string>  username of the PID
NETNSID <string>  namespace ID as used by network subsystem
   NSFS <string>  nsfs mountpoint (usually used network subsystem)
    PNS <integer> parent namespace identifier (inode number)
    ONS <integer> owner namespace identifier (inode number)
"""


def test_the_columns_are_listed_with_their_types(known_world: World, link: str) -> None:
    assert known_world.run(link, "-H").stdout.decode() == _COLUMNS
    raw = known_world.run(link, "-r", "--list-columns").stdout.decode()
    assert raw.split("\n")[0] == r"NS <integer> namespace\x20identifier\x20(inode\x20number)"
    listed: list[dict[str, Any]] = json.loads(known_world.run(link, "-J", "-H").stdout)[
        "lsns-columns"
    ]
    assert [row["holder"] for row in listed] == EVERY.split(",")
    assert listed[0] == {
        "holder": "NS",
        "type": "<integer>",
        "description": "namespace identifier (inode number)",
    }
    ours = known_world.nsctl("ls", "-H").stdout.decode()
    assert ours.startswith(_COLUMNS)
    assert "WHOSE <string>" in ours


def test_columns_that_are_added_stand_behind_the_default_ones(
    known_world: World, link: str
) -> None:
    heading = known_world.run(link, "-o", "+PNS,NS").stdout.decode().split("\n")[0]
    assert heading.split() == ["NS", "TYPE", "NPROCS", "PID", "USER", "COMMAND", "PNS", "NS"]
