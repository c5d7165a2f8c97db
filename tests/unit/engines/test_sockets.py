"""Which sockets are engines': those that their daemons hold, wherever they are."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines.sockets import daemons
from nsctl.kernel.unix import Listening, connect, parse_listening, peer_of
from unit.engines.machine import ALL, Machine
from unit.factories import ns

pytestmark = pytest.mark.unit

_HEAD = b"Num       RefCount Protocol Flags    Type St Inode Path\n"


def line(inode: int, path: bytes, *, flags: int = 0x10000, kind: int = 1) -> bytes:
    return b"00000000f093ef65: 00000002 00000000 %08X %04X 01 %5d %s\n" % (flags, kind, inode, path)


TABLE = (
    _HEAD
    + line(70, b"/srv/a b/api.sock")
    + line(71, b"/run/docker/libnetwork/0123.sock")
    + line(72, b"/run/docker/metrics.sock")
    + line(73, b"/run/docker.sock")
    + line(74, b"@abstract")
    + line(75, b"/run/connected.sock", flags=0)
    + line(76, b"/run/packets.sock", kind=5)
    + b"00000000f093ef65: 00000003 00000000 00000000 0001 03    77\n"
)


def hold(directory: Path, *inodes: int) -> None:
    for number, inode in enumerate(inodes):
        (directory / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
    (directory / "fd" / "900").symlink_to("/dev/null")
    (directory / "net").mkdir()
    (directory / "net/unix").write_bytes(TABLE)


def test_only_listening_stream_sockets_with_a_path_are_listed() -> None:
    assert parse_listening(TABLE) == [
        Listening(70, "/srv/a b/api.sock"),
        Listening(71, "/run/docker/libnetwork/0123.sock"),
        Listening(72, "/run/docker/metrics.sock"),
        Listening(73, "/run/docker.sock"),
    ]


@given(raw=st.binary(max_size=200), inode=st.integers(1, 1 << 32), path=st.binary(max_size=20))
def test_any_table_is_parsed(raw: bytes, inode: int, path: bytes) -> None:
    for each in parse_listening(raw + b"\n" + line(inode, b"/" + path)):
        assert each.inode >= 0
        assert each.path


def test_a_daemons_sockets_are_found_at_unusual_places(machine: Machine) -> None:
    hold(machine.add(50, comm=b"dockerd", words=("dockerd",)), 70, 71, 72, 75, 76, 77)
    (daemon,) = daemons(machine.survey())
    assert (daemon.engine, daemon.task.pid) == ("docker", 50)
    assert daemon.paths == ("/srv/a b/api.sock",)


def test_what_its_arguments_name_comes_first(machine: Machine) -> None:
    words = ("dockerd", "-H", "unix:///srv/a b/api.sock", "-H", "fd://")
    hold(machine.add(50, comm=b"dockerd", words=words), 70, 73)
    (daemon,) = daemons(machine.survey())
    assert daemon.paths == ("/srv/a b/api.sock", "/run/docker.sock")


def test_podmans_service_is_a_daemon_and_its_other_commands_are_none(machine: Machine) -> None:
    words = ("podman", "--root", "/x", "system", "service", "--time=0", "unix:///srv/a b/api.sock")
    hold(machine.add(50, comm=b"podman", words=words), 70)
    hold(machine.add(51, comm=b"podman", words=("podman", "run", "system")), 73)
    assert [(each.engine, each.task.pid) for each in daemons(machine.survey())] == [("podman", 50)]


def test_a_socket_that_no_daemon_holds_is_none(machine: Machine) -> None:
    hold(machine.add(50, comm=b"dockerd", words=("dockerd", "-H", "unix:///run/docker.sock")), 77)
    hold(machine.add(51, comm=b"other", words=("other",)), 73)
    assert daemons(machine.survey()) == []


@pytest.mark.parametrize(
    ("uid", "inodes"),
    [(1000, ns()), (0, ns(mnt=900, pid=901)), (0, ns(mnt=900, pid=901, user=902))],
)
def test_nobody_elses_daemon_is_spoken_to(
    machine: Machine, uid: int, inodes: tuple[int, ...]
) -> None:
    options = {"uid": uid, "inodes": inodes, "caps": ALL, "seccomp": 2}
    hold(machine.add(50, comm=b"dockerd", words=("dockerd",), **options), 73)  # type: ignore[arg-type]  # of several types
    assert daemons(machine.survey()) == []


def test_sockets_that_cannot_be_read_are_noted(machine: Machine) -> None:
    directory = machine.add(50, comm=b"dockerd", words=("dockerd",))
    hold(directory, 73)
    (directory / "net/unix").unlink()
    (directory / "net/unix").mkdir()
    survey = machine.survey()
    assert daemons(survey) == []
    assert [gap.object for gap in survey.gaps] == ["sockets of docker's process 50"]


def test_a_peer_is_who_listens(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 25) / ("name" * 25)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        directory = os.open(path.parent, os.O_PATH)
        try:
            server.bind(f"/proc/self/fd/{directory}/{path.name[:60]}")
        finally:
            os.close(directory)
        server.listen(1)
        fd = os.open(path.parent / path.name[:60], os.O_PATH)
        try:
            with connect(fd) as connection:
                peer = peer_of(connection)
        finally:
            os.close(fd)
    assert peer is not None
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())


def test_a_listener_that_has_ended_is_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        try:
            server.getsockopt(socket.SOL_SOCKET, 77)
        except OSError as error:
            if error.errno == errno.ENOPROTOOPT:
                pytest.skip("needs SO_PEERPIDFD (Linux 6.5)")
        code = "import socket, sys; socket.socket(fileno=int(sys.argv[1])).listen(1)"
        words = [sys.executable, "-I", "-c", code, str(server.fileno())]
        subprocess.run(words, pass_fds=[server.fileno()], check=True)
        fd = os.open(path, os.O_PATH)
        try:
            with connect(fd) as connection:
                assert peer_of(connection) is None
        finally:
            os.close(fd)
