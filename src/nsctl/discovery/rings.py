"""Namespaces among the files registered with io_urings, which are in no table of descriptors.

The kernel shows them as text only, so what a namespace says of itself is unknown where nothing
else leads to it. Source: io_uring_register(2), the ring's fdinfo.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft, Place
from nsctl.errors import refused, vanished
from nsctl.kernel.io_uring_fdinfo import count_user_files, parse_user_files
from nsctl.kernel.procfs import read_file
from nsctl.model.namespace import TYPES, Holder
from nsctl.model.part import Gap, Part, PartState

_KINDS = {str(kind).encode(): kind for kind in TYPES}
_TRIES = 3


def run(draft: Draft) -> None:
    """Read what every ring shows."""
    busy = 0
    sockets: set[int] = set()
    paths = 0
    refusing: list[int] = []
    for place in draft.rings:
        try:
            files = _read(draft, place)
        except OSError as error:
            if refused(error):
                refusing.append(place.pid)
            elif not vanished(error):
                raise
            continue
        busy += files is None
        for link in files or ():
            kind, ino = _numbered(link)
            if kind in _KINDS:
                holder = Holder("ioring", pid=place.pid, fd=place.fd, tid=place.tid)
                draft.hold(_KINDS[kind], ino, holder)
            elif kind == b"socket":
                sockets.add(ino)
                draft.ring_sockets.setdefault(ino, []).append(place)
            elif os.fsdecode(link.rpartition(b"/")[2]) in draft.nsfs_names:
                paths += 1
    draft.note_refused(Part.RINGS, "files registered with io_uring", refusing, PartState.PARTIAL)
    _note(draft, busy, "io_uring", "registered files", "it was busy, and then shows none of them")
    _note(
        draft,
        len(sockets.difference(draft.sockets)) if Part.SOCKETS in draft.parts else 0,
        "socket",
        "network namespaces",
        "only an io_uring has them, and nothing opens those",
    )
    _note(
        draft,
        paths,
        "registered file",
        "namespaces",
        "an io_uring shows a path only, at which a namespace is mounted somewhere",
    )


def _numbered(link: bytes) -> tuple[bytes, int]:
    """Take "net:[4026531840]" apart; a link of another form gives b"" and 0."""
    kind, _, rest = link.partition(b":[")
    number = rest.removesuffix(b"]")
    return (
        (kind, int(number))
        if link == b"%s:[%s]" % (kind, number) and number.isdigit()
        else (b"", 0)
    )


def _note(draft: Draft, count: int, what: str, lacking: str, cause: str) -> None:
    if count:
        plural = "s" if count > 1 else ""
        draft.gaps.append(
            Gap(
                Part.RINGS,
                draft.proc.root,
                f"{lacking} of {count} {what}{plural}",
                PartState.PARTIAL,
                cause,
            )
        )


def _read(draft: Draft, place: Place) -> list[bytes] | None:
    """Read one ring's registered files.

    Returns:
        Their links; None where it has some and shows none.
    """
    thread = f"/task/{place.tid}" if place.tid else ""
    for _ in range(_TRIES):
        name = f"{draft.proc.root}/{place.pid}{thread}/fdinfo/{place.fd}"
        raw = read_file(name, limit=1 << 26)
        files = parse_user_files(raw)
        if files or not count_user_files(raw):
            return [link for _, link in files]
    return None
