"""systemd-nspawn's arguments, and the files that systemd-machined keeps.

Those files are constructed: no systemd-machined ran where the rest was recorded.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines import nspawn
from nsctl.engines.nspawn import declared, options, parse_machine
from unit.engines.machine import Machine
from unit.factories import ns

pytestmark = pytest.mark.unit

_MACHINE = (
    "# This is private data. Do not parse.\nNAME=web\nSCOPE=machine-web.scope\n"
    "SERVICE=systemd-nspawn\nROOT=/var/lib/machines/web\nLEADER=60\nCLASS=container\n"
    "REALTIME=1795524946500000\nMONOTONIC=99\n"
)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("-D /r -M web /bin/sh -M other", {"directory": "/r", "machine": "web"}),
        ("-qbD/r --machine=web", {"q": "", "boot": "", "directory": "/r", "machine": "web"}),
        ("--machine web --uuid 1 -n", {"machine": "web", "uuid": "1", "network-veth": ""}),
        ("-U --private-users=pick x", {"private-users": "pick"}),
        ("--private-users -D /r", {"private-users": "", "directory": "/r"}),
        ("-a -- -M web", {"as-pid2": ""}),
        ("", {}),
    ],
)
def test_arguments_are_read_as_nspawn_reads_them(words: str, found: dict[str, str]) -> None:
    assert options(("systemd-nspawn", *words.split())) == found


@given(st.lists(st.text(max_size=6) | st.sampled_from(("-M", "-D", "--machine", "-qbD"))))
def test_any_arguments_are_read_without_complaint(words: list[str]) -> None:
    declared(options(("systemd-nspawn", *words)))


@pytest.mark.parametrize(
    ("words", "user", "net"),
    [
        ("", "host", "host"),
        ("-U", "own", "host"),
        ("--private-users=no --private-network", "host", "own"),
        ("--private-users=identity -n", "own", "own"),
        ("--network-namespace-path=/run/netns/x", "host", "path:/run/netns/x"),
    ],
)
def test_what_arguments_ask_for_is_told(words: str, user: str, net: str) -> None:
    said = declared(options(("systemd-nspawn", *words.split())))
    assert (said["user"], said["net"]) == (user, net)


def test_a_file_of_machined_is_read() -> None:
    found = parse_machine(_MACHINE.encode())
    assert found is not None
    assert (found.name, found.root, found.leader) == ("web", "/var/lib/machines/web", 60)
    assert found.created == 1795524946.5
    for damaged in (
        "",
        _MACHINE.replace("systemd-nspawn", "libvirt-qemu"),
        _MACHINE.replace("LEADER=60", "LEADER=six"),
        _MACHINE.replace("LEADER=60", "LEADER=" + "6" * 5000),
        _MACHINE.replace("NAME=web\n", ""),
    ):
        assert parse_machine(damaged.encode()) is None


@given(st.binary())
def test_any_file_is_read_without_complaint(raw: bytes) -> None:
    parse_machine(b"SERVICE=systemd-nspawn\nNAME=x\n" + raw)


def add_running(machine: Machine, *words: str) -> Path:
    """An nspawn and its child; its view of the file system."""
    scope = b"/machine.slice/machine-web.scope"
    directory = machine.add(
        50,
        comm=b"systemd-nspawn",
        words=("systemd-nspawn", *words),
        cgroup=b"0::" + scope + b"/supervisor\n",
    )
    machine.add(
        60, ppid=50, comm=b"init", cgroup=b"0::" + scope + b"/payload/init.scope\n",
        inodes=ns(pid=901, mnt=902),
    )  # fmt: skip
    return directory / "root"


def test_machined_knows_best(machine: Machine) -> None:
    root = add_running(machine, "-D", "/elsewhere", "-M", "other")
    place = root / "run/systemd/machines"
    place.mkdir(parents=True)
    (place / "web").write_text(_MACHINE)
    (place / "unit:machine-web.scope").symlink_to("web")
    (place / "vm").write_text(_MACHINE.replace("systemd-nspawn", "libvirt-qemu"))
    (place / "half").write_text(_MACHINE[:40])
    (row,) = nspawn.containers(machine.survey())
    assert (row.name, row.pid, row.image) == ("web", 60, "/var/lib/machines/web")
    assert row.created == 1795524946.5
    assert row.cgroups == ("/machine.slice/machine-web.scope/payload",)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("-D /r/root -M other", "other"),
        # With --ephemeral it is made up, and only the group has it.
        ("-xD /r/root", "web"),
    ],
)
def test_without_machined_arguments_and_groups_tell_the_name(
    machine: Machine, words: str, name: str
) -> None:
    add_running(machine, *words.split())
    (row,) = nspawn.containers(machine.survey())
    assert (row.name, row.pid, row.image) == (name, 60, "/r/root")
