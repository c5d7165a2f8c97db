"""The helper that reads what belongs to others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsctl.engines.guarded import GuardedReader
from nsctl.kernel import below

pytestmark = pytest.mark.unit


def test_it_answers_as_reading_directly_would(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "link").symlink_to("to")
    root = str(tmp_path)
    reader = GuardedReader()
    try:
        for limit in (10, 1 << 20):
            assert reader.read_file(root, "/file", limit) == below.read_file(root, "/file", limit)
        assert sorted(reader.list_directory(root, "/", 9)) == ["file", "link"]
        assert reader.read_link(root, "/link") == "to"
        with pytest.raises(FileNotFoundError):
            reader.read_file(root, "/other", 9)
        with pytest.raises(OSError, match="Invalid argument"):
            reader.read_file(root, "/", 9)
    finally:
        reader.close()
    assert reader.pid == 0


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    reader = GuardedReader()
    reader.list_directory(str(tmp_path), "/", 9)
    pid = reader.pid
    reader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
