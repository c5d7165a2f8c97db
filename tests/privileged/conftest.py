"""What tests with privileges share."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["proc", "kernel"])
def each_source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take every snapshot from /proc, and again from the kernel's own lists."""
    source: str = request.param
    monkeypatch.setenv("NSCTL_SOURCE", source)
    return source
