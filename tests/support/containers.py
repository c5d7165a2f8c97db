"""A busybox root, a store in a temporary directory, and what of a container could be left."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nsctl.engines import own
from nsctl.errors import NsctlError
from nsctl.model.container import Container
from nsctl.run import lifecycle
from nsctl.run.ids import IdPool
from nsctl.run.spec import Spec
from nsctl.run.store import Store, find, opened

# Beside the default pool, so that containers of this host's user and of the tests never meet.
FIRST_ID = 0x60000000
LAST_ID = 0x6FFFFFFF


def make_root(directory: str) -> str:
    """A root file system of busybox alone; skips where there is no static busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox (Debian: busybox-static)")
    os.makedirs(f"{directory}/bin")
    os.makedirs(f"{directory}/etc")
    os.makedirs(f"{directory}/tmp")
    Path(directory).chmod(0o755)
    shutil.copy(busybox, f"{directory}/bin/busybox")
    listed = subprocess.run([busybox, "--list"], capture_output=True, check=True, text=True)
    for name in listed.stdout.split():
        if name != "busybox":
            os.symlink("busybox", f"{directory}/bin/{name}")
    Path(f"{directory}/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return directory


class Result(NamedTuple):
    """What a container in the foreground did."""

    status: int
    output: str


class Box:
    """Runs containers of one root and one store, which no other test uses."""

    def __init__(self, base: str, root: str = "") -> None:
        self.root = root or make_root(f"{base}/root")
        self.base = base
        # Whatever ranges this host's users have: a test that wants one says so.
        self.pool = IdPool(FIRST_ID, LAST_ID, directory=f"{base}/ids", subordinate=())
        self.store = Store(f"{base}/state", f"{base}/storage", self.pool)

    @classmethod
    def at(cls, base: str) -> Box:
        """The box of a directory in which the root has been made already."""
        return cls(base, f"{base}/root")

    def spec(self, *argv: str, **asked: Any) -> Spec:
        return Spec(asked.pop("rootfs", self.root), argv, **asked)

    def run(self, script: str, **asked: Any) -> Result:
        """Run a shell script in the foreground and keep nothing of it."""
        spec = self.spec("sh", "-c", script, **{"remove": True, **asked})
        return self.run_spec(spec)

    def run_spec(self, spec: Spec) -> Result:
        reading, writing = os.pipe()
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            status = lifecycle.run(spec, self.store, streams=(null, writing, writing))
        finally:
            os.close(null)
            os.close(writing)
            with open(reading, "rb") as file:
                output = file.read().decode(errors="replace")
        assert isinstance(status, int)
        return Result(status, output)

    def detach(self, *argv: str, **asked: Any) -> Container:
        """Start a container in the background, one that sleeps where no command is given."""
        made = lifecycle.run(
            self.spec(*(argv or ("sleep", "1000")), detach=True, **asked), self.store
        )
        assert isinstance(made, Container)
        return made

    def state(self, name: str) -> own.State:
        with opened(self.store) as containers:
            return find(containers, name)

    def left_over(self) -> list[str]:
        """All that is still there of any container of the store."""
        left = []
        for place in (f"{self.store.state}/containers", f"{self.store.storage}/containers"):
            with contextlib.suppress(FileNotFoundError):
                left += [f"{place}/{name}" for name in os.listdir(place)]
        with contextlib.suppress(FileNotFoundError):
            left += [f"range {name}" for name in os.listdir(self.pool.directory)]
        return left

    def clear(self) -> None:
        """Remove every container, whatever a failed test left of it."""
        for row in lifecycle.list_containers(self.store):
            with contextlib.suppress(NsctlError):
                lifecycle.remove(row.name, self.store, force=True)


@contextlib.contextmanager
def box_in(directory: Path) -> Iterator[Box]:
    """A box that is cleared at the end, and in which nothing is left then."""
    box = Box(str(directory))
    try:
        yield box
    finally:
        box.clear()
        assert box.left_over() == []


def namespaces(pid: int | str) -> dict[str, str]:
    """The links of a process's eight namespaces."""
    kinds = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}
