"""The first process of a world (see `support.world`): starts its actors, and is their init.

Its first line of input is a JSON list of actors: ``[NAME, [WORD, ..]]``. A word may hold ``{NAME}``, the
process id of an actor before it. An actor writes one line when it is ready and ends when its
standard input does. The whole then writes ``{NAME: [PID, ..]}``, each actor's process and what
descends from it by the first child, and ends with its own standard input: that ends the PID
namespace and everyone in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys


def _parents() -> dict[int, int]:
    """The parent of each process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                found[int(name)] = int(file.read().rpartition(b") ")[2].split(b" ")[1])
    return found


def _line(pid: int) -> list[int]:
    """A process, its lowest child, that one's lowest child, and so on."""
    parents = _parents()
    line = [pid]
    while below := [child for child, parent in parents.items() if parent == line[-1]]:
        line.append(min(below))
    return line


def main() -> None:
    """Start the actors, one after the other, and wait."""
    actors: list[tuple[str, list[str]]] = json.loads(sys.stdin.readline())
    lines: dict[str, list[int]] = {}
    for name, words in actors:
        command = [
            word.format(**{known: line[-1] for known, line in lines.items()}) for word in words
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        if not process.stdout.readline():
            sys.exit(f"{name} ended before it was ready")
        lines[name] = _line(process.pid)
    sys.stdout.write(json.dumps(lines) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
