"""Each of the eight namespaces as root wants it: the container's own, the host's, another's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.errors import NsctlError, UsageError
from nsctl.run import lifecycle
from nsctl.run.namespaces import proc_by_child
from support.containers import Box, box_in, namespaces

pytestmark = pytest.mark.privileged

KINDS = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with box_in(tmp_path_factory.mktemp("box")) as made:
        made.detach(name="a")
        yield made


def _shared(box: Box, asked: dict[str, str], with_whom: dict[str, str]) -> set[str]:
    rootfs = "/" if asked.get("mnt", "private") != "private" else box.root
    # Its first process tells its command from outside, whatever it can see itself.
    made = box.detach(
        *("sleep", "1000") if rootfs != "/" else ("/bin/sleep", "1000"),
        name="c",
        rootfs=rootfs,
        namespaces=asked,
    )
    try:
        mine = namespaces(made.pid)
        return {kind for kind in KINDS if mine[kind] == with_whom[kind]}
    finally:
        lifecycle.remove("c", box.store, force=True)


@pytest.mark.parametrize("kind", KINDS)
def test_one_namespace_can_be_the_hosts(box: Box, kind: str) -> None:
    assert _shared(box, {kind: "host"}, namespaces("self")) == {kind}


@pytest.mark.parametrize("kind", KINDS)
def test_one_namespace_can_be_another_containers(box: Box, kind: str) -> None:
    other = namespaces(box.state("a").pid)
    assert _shared(box, {kind: "container:a"}, other) == {kind}


def test_all_eight_can_be_another_containers(box: Box) -> None:
    other = namespaces(box.state("a").pid)
    assert _shared(box, dict.fromkeys(KINDS, "container:a"), other) == set(KINDS)


def test_all_eight_can_be_the_hosts(box: Box) -> None:
    assert _shared(box, dict.fromkeys(KINDS, "host"), namespaces("self")) == set(KINDS)


def test_what_shows_a_shared_namespace_shows_it(box: Box) -> None:
    seen = box.run(
        "ls -d /proc/[0-9]* | wc -l; echo $(ls /sys/class/net); ls -d /dev/mqueue; hostname",
        namespaces={"pid": "host", "net": "host", "ipc": "host", "uts": "host"},
    ).output.split("\n")
    assert int(seen[0]) > 10
    assert set(seen[1].split()) == set(os.listdir("/sys/class/net"))
    assert seen[2:4] == ["/dev/mqueue", os.uname().nodename]
    other = box.run("echo $(cat /proc/1/cmdline | tr '\\0' ' ')", namespaces={"pid": "container:a"})
    assert other.output.startswith("nsctl-init")
    assert "sleep 1000" in box.run("ps", namespaces={"pid": "container:a"}).output


def test_masks_hold_in_a_shared_pid_namespace(box: Box) -> None:
    for choice in ("host", "container:a"):
        done = box.run(
            "head -c 1 /proc/keys | wc -c; (echo x >/proc/sys/kernel/hostname) 2>&1",
            namespaces={"pid": choice},
        )
        assert done.output.startswith("0\n")
        assert "Read-only" in done.output


def test_a_container_of_the_hosts_user_namespace_can_be_shared_from(box: Box) -> None:
    box.detach(name="plain", namespaces={"user": "host"})
    try:
        other = namespaces(box.state("plain").pid)
        for asked in (
            {"pid": "container:plain", "net": "container:plain", "ipc": "container:plain"},
            {"user": "container:plain", "uts": "container:plain"},
        ):
            assert _shared(box, asked, other) == set(asked)
    finally:
        lifecycle.remove("plain", box.store, force=True)


def test_processes_in_the_hosts_pid_namespace_end_with_their_container(box: Box) -> None:
    made = box.detach(
        "sh",
        "-c",
        "sleep 1001 & sleep 1002 & trap '' TERM; wait",
        name="c",
        namespaces={"pid": "host"},
    )
    directory = next(path for path in box.state("c").cgroup_dirs)
    members = Path(f"{directory}/cgroup.procs").read_text().split()
    assert str(made.pid) in members
    os.kill(made.pid, 9)
    lifecycle.stop("c", box.store)
    assert not [pid for pid in members if os.path.exists(f"/proc/{pid}")]
    lifecycle.remove("c", box.store)


def test_a_stopped_container_has_no_namespaces_to_share(box: Box) -> None:
    box.detach("true", name="short")
    lifecycle.stop("short", box.store)
    with pytest.raises(NsctlError, match="it does not run"):
        box.run("true", namespaces={"net": "container:short"})
    lifecycle.remove("short", box.store)


def test_what_does_not_agree_is_refused(box: Box) -> None:
    for asked in (
        {"namespaces": {"time": "host"}, "boottime": 1},
        {"namespaces": {"uts": "container:a"}, "hostname": "x"},
        {"namespaces": {"mnt": "host"}},
        {"namespaces": {"pid": "shared"}},
        {"namespaces": {"pod": "host"}},
        {"rootfs": "/"},
    ):
        with pytest.raises(UsageError):
            box.run("true", **asked)


def test_a_proc_of_another_pid_namespace_can_also_be_made_by_a_child() -> None:
    """What older kernels need, in a process of its own: joining cannot be undone."""
    child = os.fork()
    if not child:
        status = 1
        try:
            from nsctl.kernel import unshare

            unshare.unshare(0x00020000)
            unshare.unshare(0x20000000)
            if not os.fork():
                fd = proc_by_child(0)
                pids = [name for name in os.listdir(f"/proc/self/fd/{fd}") if name.isdecimal()]
                os._exit(0 if pids == ["1"] else 3)
            status = os.waitstatus_to_exitcode(os.wait()[1])
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
