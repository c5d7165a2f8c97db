"""Reading below a root that somebody else filled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsctl.kernel import below

pytestmark = pytest.mark.unit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    top = tmp_path / "root"
    (top / "etc").mkdir(parents=True)
    (top / "etc/file").write_text("content")
    return top


def test_a_file_is_read_with_its_owner_and_mode(root: Path) -> None:
    (root / "etc/file").chmod(0o640)
    content = below.read_file(str(root), "/etc/file", 100)
    assert content == below.Content(b"content", os.geteuid(), 0o640, whole=True)


def test_reading_stops_at_the_limit_and_says_so(root: Path) -> None:
    assert below.read_file(str(root), "/etc/file", 7).whole
    content = below.read_file(str(root), "/etc/file", 6)
    assert (content.data, content.whole) == (b"conten", False)


@pytest.mark.parametrize("target", ["/secret", "../secret", "../../secret", "/../secret"])
def test_no_link_leads_out(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    with pytest.raises(FileNotFoundError):
        below.read_file(str(root), "/link", 100)
    (root / "secret").write_text("inner")
    assert below.read_file(str(root), "/link", 100).data == b"inner"


def test_a_link_of_procfs_is_not_followed() -> None:
    with pytest.raises(OSError, match=r"symbolic links|No such"):
        below.read_file("/proc/self", "/root/etc/passwd", 100)


def test_a_pipe_does_not_make_it_wait(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        below.read_file(str(root), "/pipe", 100)


def test_a_directory_is_no_file(root: Path) -> None:
    with pytest.raises(OSError, match="no regular file"):
        below.read_file(str(root), "/etc", 100)


def test_a_directory_is_listed_up_to_a_limit(root: Path) -> None:
    for name in "abc":
        (root / "etc" / name).touch()
    assert sorted(below.list_directory(str(root), "/etc", 9)) == ["a", "b", "c", "file"]
    assert len(below.list_directory(str(root), "/etc", 2)) == 2
    with pytest.raises(NotADirectoryError):
        below.list_directory(str(root), "/etc/file", 9)


def test_a_link_is_read_as_it_is_written(root: Path) -> None:
    (root / "link").symlink_to("/anywhere")
    assert below.read_link(str(root), "/link") == "/anywhere"
    with pytest.raises(FileNotFoundError):
        below.read_link(str(root), "/etc/file")
