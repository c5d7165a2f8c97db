"""What an ordinary user sees in namespaces of his own; what belongs to others is told as not read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.users import Nsctl, OrdinaryUser

pytestmark = pytest.mark.userns

_BOX = r"""
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.geteuid(), os.getegid()
assert libc.unshare(0x10000000 | 0x04000000 | 0x08000000 | 0x02000000) == 0
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
assert libc.sethostname(b"inside", 6) == 0
shm = libc.shmget(0x55, 4096, 0o1600)
rt = ctypes.CDLL("librt.so.1")
assert rt.mq_open(b"/mine", 0o102, 0o600, None) >= 0
# A time namespace for children that nobody is in yet.
assert libc.unshare(0x80) == 0
with open("/proc/self/timens_offsets", "w") as file:
    file.write("boottime 3600 0\n")
# A user namespace that only a descriptor holds.
a, b = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    assert libc.unshare(0x10000000) == 0
    os.write(a[1], b"x")
    os.read(b[0], 1)
    os._exit(0)
os.read(a[0], 1)
with open(f"/proc/{child}/uid_map", "w") as file:
    file.write("7 0 1")
kept = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
os.write(b[1], b"x")
os.waitpid(child, 0)
n = lambda kind: os.stat(f"/proc/self/ns/{kind}").st_ino
print(json.dumps(dict(uts=n("uts"), ipc=n("ipc"), user=n("user"), time=n("time_for_children"),
                      empty=os.fstat(kept).st_ino, shm=shm)), flush=True)
sys.stdin.read()
"""


class Box(NamedTuple):
    """A process in namespaces of its own, and what it made."""

    pid: int
    made: dict[str, int]


@pytest.fixture
def box(ordinary_user: OrdinaryUser) -> Iterator[Box]:
    process: subprocess.Popen[bytes] = ordinary_user.start(
        sys.executable, "-I", "-c", _BOX, stdin=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield Box(process.pid, json.loads(line))
    finally:
        process.communicate(timeout=30)


def rows(nsctl: Nsctl, user: OrdinaryUser, view: str, ino: int) -> dict[str, Any]:
    """The row of a namespace as this user sees it."""
    found = json.loads(nsctl(view, "-J", user=user, check=0).stdout)
    key = "maps" if view == "idmap" else view
    (row,) = [row for row in found[key] if row["ns"] == ino]
    assert isinstance(row, dict)
    return row


def test_names_objects_maps_and_clocks_of_ones_own_namespaces_are_read(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, box: Box
) -> None:
    assert rows(nsctl, ordinary_user, "uts", box.made["uts"])["host"] == "inside"
    ipc = rows(nsctl, ordinary_user, "ipc", box.made["ipc"])
    (shm,) = ipc["shm"]
    assert (shm["id"], shm["uid"], shm["uid_inside"]) == (box.made["shm"], ordinary_user.uid, 0)
    (queue,) = ipc["posix"]
    assert (queue["name"], queue["messages"], queue["uid"]) == ("/mine", 0, ordinary_user.uid)
    user = rows(nsctl, ordinary_user, "idmap", box.made["user"])
    assert user["uid"] == [{"inside": 0, "outside": ordinary_user.uid, "count": 1}]
    empty = rows(nsctl, ordinary_user, "idmap", box.made["empty"])
    assert empty["uid"] == [{"inside": 7, "outside": ordinary_user.uid, "count": 1}]
    clock = rows(nsctl, ordinary_user, "time", box.made["time"])
    assert (clock["boottime"], clock["for_children_of"]) == (3600 * 10**9, [box.pid])


def test_every_view_ends_well_and_says_what_it_lacks(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, box: Box
) -> None:
    for view in ("idmap", "uts", "time", "ipc", "cgroup"):
        whole = nsctl(view, user=ordinary_user, check=0)
        assert "Not read: " in whole.stdout
        assert whole.stderr == ""
        nsctl(view, str(box.pid), user=ordinary_user, check=0)
        nsctl(view, "--strict", user=ordinary_user, check=3)
