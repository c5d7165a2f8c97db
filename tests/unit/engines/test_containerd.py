"""containerd's bundles and its pods: constructed as version 1.6 leaves them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl import host
from nsctl.engines.containerd import _time
from nsctl.model.container import Container
from nsctl.model.part import Gap, Part
from unit.factories import ns
from unit.proctree import ProcTree

pytestmark = pytest.mark.unit

STATE = "srv/state/io.containerd.runtime.v2.task"
SANDBOX, FIRST, SECOND = "a0" * 32, "a1" * 32, "a2" * 32
PREFIX = "io.kubernetes.cri."


class Disk:
    """A host with shims, their containers' processes and bundles."""

    def __init__(self, root: Path) -> None:
        self.tree = ProcTree(root)
        self.tree.reader()
        self.tree.add(1, ppid=0)
        self.root = root / "1/root"
        self.root.mkdir()

    def shim(self, pid: int, namespace: str, container_id: str) -> None:
        directory = self.tree.add(pid, comm=b"containerd-shim")
        words = ("shim", "-namespace", namespace, "-id", container_id, "-address", "/c.sock")
        (directory / "cmdline").write_bytes("".join(word + "\0" for word in words).encode())
        (directory / "root").symlink_to(self.root)
        (directory / "cwd").symlink_to(f"/{STATE}/{namespace}/{container_id}")

    def container(
        self, pid: int, shim: int, namespace: str, container_id: str, config: dict[str, Any]
    ) -> Path:
        directory = self.tree.add(pid, ns(mnt=1000 + pid, pid=2000 + pid), ppid=shim)
        (directory / "cgroup").write_bytes(f"0::/g/{container_id}\n".encode())
        bundle = self.root / STATE / namespace / container_id
        bundle.mkdir(parents=True)
        (bundle / "init.pid").write_text(str(pid))
        (bundle / "config.json").write_text(json.dumps(config))
        (bundle / "work").symlink_to(
            f"/srv/root/io.containerd.runtime.v2.task/{namespace}/{container_id}"
        )
        return bundle

    def read(self) -> tuple[list[Container], list[Gap]]:
        found = host.take_snapshot([Part.CONTAINERS], proc_root=str(self.tree.root))
        return list(found.containers), list(found.gaps)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def spaces(**paths: str | None) -> dict[str, Any]:
    rows = [
        {"type": kind, "path": path} if path else {"type": kind} for kind, path in paths.items()
    ]
    return {"namespaces": rows}


def pod_config(kind: str, **annotations: str) -> dict[str, str]:
    named = {key.replace("_", "-"): value for key, value in annotations.items()}
    said = {"container-type": kind, "sandbox-id": SANDBOX, **named}
    said |= {"sandbox-name": "p", "sandbox-namespace": "n"}
    return {PREFIX + key: value for key, value in said.items()}


def test_a_shim_leads_to_its_container(disk: Disk) -> None:
    disk.shim(50, "plain", "one")
    disk.container(51, 50, "plain", "one", {"linux": spaces(pid=None), "annotations": {"a": "b"}})
    rows, gaps = disk.read()
    assert gaps == []
    (row,) = rows
    assert (row.name, row.id, row.engine, row.scope) == ("one", "one", "containerd", "plain")
    assert (row.pid, row.cgroups, row.labels) == (51, ("/g/one",), (("a", "b"),))
    assert dict(row.declared)["pid"] == "own"
    assert dict(row.declared)["net"] == "host"


def test_nerdctl_keeps_the_name_in_a_label(disk: Disk) -> None:
    disk.shim(50, "default", FIRST)
    config = {"annotations": {"nerdctl/name": "web"}}
    disk.container(51, 50, "default", FIRST, config)
    assert [(row.name, row.id) for row in disk.read()[0]] == [("web", FIRST)]


def test_a_pods_one_shim_leads_to_all_of_its_containers(disk: Disk) -> None:
    disk.shim(50, "k8s.io", SANDBOX)
    sandbox = {"annotations": pod_config("sandbox"), "linux": spaces(network="/run/netns/cni-1")}
    disk.container(51, 50, "k8s.io", SANDBOX, sandbox)
    first = {
        "annotations": pod_config("container", container_name="c", image_name="bb:1"),
        "linux": spaces(network="/proc/51/ns/net", pid=None, ipc="/proc/51/ns/ipc"),
    }
    disk.container(52, 50, "k8s.io", FIRST, first)
    second = {
        "annotations": pod_config("container", container_name="d"),
        "linux": spaces(pid="/proc/52/ns/pid", uts="/proc/999/ns/uts"),
    }
    disk.container(53, 50, "k8s.io", SECOND, second)
    rows, gaps = disk.read()
    assert gaps == []
    assert {(row.name, row.pid, row.pod, row.image) for row in rows} == {
        ("p", 51, "n:p", ""),
        ("c", 52, "n:p", "bb:1"),
        ("d", 53, "n:p", ""),
    }
    said = {row.name: dict(row.declared) for row in rows}
    assert said["p"]["net"] == "own"
    # The sandbox asked for no IPC namespace: what it shares is the host's.
    assert [said["c"][kind] for kind in ("net", "pid", "ipc")] == ["pod", "own", "host"]
    assert [said["d"][kind] for kind in ("pid", "uts")] == ["container:c", "path:/proc/999/ns/uts"]


def test_a_process_that_is_no_child_of_the_shim_is_not_its_containers(disk: Disk) -> None:
    disk.shim(50, "plain", "one")
    disk.container(51, 1, "plain", "one", {})
    # By its control group it would be, but then there would be no shim.
    rows, _ = disk.read()
    assert [row.vouched_by for row in rows] == [0]
    disk.tree.remove(51)
    assert disk.read()[0] == []


@pytest.mark.parametrize("content", ["", "x", "-1", "0", "9" * 30, "51\n52"])
def test_a_process_id_that_is_none_finds_nothing(disk: Disk, content: str) -> None:
    disk.shim(50, "plain", "one")
    bundle = disk.container(51, 50, "plain", "one", {})
    (bundle / "init.pid").write_text(content)
    assert disk.read()[0] == []


def test_a_damaged_database_is_a_line_in_the_note(disk: Disk) -> None:
    disk.shim(50, "plain", "one")
    disk.container(51, 50, "plain", "one", {})
    database = disk.root / "srv/root/io.containerd.metadata.v1.bolt/meta.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"x" * 10_000)
    rows, gaps = disk.read()
    assert [row.name for row in rows] == ["one"]
    assert [(gap.source, gap.object) for gap in gaps] == [
        ("containerd", "/srv/root/io.containerd.metadata.v1.bolt/meta.db")
    ]


def test_times_are_read_as_go_writes_them() -> None:
    raw = struct.pack(">BqiH", 1, 62_135_596_800 + 1_700_000_000, 500_000_000, 0xFFFF)
    assert _time(raw) == 1_700_000_000.5
    assert _time(raw[:-1]) == _time(b"\x07" + raw[1:]) == 0.0


@given(st.binary(max_size=20))
def test_no_bytes_are_a_time_before_1970(raw: bytes) -> None:
    assert _time(raw) >= 0
