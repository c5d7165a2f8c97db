"""What naming containers costs grows with their number, not with its square; counted, not timed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from nsctl import host
from nsctl.model.part import Part
from support.boltdb import Writer
from unit.engines.machine import Machine
from unit.factories import ns

pytestmark = pytest.mark.unit

_FIRST = 10_000
_SIZES = (8, 16, 32)
_OPENING = frozenset({"open", "openat2", "scandir", "listdir"})
# Counting itself, and what happens only once a snapshot, may differ a little.
_SLACK = 1.15


class Cost(NamedTuple):
    """What a snapshot did.

    Attributes:
        calls: functions that were called, of Python's and of C's.
        opened: files and directories that were opened.
    """

    calls: int
    opened: int


def cost(proc: Path, *parts: Part) -> Cost:
    calls = opened = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls, opened
        name = frame.f_code.co_name
        if event == "call":
            calls += 1
            opened += name == "open_below"
        elif event == "c_call":
            calls += 1
            # The components of a path below a root are opened one after the other: once counts.
            opened += argument.__name__ in _OPENING and name != "_walk"

    sys.setprofile(count)
    try:
        host.take_snapshot(parts, proc_root=str(proc))
    finally:
        sys.setprofile(None)
    return Cost(calls, opened)


def _id(number: int) -> str:
    return f"{number:08x}" * 8


class Load:
    """A machine with so many containers of one engine."""

    def __init__(self, root: Path, count: int) -> None:
        root.mkdir()
        self.machine = Machine(root)
        self.count = count
        self.root = root / "1/root"
        self.root.mkdir()
        # Whether anything of the kind is there is looked up by all engines: once.
        (self.root / "run/user").mkdir(parents=True)

    def write(self, path: str, content: bytes) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def process(self, number: int, ppid: int, cgroup: str) -> int:
        pid = _FIRST + number
        inodes = ns(mnt=20_000 + number, pid=30_000 + number)
        group = f"0::{cgroup}\n".encode()
        self.machine.add(pid, comm=b"sleep", ppid=ppid, cgroup=group, inodes=inodes)
        return pid

    def monitor(self, number: int, comm: bytes, words: tuple[str, ...], cwd: str = "") -> int:
        pid = 2 * _FIRST + number
        directory = self.machine.add(pid, comm=comm, words=words)
        (directory / "root").rmdir()
        (directory / "root").symlink_to(self.root)
        if cwd:
            (directory / "cwd").symlink_to(cwd)
        return pid


def docker(load: Load) -> None:
    for number in range(load.count):
        pid = load.process(number, 1, f"/docker/{_id(number)}")
        place = f"/var/lib/docker/containers/{_id(number)}"
        state = {"ID": _id(number), "Name": f"/c{number}", "State": {"Running": True, "Pid": pid}}
        load.write(f"{place}/config.v2.json", json.dumps(state).encode())
        wanted = {"PidMode": f"container:{_id(0)[:12]}"}
        load.write(f"{place}/hostconfig.json", json.dumps(wanted).encode())


def containerd(load: Load, namespace: str = "plain") -> None:
    top = "/run/containerd/io.containerd.runtime.v2.task"
    records = {}
    for number in range(load.count):
        name, bundle = _id(number), f"{top}/{namespace}/{_id(number)}"
        words = ("shim", "-namespace", namespace, "-id", name)
        shim = load.monitor(number, b"containerd-shim", words, bundle)
        pid = load.process(number, shim, f"/{namespace}/{name}")
        load.write(f"{bundle}/init.pid", str(pid).encode())
        said = {
            "container-type": "container",
            "container-name": f"c{number}",
            "sandbox-id": _id(0),
            "sandbox-name": "p",
        }
        path = f"/proc/{_FIRST}/ns/net"
        config = {
            "annotations": {f"io.kubernetes.cri.{key}": value for key, value in said.items()},
            "linux": {"namespaces": [{"type": "network", "path": path}]},
        }
        load.write(f"{bundle}/config.json", json.dumps(config).encode())
        records[name.encode()] = {b"image": b"i", b"labels": {b"a": b"b"}}
    tree = {b"v1": {namespace.encode(): {b"containers": records}}}
    load.write("/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db", Writer().file(tree))


def cri(load: Load) -> None:
    containerd(load, "k8s.io")


def podman(load: Load) -> None:
    graph = "/var/lib/containers/storage"
    records = {}
    for number in range(load.count):
        name = _id(number)
        below = f"overlay-containers/{name}/userdata"
        words = (
            *("conmon", "-c", name, "-n", f"c{number}", "-b", f"{graph}/{below}"),
            *("-p", f"/run/{below}/pidfile", "--exit-command", "/usr/bin/podman"),
        )
        monitor = load.monitor(number, b"conmon", words)
        load.process(number, monitor, f"/libpod_parent/libpod-{name}")
        config = {"name": f"c{number}", "netNsCtr": _id(0)}
        records[name.encode()] = {b"config": json.dumps(config).encode(), b"state": b"{}"}
    load.write(f"{graph}/libpod/bolt_state.db", Writer().file({b"ctr": records, b"pod": {}}))


def lxc(load: Load) -> None:
    for number in range(load.count):
        words = (f"[lxc monitor] /var/lib/lxc c{number}",)
        monitor = load.monitor(number, b"lxc-start", words)
        load.process(number, monitor, f"/lxc.payload.c{number}")
        load.write(f"/var/lib/lxc/c{number}/config", b"lxc.rootfs.path = dir:/srv\n")


def runc(load: Load) -> None:
    for number in range(load.count):
        name = f"c{number}"
        pid = load.process(number, 1, f"/r/{name}")
        state = {"id": name, "init_process_pid": pid, "init_process_start": 100, "config": {}}
        load.write(f"/run/runc/{name}/state.json", json.dumps(state).encode())


@pytest.mark.parametrize(
    ("make", "most"),
    [(docker, 4), (containerd, 10), (cri, 10), (podman, 6), (lxc, 8), (runc, 5)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_work_grows_with_the_number_of_containers(
    tmp_path: Path, make: Callable[[Load], None], most: int
) -> None:
    """``most``: files that are opened for each container, beyond the scan."""
    costs = []
    for size in _SIZES:
        load = Load(tmp_path / str(size), size)
        make(load)
        proc = load.machine.tree.root
        found = host.take_snapshot([Part.CONTAINERS], proc_root=str(proc)).containers
        # Containers of our own are found where they are kept, whichever procfs is read.
        assert sum(1 for row in found if row.pid and row.engine != "nsctl") == size
        whole = cost(proc, Part.TASKS, Part.CGROUPS, Part.CONTAINERS)
        scan = cost(proc, Part.TASKS, Part.CGROUPS)
        costs.append(Cost(whole.calls - scan.calls, whole.opened - scan.opened))
    small, middle, large = costs
    assert large.calls - middle.calls <= 2 * (middle.calls - small.calls) * _SLACK
    each = (large.opened - small.opened) / (_SIZES[2] - _SIZES[0])
    assert each <= most
