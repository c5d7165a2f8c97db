"""The same file elsewhere: a container's on the host, and the host's in a container."""

from __future__ import annotations

import errno
import os
from typing import cast

from nsctl.errors import KernelRefusal, UsageError, refused, translate
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.paths.ask import Answer, ask
from nsctl.paths.surroundings import image_of, surroundings
from nsctl.targets.live import Process

SECONDS = 5.0

_HINT = "another user's files take root, or CAP_SYS_PTRACE"

Facts = dict[str, object]


class Found(NamedTuple):
    """What was found of one file.

    Attributes:
        file: facts of it: "path" as it was named; "mode", "size", "rdev", "nlink", "uid", "gid"
            (as the caller sees them through the container's mount), "uid_inside", "gid_inside"
            (None: not mapped); where its mount is known "inner" (its path without links),
            "point", "fs_type", "source", "root", "idmapped", "read_only"; "link" and "dangling"
            (an error number) where the path ends with a symbolic link; "layers", pairs of a
            layer's name and a path there, None where they were not found. Empty where it is not
            there.
        spots: paths that lead to it: "path", "by" ("mount", "process" or a layer's name), "pid"
            of the process through whose root, 0 for none, "uid", "gid". The best for a person
            first.
        covered: inside only: where something else is in the way, with its "cause".
        missing: why it is not there, an error number.
        deleted: outside only: the layers that have what the upper one deleted.
        silent: a file system did not answer in time: there may be more.
    """

    file: Facts
    spots: tuple[Facts, ...]
    covered: tuple[Facts, ...]
    missing: int
    deleted: tuple[str, ...]
    silent: bool


def outside(process: Process, path: bytes, snapshot: Snapshot) -> Found:
    """Find what leads to a file of a container from elsewhere.

    Args:
        process: of the container.
        path: from its root; a relative one too. Links are followed as the container would, and
            none leads out of its root.
        snapshot: with tasks, for other mount namespaces.

    Raises:
        NsctlError: it cannot be looked at.
    """
    whole = path if path.startswith(b"/") else b"/" + path
    _check(path)
    answer = _ask("outside", process, whole, snapshot)
    found = _collect(answer, f"{process.text}:{os.fsdecode(path)}")
    return found._replace(spots=tuple(_unique(sorted(found.spots, key=_order))))


def inside(process: Process, path: bytes, snapshot: Snapshot) -> Found:
    """Find where a container sees a file of the caller's.

    Args:
        process: of the container.
        path: the caller's; links are followed.
        snapshot: with tasks, for other mount namespaces.

    Raises:
        NsctlError: it cannot be looked at.
    """
    whole = path if path.startswith(b"/") else os.path.join(os.getcwdb(), path)
    _check(path)
    answer = _ask("inside", process, whole, snapshot)
    found = _collect(answer, os.fsdecode(path))
    return found._replace(spots=tuple(_unique(found.spots)))


def _check(path: bytes) -> None:
    if b"\0" in path or not path:
        raise UsageError("a path is not empty and has no NUL byte")


def _ask(operation: str, process: Process, path: bytes, snapshot: Snapshot) -> Answer:
    near = surroundings(snapshot, process.pid)
    arguments: dict[str, object] = {
        "pid": process.pid,
        "proc": process.proc,
        "path": path,
        "views": near.views,
        "parents": near.parents,
        "image": image_of(process.container),
    }
    return ask(operation, arguments, (process.proc,), SECONDS)


def _collect(answer: Answer, subject: str) -> Found:
    file: Facts = {}
    spots: list[Facts] = []
    covered: list[Facts] = []
    missing = 0
    deleted: tuple[str, ...] = ()
    for piece in answer.pieces:
        kind = piece[0]
        if kind == "error":
            number = cast("int", piece[1])
            error = OSError(number, os.strerror(number))
            raise translate(error, "find", subject, _HINT if refused(error) else "")
        if kind == "file":
            file = cast("Facts", piece[1])
        elif kind == "missing":
            missing = cast("int", piece[1])
        elif kind == "deleted":
            deleted = tuple(cast("list[str]", piece[1]))
        else:
            (covered if kind == "covered" else spots).append(cast("Facts", piece[1]))
    if not file and not missing:
        raise KernelRefusal(
            "find",
            subject,
            f"its file system did not answer in {SECONDS:g} seconds",
            errno=errno.ETIMEDOUT,
        )
    return Found(file, tuple(spots), tuple(covered), missing, deleted, answer.silent)


def _order(spot: Facts) -> tuple[int, int]:
    """The caller's own paths first, a mount before a layer, the process last."""
    by = cast("str", spot["by"])
    rank = {"mount": 0, "process": 3}.get(by, 1)
    return (2 if by == "process" else int(bool(spot["pid"])), rank)


def _unique(spots: list[Facts] | tuple[Facts, ...]) -> list[Facts]:
    seen: set[object] = set()
    kept = []
    for spot in spots:
        if spot["path"] not in seen:
            seen.add(spot["path"])
            kept.append(spot)
    return kept
