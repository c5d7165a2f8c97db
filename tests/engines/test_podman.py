"""Podman's containers and pods, named without Podman, against what podman-inspect(1) says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nsctl import host
from nsctl.model.container import Container
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from support.engines.needs import nsctl, require, rows
from support.engines.podman import IMAGE, UID, Podman
from support.engines.stage import Stage
from support.users import ORDINARY_UID

pytestmark = pytest.mark.engines

_SHARED = ("--share", "pid,net,ipc,uts", "--network", "none")


def taken() -> Snapshot:
    return host.take_snapshot([Part.CONTAINERS])


def of_podman(snapshot: Snapshot, inspected: list[dict[str, Any]]) -> dict[str, Container]:
    ids = {row["Id"] for row in inspected}
    return {row.name: row for row in snapshot.containers if row.id in ids}


def as_inspected(row: dict[str, Any], pods: dict[str, str], suffix: str = "") -> dict[str, Any]:
    """What podman-inspect(1) says of a container, as far as a row has it."""
    written = datetime.fromisoformat(row["Created"][:26].rstrip("Z"))
    created = written.replace(tzinfo=UTC).timestamp()
    return {
        "name": row["Name"] + suffix,
        "engine": "podman",
        "id": row["Id"],
        "image": row["ImageName"],
        "pid": row["State"]["Pid"],
        "state": row["State"]["Status"],
        "pod": pods[row["Pod"]] + suffix if row["Pod"] else "",
        "labels": tuple(sorted((row["Config"]["Labels"] or {}).items())),
        "created": pytest.approx(created, abs=0.001),
    }


def as_seen(row: Container) -> dict[str, Any]:
    keys = ("name", "engine", "id", "image", "pid", "state", "pod", "labels", "created")
    return {key: getattr(row, key) for key in keys}


def compare(podman: Podman, suffix: str = "") -> dict[str, Container]:
    inspected, pods = podman.inspect(), dict(podman.pods())
    seen = of_podman(taken(), inspected)
    assert {name: as_seen(row) for name, row in seen.items()} == {
        row["Name"] + suffix: as_inspected(row, pods, suffix) for row in inspected
    }
    return seen


@pytest.fixture(scope="module")
def root() -> Iterator[Podman]:
    require("podman", "conmon", "runc", "catatonit")
    with Stage("podman") as stage:
        podman = Podman(stage)
        podman.run("one", "--label", "app=demo", "--label", "tier=é", "--network", "none")
        podman.run("priv", "--privileged", "--network", "host", "--pid", "host")
        podman.run("ro", "--network", "none", "--read-only", "-v", "/usr:/mnt/usr:ro")
        podman.pod("pod1", *_SHARED)
        podman.run("c1", "--pod", "pod1")
        podman.run("ended", "--network", "none", command=("true",))
        podman("wait", "ended")
        podman("create", "--name", "made", "--network", "none", IMAGE)
        yield podman


@pytest.fixture(scope="module")
def rootless() -> Iterator[Podman]:
    require("podman", "conmon", "crun", "catatonit", "newuidmap")
    with Stage("rootless") as stage:
        podman = Podman(stage, rootless=True, runtime="crun")
        podman.run("one", "--label", "app=demo", "--network", "none")
        podman.pod("pod1", *_SHARED)
        podman.run("c1", "--pod", "pod1")
        yield podman


def test_rows_are_what_inspect_says(root: Podman) -> None:
    seen = compare(root)
    assert {"one", "priv", "ro", "c1", "ended", "made"} < seen.keys()
    assert len(seen) == 7
    assert not any(row.user or row.vouched_by for row in seen.values())


def test_what_was_asked_for_is_told(root: Podman) -> None:
    seen = of_podman(taken(), root.inspect())
    priv, ro = dict(seen["priv"].declared), dict(seen["ro"].declared)
    assert (priv["pid"], priv["net"], priv["privileged"]) == ("host", "host", "yes")
    assert priv["seccomp"] == "none"
    assert (ro["pid"], ro["privileged"], ro["read-only"]) == ("own", "no", "yes")
    assert ro["mount:/mnt/usr"] == "/usr,ro"
    infra = next(name for name in seen if name.endswith("-infra"))
    declared = dict(seen["c1"].declared)
    for kind in ("pid", "net", "ipc", "uts"):
        assert declared[kind] == f"container:{infra}"


def test_a_pods_processes_are_its_containers_own(root: Podman) -> None:
    seen = of_podman(taken(), root.inspect())
    groups = [
        row
        for row in rows("matrix", "groups")
        if row["whose"]["id"] in {each.id for each in seen.values()}
    ]
    in_pod = {row["whose"]["name"]: row for row in groups if row["whose"]["pod"] == "pod1"}
    assert in_pod.keys() == {"c1", next(name for name in seen if name.endswith("-infra"))}
    assert all(row["pids"] == [seen[name].pid] for name, row in in_pod.items())


def test_names_ids_and_addresses_find_a_container(root: Podman) -> None:
    one = of_podman(taken(), root.inspect())["one"]
    for target in ("podman://one", one.id, one.id[:12], f"podman://{one.id[:8]}"):
        shown = nsctl("show", target)
        assert shown.startswith("one "), shown
        assert f"podman://{one.id[:12]}" in shown.split("\n")[0]


def test_a_database_that_is_no_database_costs_labels_and_is_noted(root: Podman) -> None:
    before = of_podman(taken(), root.inspect())
    path = Path(root.graph, "libpod/bolt_state.db")
    kept = path.read_bytes()
    try:
        for damaged in (b"", b"no database", kept[:4096], bytes(len(kept))):
            path.write_bytes(damaged)
            snapshot = taken()
            seen = {row.id: row for row in snapshot.containers if row.engine == "podman"}
            for name, row in before.items():
                found = seen[row.id]
                assert (found.name, found.pid, found.image) == (name, row.pid, row.image)
                assert found.created == pytest.approx(row.created, abs=1)
                assert not found.labels
            told = [gap for gap in snapshot.gaps if gap.source == "podman"]
            assert any(gap.object == str(path) for gap in told)
            assert any("labels" in gap.object and "database" in gap.cause for gap in told)
    finally:
        path.write_bytes(kept)
    assert of_podman(taken(), root.inspect()) == before


def test_a_container_whose_monitor_was_killed_is_still_named(root: Podman) -> None:
    root.run("orphan", "--network", "none")
    pid = next(row["State"]["Pid"] for row in root.inspect() if row["Name"] == "orphan")
    monitor = next(row["State"]["ConmonPid"] for row in root.inspect() if row["Name"] == "orphan")
    subprocess.run(["kill", "-KILL", str(monitor)], check=True)
    seen = {row.name: row for row in taken().containers}
    assert (seen["orphan"].pid, seen["orphan"].engine) == (pid, "podman")


def test_an_ordinary_users_containers_are_his(rootless: Podman) -> None:
    seen = compare(rootless, f"@{UID}")
    assert len(seen) == 3
    assert {row.user for row in seen.values()} == {UID}
    assert dict(seen[f"one@{UID}"].declared)["user"] == "rootless"
    shown = nsctl("show", f"podman://one@{UID}")
    assert shown.startswith(f"one@{UID} ")
    # An id that only he vouches for may be whatever he likes.
    assert nsctl("show", seen[f"one@{UID}"].id, status=2) == ""


def test_to_himself_his_containers_are_his_own(rootless: Podman) -> None:
    who = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all")
    runtime_dir = f"XDG_RUNTIME_DIR={rootless.stage.directory}/xdg"
    prefix = ("env", "-C", "/", runtime_dir, *who)
    if subprocess.run([*prefix, sys.executable, "-c", "import nsctl"], check=False).returncode:
        pytest.skip("an ordinary user cannot use the Python environment")
    inspected = rootless.inspect()
    told = [row for row in rows("containers", "containers", prefix) if row["engine"]]
    seen = {row["name"]: row for row in told if row["id"] in {each["Id"] for each in inspected}}
    one = next(row for row in inspected if row["Name"] == "one")
    # crun keeps a state of the same container where a bare one's would be.
    assert len(seen) == len(inspected) == 3
    assert not any(row["engine"] == "crun" for row in told)
    assert (seen["one"]["engine"], seen["one"]["pid"]) == ("podman", one["State"]["Pid"])
    assert nsctl("show", one["Id"][:12], prefix=prefix).startswith("one ")


def test_who_poses_as_a_monitor_speaks_for_his_own_processes_only(root: Podman) -> None:
    inspected = root.inspect()
    before = of_podman(taken(), inspected)
    one = before["one"]
    userdata = f"overlay-containers/{one.id}/userdata"
    words = (
        *("-c", one.id, "-n", "victim", "-b", f"{root.graph}/{userdata}"),
        *("-p", f"/run/{userdata}/pidfile", "--exit-command", "/usr/bin/podman"),
    )
    code = (
        "import ctypes, subprocess, sys; ctypes.CDLL(None).prctl(15, b'conmon', 0, 0, 0); "
        "p = subprocess.Popen(['sleep', '99']); print('ready', flush=True); sys.stdin.read(); "
        "p.kill()"
    )
    for container_id in (one.id, "ab" * 32):
        forged = [word.replace(one.id, container_id) for word in words]
        with subprocess.Popen(
            ["/usr/bin/python3", "-I", "-c", code, *forged],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=ORDINARY_UID,
            group=ORDINARY_UID,
            extra_groups=[],
            cwd="/",
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            snapshot = taken()
            process.communicate()
        assert of_podman(snapshot, inspected) == before
        for row in snapshot.containers:
            if row.vouched_by == process.pid:
                assert row.name.endswith(f"@{ORDINARY_UID}")
                assert not row.cgroups


def test_what_entered_an_ordinary_users_container_is_counted_to_it(rootless: Podman) -> None:
    rootless("exec", "-d", "one", "sleep", "88")
    one = of_podman(taken(), rootless.inspect())[f"one@{UID}"]
    (group,) = [row for row in rows("matrix", "groups") if row["whose"]["id"] == one.id]
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in group["pids"]]
    assert sorted(commands) == [b"sleep\x001000\0", b"sleep\x0088\0"]
