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
from nsctl.engines.containerd import _time, _unpacked
from nsctl.model.container import Container
from nsctl.model.part import Gap, Part
from support.boltdb import Writer
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


def packed(config: dict[str, Any]) -> bytes:
    """A configuration as containerd packs it."""
    kind, raw = (
        b"types.containerd.io/opencontainers/runtime-spec/1/Spec",
        json.dumps(config).encode(),
    )
    size = bytes([len(raw) & 0x7F | 0x80, len(raw) >> 7])
    return b"\x0a" + bytes([len(kind)]) + kind + b"\x12" + size + raw


def write_database(disk: Disk, root: str, tree: dict[bytes, Any]) -> None:
    path = disk.root / root.lstrip("/") / "io.containerd.metadata.v1.bolt/meta.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Writer().file({b"v1": tree}))


def test_without_shims_the_daemons_configuration_leads_to_the_database(disk: Disk) -> None:
    directory = disk.tree.add(40, comm=b"containerd")
    (directory / "cmdline").write_bytes(b"containerd\0--config\0/etc/c.toml\0")
    (directory / "root").symlink_to(disk.root)
    (disk.root / "etc").mkdir()
    settings = disk.root / "etc/c.toml"
    settings.write_text('version = 2\nroot = "/srv/r"\nstate = "/srv/s"\n')
    config = {"annotations": {"a": "b"}, "linux": spaces(pid=None)}
    write_database(disk, "/srv/r", {b"n": {b"containers": {b"x": {b"spec": packed(config)}}}})
    rows, gaps = disk.read()
    assert gaps == []
    (row,) = rows
    assert (row.name, row.scope, row.state, row.labels) == ("x", "n", "stopped", (("a", "b"),))
    assert dict(row.declared)["pid"] == "own"
    settings.write_text("root = [")
    rows, gaps = disk.read()
    assert rows == []
    assert "it is no TOML" in gaps[0].cause


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"CreatedAt": 5}, "created"),
        ({"CreatedAt": 5, "StartedAt": 6, "FinishedAt": 7}, "exited"),
        # It ended while containerd did not run.
        ({"CreatedAt": 5, "StartedAt": 6}, "exited"),
        ({}, "stopped"),
        (None, "stopped"),
    ],
)
def test_a_pods_container_without_a_process_has_the_state_that_was_written(
    disk: Disk, status: dict[str, int] | None, state: str
) -> None:
    root = "/var/lib/containerd"
    told = packed({"annotations": pod_config("container", container_name="c", image_name="i")})
    sandbox = packed({"annotations": pod_config("sandbox")})
    records = {FIRST.encode(): {b"spec": told}, SANDBOX.encode(): {b"spec": sandbox}}
    write_database(disk, root, {b"k8s.io": {b"containers": records}})
    if status is not None:
        path = disk.root / root[1:] / f"io.containerd.grpc.v1.cri/containers/{FIRST}/status"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(status))
    found = {row.name: row for row in disk.read()[0]}
    assert (found["c"].state, found["c"].pod, found["c"].image) == (state, "n:p", "i")
    assert found["p"].state == "notready"


def test_who_says_only_whose_sandbox_it_shares_is_in_that_pod(disk: Disk) -> None:
    disk.shim(50, "k8s.io", SANDBOX)
    disk.container(51, 50, "k8s.io", SANDBOX, {"annotations": pod_config("sandbox")})
    late = {f"{PREFIX}sandbox-id": SANDBOX, f"{PREFIX}container-type": "container"}
    disk.container(52, 50, "k8s.io", FIRST, {"annotations": late})
    assert {row.id: row.pod for row in disk.read()[0]} == {SANDBOX: "n:p", FIRST: "n:p"}


@given(st.binary(max_size=40))
def test_any_bytes_are_a_configuration_or_none(raw: bytes) -> None:
    assert isinstance(_unpacked(raw), dict)


def test_a_configuration_is_unpacked_whole() -> None:
    config = {"a": "x" * 300}
    assert _unpacked(packed(config)) == config
    assert _unpacked(packed(config)[:-1]) == {}
    # Its value first, or a field that is not known.
    assert _unpacked(b"\x12\x02{}") == {}
    assert _unpacked(b"\x1a\x01x" + packed(config)) == {}


def test_times_are_read_as_go_writes_them() -> None:
    raw = struct.pack(">BqiH", 1, 62_135_596_800 + 1_700_000_000, 500_000_000, 0xFFFF)
    assert _time(raw) == 1_700_000_000.5
    assert _time(raw[:-1]) == _time(b"\x07" + raw[1:]) == 0.0


@given(st.binary(max_size=20))
def test_no_bytes_are_a_time_before_1970(raw: bytes) -> None:
    assert _time(raw) >= 0
