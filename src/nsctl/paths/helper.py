"""The helper of `nsctl.paths.ask`: one request, its answer piece by piece, then its end."""

from __future__ import annotations

import importlib
import marshal
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import cast

from nsctl.paths.ask import LENGTH, Piece

# Each has a function ``find(arguments)`` that yields pieces.
_OPERATIONS = {
    "changes": "nsctl.paths.find_changes",
    "outside": "nsctl.paths.find_outside",
    "inside": "nsctl.paths.find_inside",
    "storage": "nsctl.paths.find_storage",
}
_READ = 1 << 16


def main() -> None:
    """Answer what is asked on standard input."""
    # The caller may have set aside the default action, and children inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.chdir("/")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asked = b""
    while chunk := os.read(0, _READ):
        asked += chunk
    operation, arguments = marshal.loads(asked)  # noqa: S302  (our own parent's)
    find: Callable[[dict[str, object]], Iterator[Piece]] = importlib.import_module(
        _OPERATIONS[operation]
    ).find
    try:
        for piece in find(arguments):
            _put(piece)
    except OSError as error:
        _put(("error", error.errno or 0, os.fsencode(str(error.filename or ""))))
    _put(("end",))
    sys.stdout.flush()
    os._exit(0)  # nothing is left to be done, and taking an interpreter down costs 5 ms


def _put(piece: Piece) -> None:
    data = marshal.dumps(cast("tuple[str, ...]", piece))  # whatever is in it is plain
    data = LENGTH.pack(len(data)) + data
    while data:
        data = data[os.write(1, data) :]
