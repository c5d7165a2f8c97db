"""What a container changed in the upper layer of its root, as docker-diff(1) says it.

The layers are read from the outside, where the mounter has them, never through the container: what
it mounts over its root hides nothing here, and what it runs changes nothing of the answer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import cast

from nsctl.errors import NsctlError, refused, translate
from nsctl.model.container import Container
from nsctl.model.layer import Entry
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.model.storage import DataRoot
from nsctl.paths.ask import Answer, ask
from nsctl.paths.surroundings import image_of, surroundings
from nsctl.relate.layers import Change
from nsctl.targets.live import Process

LIMIT = 2_000_000
SECONDS = 30.0

_GRACE = 2.0
_HINT = "it takes root, or CAP_SYS_PTRACE and the right to read its layers"
_CAP_SYS_ADMIN = 21
# What Podman makes in the upper layer of every container, and `podman diff` leaves out.
_OF_PODMAN = frozenset(
    {
        *(b"/dev", b"/etc/hostname", b"/etc/hosts", b"/etc/resolv.conf", b"/etc/mtab"),
        *(b"/proc", b"/run", b"/run/notify", b"/run/.containerenv", b"/run/secrets", b"/sys"),
    }
)


class Changes(NamedTuple):
    """What was found.

    Attributes:
        changes: a directory before what is in it.
        same: paths of files that were copied up but do not differ in what is compared.
        upper: path of the upper layer, b"" for a root that has none.
        lower: paths of the lower ones, topmost first.
        mounter: the process from whose root these lead to the layers, 0 for the caller's own.
        verified: the upper layer was seen to be the one that is mounted.
        gaps: what could not be read.
    """

    changes: tuple[Change, ...]
    same: tuple[bytes, ...]
    upper: bytes
    lower: tuple[bytes, ...]
    mounter: int
    verified: bool
    gaps: tuple[Gap, ...]


def find_changes(
    process: Process, snapshot: Snapshot, *, limit: int = LIMIT, seconds: float = SECONDS
) -> Changes:
    """Compare the upper layer of a process's root with the layers below it.

    Args:
        process: of the container.
        snapshot: with tasks, to find who mounted the root.
        limit: names to look at.
        seconds: how long that may take.

    Returns:
        What differs; what was cut is in ``gaps``.

    Raises:
        NsctlError: its root is no overlay, or its layers cannot be found.
    """
    near = surroundings(snapshot, process.pid)
    arguments: dict[str, object] = {
        "pid": process.pid,
        "proc": process.proc,
        "views": near.views,
        "parents": near.parents,
        "image": image_of(process.container),
        "limit": limit,
        "seconds": seconds,
    }
    answer = ask("changes", arguments, (process.proc,), seconds + _GRACE)
    head = _head(answer, process)
    return _changes(answer, head, process.container, snapshot, seconds)


def find_stopped_changes(
    container: Container,
    roots: Sequence[DataRoot],
    snapshot: Snapshot,
    *,
    limit: int = LIMIT,
    seconds: float = SECONDS,
) -> Changes:
    """Compare the layers of a container that does not run, as its engine's own files name them.

    Args:
        container: of Docker, Podman or nsctl, root's or the caller's own.
        roots: data roots of engines.
        snapshot: with the caller.
        limit: names to look at.
        seconds: how long that may take.

    Returns:
        What differs; what was cut is in ``gaps``.

    Raises:
        NsctlError: its engine has no layers of overlayfs for it.
    """
    arguments: dict[str, object] = {
        "engine": container.engine,
        "id": container.id,
        "image": image_of(container),
        "user": bool(container.user),
        "roots": [
            (root.pid, os.fsencode(root.path))
            for root in roots
            if (root.engine, root.user) == (container.engine, container.user)
        ],
        "limit": limit,
        "seconds": seconds,
    }
    answer = ask("changes", arguments, (), seconds + _GRACE)
    if not answer.pieces or answer.pieces[0][0] != "layers":
        state = container.state or "stopped"
        raise NsctlError(
            "find",
            f"what {container.name} changed",
            f"it does not run ({state}), and no layers of it were found below the data root of "
            f"{container.engine}",
        )
    return _changes(answer, answer.pieces[0], container, snapshot, seconds)


def _changes(
    answer: Answer,
    head: tuple[object, ...],
    container: Container | None,
    snapshot: Snapshot,
    seconds: float,
) -> Changes:
    found: list[Change] = []
    same: list[bytes] = []
    upper, lower, mounter, verified, trusted = cast(
        "tuple[bytes, list[bytes], int, bool, bool]", head[1:]
    )
    gaps = _gaps_of(answer, snapshot, seconds, trusted=trusted)
    left_out = _OF_PODMAN if container and container.engine == "podman" else set()
    for piece in answer.pieces:
        if piece[0] == "change":
            kind, path, why, entry = piece[1:]
            if path in left_out:
                continue
            new = None if entry is None else Entry(*cast("tuple[object, ...]", entry))  # type: ignore[arg-type]
            found.append(Change(kind, path, new, None, why))  # type: ignore[arg-type]
        elif piece[0] == "same":
            same.append(cast("bytes", piece[1]))
    return Changes(tuple(found), tuple(same), upper, tuple(lower), mounter, verified, tuple(gaps))


def _head(answer: Answer, process: Process) -> tuple[object, ...]:
    """The piece that tells of the layers; what it says instead is raised."""
    what = f"what {process.text} changed"
    if not answer.pieces:
        raise NsctlError("find", what, "its file system does not answer")
    head = answer.pieces[0]
    if head[0] == "layers":
        return head
    if head[0] == "error":
        number = cast("int", head[1])
        error = OSError(number, os.strerror(number))
        raise translate(error, "find", what, _HINT if refused(error) else "")
    kind, source, root, _ = cast("tuple[bytes, bytes, bytes, bytes]", head[1:])
    if not kind:
        raise NsctlError("find", what, "the mount of its root is in no table that may be read")
    if kind == b"overlay":
        raise NsctlError(
            "find",
            what,
            "its layers are not where its mount says, seen from nobody who could have mounted it",
            f"its options: {os.fsdecode(source)}",
        )
    place = os.fsdecode(root if root != b"/" else source)
    raise NsctlError(
        "find",
        what,
        f"its root is {os.fsdecode(kind)} ({place}), no overlay: there is no layer of its own to "
        "compare with what it was made from",
    )


def _gaps_of(answer: Answer, snapshot: Snapshot, seconds: float, *, trusted: bool) -> list[Gap]:
    found: list[Gap] = []

    def add(what: str, cause: str, needs: str = "") -> None:
        found.append(Gap(Part.MOUNTS, "overlay", what, PartState.PARTIAL, cause, needs))

    if trusted and not snapshot.reader.caps >> _CAP_SYS_ADMIN & 1:
        add(
            "opaque directories and redirects",
            "trusted attributes are shown to root alone",
            "CAP_SYS_ADMIN",
        )
    unread: dict[str, list[str]] = {}
    for piece in answer.pieces:
        if piece[0] == "cut":
            add("changes behind the last one", str(piece[1]))
        elif piece[0] == "unread":
            cause = os.strerror(cast("int", piece[2]))
            unread.setdefault(cause, []).append(os.fsdecode(cast("bytes", piece[1])))
        elif piece[0] == "error":
            add("changes behind the last one", os.strerror(cast("int", piece[1])))
    for cause, paths in unread.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        add(f"{paths[0]}{more}", cause)
    if answer.silent:
        add("changes behind the last one", f"the file system did not answer in {seconds:g} seconds")
    return found
