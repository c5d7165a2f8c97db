from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from support.nested import run_nested

pytestmark = pytest.mark.privileged

OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private")


def test_a_mount_left_behind_is_named(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import subprocess

def test_mount(tmp_path):
    command = ["mount", "-t", "tmpfs", "nsctl-left", str(tmp_path)]
    subprocess.run(command, check=True)
""",
        grace=0.1,
        prefix=OWN_MOUNTS,
    )
    assert status == 1, output
    assert "(tmpfs of nsctl-left, root /," in output


def test_a_mount_of_the_test_tree_counts_whatever_its_name_is(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import subprocess

def test_mount():
    subprocess.run(["mount", "-t", "tmpfs", "any", "/mnt"], check=True)
""",
        grace=0.1,
        prefix=OWN_MOUNTS,
        env={"NSCTL_TEST_ALONE": "1"},
    )
    assert status == 1, output
    assert "mount /mnt (tmpfs of any" in output


def test_what_may_be_somebody_elses_is_mentioned_and_does_not_fail(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import subprocess

def test_interface():
    command = ["ip", "link", "add", "left0", "type", "veth", "peer", "name", "left1"]
    subprocess.run(command, check=True)
""",
        prefix=(*OWN_MOUNTS, "--net"),
    )
    assert status == 0, output
    assert "new since the tests began" in output
    assert "network interface left0" in output


def test_network_interfaces_and_names_left_behind_are_named(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import subprocess

def test_network():
    command = ["ip", "link", "add", "nsctl0", "type", "veth", "peer", "name", "nsctl1"]
    subprocess.run(command, check=True)
    subprocess.run(["mount", "-t", "tmpfs", "any", "/run"], check=True)
    subprocess.run(["ip", "netns", "add", "nsctl-left"], check=True)
""",
        grace=0.1,
        prefix=(*OWN_MOUNTS, "--net"),
    )
    assert status == 1, output
    assert "network interface nsctl0" in output
    assert "name of a network namespace /run/netns/nsctl-left" in output
    assert "mount /run/netns/nsctl-left (nsfs of nsfs, root net:[" in output


def test_a_cgroup_left_behind_is_named(tmp_path: Path) -> None:
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = [line.split(b" ") for line in file.read().split(b"\n") if line]
    roots = [fields[4] for fields in mounts if fields[fields.index(b"-") + 1].startswith(b"cgroup")]
    if not roots:
        pytest.skip("needs a mounted cgroup hierarchy")
    directory = os.path.join(roots[0].decode(), f"nsctl-left-{secrets.token_hex(4)}")
    try:
        status, output = run_nested(
            tmp_path,
            grace=0.1,
            source=f"import os\n\ndef test_cgroup():\n    os.mkdir({directory!r})\n",
        )
        assert status == 1, output
        assert f"cgroup {directory} (inode " in output
    finally:
        os.rmdir(directory)


def test_a_process_is_named_with_the_namespaces_that_it_holds(tmp_path: Path) -> None:
    status, output = run_nested(
        tmp_path,
        """
import subprocess

def test_namespace():
    script = "unshare --net --uts sleep 86399 >/dev/null 2>&1 &"
    subprocess.run(["sh", "-c", script], check=True)
""",
        grace=0.1,
    )
    assert status == 1, output
    assert "'sleep' '86399'), holding net:[" in output
    assert " uts:[" in output
