"""Commands on a terminal of a certain width, as a person sees them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def on_terminal(
    command: Sequence[str], columns: int, env: Mapping[str, str], *, errors: bool = False
) -> bytes:
    """Run a command whose standard input and output are a terminal.

    Args:
        command: program and arguments.
        columns: how wide the terminal is.
        env: the whole environment; COLUMNS should not be in it.
        errors: whether standard error is the terminal too; it is thrown away otherwise.

    Returns:
        What it wrote, with newlines as it wrote them.
    """
    master, slave = pty.openpty()
    try:
        try:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
            process = subprocess.Popen(
                command,
                stdin=slave,
                stdout=slave,
                stderr=slave if errors else subprocess.DEVNULL,
                env=dict(env),
            )
        finally:
            os.close(slave)
        with process:
            chunks = []
            # The terminal's last holder has gone: EIO.
            with contextlib.suppress(OSError):
                while chunk := os.read(master, 65536):
                    chunks.append(chunk)
    finally:
        os.close(master)
    return b"".join(chunks).replace(b"\r\n", b"\n")
