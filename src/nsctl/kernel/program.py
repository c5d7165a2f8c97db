"""Becoming another program, with what the caller was started with and not what Python made of it.

Python changes things that a child inherits: it ignores SIGPIPE and SIGXFSZ, and in the C locale it
sets LC_CTYPE (PEP 538). Sources: execve(2), exec(3), signal(7), proc_pid_environ(5).
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence

from nsctl.kernel.procfs import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

SHELL = b"/bin/sh"
_DEFAULT_PATH = b"/bin:/usr/bin"  # exec(3), where there is no PATH
_LIMIT = 8 << 20
# After these execvp(3) tries the next directory.
_GO_ON = frozenset(
    {errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT}
)


def environment() -> dict[bytes, bytes]:
    """The environment that the caller was started with.

    Returns:
        Variables; of one that was given twice the first, as getenv(3) finds it.
    """
    try:
        raw = read_file("/proc/self/environ", limit=_LIMIT)
    except OSError:
        # Without a readable /proc the interpreter's is what there is.
        return dict(os.environb)
    found: dict[bytes, bytes] = {}
    for word in raw.split(b"\0"):
        name, equals, value = word.partition(b"=")
        if equals and name:
            found.setdefault(name, value)
    return found


def restore_signals() -> None:
    """Let signals that Python ignores do again what they do by default."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def execute(program: bytes, arguments: Sequence[bytes], environ: Mapping[bytes, bytes]) -> NoReturn:
    """Become a program, found as execvp(3) finds it.

    Args:
        program: a path, or a name that is looked for in the PATH of ``environ``.
        arguments: its arguments, its own name first.
        environ: its whole environment.

    Raises:
        OSError: it cannot be run; ENOENT where there is none.
    """
    restore_signals()
    if b"/" in program:
        _run(program, arguments, environ)
    refused: OSError | None = None
    last = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for directory in environ.get(b"PATH", _DEFAULT_PATH).split(b":"):
        if not program:
            break
        try:
            _run((directory + b"/" if directory else b"") + program, arguments, environ)
        except OSError as error:
            if error.errno not in _GO_ON:
                raise
            if error.errno == errno.EACCES:
                refused = error
            last = error
    raise refused or last


def _run(path: bytes, arguments: Sequence[bytes], environ: Mapping[bytes, bytes]) -> NoReturn:
    try:
        os.execve(path, list(arguments) or [b""], dict(environ))  # noqa: S606  (it is the purpose)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without a first line that names its interpreter.
    os.execve(SHELL, [SHELL, path, *arguments[1:]], dict(environ))  # noqa: S606  (the same)
