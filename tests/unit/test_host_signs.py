"""Which engines a snapshot does not even look for: those of which there is neither program nor file."""

from __future__ import annotations

import os

import pytest

from nsctl import host
from nsctl.discovery.draft import Draft
from nsctl.kernel.procfs import ProcFs
from nsctl.model.part import Part
from nsctl.model.snapshot import Reader, Reference
from nsctl.model.task import Task
from unit.factories import ns

pytestmark = pytest.mark.unit

ENGINES = ("docker", "cri", "containerd", "podman", "crio", "lxc", "nspawn")


def signs(
    monkeypatch: pytest.MonkeyPatch,
    *comms: bytes,
    names: dict[str, list[str]] | None = None,
    cgroup: bytes = b"0::/\n",
    root: str = "/proc",
    config: bytes | None = None,
) -> host._Signs:
    """The signs of a host with these programs, and these names in its directories."""

    def listdir(place: str) -> list[str]:
        if names is None or place not in names:
            raise FileNotFoundError(place)
        return names[place]

    def read_file(path: str) -> bytes:
        if config is None:
            raise FileNotFoundError(path)
        return config

    draft = Draft(ProcFs(root), frozenset({Part.TASKS}), {})
    draft.reader = Reader(9, 0, 0, ns())
    draft.reference = Reference("pid1", 1, ns())
    draft.tasks = [
        Task(pid, 1, 5, "S", kernel=False, comm=comm, owner=0, threads=1, ns=ns(), cgroup=cgroup)
        for pid, comm in enumerate((b"init", *comms), 1)
    ]
    made = host._Signs(draft)
    monkeypatch.setattr(os, "listdir", listdir)
    monkeypatch.setattr(host, "read_file", read_file)
    return made


def test_where_there_is_nothing_of_an_engine_it_is_not_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = signs(monkeypatch, names={"/var/lib": ["dpkg", "systemd"], "/run": ["user"]})
    assert [name for name in ENGINES if made.lack(name)] == [*ENGINES]


def test_what_keeps_state_elsewhere_or_nowhere_is_always_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = signs(monkeypatch)
    assert not made.lack("oci")
    assert not made.lack("by_cgroup")


@pytest.mark.parametrize(
    ("comm", "engines"),
    [
        (b"dockerd", {"docker"}),
        (b"containerd", {"cri", "containerd"}),
        # The kernel keeps 15 bytes of a name: this is containerd-shim-runc-v2.
        (b"containerd-shim", {"docker", "cri", "containerd"}),
        (b"conmon", {"podman", "crio"}),
        (b"lxc-start", {"lxc"}),
        (b"systemd-nspawn", {"nspawn"}),
    ],
)
def test_a_program_is_a_sign(
    monkeypatch: pytest.MonkeyPatch, comm: bytes, engines: set[str]
) -> None:
    made = signs(monkeypatch, comm[:15])
    assert {name for name in ENGINES if not made.lack(name)} == engines


@pytest.mark.parametrize(
    ("place", "name", "engines"),
    [
        ("/var/lib", "docker", {"docker"}),
        ("/etc/docker", "daemon.json", {"docker"}),
        ("/var/lib", "containerd", {"cri", "containerd"}),
        ("/run", "containerd", {"cri", "containerd"}),
        ("/var/lib", "containers", {"podman"}),
        ("/var/lib", "lxc", {"lxc"}),
    ],
)
def test_a_directory_of_state_is_a_sign(
    monkeypatch: pytest.MonkeyPatch, place: str, name: str, engines: set[str]
) -> None:
    made = signs(monkeypatch, names={place: [name]})
    assert {each for each in ENGINES if not made.lack(each)} == engines


def test_a_monitors_control_group_is_a_sign_of_lxc(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not signs(monkeypatch, cgroup=b"0::/lxc.monitor.web\n").lack("lxc")


@pytest.mark.parametrize(
    ("config", "lacks"), [(b"version = 2\n", True), (b'root = "/srv/containerd"\n', False)]
)
def test_a_configuration_that_names_another_place_is_a_sign(
    monkeypatch: pytest.MonkeyPatch, config: bytes, lacks: bool
) -> None:
    made = signs(monkeypatch, config=config)
    assert made.lack("containerd") is lacks
    assert made.lack("cri") is lacks


def test_a_directory_that_may_not_be_listed_may_hold_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = signs(monkeypatch)

    def listdir(place: str) -> list[str]:
        raise PermissionError(place)

    monkeypatch.setattr(os, "listdir", listdir)
    assert not made.lack("docker")


def test_where_the_hosts_files_are_not_the_readers_all_are_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = signs(monkeypatch, root="/host/proc")
    assert [name for name in ENGINES if made.lack(name)] == []
