"""Mount namespaces for tests: what is mounted in them, and the processes that stay in them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from support.holding import holding
from support.users import clean_environment

T = TypeVar("T")

PRELUDE = """
import signal
SHARED, SLAVE, PRIVATE, UNBINDABLE, REC, BIND, MOVE = 1<<20, 1<<19, 1<<18, 1<<17, 1<<14, 1<<12, 1<<13
def bmount(source, target, fs=None, flags=0, data=None):
    call("mount", source, target, fs, ctypes.c_ulong(flags), data)
def private():
    unshare(MNT)
    mount("none", "/", None, REC | PRIVATE)
    mount("base", "/mnt", "tmpfs", 0)
def tmpfs(name, at, options=None, flags=0):
    os.makedirs(at, exist_ok=True)
    bmount(name.encode(), at if isinstance(at, bytes) else at.encode(), b"tmpfs", flags, options)
def child(act):
    # Is somebody else who does something and then stays, until this process ends.
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        call("prctl", 1, signal.SIGKILL, 0, 0, 0)
        act()
        os.write(writer, b"r")
        os.close(writer)
        while True:
            signal.pause()
    os.close(writer)
    assert os.read(reader, 1) == b"r"
    os.close(reader)
    return pid
def syscall(number, *arguments):
    libc.syscall.restype = ctypes.c_long
    made = libc.syscall(number, *arguments)
    if made < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return made
"""

# Every byte that the kernel escapes in mountinfo, those that it does not, and what is no text.
ODD_NAMES = (
    b"a blank",
    b"a\ttab",
    b"a\nnewline",
    b"a\\backslash",
    b"a\\040escape",
    b"a\\x41escape",
    b"a#hash",
    b"#hash",
    "grün".encode(),
    "日本".encode(),
    b"not\xff\xfeutf8",
    b"\x1b[31mred",
    b"bell\x07",
    b"q\"uo'te",
    b"$dollar`tick",
    b"comma,equals=x",
    b"a - b",
    b"\r",
    b"\x7f",
    b"-l",
    b"x" * 200,
)

_ODD = f"""
private()
for index, name in enumerate({ODD_NAMES!r}):
    place = b"/mnt/" + name
    os.mkdir(place)
    bmount(name, place, b"tmpfs", 0, b"mode=7%d5" % (index % 8))
    os.mkdir(place + b"/" + name)
    bmount(place + b"/" + name, place + b"/" + name, None, BIND)
tmpfs("one", "/mnt/three"); tmpfs("two", "/mnt/three"); tmpfs("three", "/mnt/three")
tmpfs("shared", "/mnt/shared"); bmount(b"none", b"/mnt/shared", None, SHARED)
for name, how in (("slave", (SLAVE,)), ("both", (SLAVE, SHARED))):
    os.mkdir(f"/mnt/{{name}}")
    bmount(b"/mnt/shared", f"/mnt/{{name}}".encode(), None, BIND)
    for flag in how:
        bmount(b"none", f"/mnt/{{name}}".encode(), None, flag)
tmpfs("unbindable", "/mnt/unbindable"); bmount(b"none", b"/mnt/unbindable", None, UNBINDABLE)
tmpfs("flags", "/mnt/flags", b"size=1m", 2 | 4 | 8 | 1024 | 2048)
for name in ("lower", "upper", "work", "over"):
    os.mkdir(f"/mnt/{{name}}")
bmount(b"overlay", b"/mnt/over", b"overlay", 1,
       b"lowerdir=/mnt/lower:/mnt/flags,upperdir=/mnt/upper,workdir=/mnt/work")
ready(mnt=number("mnt"), pid=os.getpid())
"""


@contextlib.contextmanager
def mounting(code: str, *arguments: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run a process that mounts something and then waits.

    Args:
        code: Python, after `PRELUDE`; ends with ``ready(..)``.
        arguments: its sys.argv[1:].

    Yields:
        Its process id, and what it gave to ``ready``.
    """
    with holding(PRELUDE + code, *arguments) as (pid, made, _):
        yield pid, made


@contextlib.contextmanager
def odd_mounts() -> Iterator[int]:
    """Run a process in a mount namespace with every odd name and every kind of propagation.

    Yields:
        Its process id.
    """
    with mounting(_ODD) as (pid, _):
        yield pid


def link_named_findmnt(directory: str) -> str:
    """Make a link of that name that leads to the nsctl that is tested; skips where there is none."""
    script = os.path.join(os.path.dirname(sys.executable), "nsctl")
    if not os.access(script, os.X_OK):
        pytest.skip(f"nsctl is not installed beside {sys.executable}")
    path = os.path.join(directory, "findmnt")
    os.symlink(script, path)
    return path


def findmnt() -> str:
    """The installed findmnt; skips where there is none."""
    path = shutil.which("findmnt")
    if path is None:
        pytest.skip("needs findmnt")
    return path


def output_of(
    command: Sequence[str], env: dict[str, str] | None = None, *, stdin: bytes = b""
) -> tuple[bytes, int]:
    """Run a command.

    Returns:
        What it wrote to its standard output, and its exit status.
    """
    done = subprocess.run(
        command,
        env=clean_environment("/", {"LC_ALL": "C.UTF-8", **(env or {})}),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.stdout, done.returncode


def together(*acts: Callable[[], T]) -> list[T]:
    """Do several things at once, as each of them mostly waits for a process.

    Returns:
        What each gave, in order.
    """
    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(lambda act: act(), acts))


def rows_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows of a tree, parents before their children."""
    rows = []
    stack = list(reversed(document["filesystems"]))
    while stack:
        row = stack.pop()
        rows.append(row)
        stack += reversed(row.get("children", []))
    return rows


def mounts_of(text: str) -> dict[str, dict[str, Any]]:
    """The rows of a document, by where they are; of several at one place, the last."""
    return {row["target"]: row for row in rows_of(json.loads(text))}
