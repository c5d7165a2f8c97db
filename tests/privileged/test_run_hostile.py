"""Root file systems that were made to attack whoever builds a container from them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.errors import NsctlError
from nsctl.run import lifecycle
from support.containers import Box, box_in

pytestmark = pytest.mark.privileged


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with box_in(tmp_path) as made:
        yield made


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
@pytest.mark.parametrize("target", ["/etc", "../../../../etc", "tmp", "proc", "/proc/self/root"])
def test_a_root_in_which_a_place_to_mount_is_a_link_is_refused(
    box: Box, place: str, target: str
) -> None:
    os.symlink(target, f"{box.root}/{place}")
    with pytest.raises(NsctlError, match=f"/{place} of the root file system: it is a symbolic"):
        box.run("true")
    assert box.left_over() == []


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
def test_a_root_in_which_a_place_to_mount_is_no_directory_is_refused(box: Box, place: str) -> None:
    for make in (os.mkfifo, lambda path: Path(path).write_text("x")):
        make(f"{box.root}/{place}")
        with pytest.raises(NsctlError, match="it is not a directory"):
            box.run("true")
        os.unlink(f"{box.root}/{place}")


def test_what_lies_at_the_places_of_devices_is_covered(box: Box) -> None:
    victim = Path(box.base, "victim")
    victim.write_text("whole")
    os.mkdir(f"{box.root}/dev")
    os.symlink(victim, f"{box.root}/dev/null")
    Path(f"{box.root}/dev/zero").write_text("no zeros")
    os.mkfifo(f"{box.root}/dev/random")
    os.symlink("/", f"{box.root}/dev/pts")
    os.symlink("/etc", f"{box.root}/dev/shm")
    os.mkdir(f"{box.root}/dev/ptmx")
    done = box.run("echo gone >/dev/null; stat -c %t:%T /dev/null /dev/zero; ls /dev/shm /dev/pts")
    assert done.output == "1:3\n1:5\n/dev/pts:\nptmx\n\n/dev/shm:\n"
    assert victim.read_text() == "whole"


def test_links_that_lead_out_of_the_root_lead_back_into_it(box: Box) -> None:
    shutil.rmtree(f"{box.root}/etc")
    os.symlink("/etc", f"{box.root}/etc")
    os.symlink("/../../../../etc/shadow", f"{box.root}/shadow")
    os.symlink("/sys/../etc", f"{box.root}/out")
    done = box.run("cat /etc/shadow /shadow /out/shadow && echo BROKEN; ls / | wc -l")
    assert "BROKEN" not in done.output
    assert "root:" not in done.output


def test_a_fake_proc_in_the_root_is_covered_by_a_real_one(box: Box) -> None:
    os.makedirs(f"{box.root}/proc/self/ns")
    os.makedirs(f"{box.root}/proc/sys/kernel")
    Path(f"{box.root}/proc/self/status").write_text("Seccomp: 0")
    os.symlink("/proc/sysrq-trigger", f"{box.root}/proc/keys")
    done = box.run(
        "head -1 /proc/self/status; grep -c ' /proc/keys ' /proc/mounts; stat -f -c %T /proc"
    )
    assert done.output.split() == ["Name:", "head", "1", "proc"]


def test_a_working_directory_outside_is_refused_or_inside(box: Box) -> None:
    for cwd in ("/proc/self/fd/7", "/proc/1/fd/8/..", "/proc/self/cwd/../../../../.."):
        try:
            done = box.run("pwd -P; ls -d /lib /home", cwd=cwd)
        except NsctlError:
            continue
        assert done.output.startswith("/\n")
        assert "/home\n" not in done.output
    os.symlink("/", f"{box.root}/here")
    assert box.run("pwd -P", cwd="/here").output == "/\n"


def test_device_nodes_and_set_uid_files_of_the_root_give_nothing(box: Box) -> None:
    os.mknod(f"{box.root}/disk", 0o666 | 0o060000, os.stat("/").st_dev)
    os.mknod(f"{box.root}/zero", 0o666 | 0o020000, os.makedev(1, 5))
    for asked in ({}, {"user": "host"}):
        done = box.run("head -c 1 /disk; head -c 1 /zero; echo $(ls -l /disk)", namespaces=asked)
        assert done.output.count("Permission denied") == 2, done.output


def test_a_deep_tree_with_closed_directories_is_removed(box: Box) -> None:
    script = """
        i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || break; i=$((i+1)); done
        ln -s / root; ln -s /etc/passwd file; mkfifo pipe
        mkdir /closed /closed/inner; chmod 0 /closed/inner /closed; echo $i
    """
    assert box.run(script).output == "1500\n"
    assert box.left_over() == []


def test_the_state_directory_must_be_the_callers_alone(box: Box) -> None:
    lifecycle.list_containers(box.store)
    os.makedirs(box.store.state, mode=0o700)
    Path(box.store.state).chmod(0o755)
    with pytest.raises(NsctlError, match="mode 0755"):
        box.run("true")
    os.rmdir(box.store.state)
    elsewhere = f"{box.base}/elsewhere"
    os.mkdir(elsewhere, 0o700)
    os.symlink(elsewhere, box.store.state)
    with pytest.raises(NsctlError):
        box.run("true")
    assert os.listdir(elsewhere) == []
    os.unlink(box.store.state)


def test_two_stores_never_share_their_storage(box: Box) -> None:
    box.detach(name="web")
    other = box.store._replace(state=f"{box.base}/other")
    with pytest.raises(NsctlError, match="belongs to the containers of"):
        lifecycle.run(box.spec("true"), other)
    assert lifecycle.list_containers(box.store)[0].state == "running"
