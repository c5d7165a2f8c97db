"""A name leads to the process that its engine tells of, without a look at every process."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator

import pytest

from engines.conftest import require
from nsctl import host
from nsctl.discovery.tasks import TaskReader
from nsctl.errors import AmbiguousTarget, TargetError, UnknownTarget
from nsctl.model.container import Container
from nsctl.model.part import Part
from nsctl.targets import live
from nsctl.targets.live import Process
from support.engines.containerd import Containerd, Cri
from support.engines.docker import Docker
from support.engines.lxc import Lxc
from support.engines.podman import Podman
from support.engines.stage import Stage

pytestmark = pytest.mark.engines

_PARTS = (Part.TASKS, Part.NAMESPACES, Part.CGROUPS, Part.COMMANDS, Part.CONTAINERS)


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Podman, dict[str, int]]]:
    """Four engines at once; what each says of its containers' first processes, by TARGET."""
    require("dockerd", "containerd", "podman", "conmon", "runc", "lxc-start", "catatonit")
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(Stage("docker"))
        docker = Docker(stage, data_root=str(stage.directory / "data"))
        podman = Podman(stack.enter_context(Stage("podman")))
        containerd = Containerd(stack.enter_context(Stage("containerd")))
        lxc = Lxc(stack.enter_context(Stage("lxc")))
        cri = Cri(containerd)
        stack.callback(cri.close)
        said: dict[str, int] = {}
        docker.run("twin", "--network", "none")
        docker.run("dock", "--network", "none")
        for row in docker.inspect():
            said[f"docker://{row['Name'][1:]}"] = said[row["Id"][:20]] = row["State"]["Pid"]
        podman.run("twin", "--network", "none")
        podman.run("pod", "--network", "none")
        for row in podman.inspect():
            said[f"podman://{row['Name']}"] = said[row["Id"]] = row["State"]["Pid"]
        pod = cri.pod("kube")
        identity = cri.container(pod, "app")
        _, info = cri.status(identity)
        said["pod/kube/app"] = said["pod/default:kube/app"] = said[identity] = info["pid"]
        containerd.add_namespace("plain")
        said["containerd://bare"] = containerd.run("plain", "bare")
        lxc.start("lx", "lxc.net.0.type = empty")
        said["lxc://lx"] = said["lx"] = int(lxc.info("lx")["pid"])
        said["dock"] = said["docker://dock"]
        docker("create", "--name", "idle", "bb:1")
        yield podman, said


@pytest.fixture(scope="module")
def engines(machine: tuple[Podman, dict[str, int]]) -> dict[str, int]:
    return machine[1]


def _pid(text: str) -> int:
    found = live.resolve(text)
    assert isinstance(found, Process)
    try:
        assert os.path.samestat(os.fstat(found.proc), os.stat(f"/proc/{found.pid}"))
        assert found.container is not None
        return found.pid
    finally:
        found.close()


def _as_named(row: Container) -> Container:
    """A row without what only containerd's database tells, which is not read for a name."""
    return row._replace(image="", labels=(), created=0.0, state="")


def test_every_name_leads_where_its_engine_says(engines: dict[str, int]) -> None:
    assert {text: _pid(text) for text in engines} == engines


def test_what_runs_is_told_as_a_snapshot_tells_it(engines: dict[str, int]) -> None:
    del engines
    quick = {row.id: _as_named(row) for row in host.list_running().containers if row.pid}
    whole = {row.id: _as_named(row) for row in host.take_snapshot(_PARTS).containers if row.pid}
    assert quick == {key: row for key, row in whole.items() if key in quick}
    # Only control groups tell of the rest, which are asked where somebody writes part of an id.
    every = host.list_running(by_groups=True).containers
    assert {row.id: _as_named(row) for row in every if row.pid} == whole


def test_a_name_of_two_engines_is_not_guessed(engines: dict[str, int]) -> None:
    del engines
    with pytest.raises(
        AmbiguousTarget, match=r"docker://twin.*podman://twin|podman://twin.*docker"
    ):
        live.resolve("twin")


def test_a_name_asks_only_who_may_have_it(engines: dict[str, int]) -> None:
    """What is left out for a name is left out for nothing else: each engine has names of its own."""
    every = host.list_running().containers
    for name in ("twin", "dock", "pod", "lx", "bare", "app"):
        found = [row for row in host.list_running(wanted=name).containers if row.name == name]
        wanted = [row for row in every if row.name == name]
        assert [(row.engine, row.id, row.pid) for row in found] == [
            (row.engine, row.id, row.pid) for row in wanted
        ]
        assert found
    del engines


def test_a_container_that_was_renamed_has_its_new_name_only(
    machine: tuple[Podman, dict[str, int]],
) -> None:
    podman, said = machine
    # Its monitor's arguments keep the old name.
    podman("rename", "pod", "other")
    try:
        assert _pid("other") == said["podman://pod"]
        with pytest.raises(UnknownTarget):
            live.resolve("podman://pod")
        podman("rename", "other", "dock")
        with pytest.raises(AmbiguousTarget, match=r"podman://dock"):
            live.resolve("dock")
        podman("rename", "dock", "other")
    finally:
        podman("rename", "other", "pod")
    assert _pid("dock") == said["dock"]


def test_a_container_that_does_not_run_is_said_to_be_there(engines: dict[str, int]) -> None:
    del engines
    with pytest.raises(TargetError, match=r"docker://idle does not run \(created\)"):
        live.resolve("idle")


def test_few_processes_are_looked_into(
    engines: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    read: Callable[[TaskReader, int], object] = TaskReader.read

    def counted(self: TaskReader, pid: int) -> object:
        rows.append(pid)
        return read(self, pid)

    monkeypatch.setattr(TaskReader, "read", counted)
    host.list_running()
    told = len(set(engines.values()))
    # The reference, a daemon or monitor and a first process each, and a pod's sandbox.
    assert len(rows) <= 2 + 4 * told + 8, json.dumps(rows)
