"""Engines for the tests of this folder, each started once and stopped when the last is done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from support.engines.containerd import Containerd
from support.engines.docker import Docker
from support.engines.stage import Stage


def require(*programs: str) -> None:
    """Skip what needs programs that are not here."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """A Docker whose data root was moved, without containers yet."""
    require("dockerd", "containerd", "runc", "iptables", "ip", "busybox", "nsenter", "setpriv")
    with Stage("docker") as stage:
        yield Docker(stage, data_root=str(stage.directory / "data"))


@pytest.fixture(scope="module")
def remapped_docker() -> Iterator[Docker]:
    """A Docker with --userns-remap at its default place, without containers yet."""
    require("dockerd", "containerd", "runc", "iptables", "ip", "busybox", "nsenter", "setpriv")
    with Stage("remap") as stage:
        yield Docker(stage, remap=True)


@pytest.fixture(scope="module")
def containerd() -> Iterator[Containerd]:
    """A containerd with everything at unusual places, without containers yet."""
    require("containerd", "ctr", "runc", "ip", "iptables", "busybox", "nsenter", "setpriv")
    with Stage("containerd") as stage:
        yield Containerd(stage)
