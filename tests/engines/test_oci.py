"""Bare runc and crun, and sandboxes that no engine knows of."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from nsctl import host
from nsctl.engines.fields import seconds
from nsctl.model.part import Part
from support.engines.needs import nsctl, require, rows
from support.engines.oci import UID, Oci
from support.engines.stage import Stage

pytestmark = pytest.mark.engines

_RUNTIMES = ("runc", "crun")
_MAPPED: list[dict[str, int]] = [{"containerID": 0, "hostID": 400_000, "size": 65_536}]


@pytest.fixture(scope="module")
def oci() -> Iterator[Oci]:
    require(*_RUNTIMES)
    with Stage("oci") as stage:
        bundles = Oci(stage)
        runtime_dir = f"/run/user/{UID}"
        stage.run("install", "-d", "-m", "700", "-o", str(UID), "-g", str(UID), runtime_dir)
        for runtime in _RUNTIMES:
            bundles.start(runtime, f"{runtime}-plain")
            bundles.start(
                runtime,
                f"{runtime}-mapped",
                namespaces=("user", "cgroup"),
                uidMappings=_MAPPED,
                gidMappings=_MAPPED,
            )
            bundles.start_rootless(runtime, f"{runtime}-less", runtime_dir)
        yield bundles


def seen_inside(oci: Oci) -> dict[str, dict[str, Any]]:
    """What nsctl says where the runtimes' state is at its usual place: in the stage."""
    found = rows("containers", "containers", prefix=oci.stage.inside(()))
    return {row["name"]: row for row in found if row["engine"] in _RUNTIMES}


def test_rows_are_what_the_runtime_says(oci: Oci) -> None:
    seen = seen_inside(oci)
    assert len(seen) == 6
    for runtime in _RUNTIMES:
        for name in (f"{runtime}-plain", f"{runtime}-mapped"):
            said, row = oci.state(runtime, name), seen[name]
            assert (row["engine"], row["id"]) == (runtime, said["id"])
            assert (row["pid"], row["state"]) == (said["pid"], said["status"])
            assert row["image"] == said["rootfs"]
            assert row["created"] == pytest.approx(seconds(said["created"]), abs=0.001)
            assert row["labels"] == said["annotations"] == {"org.example.name": "demo"}


@pytest.mark.parametrize("runtime", _RUNTIMES)
def test_every_state_is_what_the_runtime_says(oci: Oci, runtime: str) -> None:
    name = f"{runtime}-states"
    place = oci.bundle(name, cgroupsPath=f"{oci.stage.cgroup}/{name}")

    def compare(state: str) -> None:
        said, row = oci.state(runtime, name), seen_inside(oci)[name]
        assert (row["state"], row["pid"]) == (said["status"], said["pid"] or None)
        assert row["state"] == state

    oci.stage.run(runtime, "create", "--bundle", str(place), name)
    compare("created")
    oci.stage.run(runtime, "start", name)
    compare("running")
    oci.stage.run(runtime, "pause", name)
    compare("paused")
    oci.stage.run(runtime, "resume", name)
    compare("running")
    oci.stage.run(runtime, "kill", name, "KILL")
    oci.stage.wait(lambda: oci.state(runtime, name).get("status") == "stopped", "stage.log")
    compare("stopped")
    oci.stage.run(runtime, "delete", name)
    assert name not in seen_inside(oci)


def test_what_was_asked_for_is_told_and_is_so(oci: Oci) -> None:
    seen = seen_inside(oci)
    for runtime in _RUNTIMES:
        for name in (f"{runtime}-plain", f"{runtime}-mapped", f"{runtime}-less@{UID}"):
            row = seen[name]
            for kind in ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"):
                assert row["namespaces"][kind]["is"] == row["declared"][kind], (name, kind)
            assert row["declared"]["mount:/tmp"] == "/srv,ro"
            assert row["declared"]["no-new-privileges"] == "yes"


def test_an_ordinary_users_state_is_his_word(oci: Oci) -> None:
    path = f"/run/user/{UID}/runc/runc-less/state.json"
    kept = oci.stage.run("cat", path)
    state = json.loads(kept)
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        start = int(file.read().rpartition(")")[2].split(" ")[20])
    # He writes that a process of root's is his container.
    state["init_process_pid"], state["init_process_start"] = os.getpid(), start
    forged = oci.stage.directory / "state.json"
    forged.write_text(json.dumps(state))
    write = 'cat "$1" > "$2"'
    try:
        oci.stage.run("sh", "-c", write, "sh", str(forged), path)
        assert seen_inside(oci)[f"runc-less@{UID}"]["pid"] is None
    finally:
        forged.write_text(kept)
        oci.stage.run("sh", "-c", write, "sh", str(forged), path)
    assert seen_inside(oci)[f"runc-less@{UID}"]["pid"] is not None


def test_half_a_state_is_a_line_in_the_note(oci: Oci) -> None:
    for path in ("/run/runc/half/state.json", "/run/crun/half/status"):
        directory = os.path.dirname(path)
        write = 'mkdir -p "$1"; echo \'{"pid": 1,\' > "$2"'
        oci.stage.run("sh", "-c", write, "sh", directory, path)
        try:
            document = json.loads(nsctl("containers", "-J", prefix=oci.stage.inside(())))
            told = [row for row in document["completeness"] if row["object"] == path]
            assert "only half written" in told[0]["cause"]
            assert not any(row["id"] == "half" for row in document["containers"])
        finally:
            oci.stage.run("rm", "-r", directory)


@pytest.mark.parametrize("runtime", _RUNTIMES)
def test_who_waits_for_a_container_tells_where_its_state_is(oci: Oci, runtime: str) -> None:
    name, root = f"{runtime}-waited-for", f"{oci.stage.directory}/{runtime}-states"
    oci.start_waiting(runtime, name, "--root", root)
    log = f"{name}.log"
    place = ("--root", root)
    oci.stage.wait(lambda: oci.state(runtime, name, *place).get("status") == "running", log)
    # From outside of the stage, through the one who waits.
    (row,) = [row for row in host.take_snapshot([Part.CONTAINERS]).containers if row.name == name]
    assert row.engine == runtime
    assert row.pid == oci.state(runtime, name, *place)["pid"]
    assert nsctl("show", f"{runtime}://{name}").startswith(f"{name} ")


def test_a_sandbox_of_bubblewrap_is_named_after_what_runs_in_it() -> None:
    require("bwrap")
    reading, writing = os.pipe()
    command = ["bwrap", "--bind", "/", "/", "--proc", "/proc", "--unshare-all"]
    with subprocess.Popen(
        [*command, "--die-with-parent", "--info-fd", str(writing), "sleep", "1000"],
        pass_fds=(writing,),
    ) as process:
        os.close(writing)
        try:
            with open(reading, "rb") as file:
                first = json.load(file)["child-pid"]
            # It is told of before the program has begun.
            for _ in range(1000):
                (group,) = [row for row in rows("matrix", "groups") if first in row["pids"]]
                if group["whose"]["name"] == "sleep":
                    break
            assert (group["whose"]["kind"], group["whose"]["engine"]) == ("process", "bwrap")
            assert len(group["pids"]) == 2
            assert f"[{first}] (bwrap)" in nsctl("show", "bwrap://sleep").split("\n")[0]
        finally:
            process.kill()


def test_what_unshare_isolated_is_named_after_its_program() -> None:
    require("unshare")
    options = ("--fork", "--pid", "--mount-proc", "--net", "--kill-child")
    with subprocess.Popen(
        ["unshare", *options, "sh", "-c", "echo ready; exec sleep 1000"], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(1000):
                named = [
                    row["whose"]
                    for row in rows("matrix", "groups")
                    if row["pids"]
                    and row["whose"]["name"] == "sleep"
                    and not row["whose"]["engine"]
                ]
                if named:
                    break
            assert named[0]["kind"] == "process"
        finally:
            process.kill()
