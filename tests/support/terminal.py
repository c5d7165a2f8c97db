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
    command: Sequence[str],
    columns: int,
    env: Mapping[str, str],
    *,
    errors: bool = False,
    typed: Sequence[tuple[bytes, bytes]] = (),
    cwd: str | None = None,
) -> bytes:
    """Run a command whose standard input and output are a terminal.

    Args:
        command: program and arguments.
        columns: how wide the terminal is.
        env: the whole environment; COLUMNS should not be in it.
        errors: whether standard error is the terminal too; it is thrown away otherwise.
        typed: what is typed, each once the command has written certain bytes since the last.
        cwd: where it starts, None for here.

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
                cwd=cwd,
                start_new_session=bool(typed),  # who reads a terminal has one of their own
            )
        finally:
            os.close(slave)
        with process:
            written, said = bytearray(), 0
            waiting = list(typed)
            # The terminal's last holder has gone: EIO.
            with contextlib.suppress(OSError):
                while chunk := os.read(master, 65536):
                    written += chunk
                    while waiting and (place := written.find(waiting[0][0], said)) >= 0:
                        said = place + len(waiting[0][0])
                        os.write(master, waiting.pop(0)[1])
    finally:
        os.close(master)
    return bytes(written).replace(b"\r\n", b"\n")
