"""Whoever poses as an engine from inside a container, or as an ordinary user, changes no row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl import host
from nsctl.errors import UnknownTarget
from nsctl.model.container import Container
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.relate.find import find
from nsctl.targets import syntax
from support.engines.docker import Docker
from support.engines.stage import Stage
from support.users import ORDINARY_UID

pytestmark = pytest.mark.engines

# Poses as a shim of Docker's whose container is its own child, in a bundle like a real one's,
# and as a dockerd whose state tells of containers with the names and ids of real ones.
_FORGER = """#!/bin/sh
mkdir -p /tmp/f/{id}
cd /tmp/f/{id}
sleep 900 &
echo -n $! > init.pid
printf '{{"ociVersion":"1","mounts":[{{"source":"/forged/containers/{id}/hostname"}}]}}' > config.json
echo ready > /tmp/ready
while :; do sleep 800; done
"""


def forge(directory: Path, full_id: str, name: str) -> None:
    """Write the forger's programs and state into a directory that a container gets as its own."""
    for program in ("containerd-shim", "dockerd"):
        path = directory / program
        path.write_text(_FORGER.format(id=full_id))
        path.chmod(0o755)
    for container_id in (full_id, "ab" * 32):
        place = directory / "containers" / container_id
        place.mkdir(parents=True, exist_ok=True)
        state = {"ID": container_id, "Name": f"/{name}", "State": {"Running": True, "Pid": 1}}
        (place / "config.v2.json").write_text(json.dumps(state))
        (place / "hostconfig.json").write_text('{"PidMode": "host"}')


def trusted(snapshot: Snapshot) -> list[Container]:
    rows = snapshot.containers
    return [row for row in rows if row.engine == "docker" and not row.vouched_by]


def forged(snapshot: Snapshot) -> list[Container]:
    return [row for row in snapshot.containers if row.vouched_by]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def attacked(docker: Docker) -> Docker:
    docker.run("web", "--network", "none")
    docker.run("victim", "--network", "none")
    docker("rm", "-f", "victim")
    return docker


@pytest.mark.parametrize("extra", [(), ("--pid", "host"), ("--cgroupns", "private")])
@pytest.mark.parametrize("program", ["containerd-shim", "dockerd"])
def test_a_container_that_poses_as_an_engine_changes_no_row(
    attacked: Docker, tmp_path: Path, program: str, extra: tuple[str, ...]
) -> None:
    web = attacked("inspect", "-f", "{{.Id}} {{.State.Pid}}", "web").split(" ")
    forge(tmp_path, web[0], "victim")
    before = trusted(host.take_snapshot([Part.CONTAINERS]))
    words = [f"/forged/{program}", "-namespace", "moby", "-id", web[0], "--data-root", "/forged"]
    evil = attacked.run(
        "evil", "--network", "none", *extra, "-v", f"{tmp_path}:/forged", command=tuple(words)
    )
    try:
        pid = int(attacked("inspect", "-f", "{{.State.Pid}}", "evil"))
        wait_for(Path(f"/proc/{pid}/root/tmp/ready"))
        after = host.take_snapshot([Part.CONTAINERS, Part.CGROUPS])
        assert [row for row in trusted(after) if row.id != evil] == before
        assert {row.name for row in trusted(after)} - {row.name for row in before} == {"evil"}
        for row in forged(after):
            assert row.name.endswith("@evil")
            assert row.id != web[0]
        found = find(after, syntax.parse("web"))
        assert found.container is not None
        assert found.group is not None
        assert (found.container.pid, found.group.owner.name) == (int(web[1]), "web")
        for name in ("victim", "ab" * 6, "docker://victim"):
            with pytest.raises(UnknownTarget):
                find(after, syntax.parse(name))
    finally:
        attacked("rm", "-f", "evil")


def test_an_ordinary_user_who_poses_as_a_shim_changes_no_row(
    attacked: Docker,
) -> None:
    web = attacked("inspect", "-f", "{{.Id}} {{.State.Pid}}", "web").split(" ")
    before = trusted(host.take_snapshot([Part.CONTAINERS]))
    # Not dumpable: then what is below /proc/PID belongs to root.
    code = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'containerd-shim', 0, 0, 0); "
        "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print('ready', flush=True); sys.stdin.read()"
    )
    words = ["-namespace", "moby", "-id", web[0]]
    with subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", code, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=ORDINARY_UID,
        group=ORDINARY_UID,
        extra_groups=[],
        cwd="/",
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert os.stat(f"/proc/{process.pid}/fd").st_uid == 0
            after = host.take_snapshot([Part.CONTAINERS])
            assert trusted(after) == before
        finally:
            process.kill()


@pytest.fixture
def nested() -> Iterator[Docker]:
    """A Docker that runs in a PID namespace of its own, as one in a container does."""
    with Stage("nested", own_pids=True) as stage:
        yield Docker(stage, data_root=str(stage.directory / "data"))


def test_an_engine_in_a_pid_namespace_of_its_own_is_heard_for_what_is_in_there(
    nested: Docker,
) -> None:
    nested.run("web", "--network", "none", "--label", "app=inner")
    (told,) = nested.inspect()
    snapshot = host.take_snapshot([Part.CONTAINERS])
    (row,) = [row for row in snapshot.containers if row.id == told["Id"]]
    assert row.vouched_by
    assert row.name == f"web@{row.vouched_by}"
    assert dict(row.labels) == {"app": "inner"}
    status = Path(f"/proc/{row.pid}/status").read_text()
    (line,) = [line for line in status.split("\n") if line.startswith("NSpid:")]
    assert line.split("\t")[1:3] == [str(row.pid), str(told["State"]["Pid"])]
    done = subprocess.run(
        [sys.executable, "-m", "nsctl", "show", row.name],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(row.name)
