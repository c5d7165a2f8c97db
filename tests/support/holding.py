"""Processes that keep namespaces alive in one way or another, and the rows that tell of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from support.users import Nsctl, clean_environment

NET, IPC, UTS, PID, MNT, USER = 0x40000000, 0x08000000, 0x04000000, 0x20000000, 0x20000, 0x10000000

_PRELUDE = """
import array, ctypes, json, os, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
NET, IPC, UTS, PID, MNT, USER = 0x40000000, 0x08000000, 0x04000000, 0x20000000, 0x20000, 0x10000000
FILES = 0x400
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
def unshare(flags):
    call("unshare", flags)
def mount(source, target, fs, flags):
    call("mount", source.encode(), target.encode(), fs.encode() if fs else None,
         ctypes.c_ulong(flags), None)
def own(kind):
    return os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY)
def number(kind):
    return os.stat(f"/proc/thread-self/ns/{kind}").st_ino
def elsewhere(flag, kind, act):
    # Makes a namespace, does something in it, and leaves it again.
    back = own(kind)
    unshare(flag)
    try:
        return number(kind), act()
    finally:
        call("setns", back, flag)
        os.close(back)
def ready(**facts):
    print(json.dumps(facts), flush=True)
    sys.stdin.read()
"""


class Talk:
    """Asks the process once more, whose second words are then read."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __call__(self) -> dict[str, Any]:
        """What it says when it is given a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said


@contextlib.contextmanager
def holding(code: str, *arguments: str) -> Iterator[tuple[int, dict[str, Any], Talk]]:
    """Run a process that makes something and then waits.

    Args:
        code: Python, after the names of this module's prelude; ends with ``ready(..)``.
        arguments: its sys.argv[1:].

    Yields:
        Its process id, what it gave to ``ready``, and how to let it go on.
    """
    process = subprocess.Popen(
        (sys.executable, "-I", "-c", _PRELUDE + code, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment("/"),
    )
    with process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, "the process ended before it was ready"
            yield process.pid, json.loads(line), Talk(process)
        finally:
            process.kill()


_COLUMNS = "ns,type,nprocs,pid,ons,pns,ns_id,netnsid_num,nsfs_paths,holders"


def tell(nsctl: Nsctl, *options: str, columns: str = _COLUMNS) -> dict[str, Any]:
    """What `nsctl ls -J` says in some columns."""
    done = nsctl("ls", "-J", "-l", "-o", columns, *options, check=0)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def row_of(document: dict[str, Any], kind: str, ino: int) -> dict[str, Any]:
    """The one row of a namespace."""
    (row,) = [row for row in document["namespaces"] if row["ns"] == ino and row["type"] == kind]
    found: dict[str, Any] = row
    return found


def look(nsctl: Nsctl, kind: str, ino: int) -> dict[str, Any]:
    """Ask for one namespace."""
    return row_of(tell(nsctl), kind, ino)


def lacks(document: dict[str, Any], words: str) -> bool:
    """Whether the document says that something was not read, in these words."""
    return any(words in f"{gap['object']} {gap['cause']}" for gap in document["completeness"])


def number(kind: str) -> int:
    """The inode of one of this process's own namespaces."""
    return os.stat(f"/proc/self/ns/{kind}").st_ino
