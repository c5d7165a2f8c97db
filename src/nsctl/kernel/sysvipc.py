"""System V objects: /proc/sysvipc, and their mappings in /proc/PID/maps.

The files show the IPC namespace of whoever opens them, ids in the opener's user namespace, and
PIDs in the PID namespace of the procfs (proc_sysvipc(5), sysvipc(7), proc_pid_maps(5)). Reading
them changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator

from nsctl.model.contents import IpcRights, MessageQueue, Semaphores, SharedMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")

_MAPPED = re.compile(
    rb"^[0-9a-f]+-[0-9a-f]+ [-rwxsp]{4} [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) ([0-9]+) +"
    rb"/SYSV([0-9a-f]{8})(?: \(deleted\))?$",
    re.MULTILINE,
)
# Of huge pages there is a mount for each size, as a power of two (memfd_create(2)).
_HUGE_SHIFT = 26
_HUGE_SIZES = (0, 16, 19, 20, 21, 23, 24, 25, 28, 29, 30, 31, 34)

Row = dict[bytes, int]


def _rows(raw: bytes) -> Iterator[Row]:
    """Take one of the files apart: columns by their headings.

    Raises:
        ValueError: a row has not a number for each heading.
    """
    lines = raw.split(b"\n")
    names = [name for name in lines[0].split(b" ") if name]
    for line in lines[1:]:
        if not line:
            continue
        words = [word for word in line.split(b" ") if word]
        if len(words) != len(names):
            raise ValueError("a line of /proc/sysvipc has not a number for each heading")
        yield {
            name: int(word, 8) if name == b"perms" else int(word)
            for name, word in zip(names, words, strict=True)
        }


def _rights(row: Row) -> IpcRights:
    return IpcRights(row[b"perms"], row[b"uid"], row[b"gid"], row[b"cuid"], row[b"cgid"])


def _key(row: Row) -> int:
    """The key as the 32 bits that it is: the kernel prints it with a sign."""
    return row[b"key"] & 0xFFFFFFFF


def parse_shm(raw: bytes) -> tuple[SharedMemory, ...]:
    """Parse /proc/sysvipc/shm.

    Args:
        raw: the whole file; empty where the kernel has no such thing.

    Returns:
        One row a segment.

    Raises:
        ValueError: what no kernel writes.
    """
    return _parse(raw, _segment)


def _segment(row: Row) -> SharedMemory:
    return SharedMemory(
        id=row[b"shmid"],
        key=_key(row),
        rights=_rights(row),
        size=row[b"size"],
        resident=row.get(b"rss"),
        attaches=row[b"nattch"],
        creator=row[b"cpid"],
        last=row[b"lpid"],
        attached=row[b"atime"],
        detached=row[b"dtime"],
        changed=row[b"ctime"],
    )


def parse_sem(raw: bytes) -> tuple[Semaphores, ...]:
    """Parse /proc/sysvipc/sem, see `parse_shm`."""
    return _parse(raw, _set)


def _set(row: Row) -> Semaphores:
    return Semaphores(
        row[b"semid"], _key(row), _rights(row), row[b"nsems"], row[b"otime"], row[b"ctime"]
    )


def parse_msg(raw: bytes) -> tuple[MessageQueue, ...]:
    """Parse /proc/sysvipc/msg, see `parse_shm`."""
    return _parse(raw, _queue)


def _queue(row: Row) -> MessageQueue:
    return MessageQueue(
        id=row[b"msqid"],
        key=_key(row),
        rights=_rights(row),
        size=row[b"cbytes"],
        messages=row[b"qnum"],
        sender=row[b"lspid"],
        receiver=row[b"lrpid"],
        sent=row[b"stime"],
        received=row[b"rtime"],
        changed=row[b"ctime"],
    )


def _parse(raw: bytes, make: Callable[[Row], _T]) -> tuple[_T, ...]:
    try:
        return tuple(map(make, _rows(raw)))
    except KeyError as error:
        missing = error.args[0].decode("ascii", "replace")
        raise ValueError(f"/proc/sysvipc has no column {missing}") from None


def parse_attached(maps: bytes, devices: frozenset[int]) -> dict[int, int]:
    """Find segments in /proc/PID/maps.

    Args:
        maps: the whole file.
        devices: of the kernel's own mounts that segments lie on, from `devices`. Any file can be
            called "SYSV..", but not there.

    Returns:
        How often each segment is mapped, by shmid: the kernel makes it the inode's number.
    """
    found: dict[int, int] = {}
    for major, minor, ino, _ in _MAPPED.findall(maps):
        if os.makedev(int(major, 16), int(minor, 16)) in devices:
            found[int(ino)] = found.get(int(ino), 0) + 1
    return found


def devices() -> frozenset[int]:
    """Learn the devices of the kernel's own mounts that shared memory lies on.

    What memfd_create(2) makes lies on the same ones: for ordinary pages, and for each size of
    huge ones that this kernel has.
    """
    found = set()
    kinds = [0, *(os.MFD_HUGETLB | size << _HUGE_SHIFT for size in _HUGE_SIZES)]
    for flags in kinds:
        with contextlib.suppress(OSError):  # no pages of this size
            fd = os.memfd_create("nsctl", flags | os.MFD_CLOEXEC)
            try:
                found.add(os.fstat(fd).st_dev)
            finally:
                os.close(fd)
    return frozenset(found)
