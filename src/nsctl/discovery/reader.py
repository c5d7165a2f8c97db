"""Who looks, from which namespaces, and how far its clock is from the initial one."""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.kernel.procfs import (
    ProcFs,
    parse_stat,
    parse_status,
    parse_timens_offsets,
    read_file,
    read_ns_links,
)
from nsctl.model.namespace import (
    NS_LINKS,
    TIME_FOR_CHILDREN,
    TYPES,
    UNREADABLE,
    NamespaceType,
    TimeOffsets,
)
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Reader

_TIME = TYPES.index(NamespaceType.TIME)


def run(draft: Draft) -> None:
    """Find out who looks."""
    try:
        directory = draft.proc.open("self")
    except FileNotFoundError:
        # A procfs of a PID namespace that the caller has no number in: it is nobody there.
        draft.reader = Reader(0, os.geteuid(), 0, (UNREADABLE,) * len(NS_LINKS))
        draft.dev = _device(ProcFs().root)
        return
    try:
        pid = parse_stat(read_file("stat", directory)).pid
        status = parse_status(read_file("status", directory))
        caps = status.credentials.caps.effective
        # Of a PID namespace further out there would be a number for each on the way to ours.
        draft.own_numbers = pid == os.getpid() and len(status.nspids) <= 1
        ns = read_ns_links(directory)
        draft.reader = Reader(pid, os.geteuid(), caps, ns)
        draft.dev = _device(draft.proc.root)
        if ns[_TIME] == ns[TIME_FOR_CHILDREN]:
            # Start times are shown in the reader's time namespace; rows keep the initial one's.
            offsets = _offsets(directory)
            draft.boottime_offset = offsets.boottime
            draft.monotonic_offset = offsets.monotonic
        else:
            draft.gaps.append(
                Gap(
                    Part.TASKS,
                    draft.proc.root,
                    "start times in the initial time namespace",
                    PartState.PARTIAL,
                    "nsctl has a time namespace of its own for children, whose offsets hide its own",
                )
            )
    finally:
        os.close(directory)


def _device(root: str) -> int:
    """The device of nsfs, which all namespaces of a host are on."""
    return os.stat(f"{root}/self/ns/mnt").st_dev


def _offsets(directory: int) -> TimeOffsets:
    try:
        return parse_timens_offsets(read_file("timens_offsets", directory))
    except FileNotFoundError:  # no time namespaces before Linux 5.6
        return TimeOffsets(0, 0)
