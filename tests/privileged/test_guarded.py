"""A file system of somebody else's making that never answers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from nsctl.engines.guarded import GuardedReader

pytestmark = pytest.mark.privileged

# Mounts a FUSE whose requests nobody reads, in a mount namespace of its own.
_HOLD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)
call("unshare", 0x00020000)
call("mount", None, b"/", None, ctypes.c_ulong(0x44000), None)
fd = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fd
call("mount", b"hostile", b"/mnt", b"fuse", ctypes.c_ulong(0), options)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hostile() -> Iterator[int]:
    if not os.path.exists("/dev/fuse"):
        pytest.skip("needs /dev/fuse")
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


def test_a_file_system_that_never_answers_costs_less_than_a_second(hostile: int) -> None:
    reader = GuardedReader()
    root = f"/proc/{hostile}/root"
    try:
        assert reader.list_directory(root, "/etc", 10_000)
        began = time.monotonic()
        for path in ("/mnt/a", "/mnt/b", "/mnt/c", "/mnt/d"):
            with pytest.raises(OSError, match="did not answer") as caught:
                reader.read_file(root, path, 100)
            assert caught.value.errno == errno.ETIMEDOUT
        assert time.monotonic() - began < 1
        assert reader.list_directory("/", "/etc", 10_000)
    finally:
        reader.close()
