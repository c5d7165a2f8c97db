"""What stage2 reads of somebody who is not trusted, in a process that is killed when it hangs.

Its report is that of the last stage (`nsctl.child.report`), with what was read behind each record.
"""

from __future__ import annotations

import errno
import os
import select
import time

from nsctl.child.plan import SECCOMP_FILTER_FLAG_SPEC_ALLOW, Filter
from nsctl.child.report import RECORD
from nsctl.child.stage2 import spawn
from nsctl.errors import NsctlError, translate
from nsctl.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = 0.5
"""A target stops, and a file is read, within a millisecond, or something is wrong."""

_CHUNK = 1 << 16
_INSTRUCTION = 8


def read_filters(program: int, pid: int, pidfd: int, *, spec_allow: bool) -> tuple[Filter, ...]:
    """Read a process's seccomp filters from the kernel, stopping it for that (ptrace(2)).

    Args:
        program: from `nsctl.child.stage2.open_stage2`.
        pid: the process or thread.
        pidfd: of the process, by which a number that is used again is noticed.
        spec_allow: they are to be loaded without the processor's mitigations, which the kernel
            does not tell (SECCOMP_FILTER_FLAG_SPEC_ALLOW).

    Returns:
        The filters, oldest first.

    Raises:
        OSError: EPERM without the right to trace it, or where another does; EACCES without
            CAP_SYS_ADMIN in the initial user namespace; ESRCH where it has ended; ETIMEDOUT
            where it does not stop (it is frozen).
    """
    raw = _run(program, {b"FILTERS": pid, b"PIDFD": pidfd}, (pidfd,), ())
    count = _first(raw, 0)
    at = RECORD.size
    found = []
    for _ in range(count):
        flags, instructions = (
            int.from_bytes(raw[at + offset : at + offset + 4], "little") for offset in (0, 4)
        )
        end = at + 8 + instructions * _INSTRUCTION
        if end > len(raw):
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        added = SECCOMP_FILTER_FLAG_SPEC_ALLOW if spec_allow else 0
        found.append(Filter(raw[at + 8 : end], flags | added))
        at = end
    return tuple(found)


def _first(raw: bytes, at: int) -> int:
    """The detail of a record that says READY; what it says else is raised."""
    if len(raw) < at + RECORD.size:
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
    step, number, detail = RECORD.unpack_from(raw, at)
    if step:
        raise OSError(number, os.strerror(number))
    return int(detail)


def read_files(program: int, root: int, paths: Sequence[bytes]) -> list[bytes | None]:
    """Read regular files below a directory that is taken for the root (openat2(2)).

    Args:
        program: from `nsctl.child.stage2.open_stage2`.
        root: descriptor of the directory.
        paths: from there.

    Returns:
        For each its first 64 KiB; None where it cannot be read, or does not answer in time.
    """
    try:
        raw = _run(program, {b"READ": root}, (root,), paths)
    except (OSError, NsctlError):
        return [None] * len(paths)
    found: list[bytes | None] = []
    at = 0
    while at + RECORD.size <= len(raw) and len(found) < len(paths):
        step, _, size = RECORD.unpack_from(raw, at)
        at += RECORD.size
        found.append(None if step else raw[at : at + size])
        at += 0 if step else size
    return found + [None] * (len(paths) - len(found))


def _run(
    program: int, variables: dict[bytes, int], passed: Sequence[int], words: Sequence[bytes]
) -> bytes:
    """Run it to its end, and give what it wrote; one that takes too long is killed."""
    try:
        reading, writing = os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        raise translate(error, "make", "a pipe") from error
    try:
        try:
            pid = spawn(program, {**variables, b"REPORT": writing}, (*passed, writing), words)
        finally:
            os.close(writing)
        try:
            return _until_end(reading)
        finally:
            # Whoever it has stopped goes on when it ends.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    finally:
        os.close(reading)


def _until_end(reading: int) -> bytes:
    chunks: list[bytes] = []
    deadline = time.monotonic() + _SECONDS
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    while poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        chunk = os.read(reading, _CHUNK)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
    raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
