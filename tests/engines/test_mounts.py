"""The mounts of containers of real engines, as findmnt and as the engines themselves tell them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.engines.docker import Docker
from support.engines.lxc import Lxc
from support.engines.needs import nsctl, require
from support.engines.podman import Podman
from support.engines.stage import Stage
from support.mounting import findmnt, link_named_findmnt, output_of, rows_of

pytestmark = pytest.mark.engines

OPTIONS = [
    (),
    ("-A",),
    ("-l",),
    ("-r",),
    ("-P",),
    ("-J",),
    ("-J", "-l"),
    ("-n",),
    ("-a",),
    ("-u",),
    ("-v",),
    ("-y", "-P"),
    ("-U",),
    ("-o", "TARGET"),
    ("-o", "+PROPAGATION,OPT-FIELDS,ID,PARENT"),
    ("-o", "TARGET,VFS-OPTIONS,FS-OPTIONS,MAJ:MIN,FSROOT"),
    ("-t", "tmpfs,proc"),
    ("-t", "notmpfs", "-l"),
    ("-O", "ro"),
    ("-O", "nosuid,nodev", "-r"),
    ("-i", "-t", "proc"),
    ("--real",),
    ("--pseudo", "-l"),
    ("--shadowed", "-l"),
    ("-R", "/dev"),
    ("-S", "proc", "-f"),
    ("-d", "backward", "-l"),
    ("/proc",),
]


class Running(NamedTuple):
    """A container that runs.

    Attributes:
        target: its TARGET.
        pid: its first process.
    """

    target: str
    pid: int


@pytest.fixture(scope="module")
def of_docker(docker: Docker) -> Running:
    options = ("--network", "none", "-v", "/usr:/mnt/usr:ro", "--tmpfs", "/scratch:size=3m")
    docker.run("tree", *options)
    (row,) = (row for row in docker.inspect() if row["Name"] == "/tree")
    return Running("docker://tree", int(row["State"]["Pid"]))


@pytest.fixture(scope="module")
def of_podman() -> Iterator[Running]:
    require("podman", "conmon", "crun", "catatonit", "newuidmap")
    with Stage("mounts") as stage:
        podman = Podman(stage, rootless=True, runtime="crun")
        podman.run("tree", "--network", "none", "--tmpfs", "/scratch")
        (row,) = podman.inspect()
        pid = next(each["pid"] for each in _containers() if row["Id"] == each["id"])
        yield Running(str(pid), pid)


@pytest.fixture(scope="module")
def of_lxc() -> Iterator[Running]:
    require("lxc-start", "lxc-info", "newuidmap")
    with Stage("mountslxc") as stage:
        engine = Lxc(stage)
        engine.start("tree", "lxc.net.0.type = empty", "lxc.mount.auto = proc:mixed sys:ro")
        yield Running("lxc://tree", int(engine.info("tree")["pid"]))


def _containers() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(nsctl("containers", "-J"))["containers"]
    return found


@pytest.fixture(params=["of_docker", "of_podman", "of_lxc"])
def running(request: pytest.FixtureRequest) -> Running:
    """A container of each engine in turn."""
    found: Running = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A link named findmnt that leads to nsctl."""
    return link_named_findmnt(str(tmp_path_factory.mktemp("bin")))


def test_its_tree_is_findmnts_with_any_options(running: Running, link: str) -> None:
    differ = []
    for options in OPTIONS:
        words = ("-N", str(running.pid), *options)
        if output_of([link, *words]) != output_of([findmnt(), *words]):
            differ.append(options)
    assert not differ


def test_by_its_name_the_same_rows_are_shown(running: Running) -> None:
    columns = "TARGET,SOURCE,FSTYPE,OPTIONS,ID"
    original = output_of([findmnt(), "-N", str(running.pid), "-r", "-o", columns])
    command = (sys.executable, "-m", "nsctl", "mounts", running.target, "-r", "-o", columns)
    assert output_of(command) == original
    seen = output_of((*command[:4], "-N", running.target, "-r", "-o", columns))
    assert seen == original


def test_its_layers_and_what_it_is_are_told(of_docker: Running) -> None:
    document = json.loads(nsctl("mounts", "-J", of_docker.target))
    assert document["whose"]["name"] == "tree"
    rows = {row["target"]: row for row in rows_of(document)}
    layers = rows["/"]["layers"]
    assert layers["upper"].endswith("/diff")
    assert layers["work"].endswith("/work")
    assert layers["lower"]
    assert "ro" in rows["/mnt/usr"]["vfs-options"].split(",")
    assert nsctl("mounts", of_docker.target).split("\n")[0].startswith("tree (docker)  mnt:[")


def test_what_the_container_masks_is_hidden_and_by_what(of_docker: Running) -> None:
    rows = rows_of(json.loads(nsctl("mounts", "-J", of_docker.target)))
    by_id = {row["uniq-id"]: row for row in rows}
    for row in rows:
        assert row["hidden"] == (row["hidden_by"] is not None)
        assert row["hidden_by"] is None or row["hidden_by"] in by_id
