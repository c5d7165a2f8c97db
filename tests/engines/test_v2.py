"""Engines that see control groups of version 2 alone, as on most hosts.

What a container's processes are in beside that, of version 1, is what its engine was started in.
containerd is missing here: its default limits need controllers that version 1 has on this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from nsctl import host
from nsctl.engines.cgroup_names import names, paths
from nsctl.model.container import Container
from nsctl.model.part import Part
from support.engines.docker import Docker
from support.engines.lxc import Lxc
from support.engines.needs import require, rows
from support.engines.nspawn import Nspawn
from support.engines.oci import Oci
from support.engines.podman import Podman
from support.engines.stage import Stage

pytestmark = pytest.mark.engines


class Told(NamedTuple):
    """What an engine says of a container: its first process and its state."""

    pid: int
    state: str


@contextmanager
def pure(name: str, *programs: str) -> Iterator[Stage]:
    require(*programs)
    with Stage(f"v2-{name}", pure_v2=True) as stage:
        yield stage


def seen(stage: Stage) -> dict[str, Container]:
    found = host.take_snapshot([Part.CONTAINERS]).containers
    return {row.name: row for row in found if row.pid and stage.cgroup in v2_path(row.pid)}


def v2_path(pid: int) -> str:
    """A process's control group of version 2."""
    return dict(paths(Path(f"/proc/{pid}/cgroup").read_bytes()))["0"]


def compare(stage: Stage, told: dict[str, Told]) -> dict[str, Container]:
    found = seen(stage)
    assert {name: Told(row.pid, row.state) for name, row in found.items()} == told
    # The one group that is told is the container's own, in version 2.
    for row in found.values():
        assert len(row.cgroups) == 1
        assert v2_path(row.pid) == row.cgroups[0]
    return found


def test_docker() -> None:
    with pure("docker", "dockerd", "containerd", "runc") as stage:
        docker = Docker(stage, data_root=str(stage.directory / "data"))
        docker.run("web", "--network", "none")
        docker.run("cold", "--network", "none")
        docker("pause", "cold")
        told = {
            row["Name"][1:]: Told(row["State"]["Pid"], row["State"]["Status"])
            for row in docker.inspect()
        }
        assert told["cold"].state == "paused"
        found = compare(stage, told)
        # Without any state its id is still told by the path.
        assert names(f"0::{found['web'].cgroups[0]}\n".encode())[0].id == found["web"].id
        is_own = {row["name"]: row["namespaces"] for row in rows("containers", "containers")}
        # The default of version 2 is a namespace of its own.
        assert (is_own["web"]["cgroup"]["is"], dict(found["web"].declared)["cgroup"]) == (
            "own",
            "own",
        )


def test_podman() -> None:
    with pure("podman", "podman", "conmon", "runc", "catatonit") as stage:
        podman = Podman(stage, pids_limit=0)
        podman.run("web", "--network", "none")
        podman.run("cold", "--network", "none")
        podman("pause", "cold")
        told = {
            row["Name"]: Told(row["State"]["Pid"], row["State"]["Status"])
            for row in podman.inspect()
        }
        found = compare(stage, told)
        name = names(f"0::{found['web'].cgroups[0]}\n".encode())[0]
        assert (name.engine, name.id) == ("podman", found["web"].id)


def test_lxc() -> None:
    with pure("lxc", "lxc-start", "lxc-info", "newuidmap") as stage:
        lxc = Lxc(stage)
        for name in ("plain", "cold"):
            lxc.start(name, "lxc.net.0.type = empty")
        lxc.freeze("cold")
        said = {name: lxc.info(name) for name in ("plain", "cold")}
        assert said["cold"]["state"] == "frozen"
        compare(stage, {name: Told(int(info["pid"]), info["state"]) for name, info in said.items()})


def test_nspawn() -> None:
    with pure("nspawn", "systemd-nspawn") as stage:
        machine = Nspawn(stage).start("box")
        found = compare(stage, {"box": Told(machine, "running")})
        assert found["box"].cgroups[0].endswith("/machine.slice/machine-box.scope/payload")


def test_bare_runtimes() -> None:
    with pure("oci", "runc", "crun") as stage:
        oci = Oci(stage)
        for runtime in ("runc", "crun"):
            oci.start(runtime, f"{runtime}-1")
            oci.start(runtime, f"{runtime}-cold")
            stage.run(runtime, "pause", f"{runtime}-cold")
        found = {
            row["name"]: Told(row["pid"], row["state"])
            for row in rows("containers", "containers", prefix=stage.inside(()))
            if row["engine"] in {"runc", "crun"}
        }
        assert found == {
            name: Told(said["pid"], said["status"])
            for runtime in ("runc", "crun")
            for name in (f"{runtime}-1", f"{runtime}-cold")
            for said in [oci.state(runtime, name)]
        }
        assert found["crun-cold"].state == "paused"
