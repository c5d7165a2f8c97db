"""The program: its environment, and the step in which the caller becomes it."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from nsctl.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, translate
from nsctl.kernel import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

environment = program.environment


def become(arguments: Sequence[bytes], environ: Mapping[bytes, bytes]) -> NoReturn:
    """Become a program, or a login shell where none is named (unshare(1)).

    Args:
        arguments: the program and its arguments; without any, SHELL or /bin/sh.
        environ: its whole environment.

    Raises:
        KernelRefusal: it cannot be run; its exit status is 127 where there is none, else 126.
    """
    path = arguments[0] if arguments else environ.get(b"SHELL") or program.SHELL
    try:
        program.execute(path, arguments or [b"-" + path.rpartition(b"/")[2]], environ)
    except OSError as error:
        told = translate(error, "execute", os.fsdecode(path))
        is_missing = error.errno == errno.ENOENT
        told.exit_status = EXIT_NOT_FOUND if is_missing else EXIT_NOT_EXECUTABLE
        raise told from error
