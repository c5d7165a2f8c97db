"""What is in namespaces of real containers, against what their own programs say of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.engines.docker import Docker
from support.engines.lxc import FIRST_ID, MAPPED, Lxc
from support.engines.needs import nsctl, require
from support.engines.podman import UID, Podman
from support.engines.stage import Stage

pytestmark = pytest.mark.engines

_MAKE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for kind, path in zip((0x10000000, 0x08000000), sys.argv[1:]):
    fd = os.open(path, os.O_RDONLY)
    if kind == 0x08000000 or os.fstat(fd).st_ino != os.stat("/proc/self/ns/user").st_ino:
        assert libc.setns(fd, kind) == 0, ctypes.get_errno()
os.setgroups([]); os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)
print(libc.shmget(0x4E53, 12288, 0o1640), libc.semget(0x4354, 4, 0o1600), libc.msgget(0x4C, 0o1622))
"""


def shown(view: str, *target: str) -> list[dict[str, Any]]:
    """The rows of a view."""
    found: dict[str, Any] = json.loads(nsctl(view, *target, "-J"))
    rows: list[dict[str, Any]] = found["maps" if view == "idmap" else view]
    return rows


def make_objects(pid: int) -> None:
    """Make System V objects in a container's IPC namespace, as its root, with the host's Python."""
    paths = [f"/proc/{pid}/ns/{kind}" for kind in ("user", "ipc")]
    subprocess.run(
        [sys.executable, "-I", "-c", _MAKE, *paths], check=True, stdout=subprocess.DEVNULL
    )


def ids_of(ipcs: str) -> set[tuple[int, int]]:
    """Key and id of every object that ipcs(1) printed."""
    words = [line.split() for line in ipcs.split("\n") if line.startswith("0x")]
    return {(int(row[0], 16), int(row[1])) for row in words}


def ipcs(pid: int | str) -> set[tuple[int, int]]:
    """What ipcs(1) lists in a container's namespaces: the host's, for the image has none."""
    command = ["nsenter", "-t", str(pid), "-U", "-i", "ipcs"]
    if os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino:
        command.remove("-U")
    return ids_of(subprocess.check_output(command, text=True))


def told(row: dict[str, Any]) -> set[tuple[int, int]]:
    """The same of a row of ours."""
    return {(each["key"], each["id"]) for kind in ("shm", "sem", "msg") for each in row[kind]}


# --- Docker


@pytest.fixture(scope="module")
def box(docker: Docker) -> Docker:
    """Docker's containers, which differ on purpose."""
    limits = ("--memory", "64m", "--pids-limit", "40", "--cpus", "0.5")
    docker.run("plain", *limits, "--hostname", "plain.example", "--cgroupns", "private")
    docker.run("nosy", "--uts", "host", "--ipc", "host", "--cgroupns", "host")
    docker.run("open", "--privileged", "--cgroupns", "host")
    return docker


def pid_of(docker: Docker, name: str) -> int:
    return int(docker("inspect", "-f", "{{.State.Pid}}", name))


def test_names_are_those_that_the_container_says(box: Docker) -> None:
    (plain,) = shown("uts", "plain")
    assert plain["host"] == box("exec", "plain", "hostname") == "plain.example"
    assert (plain["is"], plain["whose"]["name"]) == ("own", "plain")
    (host,) = shown("uts", "nosy")
    assert host["is"] == "host"
    assert "nosy" in [owner["name"] for owner in host["guests"]]


def test_objects_are_those_that_ipcs_lists_inside(box: Docker) -> None:
    make_objects(pid_of(box, "plain"))
    (row,) = shown("ipc", "plain")
    seen = told(row)
    assert len(seen) == 3
    assert seen == ipcs(pid_of(box, "plain"))
    assert {each["perms"] for each in row["shm"]} == {"0640"}
    host = next(each for each in shown("ipc") if each["is"] == "host")
    assert seen.isdisjoint(told(host))
    (shared,) = shown("ipc", "nosy")
    assert shared["ns"] == host["ns"]


def test_the_tree_that_is_counted_is_the_one_that_is_found_inside(box: Docker) -> None:
    for name in ("plain", "nosy", "open"):
        (row,) = shown("cgroup", name)
        for each in row["hierarchies"]:
            # The host's whole tree changes while it is counted.
            for mount in each["mounts"] if name != "open" else ():
                found = box("exec", name, "find", mount["point"], "-type", "d")
                count = len(found.split("\n"))
                assert each["sees"]["groups"] == count, (name, mount)
        begins = {each["begins"] for each in row["hierarchies"] if each["mounts"]}
        if name == "plain":
            # A namespace of its own begins where it is.
            assert begins == {each["own"] for each in row["hierarchies"] if each["mounts"]}
            own = box("exec", name, "cat", "/proc/self/cgroup").split("\n")
            assert {line.split(":", 2)[2] for line in own} == {"/"}
        else:
            assert begins == {"/"}
        assert bool(row["writable"]) == (name == "open")


def test_limits_are_those_that_were_asked_for(box: Docker) -> None:
    asked = json.loads(box("inspect", "-f", "{{json .HostConfig}}", "plain"))
    (row,) = shown("cgroup", "plain")
    used = row["usage"]
    assert (used["memory_max"], used["pids_max"]) == (asked["Memory"], asked["PidsLimit"])
    assert used["cpus"] == pytest.approx(asked["NanoCpus"] / 1e9)
    assert used["pids"] == 1
    assert 0 < used["memory"] < 64 << 20
    text = nsctl("cgroup", "plain")
    assert "of 64M" in text
    assert "at most 0.5 processors" in text


# --- Podman, as an ordinary user


@pytest.fixture(scope="module")
def rootless() -> Iterator[Podman]:
    require("podman", "conmon", "crun", "newuidmap", "slirp4netns")
    with Stage("rootless") as stage:
        podman = Podman(stage, rootless=True, runtime="crun")
        podman.run("mine", "--network", "none", "--hostname", "mine")
        yield podman


def mapped(text: str) -> list[dict[str, int]]:
    """A uid_map as rows."""
    rows = [tuple(map(int, line.split())) for line in text.split("\n") if line]
    return [{"inside": a, "outside": b, "count": c} for a, b, c in rows]


def test_a_rootless_map_is_in_the_hosts_numbers(rootless: Podman) -> None:
    (row,) = shown("idmap", f"mine@{UID}")
    # Read inside, a map is in the numbers of the namespace around it: the host's.
    assert row["uid"] == mapped(rootless("exec", "mine", "cat", "/proc/self/uid_map"))
    assert (row["root"], row["level"]) == (UID, 1)


def as_user(podman: Podman, *words: str) -> str:
    """Run nsctl as the owner of rootless containers, in the stage."""
    identity = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
    environ = {"PYTHONDONTWRITEBYTECODE": "1", "HOME": str(podman.stage.directory / "home")}
    return podman.stage.run(
        "env", "-C", "/", *identity, sys.executable, "-m", "nsctl", *words, environ=environ
    )


def test_the_owner_of_rootless_containers_sees_into_them(rootless: Podman) -> None:
    (row,) = [each for each in shown("uts") if each["host"] == "mine"]
    pid = str(next(member["pid"] for member in shown("cgroup", f"mine@{UID}") if member["pid"]))
    make_objects(int(pid))
    own: dict[str, Any] = json.loads(as_user(rootless, "uts", pid, "-J"))
    assert [(each["ns"], each["host"]) for each in own["uts"]] == [(row["ns"], "mine")]
    (ours,) = json.loads(as_user(rootless, "ipc", pid, "-J"))["ipc"]
    assert told(ours) == ipcs(pid)
    assert len(told(ours)) == 3
    assert {(each["uid"], each["uid_inside"]) for each in ours["shm"]} == {(UID, 0)}
    (roots,) = shown("ipc", pid)
    assert told(roots) == told(ours)
    assert roots["shm"][0]["uid"] == UID
    (user,) = json.loads(as_user(rootless, "idmap", pid, "-J"))["maps"]
    assert user["uid"] == shown("idmap", pid)[0]["uid"]


def test_inside_podman_unshare_it_says_whose_numbers_it_tells(rootless: Podman) -> None:
    text = rootless(
        "unshare", "env", "PYTHONDONTWRITEBYTECODE=1", sys.executable, "-m", "nsctl", "idmap", "-J"
    )
    found = json.loads(text[text.index("{") :])
    assert found["numbers"] == "around-reader"
    assert found["reader"]["uid"] == mapped(rootless("unshare", "cat", "/proc/self/uid_map"))
    roots = {row["root"] for row in found["maps"]}
    assert UID in roots


# --- LXC


@pytest.fixture(scope="module")
def lxc() -> Iterator[Lxc]:
    require("lxc-start", "lxc-info", "newuidmap")
    with Stage("lxc") as stage:
        engine = Lxc(stage)
        empty = "lxc.net.0.type = empty"
        clocks = ("lxc.time.offset.boot = 10h", "lxc.time.offset.monotonic = -5s")
        engine.start("late", empty, *MAPPED, *clocks)
        engine.start("other", empty, *MAPPED)
        yield engine


def test_clocks_are_those_that_were_asked_for_and_that_uptime_shows(lxc: Lxc) -> None:
    pid = lxc.info("late")["pid"]
    (row,) = shown("time", "lxc://late")
    assert (row["boottime"], row["monotonic"]) == (36_000 * 10**9, -5 * 10**9)
    inside = float(
        subprocess.check_output(["nsenter", "-t", pid, "-T", "cat", "/proc/uptime"]).split()[0]
    )
    assert 0 <= inside - row["uptime"] < 600
    assert "+10h" in nsctl("time", "lxc://late")


def test_containers_with_one_range_of_ids_overlap_in_all_of_it(lxc: Lxc) -> None:
    rows = {row["whose"]["name"]: row for row in shown("idmap") if row["root"] == FIRST_ID}
    ours = {name: row for name, row in rows.items() if name in {"late", "other"}}
    assert ours.keys() == {"late", "other"}
    inside = mapped(
        subprocess.check_output(
            ["nsenter", "-t", lxc.info("late")["pid"], "-U", "cat", "/proc/self/uid_map"], text=True
        )
    )
    assert ours["late"]["uid"] == inside
    (overlap,) = [each for each in ours["late"]["overlaps"] if each["ns"] == ours["other"]["ns"]]
    assert (overlap["uids"], overlap["gids"]) == (65536, 65536)
    assert "OVERLAP" in nsctl("idmap")
