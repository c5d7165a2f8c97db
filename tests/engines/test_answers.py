"""What real daemons answer is added to their containers' rows, and nobody else's answer is."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl import host
from nsctl.model.container import Container
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from support.engines.docker import IMAGE, Docker
from support.engines.needs import nsctl, require
from support.engines.podman import Podman
from support.engines.stage import Stage
from support.users import ORDINARY_UID

pytestmark = pytest.mark.engines

# It listens where it is told, answers whatever is asked, and says so.
_FAKE = """
import json, os, socket, sys
path, rows, asked = sys.argv[1:]
os.umask(0)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(8)
open("/proc/self/comm", "w").write("dockerd")
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    if connection.recv(4096):
        open(asked, "w").close()
    head = f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(rows)}\\r\\n\\r\\n"
    connection.sendall((head + rows).encode())
    connection.close()
"""


def taken() -> Snapshot:
    return host.take_snapshot([Part.CONTAINERS], ask_daemons=True)


def of(snapshot: Snapshot, ids: set[str]) -> dict[str, Container]:
    return {row.name: row for row in snapshot.containers if row.id in ids}


def listed(docker: Docker) -> list[dict[str, Any]]:
    """What docker-ps(1) says of all containers."""
    lines = docker("ps", "-a", "--no-trunc", "--format", "{{json .}}").split("\n")
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def several(docker: Docker) -> Docker:
    docker.run("web", "--network", "none", "--label", "app=demo")
    docker.run("paused", "--network", "none")
    docker("pause", "paused")
    docker("create", "--name", "made", "--label", "tier=back", IMAGE)
    docker.run("ended", "--network", "none", command=("true",))
    docker("wait", "ended")
    return docker


def state_files(docker: Docker) -> list[Path]:
    return list((docker.stage.directory / "data/containers").glob("*/config.v2.json"))


@pytest.fixture
def unreadable(several: Docker) -> Iterator[Docker]:
    """That Docker, with its containers' state out of the way."""
    kept = [(path, path.read_bytes()) for path in state_files(several)]
    try:
        for path, _ in kept:
            path.write_bytes(b'{"half')
        yield several
    finally:
        for path, raw in kept:
            path.write_bytes(raw)


def test_a_daemon_at_an_unusual_place_tells_what_its_files_do_not(unreadable: Docker) -> None:
    told = listed(unreadable)
    ids = {row["ID"] for row in told}
    without = of(host.take_snapshot([Part.CONTAINERS]), ids)
    assert {row.image for row in without.values()} == {""}
    pids = {row.id: row.pid for row in without.values()}
    rows = of(taken(), ids)
    assert {
        name: (row.id, row.engine, row.image, row.state, row.labels) for name, row in rows.items()
    } == {
        row["Names"]: (
            row["ID"],
            "docker",
            row["Image"],
            row["State"],
            tuple(tuple(pair.split("=", 1)) for pair in row["Labels"].split(",") if pair),
        )
        for row in told
    }
    assert rows["paused"].state == "paused"
    for name, row in rows.items():
        # The daemon was not asked for that.
        assert row.pid == pids.get(row.id, 0), name
        assert bool(row.pid) == (name in {"web", "paused"})
    printed = nsctl("containers")
    assert all(name in printed for name in rows)


def test_a_daemon_changes_nothing_that_its_files_tell(several: Docker) -> None:
    ids = {row["ID"] for row in listed(several)}
    rows = of(host.take_snapshot([Part.CONTAINERS]), ids)
    assert of(taken(), ids) == rows
    assert len(rows) == 4


def test_a_daemon_that_hangs_costs_a_line(several: Docker) -> None:
    ids = {row["ID"] for row in listed(several)}
    rows = of(host.take_snapshot([Part.CONTAINERS]), ids)
    several.hang()
    try:
        began = time.monotonic()
        hung = taken()
        # That it ends, not how fast.
        assert time.monotonic() - began < 20
        printed = nsctl("containers")
    finally:
        several.resume()
    assert of(hung, ids) == rows
    path = f"{several.stage.directory}/docker.sock"
    gaps = [(gap.object, gap.cause) for gap in hung.gaps if path in gap.object]
    assert gaps == [(f"docker at {path}", "it did not answer within 1 s")]
    assert f"docker at {path} (it did not answer within 1 s)" in " ".join(printed.split())


@pytest.mark.parametrize("uid", [0, ORDINARY_UID])
def test_a_socket_that_somebody_else_planted_changes_no_row(several: Docker, uid: int) -> None:
    """As an ordinary user, and as root in namespaces of his own; with a daemon's name and usual path."""
    place = several.stage.directory / f"planted-{uid}"
    place.mkdir()
    os.chown(place, uid, uid)
    web = several("inspect", "-f", "{{.Id}}", "web")
    before = taken().containers
    fakes = [
        {"Id": web, "Names": ["/evil"], "State": "paused", "Image": "evil", "Labels": {"a": "b"}},
        {"Id": "ab" * 32, "Names": ["/victim"], "State": "running", "Image": "evil"},
    ]
    path, asked = place / "docker.sock", place / "asked"
    command = ["/usr/bin/python3", "-I", "-c", _FAKE, str(path), json.dumps(fakes), str(asked)]
    if uid:
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command]
    else:
        command = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            *command,
        ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd="/") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert taken().containers == before
            # Not even where the daemon's own socket was.
            own = several.stage.directory / "docker.sock"
            own.rename(place / "own.sock")
            own.symlink_to(path)
            try:
                planted = taken()
            finally:
                own.unlink()
                (place / "own.sock").rename(own)
            assert planted.containers == before
            causes = {gap.object: gap.cause for gap in planted.gaps}
            assert causes[f"docker at {own}"] == "somebody else listens there"
            assert not asked.exists()
        finally:
            process.kill()


def test_podmans_service_answers_the_same_question() -> None:
    require("podman", "conmon", "runc")
    with Stage("answers") as stage:
        podman = Podman(stage)
        podman.run("web", "--network", "none", "--label", "app=demo")
        podman.run("still", "--network", "none")
        podman("pause", "still")
        inspected = {row["Name"]: row for row in podman.inspect()}
        ids = {row["Id"] for row in inspected.values()}
        whole = of(host.take_snapshot([Part.CONTAINERS]), ids)
        podman.serve(f"{stage.directory}/unusual.sock")
        assert of(taken(), ids) == whole
        # What others may write is not believed; the service goes on using it.
        Path(podman.graph, "libpod/bolt_state.db").chmod(0o666)
        alone = of(host.take_snapshot([Part.CONTAINERS]), ids)
        assert {row.labels for row in alone.values()} == {()}
        rows = of(taken(), ids)
        for name, row in inspected.items():
            seen = rows[name]
            assert (seen.pid, seen.state) == (row["State"]["Pid"], row["State"]["Status"])
            assert (seen.image, seen.id) == (row["ImageName"], row["Id"])
            assert dict(seen.labels) == (row["Config"]["Labels"] or {})
