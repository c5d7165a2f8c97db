"""`nsctl mounts` on mount namespaces in which everything is mounted that can be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from nsctl.report.schema import load_schema
from support.mounting import findmnt, mounting, mounts_of, odd_mounts, output_of, rows_of, together
from support.users import Nsctl

pytestmark = pytest.mark.privileged


@pytest.fixture(scope="module")
def odd() -> Iterator[int]:
    """A process whose mounts have odd names."""
    with odd_mounts() as pid:
        yield pid


def ask(nsctl: Nsctl, *words: str) -> dict[str, Any]:
    """A document, checked against its schema."""
    document: dict[str, Any] = json.loads(nsctl("mounts", "-J", *words, check=0).stdout)
    jsonschema.validate(document, load_schema("mounts"))
    return document


# Each way of naming whose mounts are meant with half of them: what prints is the same.
@pytest.mark.parametrize(
    ("words", "several"),
    [
        (
            (),
            [
                ("-l",),
                ("-r",),
                ("-t", "tmpfs"),
                ("-R", "/mnt"),
                ("-O", "nosuid", "-l"),
                ("-o", "TARGET,VFS-OPTIONS,FS-OPTIONS,ID,PARENT,MAJ:MIN,FSROOT"),
            ],
        ),
        (
            ("-N",),
            [
                ("--tree",),
                ("-P",),
                ("-U",),
                ("-S", "three"),
                ("--shadowed",),
                ("-o", "TARGET,SOURCE,PROPAGATION,OPT-FIELDS"),
            ],
        ),
    ],
    ids=["TARGET", "-N TARGET"],
)
def test_with_findmnts_options_it_prints_what_findmnt_prints(
    odd: int, words: tuple[str, ...], several: list[tuple[str, ...]]
) -> None:
    command = (sys.executable, "-m", "nsctl", "mounts", *words, str(odd))
    for options in several:
        original, ours = together(
            partial(output_of, [findmnt(), "-N", str(odd), *options]),
            partial(output_of, [*command, *options]),
        )
        assert ours == original, options


def test_json_has_findmnts_keys_and_values_and_more(nsctl: Nsctl, odd: int) -> None:
    columns = "TARGET,SOURCE,FSTYPE,OPTIONS,ID,PARENT,PROPAGATION,FSROOT,MAJ:MIN,FS-OPTIONS"
    text, _ = output_of([findmnt(), "-N", str(odd), "-J", "-o", columns])
    originals = {row["id"]: row for row in rows_of(json.loads(text.decode(errors="replace")))}
    ours = {row["id"]: row for row in rows_of(ask(nsctl, str(odd)))}
    assert ours.keys() == originals.keys()
    for number, row in originals.items():
        for key, value in row.items():
            if key == "children":
                assert [each["id"] for each in value] == [
                    each["id"] for each in ours[number]["children"]
                ]
            elif f"{key}_raw" not in ours[number]:
                assert ours[number][key] == value
    assert all(row["uniq-id"] > 1 << 31 for row in ours.values())


def test_bytes_that_are_no_text_stand_beside_it_in_hex(nsctl: Nsctl, odd: int) -> None:
    (row,) = [
        row
        for row in rows_of(ask(nsctl, str(odd)))
        if row.get("target_raw") == b"/mnt/not\xff\xfeutf8".hex()
    ]
    assert row["target"] == "/mnt/not\ufffd\ufffdutf8"


def test_nothing_of_a_name_reaches_the_terminal_raw(nsctl: Nsctl, odd: int) -> None:
    for words in ((), ("-l",), ("-r",), ("--hidden",)):
        done = nsctl("mounts", str(odd), *words, check=0, columns=200)
        assert not {"\x1b", "\x07", "\r", "\x7f", "\t"} & set(done.stdout)
        assert "\\x1b[31mred" in done.stdout or "--hidden" in words


def test_of_mounts_on_each_other_each_is_hidden_by_the_next(nsctl: Nsctl, odd: int) -> None:
    rows = [row for row in rows_of(ask(nsctl, str(odd))) if row["target"] == "/mnt/three"]
    assert [row["source"] for row in rows] == ["one", "two", "three"]
    assert [row["hidden"] for row in rows] == [True, True, False]
    assert [row["hidden_by"] for row in rows] == [rows[1]["uniq-id"], rows[2]["uniq-id"], None]
    shown = nsctl("mounts", str(odd), "--hidden", check=0, columns=200).stdout
    assert "HIDDEN BY tmpfs three on /mnt/three" in shown


def test_what_lies_below_a_hidden_mount_is_hidden_too(nsctl: Nsctl) -> None:
    code = """
private()
tmpfs("a", "/mnt/a"); tmpfs("b", "/mnt/a/b"); tmpfs("c", "/mnt/a/b/c"); tmpfs("d", "/mnt/e/d")
tmpfs("over-e", "/mnt/e"); tmpfs("over-a", "/mnt/a"); tmpfs("seen", "/mnt/a/b")
ready()
"""
    with mounting(code) as (pid, _):
        rows = {row["source"]: row for row in rows_of(ask(nsctl, str(pid)))}
    covers = {rows[name]["uniq-id"]: name for name in ("over-a", "over-e")}
    hidden = {name: rows[name]["hidden_by"] for name in ("a", "b", "c", "d")}
    assert {name: covers[by] for name, by in hidden.items()} == {
        "a": "over-a",
        "b": "over-a",
        "c": "over-a",
        "d": "over-e",
    }
    assert not any(rows[name]["hidden"] for name in ("over-a", "over-e", "seen", "base"))


def test_what_is_called_hidden_is_what_a_look_from_inside_does_not_reach(
    nsctl: Nsctl, odd: int
) -> None:
    code = (
        "import os, sys\n"
        "sys.path.append(sys.argv[1])\n"
        "from nsctl.kernel import statx\n"
        "for line in sys.stdin.buffer.read().split(b'\\0'):\n"
        "    try:\n"
        "        fd = os.open(line, os.O_PATH)\n"
        "    except FileNotFoundError:\n"
        "        print(0)\n"
        "        continue\n"
        "    print(statx.mount_id(fd))\n"
        "    os.close(fd)\n"
    )
    rows = rows_of(ask(nsctl, str(odd)))
    points = [
        bytes.fromhex(row["target_raw"]) if "target_raw" in row else row["target"].encode()
        for row in rows
    ]
    package = str(Path(load_schema.__code__.co_filename).parents[3])
    done = subprocess.run(
        ["nsenter", "-t", str(odd), "-m", "--", sys.executable, "-I", "-c", code, package],
        input=b"\0".join(points),
        capture_output=True,
        check=True,
    )
    reached = list(map(int, done.stdout.split()))
    assert [row["hidden"] for row in rows] == [
        number != row["id"] for number, row in zip(reached, rows, strict=True)
    ]


def test_every_kind_of_propagation_is_told_with_names(nsctl: Nsctl) -> None:
    code = """
private()
tmpfs("shared", "/mnt/shared"); bmount(b"none", b"/mnt/shared", None, SHARED)
tmpfs("alone", "/mnt/alone"); bmount(b"none", b"/mnt/alone", None, SHARED)
tmpfs("private", "/mnt/private")
tmpfs("unbindable", "/mnt/unbindable"); bmount(b"none", b"/mnt/unbindable", None, UNBINDABLE)
def peer():
    unshare(MNT)
def slave():
    unshare(MNT)
    bmount(b"none", b"/mnt/shared", None, SLAVE)
def both():
    unshare(MNT)
    bmount(b"none", b"/mnt/shared", None, SLAVE)
    bmount(b"none", b"/mnt/shared", None, SHARED)
peers = {name: child(act) for name, act in (("peer", peer), ("slave", slave), ("both", both))}
ready(**peers)
"""
    with mounting(code) as (pid, made):
        own = mounts_of(nsctl("mounts", "-J", str(pid), check=0).stdout)
        others = {
            name: mounts_of(nsctl("mounts", "-J", str(number), check=0).stdout)
            for name, number in made.items()
        }
        view = nsctl("mounts", str(made["slave"]), check=0, columns=300).stdout
    kinds = {row["whose"]["pid"]: row["is"] for row in own["/mnt/shared"]["peers"] if row["whose"]}
    assert kinds == {made["peer"]: "peer", made["slave"]: "slave", made["both"]: "slave"}
    group = own["/mnt/shared"]["propagates"]["shared"]
    assert own["/mnt/shared"]["propagation"] == "shared"
    # Its peers are the copies of it in the other namespaces.
    assert {row["is"] for row in own["/mnt/alone"]["peers"]} == {"peer"}
    assert own["/mnt/private"]["propagation"] == "private"
    assert own["/mnt/private"]["peers"] == []
    assert own["/mnt/unbindable"]["propagation"] == "private,unbindable"
    assert own["/mnt/unbindable"]["propagates"]["unbindable"]
    slave, both = others["slave"]["/mnt/shared"], others["both"]["/mnt/shared"]
    assert (slave["propagation"], slave["propagates"]["master"]) == ("private,slave", group)
    assert (both["propagation"], both["propagates"]["master"]) == ("shared,slave", group)
    masters = [row for row in slave["peers"] if row["is"] == "master"]
    assert {row["whose"]["pid"] for row in masters} == {pid, made["peer"]}
    assert f"slave of python3[{pid}]" in view or f"slave of python[{pid}]" in view


@pytest.mark.parametrize("held", ["bind", "fd"])
def test_a_namespace_without_a_process_is_shown_by_its_number(nsctl: Nsctl, held: str) -> None:
    code = """
private()
tmpfs("marker", "/mnt/here"); tmpfs("shared", "/mnt/shared"); bmount(b"none", b"/mnt/shared", None, SHARED)
def other():
    unshare(MNT)
    tmpfs("inner", "/mnt/inner")
    tmpfs("over", "/mnt/inner")
back = own("mnt")
ino, fd = elsewhere(MNT, "mnt", lambda: (other(), number("mnt"), own("mnt"))[1:])[1]
if sys.argv[1] == "bind":
    open("/mnt/ns", "x").close()
    bmount(b"none", b"/mnt", None, PRIVATE)
    mount(f"/proc/self/fd/{fd}", "/mnt/ns", None, BIND)
    os.close(fd)
ready(ino=ino)
"""
    with mounting(code, held) as (_, made):
        document = ask(nsctl, f"mnt:[{made['ino']}]")
        text = nsctl("mounts", f"mnt:[{made['ino']}]", "-lo", "TARGET,SOURCE,OPTIONS", check=0)
        view = nsctl("mounts", f"mnt:[{made['ino']}]", check=0).stdout
    rows = {row["source"]: row for row in rows_of(document)}
    assert rows["inner"]["hidden_by"] == rows["over"]["uniq-id"]
    assert rows["marker"]["target"] == "/mnt/here"
    assert document["ns"] == made["ino"]
    assert document["whose"] is None or document["whose"]["was"]
    assert any(row["is"] == "peer" for row in rows["shared"]["peers"])
    assert "/mnt/inner" in text.stdout
    assert f"mnt:[{made['ino']}]" in view


def test_of_a_chrooted_process_the_whole_tree_and_its_root_are_shown(nsctl: Nsctl) -> None:
    code = """
private()
tmpfs("jail", "/mnt/jail"); tmpfs("inside", "/mnt/jail/inside"); tmpfs("outside", "/mnt/outside")
ready(pid=child(lambda: os.chroot("/mnt/jail")))
"""
    with mounting(code) as (_, made):
        document = ask(nsctl, str(made["pid"]))
        view = nsctl("mounts", str(made["pid"]), check=0).stdout
        as_seen = nsctl("mounts", "-N", str(made["pid"]), "-lno", "TARGET", check=0).stdout
    targets = {row["target"] for row in rows_of(document)}
    assert {"/", "/mnt/jail", "/mnt/jail/inside", "/mnt/outside"} <= targets
    assert document["roots"] == [{"path": "/mnt/jail", "pids": [made["pid"]]}]
    assert "ROOT     /mnt/jail is the root directory of python" in view
    assert as_seen.split() == ["/", "/inside"]


def test_mounts_in_no_table_are_told_with_who_holds_them(nsctl: Nsctl) -> None:
    code = """
private()
tmpfs("gone", "/mnt/gone")
os.mkdir("/mnt/gone/dir")
fd = os.open("/mnt/gone/dir", os.O_RDONLY)
def sit():
    os.chdir("/mnt/gone/dir")
sitting = child(sit)
call("umount2", b"/mnt/gone", 2)
memory = os.memfd_create("no mount")
AT_FDCWD, CLONE, RECURSIVE = -100, 1, 0x8000
copy = syscall(428, AT_FDCWD, b"/mnt", CLONE | RECURSIVE)
ready(fd=fd, copy=copy, sitting=sitting)
"""
    with mounting(code) as (pid, made):
        document = ask(nsctl, str(pid))
        view = nsctl("mounts", str(pid), check=0, columns=300).stdout
    held = {
        (holder["pid"], holder.get("fd", holder.get("what"))): (row["fstype"], holder["path"])
        for row in document["detached"]
        for holder in row["holders"]
    }
    assert held[pid, made["fd"]] == ("tmpfs", "/dir")
    assert held[made["sitting"], "cwd"] == ("tmpfs", "/dir")
    assert held[pid, made["copy"]] == ("tmpfs", "/")
    assert held.keys() == {
        (pid, made["fd"]),
        (pid, made["copy"]),
        (made["sitting"], "cwd"),
        (made["sitting"], made["fd"]),
    }
    assert len(document["detached"]) == 2
    assert "DETACHED tmpfs mount" in view


def test_a_path_that_is_too_long_to_be_told_ends_nothing(nsctl: Nsctl) -> None:
    code = """
private()
tmpfs("deep", "/mnt/deep")
os.chdir("/mnt/deep")
for _ in range(20):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
fd = os.open(".", os.O_RDONLY)
call("umount2", b"/mnt/deep", 2)
ready(fd=fd)
"""
    with mounting(code) as (pid, made):
        document = ask(nsctl, str(pid))
    (row,) = document["detached"]
    assert {holder.get("fd", holder.get("what")) for holder in row["holders"]} == {
        "cwd",
        made["fd"],
    }
    assert row["holders"][0]["path"] == "/..."


def test_an_idmapped_mount_has_its_map(nsctl: Nsctl) -> None:
    code = """
private()
tmpfs("mapped", "/mnt/mapped")
reader, writer = os.pipe()
pid = os.fork()
if not pid:
    unshare(USER)
    os.write(writer, b"r")
    os.read(0, 1)
    os._exit(0)
os.read(reader, 1)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{pid}/{name}", "w") as file:
        file.write("0 70000 1000\\n2000 90000 10" if name == "uid_map" else "0 71000 1000")
userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
try:
    tree = syscall(428, -100, b"/mnt/mapped", 1)
    attributes = struct.pack("=QQQQ", 0x100000, 0, 0, userns)
    syscall(442, tree, b"", 0x1000, attributes, len(attributes))
    os.mkdir("/mnt/seen")
    syscall(429, tree, b"", -100, b"/mnt/seen", 4)
except OSError as error:
    ready(skip=str(error))
else:
    ready(skip="")
"""
    with mounting(code) as (pid, made):
        if made["skip"]:
            pytest.skip(f"needs id-mapped tmpfs: {made['skip']}")
        row = mounts_of(nsctl("mounts", "-J", str(pid), check=0).stdout)["/mnt/seen"]
        view = nsctl("mounts", str(pid), check=0, columns=300).stdout
    assert "idmapped" in row["vfs-options"].split(",")
    assert row["idmap"] == {
        "uid": [
            {"inside": 0, "outside": 70000, "count": 1000},
            {"inside": 2000, "outside": 90000, "count": 10},
        ],
        "gid": [{"inside": 0, "outside": 71000, "count": 1000}],
    }
    assert "idmap 0 -> 70000 x1000, 2000 -> 90000 x10, gids 0 -> 71000 x1000" in view


_LAYERS = """
private()
tmpfs("layers", "/mnt/l")
for name in ("upper", "work", "over", *(f"layer,{index}:a b" for index in range(300))):
    os.mkdir(f"/mnt/l/{name}")
CONFIG_STRING, CREATE = 1, 6
context = syscall(430, b"overlay", 0)
def string(key, value):
    syscall(431, context, CONFIG_STRING, key.encode(), value.encode(), 0)
try:
    for index in range(300):
        string("lowerdir+", f"/mnt/l/layer,{index}:a b")
    string("upperdir", "/mnt/l/upper")
    string("workdir", "/mnt/l/work")
    syscall(431, context, CREATE, None, None, 0)
    tree = syscall(432, context, 0, 0)
    syscall(429, tree, b"", -100, b"/mnt/l/over", 4)
except OSError as error:
    ready(skip=str(error))
else:
    ready(skip="")
"""


def test_hundreds_of_layers_are_all_told_in_order(nsctl: Nsctl) -> None:
    with mounting(_LAYERS) as (pid, made):
        if made["skip"]:
            pytest.skip(f"needs fsconfig with layers one by one: {made['skip']}")
        row = mounts_of(nsctl("mounts", "-J", str(pid), check=0).stdout)["/mnt/l/over"]
        view = nsctl("mounts", str(pid), "--layers", check=0).stdout
        original = output_of([findmnt(), "-N", str(pid), "-l", "-t", "overlay"])
        ours = nsctl("mounts", "-N", str(pid), "-l", "-t", "overlay", check=0)
    assert row["layers"] == {
        "lower": [f"/mnt/l/layer,{index}:a b" for index in range(300)],
        "data": [],
        "upper": "/mnt/l/upper",
        "work": "/mnt/l/work",
    }
    assert all(f"/mnt/l/layer,{index}:a b" in view for index in range(300))
    assert "upper   /mnt/l/upper" in view
    assert ours.stdout.encode() == original[0]


def test_layers_written_as_one_option_are_taken_apart(nsctl: Nsctl) -> None:
    code = r"""
private()
for name in ("a", "b:c", "d\\e", "f,g", "upper", "work", "over"):
    os.mkdir(f"/mnt/{name}")
bmount(b"o", b"/mnt/over", b"overlay", 0,
       b"lowerdir=/mnt/a:/mnt/b\\:c:/mnt/d\\\\e:/mnt/f\\,g,upperdir=/mnt/upper,workdir=/mnt/work")
ready()
"""
    with mounting(code) as (pid, _):
        row = mounts_of(nsctl("mounts", "-J", str(pid), check=0).stdout)["/mnt/over"]
    assert row["layers"]["lower"] == ["/mnt/a", "/mnt/b:c", "/mnt/d\\e", "/mnt/f,g"]
    assert (row["layers"]["upper"], row["layers"]["work"]) == ("/mnt/upper", "/mnt/work")


def test_mounts_from_outside_a_user_namespace_are_locked_in_it(nsctl: Nsctl) -> None:
    code = """
private()
tmpfs("before", "/mnt/before")
def inside():
    unshare(USER | MNT)
    try:
        call("umount2", b"/mnt/before", 0)
    except OSError as error:
        assert error.errno == 22
    tmpfs("after", "/mnt/before/after")
    tmpfs("twice", "/mnt/before/after")
ready(pid=child(inside))
"""
    with mounting(code) as (pid, made):
        inside = {row["source"]: row for row in rows_of(ask(nsctl, str(made["pid"])))}
        outside = {row["source"]: row for row in rows_of(ask(nsctl, str(pid)))}
    assert inside["before"]["locked"]
    assert inside["base"]["locked"]
    assert not inside["after"]["locked"]
    assert not inside["twice"]["locked"]
    assert not any(row["locked"] for row in outside.values())
    (root,) = [row for row in inside.values() if row["target"] == "/"]
    assert not root["locked"]


def test_two_looks_tell_the_same_and_change_nothing(nsctl: Nsctl, odd: int) -> None:
    def table() -> bytes:
        return Path(f"/proc/{odd}/mountinfo").read_bytes()

    def document() -> dict[str, Any]:
        made = ask(nsctl, str(odd))
        return {key: made[key] for key in ("filesystems", "ns", "whose", "roots", "detached")}

    before = table()
    first = document()
    assert document() == first
    assert table() == before


def test_sizes_are_those_of_the_target(nsctl: Nsctl) -> None:
    with mounting('private(); tmpfs("s", "/mnt/s", b"size=7m"); ready()') as (pid, _):
        shown = nsctl("mounts", str(pid), "-bno", "SIZE", "-S", "s", check=0).stdout
        named = nsctl("mounts", "-J", "-b", str(pid), "-o", "TARGET,SIZE", check=0).stdout
    assert shown.strip() == str(7 << 20)
    assert mounts_of(named)["/mnt/s"]["size"] == 7 << 20


def test_a_saved_snapshot_shows_the_same(nsctl: Nsctl, odd: int, tmp_path: Path) -> None:
    file = str(tmp_path / "saved")
    nsctl("snapshot", file, check=0)
    (inode,) = [os.stat(f"/proc/{odd}/ns/mnt").st_ino]
    words = ("mounts", f"mnt:[{inode}]", "-o", "+PROPAGATION,UNIQ-ID")
    live, saved = (nsctl(*words, *more, check=0).stdout for more in ((), ("--from", file)))
    assert saved == live
    rows, others = (rows_of(ask(nsctl, f"mnt:[{inode}]", *more)) for more in ((), ("--from", file)))
    assert [row["target"] for row in others] == [row["target"] for row in rows]


def test_every_mount_namespace_is_listed_by_one_pass(nsctl: Nsctl) -> None:
    """A thousand mounts in a hundred namespaces: the work grows with what there is, and no more."""
    code = """
private()
os.makedirs("/mnt/m")
def many():
    unshare(MNT)
    for index in range(10):
        tmpfs("many", "/mnt/m")
ready(pids=[child(many) for _ in range(100)])
"""
    with mounting(code) as (_, made):
        document = ask(nsctl, str(made["pids"][0]), "-t", "tmpfs")
        counted = _system_calls(str(made["pids"][0]))
        total = sum(
            len(Path(f"/proc/{pid}/mountinfo").read_bytes().split(b"\n")) - 1
            for pid in made["pids"]
        )
    assert sum(row["source"] == "many" for row in rows_of(document)) == 10
    assert total >= 1000
    # One statmount for each mount of each namespace, and a few calls a namespace besides.
    every = _mounts_of_the_host() + total
    assert counted["statmount"] <= 2 * every
    assert counted["listmount"] <= 1000


def _mounts_of_the_host() -> int:
    """An upper bound for the mounts in namespaces that are none of the test's."""
    seen: set[int] = set()
    count = 0
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            number = os.stat(f"{entry.path}/ns/mnt").st_ino
            if number not in seen:
                seen.add(number)
                count += len(Path(f"{entry.path}/mountinfo").read_bytes().split(b"\n"))
        except OSError:
            continue
    return count + 500


def _system_calls(target: str) -> dict[str, int]:
    """How many times nsctl asks the kernel for mounts, counted where it asks."""
    code = (
        "import collections, json, os, sys\n"
        "from nsctl.kernel import statmount\n"
        "counts = collections.Counter()\n"
        "asked = statmount.syscall\n"
        "def counting(name, *rest):\n"
        "    counts[name] += 1\n"
        "    return asked(name, *rest)\n"
        "statmount.syscall = counting\n"
        "from nsctl.cli.main import main\n"
        "sys.stdout.reconfigure(write_through=True)\n"
        "kept = os.dup(1)\n"
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)\n"
        "assert main(['mounts', sys.argv[1]]) == 0\n"
        "sys.stdout.flush()\n"
        "os.write(kept, json.dumps(counts).encode())\n"
    )
    text, status = output_of([sys.executable, "-c", code, target])
    assert status == 0
    counts: dict[str, int] = json.loads(text)
    return counts
