"""What is seen of real control groups, named as systemd names them, below a parent of the test's own.

Both versions are there where the machine has both; a pure version 2 host is constructed in
tests/unit/relate/test_cgroups.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.holding import holding
from support.users import Nsctl

pytestmark = pytest.mark.privileged

_OTHERS = ("ssh.service", "cron\\x2ddaily.service", "libpod-0a1b.scope")

_APART = """
# In its groups first: a cgroup namespace begins where whoever makes it is.
top, *points = sys.argv[1:]
for point in points:
    with open(f"{point}{top}/box.scope/cgroup.procs", "w") as file:
        file.write("0")
libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
unshare(0x02000000 | MNT)
mount("none", "/", None, 0x4000 | 1 << 18)
mount("none", "/mnt", "tmpfs", 0)
os.mkdir("/mnt/sys")
def shown(point, group, name, read_only):
    os.mkdir(f"/mnt/{name}")
    mount(f"{point}{group}", f"/mnt/{name}", None, 0x1000)
    if read_only:
        mount("none", f"/mnt/{name}", None, 0x1000 | 0x20 | 1)
def hide():
    for line in open("/proc/self/mountinfo").read().split("\\n"):
        if " - cgroup" in line and not line.split(" ")[4].startswith("/mnt/"):
            libc.umount2(line.split(" ")[4].encode(), 2)
"""


class Tree(NamedTuple):
    """Groups in each hierarchy that can have them.

    Attributes:
        top: path of the test's own group.
        points: where these hierarchies are mounted.
    """

    top: str
    points: tuple[str, ...]


def hierarchies() -> list[tuple[str, str]]:
    """Mount point and type of each hierarchy that is mounted whole."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.rstrip("\n").split(" ")
            kind = fields[fields.index("-") + 1]
            if kind in {"cgroup", "cgroup2"} and fields[3] == "/":
                found.append((fields[4], kind))
    return found


@pytest.fixture
def tree() -> Iterator[Tree]:
    """A parent with groups that are called like services and containers."""
    top = f"/nsctl-test-{secrets.token_hex(4)}"
    names = ("box.scope", "box.scope/inner", *_OTHERS)
    points = []
    try:
        for point, _ in hierarchies():
            # A new cpuset of version 1 takes nobody in.
            if point.endswith("/cpuset"):
                continue
            with contextlib.suppress(PermissionError):
                os.mkdir(f"{point}{top}")
                points.append(point)
                for name in names:
                    os.mkdir(f"{point}{top}/{name}")
        if not points:
            pytest.skip("control groups cannot be made here")
        yield Tree(top, tuple(points))
    finally:
        for point in points:
            for directory, _, _ in os.walk(f"{point}{top}", topdown=False):
                os.rmdir(directory)


def row(nsctl: Nsctl, pid: int) -> dict[str, Any]:
    """What the view says of a process."""
    (found,) = json.loads(nsctl("cgroup", str(pid), "-J", check=0).stdout)["cgroup"]
    assert isinstance(found, dict)
    return found


def of_the_test(found: dict[str, Any]) -> set[str]:
    """The names that leak by a mount; the host's own may leak by paths of processes."""
    return {leak["name"] for leak in found["leaks"] if leak["by"] == "mount"}


def end(pid: int) -> None:
    """Wait until a process's groups are empty: it was killed and waited for."""
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_its_own_groups_alone_are_seen_and_nothing_leaks(nsctl: Nsctl, tree: Tree) -> None:
    code = _APART + (
        "for n, point in enumerate(points):\n"
        '    shown(point, f"{top}/box.scope", f"h{n}", True)\n'
        "hide()\nready(pid=os.getpid())"
    )
    with holding(code, tree.top, *tree.points) as (pid, _made, _ask):
        found = row(nsctl, pid)
        assert of_the_test(found) == set()
        count = 2 * len(tree.points)
        assert (found["sees"]["groups"], found["sees"]["own"]) == (count, count)
        assert found["sees"]["of"] > count
        own = [each for each in found["hierarchies"] if each["mounts"]]
        assert len(own) == len(tree.points)
        for each in own:
            assert each["begins"] == each["own"] == f"{tree.top}/box.scope"
            assert each["sees"]["groups"] == 2
        assert found["writable"] == []
        text = nsctl("cgroup", str(pid), check=0).stdout
        assert f"{tree.top}/box.scope" in text
        assert "read-only" in text
    end(pid)


def test_the_parents_tree_leaks_each_service_by_its_name_and_is_writable(
    nsctl: Nsctl, tree: Tree
) -> None:
    code = _APART + (
        'for n, point in enumerate(points):\n    shown(point, top, f"h{n}", False)\n'
        "hide()\nready(pid=os.getpid())"
    )
    with holding(code, tree.top, *tree.points) as (pid, _made, _ask):
        found = row(nsctl, pid)
        assert of_the_test(found) == {"ssh.service", "cron-daily.service", "libpod-0a1b.scope"}
        assert found["sees"]["groups"] == 6 * len(tree.points)
        assert len(found["writable"]) == len(tree.points)
        text = nsctl("cgroup", str(pid), check=0).stdout
        assert "ssh.service" in text
        assert "WRITABLE" in text
    end(pid)


def test_limits_and_use_are_those_of_the_files(nsctl: Nsctl, tree: Tree) -> None:
    files = {"pids.max": "40", "memory.limit_in_bytes": str(64 << 20), "memory.max": str(64 << 20)}
    with holding(_APART + "ready(pid=os.getpid())", tree.top, *tree.points) as (pid, _made, _ask):
        written = set()
        for point in tree.points:
            for name, value in files.items():
                path = f"{point}{tree.top}/box.scope/{name}"
                if os.path.exists(path):
                    with open(path, "w", encoding="ascii") as file:
                        file.write(value)
                    written.add(name)
        used = row(nsctl, pid)["usage"]
        if "pids.max" in written:
            assert (used["pids_max"], used["pids_max_effective"]) == (40, 40)
            assert used["pids"] == 1
        if written - {"pids.max"}:
            assert used["memory_max"] == 64 << 20
            assert used["memory_max_effective"] <= 64 << 20
            assert used["memory"] >= 0
        assert written
    end(pid)


def test_a_namespace_that_no_process_is_in_still_tells_where_it_begins(
    nsctl: Nsctl, tree: Tree
) -> None:
    code = """
top, *points = sys.argv[1:]
def move(group):
    for point in points:
        with open(f"{point}{group}/cgroup.procs", "w") as file:
            file.write("0")
before = {}
for line in open("/proc/self/cgroup"):
    _, names, path = line.rstrip("\\n").split(":", 2)
    before[names] = path
move(f"{top}/box.scope/inner")
back = own("cgroup")
unshare(0x02000000)
fd, ino = own("cgroup"), number("cgroup")
call("setns", back, 0x02000000)
move(f"{top}/ssh.service")
ready(cgroup=ino)
"""
    with holding(code, tree.top, *tree.points) as (pid, made, _ask):
        found = json.loads(nsctl("cgroup", "-J", check=0).stdout)["cgroup"]
        (empty,) = [each for each in found if each["ns"] == made["cgroup"]]
        assert empty["is"] == "empty"
        begins = [each["begins"] for each in empty["hierarchies"]]
        assert begins.count(f"{tree.top}/box.scope/inner") == len(tree.points)
        text = nsctl("cgroup", f"cgroup:[{made['cgroup']}]", check=0).stdout
        assert f"{tree.top}/box.scope/inner" in text
    end(pid)


def test_who_went_elsewhere_does_not_move_where_his_namespace_begins(
    nsctl: Nsctl, tree: Tree
) -> None:
    code = _APART + (
        "for point in points:\n"
        '    with open(f"{point}{top}/ssh.service/cgroup.procs", "w") as file:\n'
        '        file.write("0")\n'
        "ready(pid=os.getpid())"
    )
    with holding(code, tree.top, *tree.points) as (pid, _made, _ask):
        found = row(nsctl, pid)
        placed = [each for each in found["hierarchies"] if each["own"] == f"{tree.top}/ssh.service"]
        assert len(placed) == len(tree.points)
        assert {each["begins"] for each in placed} == {f"{tree.top}/box.scope"}
    end(pid)
