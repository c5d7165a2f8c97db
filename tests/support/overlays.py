"""A process whose root is an overlay of its own making, in a mount namespace of its own.

It stands for a container: nsctl finds its layers as it finds those of an engine's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_SCRIPT = r"""
set -e
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir lower upper work merged
mkdir lower/bin; cp /bin/busybox lower/bin/busybox; ln -s busybox lower/bin/sleep
"""
_RUN = r"""
echo ready
exec chroot merged /bin/busybox sleep 1000
"""


class Box:
    """One such process.

    Attributes:
        pid: it.
        top: where its layers are, in its own mount namespace.
    """

    def __init__(self, pid: int, top: str) -> None:
        self.pid = pid
        self.top = top


@contextmanager
def box(script: str, *, mount: str = "mount -t overlay o -o $OPTIONS merged") -> Iterator[Box]:
    """Start a process over layers.

    Args:
        script: run in the directory with ``lower``, ``upper``, ``work`` and ``merged``; it ends
            with what is to happen after the overlay is mounted, behind a line ``--``.
        mount: how it is mounted; OPTIONS are the usual ones.

    Yields:
        The process; all is gone afterwards.
    """
    if not os.path.exists("/bin/busybox"):
        pytest.skip("needs busybox")
    before, _, after = script.partition("\n--\n")
    top = tempfile.mkdtemp(prefix="nsctl-overlay-")
    whole = "\n".join(
        [
            *(_SCRIPT, before),
            "OPTIONS=lowerdir=lower,upperdir=upper,workdir=work",
            *(mount, after, _RUN),
        ]
    )
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", whole, "sh", top]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != "ready\n":
            raise AssertionError(process.stderr.read())
        while os.readlink(f"/proc/{process.pid}/exe").endswith(("/sh", "/dash", "/chroot")):
            os.sched_yield()
        yield Box(process.pid, top)
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(top, ignore_errors=True)
