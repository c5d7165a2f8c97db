"""What a user does to share and debug, on containers of engines, with the old way beside it.

One container of Docker, two of a Podman pod and two of a CRI pod listen or sleep; each walk asks
nsctl for what used to take several programs, and compares.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.engines.containerd import Containerd, Cri
from support.engines.docker import Docker
from support.engines.needs import nsctl, require
from support.engines.podman import UID, Podman
from support.engines.stage import Stage

pytestmark = pytest.mark.engines

LISTENS = ("sh", "-c", "exec nc -ll -p 7080 -e true")


class Target(NamedTuple):
    """One container, its engine's own way in, and another that shares with it.

    Attributes:
        name: TARGET for nsctl.
        pid: of its first process.
        beside: TARGET of one that was declared to share its PID and network namespace.
    """

    name: str
    pid: int
    beside: str


@pytest.fixture(scope="module")
def dockers(docker: Docker) -> Target:
    docker.run("walk", command=LISTENS)
    docker.run("walk-side", "--network", "container:walk", "--pid", "container:walk")
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", "walk"))
    return Target("docker://walk", pid, "docker://walk-side")


@pytest.fixture(scope="module")
def podmans() -> Iterator[Target]:
    require("podman", "conmon", "catatonit", "runc")
    with Stage("walk-podman") as stage:
        podman = Podman(stage)
        podman.pod("walkpod", "--share", "pid,net,ipc,uts", "--network", "none")
        podman.run("walk-a", "--pod", "walkpod", command=LISTENS)
        podman.run("walk-b", "--pod", "walkpod")
        pid = int(podman("inspect", "-f", "{{.State.Pid}}", "walk-a"))
        yield Target("pod/walkpod/walk-a", pid, "pod/walkpod/walk-b")


@pytest.fixture(scope="module")
def cris(containerd: Containerd) -> Iterator[Target]:
    pytest.importorskip("grpc")
    pytest.importorskip("cri_api")
    if not os.path.exists("/usr/lib/cni/bridge"):
        pytest.skip("needs containernetworking-plugins")
    cri = Cri(containerd)
    try:
        pod = cri.pod("walk", pid="CONTAINER")
        first = cri.container(pod, "cart", *LISTENS, pid="CONTAINER")
        cri.container(pod, "side", pid="TARGET", target=first)
        pid = int(cri.status(first)[1]["pid"])
        yield Target("pod/default:walk/cart", pid, "pod/default:walk/side")
        cri.stop_pod(pod)
    finally:
        cri.close()


@pytest.fixture(scope="module", params=["dockers", "podmans", "cris"])
def web(request: pytest.FixtureRequest) -> Target:
    found: Target = request.getfixturevalue(request.param)
    return found


def old_way(web: Target, *command: str) -> str:
    """nsenter(1) with a PID that somebody has looked up."""
    done = subprocess.run(
        ["nsenter", "-t", str(web.pid), *command], check=True, capture_output=True, text=True
    )
    return done.stdout


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def test_row_15_its_network_is_there_for_ip_netns_and_gone_again(web: Target) -> None:
    needs("ip")
    name = nsctl("netns", "expose", web.name, "nsctl-walk").strip()
    try:
        listed = subprocess.run(
            ["ip", "-n", name, "-j", "addr"], check=True, capture_output=True, text=True
        )
        assert listed.stdout == old_way(web, "-n", "ip", "-j", "addr")
    finally:
        nsctl("netns", "hide", name)


def test_row_16_a_shell_sees_the_processes_of_both_sides(web: Target) -> None:
    script = "for each in /proc/[0-9]*; do tr '\\0' ' ' <$each/cmdline; echo; done"
    seen = nsctl("debug", web.name, "sh", "-c", script)
    assert "nc -ll -p 7080" in seen
    assert "sh -c for each" in seen
    old = old_way(web, "-p", "-m", "ps", "-o", "args")
    assert "nc -ll -p 7080" in old


def test_rows_17_and_18_sockets_have_their_process_whatever_is_shared(web: Target) -> None:
    needs("ss")
    both = nsctl("debug", web.name, "ss", "-Htlnp")
    assert ":7080 " in both
    assert '"nc",pid=' in both
    # With the network alone, ss inside knows no process; from the host nsctl does.
    alone = nsctl("debug", "-s", "net", web.name, "ss", "-Htlnp")
    assert ":7080 " in alone
    assert "pid=" not in alone
    (row,) = json.loads(nsctl("net", "-J", web.name))["net"]
    owners = [
        each for one in row["sockets"] if one.get("local_port") == 7080 for each in one["owners"]
    ]
    assert [(each["pid"], each["comm"]) for each in owners] == [(web.pid, "nc")]
    assert "7080" in old_way(web, "-n", "ss", "-Htln")


def test_row_19_one_container_s_pid_namespace_is_shared_and_no_other_one_s(web: Target) -> None:
    seen = nsctl("debug", "-s", "pid", web.name, "readlink", "/proc/self/ns/pid").strip()
    assert seen == os.readlink(f"/proc/{web.pid}/ns/pid")
    network = nsctl("debug", "-s", "pid", web.name, "readlink", "/proc/self/ns/net").strip()
    assert network not in {os.readlink(f"/proc/{web.pid}/ns/net"), os.readlink("/proc/self/ns/net")}


def test_row_20_what_was_declared_to_be_shared_is_told_from_who_joined(web: Target) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "nsctl", "debug", web.name, "sh", "-c", "echo; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        shown = nsctl("show", web.name)
        side = nsctl("show", web.beside)
        process.stdin.close() if process.stdin else None
    network = next(line for line in shown.split("\n") if line.startswith(" net "))
    assert f"debug of {web.name}" in shown
    assert web.beside.rpartition("/")[2] in shown
    assert "shared with" in network
    assert "declared" in side


def test_row_21_its_files_are_read_with_tools_that_it_lacks(web: Target) -> None:
    needs("strace")
    script = (
        "ls /target/bin/busybox; touch /target/x 2>&1; strace -o /tmp/t -p $1 2>/tmp/said & "
        "until grep -q attached /tmp/said; do :; done; kill -INT $!; wait; cat /tmp/said"
    )
    status = Path(f"/proc/{web.pid}/status").read_text()
    inside = next(row.split()[-1] for row in status.split("\n") if row.startswith("NSpid"))
    before = Path(f"/proc/{web.pid}/mountinfo").read_text()
    seen = nsctl("debug", web.name, "sh", "-c", script, "sh", inside)
    assert "/target/bin/busybox\n" in seen
    assert "Read-only file system" in seen
    assert f"Process {inside} attached" in seen
    assert Path(f"/proc/{web.pid}/mountinfo").read_text() == before


def test_a_rootless_podman_s_owner_debugs_his_container() -> None:
    require("podman", "conmon", "catatonit", "runc", "newuidmap", "slirp4netns")
    with Stage("walk-rootless") as stage:
        podman = Podman(stage, rootless=True)
        podman.run("mine", "--network", "none", command=LISTENS)
        pid = int(podman("inspect", "-f", "{{.State.Pid}}", "mine"))
        ids = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "env")
        # In the host's PID namespace, as the stage is; its user namespace is podman's own.
        words = (*ids, "HOME=/", "PYTHONDONTWRITEBYTECODE=1")
        seen = nsctl(
            "debug", str(pid), "ls", "/target/bin/busybox", prefix=stage.inside(list(words))
        )
        assert seen == "/target/bin/busybox\n"
