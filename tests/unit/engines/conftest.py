"""Fixtures of the engines' unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.engines.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a reader and a process 1."""
    root = tmp_path / "proc"
    root.mkdir()
    return Machine(root)
