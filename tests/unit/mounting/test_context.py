"""Places in a new root are found without following anything that lies in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.errors import NsctlError
from nsctl.mounting import masks
from nsctl.mounting.context import Context, check_device
from nsctl.mounting.filesystems import NODEV, RDONLY, Filesystem, option_text
from nsctl.mounting.step import describe_all

pytestmark = pytest.mark.unit


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    made = Context()
    made.root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield made
    os.close(made.root)


def test_a_link_anywhere_on_the_way_is_refused(tmp_path: Path, context: Context) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc").symlink_to("/etc")
    (tmp_path / "dev").symlink_to("etc")
    for path in ("/proc", "/dev", "/proc/x", "/dev/pts"):
        with pytest.raises(NsctlError, match="it is a symbolic link") as caught:
            context.open_directory(path)
        assert caught.value.hint


def test_what_is_no_directory_is_refused_without_being_opened(
    tmp_path: Path, context: Context
) -> None:
    os.mkfifo(tmp_path / "proc")
    (tmp_path / "sys").write_text("x")
    for path in ("/proc", "/sys"):
        with pytest.raises(NsctlError, match="it is not a directory"):
            context.open_directory(path)


def test_a_missing_place_is_made_with_its_mode(tmp_path: Path, context: Context) -> None:
    os.close(context.open_directory("/proc"))
    assert (tmp_path / "proc").is_dir()
    with pytest.raises(NsctlError):
        context.open_directory("/a/b")


def test_dots_stay_below_the_root(tmp_path: Path, context: Context) -> None:
    fd = context.open("/../../../..")
    try:
        assert os.fstat(fd).st_ino == os.stat(tmp_path).st_ino
    finally:
        os.close(fd)


def test_a_path_belongs_to_the_innermost_mount(context: Context) -> None:
    context.mounts = {"/sys": 7, "/sys/fs/cgroup": 8, "/proc": 9}
    assert context.locate("/sys/fs/cgroup/x/y") == (8, "x/y")
    assert context.locate("/sys/fs/cgroup2") == (7, "fs/cgroup2")
    assert context.locate("/proc") == (9, ".")
    assert context.locate("/procfs") == (context.root, "procfs")


def test_the_null_device_is_checked() -> None:
    for path, number in (("/dev/null", 3), ("/dev/zero", 5)):
        fd = os.open(path, os.O_PATH)
        try:
            check_device(fd, path, 1, number)
            with pytest.raises(NsctlError, match="it is not character device 1:4"):
                check_device(fd, path, 1, 4)
        finally:
            os.close(fd)
    fd = os.open("/", os.O_PATH)
    try:
        with pytest.raises(NsctlError):
            check_device(fd, "/", 1, 3)
    finally:
        os.close(fd)


def test_a_star_stands_for_part_of_one_component(tmp_path: Path, context: Context) -> None:
    for name in ("cpu0", "cpu11", "online", "cpu"):
        (tmp_path / "sys" / name).mkdir(parents=True)
    assert masks._matches(context, "/sys/cpu*/throttle") == [
        *("/sys/cpu/throttle", "/sys/cpu0/throttle", "/sys/cpu11/throttle")
    ]
    assert masks._matches(context, "/none/cpu*/x") == []
    assert masks._matches(context, "/sys/cpu0") == ["/sys/cpu0"]


def test_a_step_shows_a_sentence_and_a_command() -> None:
    steps = [Filesystem("tmpfs", "/dev", NODEV | RDONLY, (("mode", "0755"), ("inode64", "")))]
    assert describe_all(steps) == [
        "mount a new tmpfs on /dev\n    mount -t tmpfs -o ro,nodev,mode=0755,inode64 tmpfs /dev"
    ]
    assert option_text(0, ()) == ""
