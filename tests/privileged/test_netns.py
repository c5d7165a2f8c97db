"""Names for `ip netns`: as ip-netns(8) finds them, and gone when the container is."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from nsctl.report.schema import load_schema
from support.containers import make_root
from support.users import Nsctl, OrdinaryUser, clean_environment

pytestmark = pytest.mark.privileged


class World:
    """A mount namespace with a /run of its own, in which commands run."""

    def __init__(self, home: str) -> None:
        self.home = home
        script = "mount -t tmpfs -o mode=755 none /run && echo && exec sleep 600"
        self._process = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", script],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"\n"
        self.pid = self._process.pid

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", *words],
            env=clean_environment(self.home),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def nsctl(self, *words: str, status: int = 0) -> str:
        done = self.run(sys.executable, "-m", "nsctl", *words)
        assert done.returncode == status, (words, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr

    def names(self) -> list[str]:
        """What ip-netns(8) lists."""
        return sorted(
            line.split()[0] for line in self.run("ip", "netns").stdout.split("\n") if line
        )

    def left(self) -> list[str]:
        """What is below /run/netns, and of our records."""
        found = []
        for place in ("netns", "nsctl-netns"):
            listed = self.run("ls", "-A", f"/run/{place}")
            found += [] if listed.returncode else [f"{place}/{x}" for x in listed.stdout.split()]
        return found

    def close(self) -> None:
        with self._process:
            self._process.kill()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    for program in ("ip", "nsenter", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (Debian: iproute2, util-linux)")
    made = World(str(tmp_path))
    try:
        yield made
    finally:
        made.nsctl("netns", "hide", "--gone")
        made.close()


@pytest.fixture
def target() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a network namespace of its own, with an interface of an odd name."""
    script = "ip link add odd0 type veth peer odd1 && ip addr add 192.0.2.7/24 dev odd0; echo; exec sleep 600"
    process = subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def _ended(pid: int) -> None:
    """Wait for the end of a process that is not ours to wait for."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(30_000)
    finally:
        os.close(fd)


def _record(world: World, name: str) -> dict[str, Any]:
    text = world.run("cat", f"/run/nsctl-netns/{name}.json").stdout
    record: dict[str, Any] = json.loads(text)
    return record


def test_ip_netns_sees_a_namespace_by_its_name(
    world: World, target: subprocess.Popen[bytes]
) -> None:
    assert world.nsctl("netns", "expose", str(target.pid), "web") == "web\n"
    assert world.names() == ["web"]
    links = json.loads(world.run("ip", "-n", "web", "-j", "addr").stdout)
    assert [link["ifname"] for link in links] == ["lo", "odd1", "odd0"]
    done = world.run("ip", "netns", "exec", "web", "cat", "/proc/sys/net/ipv4/conf/odd0/mtu")
    assert world.run("ip", "netns", "exec", "web", "true").returncode == 0, done.stderr
    assert "web" in world.run("ip", "netns", "identify", str(target.pid)).stdout
    assert world.nsctl("netns", "hide", "web") == "web\n"
    assert (world.names(), world.left()) == ([], [])


def test_the_name_goes_with_the_process(world: World, target: subprocess.Popen[bytes]) -> None:
    world.nsctl("netns", "expose", str(target.pid), "web")
    waiter = _record(world, "web")["waiter"]
    target.kill()
    target.wait()
    _ended(waiter)
    assert (world.names(), world.left()) == ([], [])


def test_the_next_command_cleans_up_after_a_waiter_that_was_killed(
    world: World, target: subprocess.Popen[bytes]
) -> None:
    world.nsctl("netns", "expose", str(target.pid), "web")
    waiter = _record(world, "web")["waiter"]
    os.kill(waiter, 9)
    _ended(waiter)
    target.kill()
    target.wait()
    assert world.names() == ["web"]
    assert world.nsctl("netns", "hide", "--gone") == "web\n"
    assert (world.names(), world.left()) == ([], [])


def test_a_name_that_exists_is_never_touched(world: World, target: subprocess.Popen[bytes]) -> None:
    assert world.run("ip", "netns", "add", "taken").returncode == 0
    inode = world.run("stat", "-Lc", "%i", "/run/netns/taken").stdout
    world.run("touch", "/run/netns/file")
    for name in ("taken", "file"):
        words = world.nsctl("netns", "expose", str(target.pid), name, status=1)
        assert "there is such a name already, and it is left as it is" in words
        world.nsctl("netns", "hide", name, status=2)
    assert world.run("stat", "-Lc", "%i", "/run/netns/taken").stdout == inode
    world.nsctl("netns", "expose", str(target.pid), "mine")
    world.nsctl("netns", "hide", str(target.pid))
    assert world.names() == ["file", "taken"]
    assert world.run("ip", "netns", "delete", "taken").returncode == 0


def test_what_was_put_in_place_of_a_name_stays(
    world: World, target: subprocess.Popen[bytes]
) -> None:
    world.nsctl("netns", "expose", str(target.pid), "web")
    world.run("ip", "netns", "delete", "web")
    world.run("ip", "netns", "add", "web")
    world.nsctl("netns", "hide", "web")
    assert world.names() == ["web"]
    world.run("ip", "netns", "delete", "web")


@pytest.mark.parametrize("name", ["a/b", "../x", "..", ".", "-x", "a\nb", "\x1b[31m", "x" * 300])
def test_names_that_lead_elsewhere_are_refused(
    world: World, target: subprocess.Popen[bytes], name: str
) -> None:
    words = world.nsctl("netns", "expose", str(target.pid), "--", name, status=2)
    assert words.count("\n") <= 2
    assert "\x1b" not in words
    assert world.left() == []


def test_a_container_of_our_own_has_its_own_name(world: World, tmp_path: Path) -> None:
    root = make_root(str(tmp_path / "root"))
    world.nsctl("run", "-d", "--name", "mine", root, "sleep", "600")
    try:
        assert world.nsctl("netns", "expose", "mine") == "mine\n"
        document = json.loads(world.nsctl("netns", "-J"))
        (row,) = [row for row in document["netns"] if row["names"] == ["mine"]]
        assert (row["exposed"], row["whose"]["name"]) == (["mine"], "mine")
        waiter = _record(world, "mine")["waiter"]
    finally:
        world.nsctl("rm", "-f", "mine")
    _ended(waiter)
    assert (world.names(), world.left()) == ([], [])


def test_a_namespace_without_a_process_keeps_its_name_until_it_is_hidden(
    world: World, target: subprocess.Popen[bytes]
) -> None:
    path = f"/proc/{target.pid}/ns/net"
    world.nsctl("netns", "expose", path, "held")
    target.kill()
    target.wait()
    assert world.names() == ["held"]
    world.nsctl("netns", "hide", "held")
    assert world.left() == []
    assert "UTS" in world.nsctl("netns", "expose", "/proc/self/ns/uts", "x", status=1)


def test_both_worlds_are_listed(
    world: World, target: subprocess.Popen[bytes], nsctl: Nsctl
) -> None:
    del nsctl
    world.run("ip", "netns", "add", "other")
    world.nsctl("netns", "expose", str(target.pid), "web")
    text = world.nsctl("netns")
    lines = {line.split()[0]: line for line in text.split("\n") if line}
    assert "ip netns" in lines["other"]
    assert "nsctl" in lines["web"]
    document = json.loads(world.nsctl("netns", "-J"))
    jsonschema.validate(document, load_schema("netns"))
    (row,) = [row for row in document["netns"] if target.pid in row["processes"]]
    assert row["names"] == ["web"]
    world.nsctl("netns", "hide", "web")
    world.run("ip", "netns", "delete", "other")


def test_names_are_root_s_to_make(nsctl: Nsctl, ordinary_user: OrdinaryUser) -> None:
    done = nsctl("netns", "expose", "/proc/self/ns/net", "x", user=ordinary_user)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2
    assert nsctl("netns", user=ordinary_user, check=0).stdout
