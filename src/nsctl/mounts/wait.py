"""Waiting for a mount table to change: poll(2) on mountinfo, proc_pid_mountinfo(5)."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

from nsctl.errors import translate
from nsctl.kernel.mountinfo import parse_mount
from nsctl.model.mount import Mount

_CHUNK = 1 << 16


def tables(path: str, timeout: int) -> Iterator[list[Mount]]:
    """Read a mount table anew each time that it changes.

    Args:
        path: /proc/PID/mountinfo.
        timeout: milliseconds after which nothing more is waited for; negative for ever.

    Yields:
        The table after each change.

    Raises:
        KernelRefusal: it cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise translate(error, "open", path) from error
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while poll.poll(None if timeout < 0 else timeout):
            os.lseek(fd, 0, os.SEEK_SET)
            chunks = []
            while chunk := os.read(fd, _CHUNK):
                chunks.append(chunk)
            yield [parse_mount(line) for line in b"".join(chunks).split(b"\n") if line]
    finally:
        os.close(fd)
