"""What is in UTS, IPC, time and user namespaces, against what their own processes say of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl.report.escape import width
from nsctl.report.schema import load_schema
from support.holding import holding
from support.terminal import on_terminal
from support.users import Nsctl, clean_environment

pytestmark = pytest.mark.privileged

SECOND = 1_000_000_000


def document(nsctl: Nsctl, *words: str) -> dict[str, Any]:
    """A view's JSON, which must fit its schema."""
    found: dict[str, Any] = json.loads(nsctl(*words, "-J", check=0).stdout)
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(load_schema(words[0]))
    faults = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(found)]
    assert not faults
    return found


def row_of(nsctl: Nsctl, view: str, ino: int, *target: str) -> dict[str, Any]:
    """The row of a namespace."""
    key = "maps" if view == "idmap" else view
    (row,) = [row for row in document(nsctl, view, *target)[key] if row["ns"] == ino]
    assert isinstance(row, dict)
    return row


def shown(nsctl: Nsctl, columns: int, *words: str) -> str:
    """What a view looks like on a terminal, colours aside."""
    command = (sys.executable, "-m", "nsctl", *words)
    raw = on_terminal(command, columns, clean_environment(nsctl.home, {"TERM": "xterm"}))
    return re.sub(r"\x1b\[[0-9;]*m", "", raw.decode())


# --- UTS

_NAMES = """
def name(host, domain):
    call("sethostname", host, len(host))
    call("setdomainname", domain, len(domain))
"""


def test_names_are_read_in_each_namespace_and_in_those_that_no_process_is_in(
    nsctl: Nsctl,
) -> None:
    code = _NAMES + (
        "before = os.uname().nodename\n"
        'ino, fd = elsewhere(UTS, "uts", lambda: (name(b"nobody", b"here.example"), own("uts"))[1])\n'
        "unshare(UTS)\n"
        'name(b"\\x1b[31mred\\xff", b"evil\\nname")\n'
        'ready(empty=ino, own=number("uts"), before=before)'
    )
    with holding(code) as (pid, made, _ask):
        empty = row_of(nsctl, "uts", made["empty"])
        assert (empty["host"], empty["domain"], empty["is"]) == ("nobody", "here.example", "empty")
        own = row_of(nsctl, "uts", made["own"], str(pid))
        assert (own["host"], own["is"]) == ("\x1b[31mred\ufffd", "own")
        assert bytes.fromhex(own["host_raw"]) == b"\x1b[31mred\xff"
        assert own["domain"] == "evil\nname"
        text = nsctl("uts", str(pid), check=0).stdout
        assert "\\x1b[31mred\\xff" in text
        assert "\x1b[31m" not in text
        named = nsctl("uts", f"uts:[{made['empty']}]", check=0).stdout
        assert "nobody" in named
        host = next(row for row in document(nsctl, "uts")["uts"] if row["is"] == "host")
        assert host["host"] == made["before"] == os.uname().nodename


def test_a_namespace_of_another_type_is_refused_with_its_type(nsctl: Nsctl) -> None:
    ino = os.stat("/proc/self/ns/net").st_ino
    done = nsctl("uts", f"net:[{ino}]", check=2)
    assert "it is a network namespace, not a UTS namespace" in done.stderr


# --- Time


def test_offsets_are_those_of_a_namespace_itself_also_where_children_get_another(
    nsctl: Nsctl,
) -> None:
    # Who runs a program is in the namespace that was for his children; then he makes another.
    inner = (
        "import ctypes,json,os,sys; libc=ctypes.CDLL(None); "
        "assert libc.unshare(0x80) == 0; "
        "open('/proc/self/timens_offsets','w').write('boottime 77 0\\nmonotonic 0 500000000\\n'); "
        "n=lambda k: os.stat(f'/proc/self/ns/{k}').st_ino; "
        "print(json.dumps(dict(own=n('time'), children=n('time_for_children'))), flush=True); sys.stdin.read()"
    )
    code = f"""
unshare(0x80)
with open("/proc/self/timens_offsets", "w") as file:
    file.write("boottime -1 999999999\\nmonotonic -4 250000000\\n")
os.execv({sys.executable!r}, [{sys.executable!r}, "-I", "-c", {inner!r}])
"""
    with holding(code) as (pid, made, _ask):
        own, children = made["own"], made["children"]
        row = row_of(nsctl, "time", own, str(pid))
        assert (row["boottime"], row["monotonic"]) == (-1, -4 * SECOND + SECOND // 4)
        other = row_of(nsctl, "time", children)
        assert (other["boottime"], other["monotonic"]) == (77 * SECOND, SECOND // 2)
        assert other["is"] == "empty"
        assert other["for_children_of"] == [pid]
        text = nsctl("time", check=0, columns=200).stdout
        assert "-0.000000001s" in text
        assert "-3.75s" in text
        assert "+1m 17s" in text


def test_uptime_is_that_of_the_clock_inside(nsctl: Nsctl) -> None:
    code = """
unshare(0x80)
with open("/proc/self/timens_offsets", "w") as file:
    file.write("boottime 864000 0\\nmonotonic 864000 0\\n")
os.execv("/bin/sh", ["sh", "-c", "echo '{}'; read line"])
"""
    with holding(code) as (pid, _made, _ask):
        enter = ["nsenter", "-t", str(pid), "-T", "cat", "/proc/uptime"]
        before = float(subprocess.check_output(enter).split()[0])
        ino = os.stat(f"/proc/{pid}/ns/time").st_ino
        row = row_of(nsctl, "time", ino)
        after = float(subprocess.check_output(enter).split()[0])
        assert before <= row["uptime"] + 0.01
        assert row["uptime"] <= after + 0.01
        assert row["monotonic_now"] > 864000


# --- IPC

_OBJECTS = """
libc.shmat.restype = ctypes.c_void_p
rt = ctypes.CDLL("librt.so.1", use_errno=True)
def objects():
    ids = {}
    shm = libc.shmget(0x1234, 8192, 0o1640)
    assert libc.shmat(shm, None, 0) not in (None, ctypes.c_void_p(-1).value)
    assert libc.shmat(shm, None, 0o10000) not in (None, ctypes.c_void_p(-1).value)
    gone = libc.shmget(0, 4096, 0o1600)
    assert libc.shmat(gone, None, 0) is not None
    libc.shmctl(gone, 0, None)
    sem = libc.semget(0x77, 3, 0o1660)
    msg = libc.msgget(0x88, 0o1622)
    text = struct.pack("l", 1) + b"hello"
    assert libc.msgsnd(msg, text, 5, 0) == 0
    queue = rt.mq_open(b"/a\\x1bb", 0o102, 0o640, None)
    assert rt.mq_send(queue, b"secret", 6, 0) == 0
    return dict(shm=shm, gone=gone, sem=sem, msg=msg, queue=queue)
"""

_MAPPED = """
def mapped():
    # A user namespace in which root is 150000, made by a child that the parent maps.
    a, b = os.pipe(), os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child:
        os.read(a[0], 1)
        for kind in ("uid", "gid"):
            with open(f"/proc/{child}/{kind}_map", "w") as file:
                file.write("0 150000 1000")
        os.write(b[1], b"x")
        os.waitpid(child, 0)
        os._exit(0)
    unshare(USER)
    os.write(a[1], b"x")
    os.read(b[0], 1)
    os.setgroups([]); os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)
    libc.prctl(4, 1)
"""


@pytest.fixture
def objects() -> Iterator[dict[str, Any]]:
    """Objects in an IPC namespace that is owned by a user namespace with other ids."""
    code = (
        _OBJECTS
        + _MAPPED
        + (
            "mapped()\nunshare(IPC | MNT)\nmade = objects()\n"
            'ready(pid=os.getpid(), ipc=number("ipc"), **made)'
        )
    )
    with holding(code) as (_pid, made, _ask):
        yield made


def test_objects_are_told_with_owners_inside_and_outside_and_who_uses_them(
    nsctl: Nsctl, objects: dict[str, Any]
) -> None:
    row = row_of(nsctl, "ipc", objects["ipc"], str(objects["pid"]))
    shm, gone = sorted(row["shm"], key=lambda each: each["key"] == 0)
    assert (shm["id"], shm["key"], shm["perms"], shm["size"]) == (
        objects["shm"],
        0x1234,
        "0640",
        8192,
    )
    assert (shm["uid"], shm["uid_inside"], shm["gid"], shm["gid_inside"]) == (150000, 0, 150000, 0)
    assert shm["nattch"] == 2
    assert shm["attached"] == [{"pid": objects["pid"], "mappings": 2}]
    assert (shm["cpid"], shm["lpid"]) == (objects["pid"], objects["pid"])
    assert (gone["to_be_removed"], shm["to_be_removed"]) == (True, False)
    (sem,) = row["sem"]
    assert (sem["id"], sem["key"], sem["nsems"], sem["perms"]) == (objects["sem"], 0x77, 3, "0660")
    (msg,) = row["msg"]
    assert (msg["id"], msg["messages"], msg["bytes"], msg["lrpid"]) == (objects["msg"], 1, 5, None)
    assert (msg["lspid"], msg["uid_inside"]) == (objects["pid"], 0)
    (queue,) = row["posix"]
    assert (queue["name"], queue["perms"], queue["messages"]) == ("/a\x1bb", "0640", 1)
    assert (queue["uid"], queue["uid_inside"]) == (150000, 0)
    assert row["limits"]["kernel.shmmni"]
    text = nsctl("ipc", str(objects["pid"]), check=0, columns=200).stdout
    assert "/a\\x1bb" in text
    assert "(to be removed)" in text
    assert "\x1b" not in text


def test_looking_takes_no_message_and_sets_no_time(nsctl: Nsctl, objects: dict[str, Any]) -> None:
    inside = ["nsenter", "-t", str(objects["pid"]), "-U", "-i", "-m"]
    state = (
        "mount -t mqueue -o noatime mqueue /mnt && stat -c '%n %X %Y %Z %s' /mnt /mnt/*; "
        "cat /proc/sysvipc/*"
    )
    script = [*inside, "unshare", "-m", "sh", "-c", state]
    before = subprocess.check_output(script)
    for _ in range(2):
        nsctl("ipc", "-J", check=0)
    assert subprocess.check_output(script) == before


def test_the_same_is_seen_by_ipcs_inside(nsctl: Nsctl, objects: dict[str, Any]) -> None:
    row = row_of(nsctl, "ipc", objects["ipc"])
    inside = ["nsenter", "-t", str(objects["pid"]), "-U", "-i", "--preserve-credentials", "ipcs"]
    lines = subprocess.check_output(inside, text=True).split("\n")
    seen = {tuple(line.split()[:2]) for line in lines if line.startswith("0x")}
    ours = {
        (f"0x{each['key']:08x}", str(each["id"]))
        for kind in ("shm", "sem", "msg")
        for each in row[kind]
    }
    assert ours == seen


def test_what_a_namespace_without_a_process_holds_is_told_too(nsctl: Nsctl) -> None:
    code = _OBJECTS + (
        'def leave():\n    shm = libc.shmget(0x99, 100, 0o1600)\n    return shm, own("ipc")\n'
        'ino, (shm, fd) = elsewhere(IPC, "ipc", leave)\nready(ipc=ino, shm=shm)'
    )
    with holding(code) as (_pid, made, _ask):
        row = row_of(nsctl, "ipc", made["ipc"])
        assert (row["is"], [each["key"] for each in row["shm"]]) == ("empty", [0x99])
        assert row["posix"] == []


# --- Ids


def test_every_one_of_340_extents_is_told_in_the_hosts_numbers(nsctl: Nsctl) -> None:
    code = """
a, b = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    unshare(USER)
    os.write(a[1], b"x")
    os.read(b[0], 1)
    ready(user=number("user"), pid=os.getpid())
    os._exit(0)
os.read(a[0], 1)
lines = "".join(f"{n * 2} {200000 + n * 3} 1\\n" for n in range(340))
for kind in ("uid", "gid"):
    with open(f"/proc/{child}/{kind}_map", "w") as file:
        file.write(lines if len(lines) < 4096 else "")
os.write(b[1], b"x")
os.waitpid(child, 0)
"""
    code = code.replace('f"{n * 2} {200000 + n * 3} 1\\n"', 'f"{n * 2} {20000 + n * 3} 1\\n"')
    with holding(code) as (_pid, made, _ask):
        row = row_of(nsctl, "idmap", made["user"])
        assert len(row["uid"]) == len(row["gid"]) == 340
        assert row["uid"][339] == {"inside": 678, "outside": 21017, "count": 1}
        card = nsctl("idmap", str(made["pid"]), check=0).stdout
        assert "678 -> 21017 x1" in card
        for columns in (80, 200):
            for words in ((), (str(made["pid"]),)):
                drawn = shown(nsctl, columns, "idmap", *words)
                assert all(width(line) <= columns for line in drawn.split("\n"))


_NESTED = (
    _MAPPED
    + """
def deeper():
    # Below that one, a namespace that no process stays in.
    a, b = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        unshare(USER)
        os.write(a[1], b"x")
        os.read(b[0], 1)
        os._exit(0)
    os.read(a[0], 1)
    for kind in ("uid", "gid"):
        with open(f"/proc/{child}/{kind}_map", "w") as file:
            file.write("0 100 50\\n1000 500 10\\n")
    fd = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
    inside = open(f"/proc/{child}/uid_map").read()
    os.write(b[1], b"x")
    os.waitpid(child, 0)
    return fd, inside
mapped()
fd, inside = deeper()
ready(outer=number("user"), inner=os.fstat(fd).st_ino, inside=inside, pid=os.getpid())
"""
)


def test_nested_maps_are_in_the_hosts_numbers_and_those_without_a_process_are_read(
    nsctl: Nsctl,
) -> None:
    with holding(_NESTED) as (_pid, made, _ask):
        outer = row_of(nsctl, "idmap", made["outer"])
        assert outer["uid"] == [{"inside": 0, "outside": 150000, "count": 1000}]
        inner = row_of(nsctl, "idmap", made["inner"])
        assert inner["uid"] == [
            {"inside": 0, "outside": 150100, "count": 50},
            {"inside": 1000, "outside": 150500, "count": 10},
        ]
        # What a process in the outer one reads is the same in its own numbers.
        assert [line.split() for line in made["inside"].split("\n") if line] == [
            [str(each["inside"]), str(each["outside"]), str(each["count"])]
            for each in inner["in_parent"]
        ]
        assert (inner["level"], inner["root"], inner["overlaps"]) == (2, 150100, [])
        text = nsctl("idmap", f"user:[{made['inner']}]", check=0).stdout
        assert "0 -> 150100 x50" in text
        assert "0 -> 100 x50, 1000 -> 500 x10" in text


def test_a_reader_in_a_user_namespace_says_whose_numbers_it_tells(nsctl: Nsctl) -> None:
    with holding(_NESTED) as (_pid, made, _ask):
        command = [
            *("nsenter", "-t", str(made["pid"]), "-U", "--preserve-credentials"),
            *(sys.executable, "-m", "nsctl", "idmap", "-J"),
        ]
        raw = subprocess.check_output(command, env=clean_environment(nsctl.home))
        found = json.loads(raw)
        assert found["numbers"] == "around-reader"
        assert found["reader"]["uid"] == [{"inside": 0, "outside": 150000, "count": 1000}]
        rows = {row["ns"]: row for row in found["maps"]}
        assert rows[made["outer"]]["root"] == 150000
        text = subprocess.check_output(command[:-1], env=clean_environment(nsctl.home), text=True)
        assert "nsctl runs in a user namespace of its own" in text


def test_ranges_that_overlap_are_told_with_the_ids(nsctl: Nsctl) -> None:
    with (
        holding(_NESTED) as (_one, first, _a),
        holding(_NESTED.replace("0 150000 1000", "0 150900 1000")) as (_other, second, _b),
    ):
        row = row_of(nsctl, "idmap", first["outer"])
        (overlap,) = [each for each in row["overlaps"] if each["ns"] == second["outer"]]
        assert (overlap["uids"], overlap["uid"]) == (100, [{"first": 150900, "count": 100}])
        for columns in (80, 200):
            text = shown(nsctl, columns, "idmap", "--color", "never")
            assert "100 uids (150900-150999), 100 gids" in " ".join(text.split())
            assert "▓" in text
            assert all(width(line) <= columns for line in text.split("\n"))


@pytest.mark.parametrize("view", ["idmap", "uts", "time", "ipc", "cgroup"])
@pytest.mark.parametrize("columns", [80, 200])
def test_views_fit_a_terminal_with_and_without_colour(
    nsctl: Nsctl, objects: dict[str, Any], view: str, columns: int, tmp_path: Path
) -> None:
    file = str(tmp_path / "saved")
    nsctl("snapshot", file, check=0)
    for target in ((), (str(objects["pid"]),)):
        words = (view, *target, "--from", file)
        plain = shown(nsctl, columns, *words, "--color", "never")
        assert all(width(line) <= columns for line in plain.split("\n"))
        assert shown(nsctl, columns, *words, "--color", "always") == plain


def test_a_saved_moment_holds_all_of_it(
    nsctl: Nsctl, objects: dict[str, Any], tmp_path: Path
) -> None:
    file = str(tmp_path / "saved")
    nsctl("snapshot", file, check=0)
    for view in ("idmap", "uts", "time", "ipc", "cgroup"):
        key = "maps" if view == "idmap" else view
        saved = json.loads(nsctl(view, "--from", file, "-J", check=0).stdout)
        assert saved[key], view
        assert saved["completeness"] == [
            gap for gap in saved["completeness"] if "not asked for" not in gap["cause"]
        ]
        nsctl(view, "--from", file, check=0)
    saved = json.loads(nsctl("ipc", "--from", file, "-J", check=0).stdout)["ipc"]
    (row,) = [row for row in saved if row["ns"] == objects["ipc"]]
    assert row["shm"][0]["uid_inside"] == 0
