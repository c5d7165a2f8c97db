"""What a container wrote is removed, however it is made, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsctl.kernel.remove import remove_tree

pytestmark = pytest.mark.unit


def test_a_tree_is_removed_without_following_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "c").mkdir()
    (tree / "a" / "link").symlink_to(outside)
    (tree / "loop").symlink_to(tree)
    os.link(outside / "kept", tree / "hard")
    os.mkfifo(tree / "c" / "pipe")
    remove_tree(str(tree))
    assert sorted(os.listdir(tmp_path)) == ["outside"]
    assert (outside / "kept").read_text() == "kept"


def test_depth_does_not_matter(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(5_000):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    remove_tree(str(tree))
    assert os.listdir(tmp_path) == []


def test_closed_directories_are_opened(tmp_path: Path) -> None:
    inner = tmp_path / "tree" / "work" / "work"
    inner.mkdir(parents=True)
    (inner / "x").touch()
    inner.chmod(0)
    inner.parent.chmod(0)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


def test_what_is_not_there_or_a_link_is_left(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "none"))
    remove_tree(str(tmp_path / "none" / "none"))
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(OSError, match="Not a directory"):
        remove_tree(str(tmp_path / "link"))
