"""Docker's containers, named without asking its daemon, against what docker-inspect(1) says."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

import pytest

from nsctl import host
from nsctl.model.container import Container
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from support.engines.docker import IMAGE, Docker

pytestmark = pytest.mark.engines

# Names that no other container of this machine has.
WEB, SIDE = (f"{word}-{secrets.token_hex(4)}" for word in ("web", "side"))


def nsctl(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nsctl", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_engine(snapshot: Snapshot, rows: list[dict[str, Any]]) -> dict[str, Container]:
    ids = {row["Id"] for row in rows}
    return {row.name: row for row in snapshot.containers if row.id in ids}


def as_inspected(row: dict[str, Any]) -> dict[str, Any]:
    """What docker-inspect(1) says of a container, as far as a row has it."""
    created = datetime.fromisoformat(row["Created"][:26] + "+00:00").timestamp()
    return {
        "name": row["Name"].removeprefix("/"),
        "id": row["Id"],
        "image": row["Config"]["Image"],
        "pid": row["State"]["Pid"],
        "state": row["State"]["Status"],
        "labels": tuple(sorted((row["Config"]["Labels"] or {}).items())),
        "created": pytest.approx(created, abs=0.001),
    }


def as_seen(row: Container) -> dict[str, Any]:
    keys = ("name", "id", "image", "pid", "state", "labels", "created")
    return {key: getattr(row, key) for key in keys}


@pytest.fixture(scope="module")
def many(docker: Docker) -> Docker:
    docker.run(WEB, "--label", "app=demo", "--label", "tier=front")
    docker.run(SIDE, "--network", f"container:{WEB}", "--pid", f"container:{WEB}")
    docker.run("pidhost", "--pid", "host", "--network", "none")
    docker.run("nethost", "--network", "host", "--uts", "host", "--ipc", "host")
    docker.run("priv", "--privileged", "--network", "none")
    options = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    docker.run("ro", *options, "--network", "none", "-v", "/usr:/mnt/usr:ro", "-v", "/tmp:/mnt/t")
    docker.run("ended", command=("true",))
    docker("wait", "ended")
    docker("create", "--name", "made", IMAGE)
    docker.run("paused", "--network", "none")
    docker("pause", "paused")
    return docker


def test_rows_are_what_inspect_says(many: Docker) -> None:
    inspected = many.inspect()
    seen = of_engine(host.take_snapshot([Part.CONTAINERS]), inspected)
    assert {name: as_seen(row) for name, row in seen.items()} == {
        row["Name"].removeprefix("/"): as_inspected(row) for row in inspected
    }
    assert len(seen) == 9


def test_what_was_declared_is_what_inspect_says(many: Docker) -> None:
    inspected = many.inspect()
    names = {row["Id"]: row["Name"].removeprefix("/") for row in inspected}
    seen = of_engine(host.take_snapshot([Part.CONTAINERS]), inspected)
    for row in inspected:
        wanted = row["HostConfig"]
        declared = dict(seen[names[row["Id"]]].declared)

        def word(mode: str) -> str:
            scheme, _, other = mode.partition(":")
            if scheme == "container":
                return f"container:{names[other]}"
            return {"": "own", "private": "own", "default": "bridge"}.get(mode, mode)

        assert declared["pid"] == word(wanted["PidMode"])
        assert declared["net"] == word(wanted["NetworkMode"])
        assert declared["ipc"] == word(wanted["IpcMode"])
        assert declared["uts"] == word(wanted["UTSMode"])
        assert declared["cgroup"] == word(wanted["CgroupnsMode"])
        assert declared["user"] == "host"
        assert (declared["privileged"] == "yes") == wanted["Privileged"]
        assert (declared["read-only"] == "yes") == wanted["ReadonlyRootfs"]
    assert dict(seen[SIDE].declared)["pid"] == f"container:{WEB}"
    ro = dict(seen["ro"].declared)
    assert ro["no-new-privileges"] == "yes"
    assert ro["cap-drop"] == "ALL"
    assert (ro["mount:/mnt/usr"], ro["mount:/mnt/t"]) == ("/usr,ro", "/tmp")


def test_all_processes_of_a_container_are_its_own(many: Docker) -> None:
    many("exec", "-d", WEB, "sleep", "77")
    pids: set[int] = set()
    pid = int(many("inspect", "-f", "{{.State.Pid}}", WEB))
    try:
        deadline = time.monotonic() + 5
        while True:
            pids = {int(line.split()[1]) for line in many("top", WEB).split("\n")[1:]}
            if len(pids) == 2:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
        groups = json.loads(nsctl("matrix", "-J"))["groups"]
        (web,) = [row for row in groups if row["whose"]["name"] == WEB]
        assert web["whose"]["engine"] == "docker"
        assert web["whose"]["kind"] == "container"
        assert set(web["pids"]) == pids
        assert pid in pids
    finally:
        for extra in pids - {pid}:
            os.kill(extra, signal.SIGKILL)


def test_names_ids_and_addresses_find_a_container(many: Docker) -> None:
    full = many("inspect", "-f", "{{.Id}}", WEB)
    for target in (WEB, full, full[:12], f"docker://{full[:8]}", f"docker://{WEB}"):
        shown = nsctl("show", target)
        assert shown.startswith(f"{WEB} "), shown
        assert "docker" in shown.split("\n")[0]
    assert f"container:{WEB}" in nsctl("show", SIDE)
    rows = json.loads(nsctl("ls", "-J", "net"))["namespaces"]
    members = [{owner["name"] for owner in row["members"]} for row in rows]
    assert {WEB, SIDE} in members
    assert WEB in nsctl("matrix")


def test_the_same_without_a_daemon_that_answers(many: Docker) -> None:
    inspected = many.inspect()
    before = of_engine(host.take_snapshot([Part.CONTAINERS]), inspected)
    many.hang()
    try:
        began = time.monotonic()
        hung = host.take_snapshot([Part.CONTAINERS])
        assert time.monotonic() - began < 1
    finally:
        many.resume()
    assert of_engine(hung, inspected) == before
    many.stop_daemon()
    stopped = host.take_snapshot([Part.CONTAINERS])
    assert of_engine(stopped, inspected) == before
    assert nsctl("show", WEB).startswith(f"{WEB} ")


def test_remapped_ids_and_the_default_place(remapped_docker: Docker) -> None:
    remapped_docker.run("mapped")
    remapped_docker.run("unmapped", "--userns", "host", "--network", "host")
    inspected = remapped_docker.inspect()
    seen = of_engine(host.take_snapshot([Part.CONTAINERS]), inspected)
    assert {name: as_seen(row) for name, row in seen.items()} == {
        row["Name"].removeprefix("/"): as_inspected(row) for row in inspected
    }
    assert dict(seen["mapped"].declared)["user"] == "own"
    assert dict(seen["unmapped"].declared)["user"] == "host"
    remapped_docker.stop_daemon()
    assert of_engine(host.take_snapshot([Part.CONTAINERS]), inspected) == seen
    assert os.path.exists(f"/proc/{seen['mapped'].pid}")
