"""unshare as root, against the installed one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.containers import make_root
from support.unshare_cases import same_end, same_situation
from support.unsharing import ANYBODY, ENDS, KINDS, RANGES, REFUSED, ROOT, link, peer

pytestmark = pytest.mark.privileged

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> str:
    return link(tmp_path_factory.mktemp("bin"))


def run(*words: str) -> Done:
    return subprocess.run(
        words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60
    )


@pytest.mark.parametrize("options", [*ANYBODY, *ROOT], ids=" ".join)
def test_a_program_begins_as_with_the_original(ours: str, options: tuple[str, ...]) -> None:
    same_situation(run, peer(), ours, options)


@pytest.fixture(scope="module")
def subordinate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """Runs commands where /etc/subuid and /etc/subgid have a range for root."""
    if shutil.which("newuidmap") is None:
        pytest.skip("needs newuidmap (Debian: uidmap)")
    path = tmp_path_factory.mktemp("etc") / "subid"
    path.write_text("root:100000:65536\nroot:500000:10\n")
    for name in ("/etc/subuid", "/etc/subgid"):
        if not os.path.exists(name):
            pytest.skip(f"needs {name} (Debian: passwd)")
    script = 'mount --bind $0 /etc/subuid && mount --bind $0 /etc/subgid && exec "$@"'
    prefix = ("unshare", "-m", "sh", "-c", script, str(path))
    return lambda *words: run(*prefix, *words)


@pytest.mark.parametrize("options", RANGES, ids=" ".join)
def test_ranges_are_mapped_as_by_the_original(
    subordinate: Callable[..., Done], ours: str, options: tuple[str, ...]
) -> None:
    same_situation(subordinate, peer(), ours, options)


def test_subordinate_ids_can_keep_their_numbers(
    subordinate: Callable[..., Done], ours: str
) -> None:
    done = subordinate(ours, "--map-subids", "cat", "/proc/self/uid_map", "/proc/self/gid_map")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.split("\n")[:-1]]
    assert lines == [["100000", "100000", "65536"]] * 2


def test_all_ids_there_are_can_be_mapped(ours: str) -> None:
    words = ("--map-users=all", "--map-groups=all", "cat", "/proc/self/uid_map")
    done = run(ours, *words)
    assert done.stdout.split() == Path("/proc/self/uid_map").read_text().split(), done.stderr


@pytest.mark.parametrize("words", [*REFUSED, *ENDS], ids=" ".join)
def test_it_ends_as_the_original_ends(ours: str, words: tuple[str, ...]) -> None:
    same_end(run, peer(), ours, words)


def test_the_root_is_changed_before_a_procfs_is_mounted(ours: str, tmp_path: Path) -> None:
    root = make_root(str(tmp_path / "root"))
    os.mkdir(f"{root}/proc")
    told = []
    for command in (peer(), ours):
        done = run(
            command,
            "-fpmR",
            root,
            "--mount-proc",
            "/bin/sh",
            "-c",
            "pwd; ls /; readlink /proc/self",
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert told[0] == told[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_namespace_outlives_the_program_at_a_path(ours: str, tmp_path: Path, kind: str) -> None:
    option = {"mnt": "mount"}.get(kind, kind)
    script = """
        mount -t tmpfs none "$1"; mount --make-private "$1"; touch "$1/ns"
        "$2" "--$3=$1/ns" --fork true && stat -f -c %t "$1/ns" && stat -Lc %i "$1/ns"
    """
    done = run("unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), ours, option)
    assert done.returncode == 0, done.stderr
    magic, inode = done.stdout.split("\n")[:2]
    assert magic == "6e736673"
    assert inode != str(os.stat(f"/proc/self/ns/{kind}").st_ino)


def test_the_user_namespace_belongs_to_its_owner(ours: str) -> None:
    script = "cat /proc/self/uid_map /proc/self/gid_map; id -u"
    done = run(
        ours, "--owner", "1234:2345", "--map-users", "0:100000:10", "--map-groups=0:200000:10",
        "--setuid", "3", "--setgid", "4", "sh", "-c", script,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.split("\n")]
    assert lines[:3] == [["0", "100000", "10"], ["0", "200000", "10"], ["3"]]


def test_a_path_that_cannot_be_bound_ends_the_child_too(ours: str) -> None:
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [ours, "-m=/nowhere/at/all", "-f", "sleep", "600"],
            pass_fds=(writing,),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        os.close(writing)
        writing = -1
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def test_a_child_that_is_another_user_ends_with_its_parent_too(ours: str) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [ours, "--kill-child", "-S", "1234", "sh", "-c", "echo ready; exec sleep 600"],
        stdout=subprocess.PIPE,
        pass_fds=(writing,),
    )
    os.close(writing)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.kill()
            process.wait()
            assert os.read(reading, 1) == b""
        finally:
            process.kill()
            os.close(reading)


def test_a_signal_that_ends_the_child_ends_the_parent(ours: str) -> None:
    assert run(ours, "-f", "sh", "-c", "kill -KILL $$").returncode == -9
