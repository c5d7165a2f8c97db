"""Debug shells through the library, and a target of one static program on a read-only root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from nsctl.debug.act import debug as run_debug
from nsctl.debug.request import Request
from nsctl.model.container import Container
from nsctl.targets.live import resolve
from support.containers import Box

PORT = 8080
"""On which the lone program listens."""


def lone(box: Box) -> Container:
    """Start a container whose root holds one static program and nothing else, read-only."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox (Debian: busybox-static)")
    root = Path(box.base) / "lone"
    root.mkdir()
    root.chmod(0o755)
    shutil.copy(busybox, root / "httpd")
    return box.detach(
        *("/httpd", "-f", "-p", str(PORT)), rootfs=str(root), read_only=True, init=False
    )


def debug(
    target: str | int, *argv: str, said: list[str] | None = None, **asked: object
) -> tuple[int, str]:
    """Run a command in a debug shell.

    Returns:
        Exit status and output of the command.
    """
    reading, writing = os.pipe()
    null = os.open("/dev/null", os.O_RDONLY)
    found = resolve(str(target))
    says = [] if said is None else said
    try:
        status = run_debug(
            Request(found, argv, **asked),  # type: ignore[arg-type]
            says.append,
            (null, writing, writing),
        )
    finally:
        found.close()
        os.close(null)
        os.close(writing)
        with open(reading, "rb") as file:
            output = file.read().decode(errors="replace")
    return status, output


def groups_left() -> list[str]:
    """Control groups of debug shells that are there."""
    found = []
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        for place in (hierarchy / "nsctl-debug", hierarchy.parent / "nsctl-debug"):
            if place.is_dir():
                found += [str(each) for each in place.iterdir() if each.is_dir()]
    return sorted(set(found))
