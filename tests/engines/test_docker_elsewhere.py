"""Dockers besides root's one: an ordinary user's, one in a container, two at once, moved and remapped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nsctl import host
from nsctl.model.container import Container
from nsctl.model.part import Part
from support.engines.docker import (
    IMAGE,
    ROOTLESS_SCRIPT,
    ROOTLESS_UID,
    Client,
    Docker,
    InnerDocker,
    RootlessDocker,
)
from support.engines.needs import nsctl, require, rows
from support.engines.stage import Stage

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def moved() -> Iterator[Docker]:
    """Mapped ids, and a data root at an unusual place."""
    require("dockerd", "containerd", "runc", "iptables")
    with Stage("moved") as stage:
        docker = Docker(stage, data_root=str(stage.directory / "elsewhere"), remap=True)
        docker.run("twin", "--network", "none")
        docker("create", "--name", "made", IMAGE)
        yield docker


@pytest.fixture(scope="module")
def inner(docker: Docker) -> InnerDocker:
    """A daemon in a container of the other one's, with a container called as one outside."""
    docker.run("twin", "--network", "none")
    found = InnerDocker(docker, "box")
    found.run("twin", "--network", "none", "--label", "app=inner")
    found("pause", "twin")
    found("create", "--name", "made", IMAGE)
    return found


def seen(client: Client) -> dict[str, Container]:
    """Rows of what one daemon has."""
    ids = {row["Id"] for row in client.inspect()}
    found = host.take_snapshot([Part.CONTAINERS]).containers
    return {row.name: row for row in found if row.id in ids}


def compare(client: Client, suffix: str = "") -> dict[str, Container]:
    found = seen(client)
    assert {
        name: (row.id, row.image, row.state, dict(row.labels)) for name, row in found.items()
    } == {
        row["Name"].removeprefix("/") + suffix: (
            row["Id"],
            row["Config"]["Image"],
            row["State"]["Status"],
            row["Config"]["Labels"] or {},
        )
        for row in client.inspect()
    }
    return found


def test_a_data_root_that_was_moved_and_remapped_is_found(moved: Docker) -> None:
    found = compare(moved)
    (told,) = [row for row in moved.inspect() if row["Name"] == "/twin"]
    assert found["twin"].pid == told["State"]["Pid"]
    assert dict(found["twin"].declared)["user"] == "own"
    (place,) = (moved.stage.directory / "elsewhere").glob("*.*/containers")
    assert (place / found["twin"].id).is_dir()


def test_two_daemons_with_one_name_are_ambiguous_and_told_apart_by_id(
    moved: Docker, inner: InnerDocker, docker: Docker
) -> None:
    assert inner.socket.exists()
    ids = [
        next(row["Id"] for row in each.inspect() if row["Name"] == "/twin")
        for each in (moved, docker)
    ]
    for target in ("twin", "docker://twin"):
        done = subprocess.run(
            [sys.executable, "-m", "nsctl", "show", target],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert all(f"docker://twin ({each[:12]})" in done.stderr for each in ids)
        # What runs in a container is called otherwise.
        assert "@box" not in done.stderr
    for each in ids:
        assert f"docker://{each[:12]}" in nsctl("show", each[:12])


def test_a_docker_in_a_dockers_container_is_named_after_that(
    inner: InnerDocker, docker: Docker
) -> None:
    found = compare(inner, "@box")
    twin = found["twin@box"]
    assert (twin.state, dict(twin.labels)) == ("paused", {"app": "inner"})
    assert twin.vouched_by
    (told,) = [row for row in inner.inspect() if row["Name"] == "/twin"]
    with open(f"/proc/{twin.pid}/status", encoding="ascii", errors="replace") as file:
        (line,) = [line for line in file if line.startswith("NSpid:")]
    assert int(line.split("\t")[2]) == told["State"]["Pid"]
    assert nsctl("show", "twin@box").startswith("twin@box ")
    # Its id is its own engine's word only.
    assert nsctl("show", twin.id, status=2) == ""
    groups = {row["whose"]["name"]: row for row in rows("matrix", "groups")}
    assert twin.pid in groups["twin@box"]["pids"]
    assert twin.pid not in groups["box"]["pids"]
    (box,) = [row for row in docker.inspect() if row["Name"] == "/box"]
    assert box["State"]["Pid"] in groups["box"]["pids"]
    document = json.loads(nsctl("containers", "-J"))
    (row,) = [row for row in document["containers"] if row["name"] == "twin@box"]
    assert row["vouched_by"] == twin.vouched_by
    assert row["user"] is None


def test_an_ordinary_users_docker_is_his() -> None:
    require("rootlesskit", "dockerd", "newuidmap")
    if not os.path.exists(ROOTLESS_SCRIPT):
        pytest.skip(f"needs {ROOTLESS_SCRIPT}")
    with Stage("rootless") as stage:
        docker = RootlessDocker(stage)
        docker("create", "--name", "made", "--network", "none", IMAGE)
        # Found by the daemon alone, while no container runs.
        assert compare(docker, f"@{ROOTLESS_UID}").keys() == {f"made@{ROOTLESS_UID}"}
        docker.run("web", "--network", "none", "--label", "app=demo")
        found = compare(docker, f"@{ROOTLESS_UID}")
        web = found[f"web@{ROOTLESS_UID}"]
        told = next(row for row in docker.inspect() if row["Name"] == "/web")
        assert (web.pid, web.user) == (told["State"]["Pid"], ROOTLESS_UID)
        assert dict(web.declared)["user"] == "rootless"
        (row,) = [row for row in rows("containers", "containers") if row["id"] == web.id]
        assert row["user"] == ROOTLESS_UID
        assert row["namespaces"]["pid"]["is"] == "own"
