"""A range of user and group ids that no other container, user or namespace has.

A container's root must be nobody outside, and no other container's user either. Ranges are taken
from ids that systemd's allocation leaves unused, above all that it, shadow-utils and engines give
out by default. One lock covers looking at what is taken (/etc/subuid and /etc/subgid, the maps of
all live user namespaces, what we reserved) and reserving. Source: user_namespaces(7), subuid(5).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator

from nsctl.errors import NsctlError, refused, translate, vanished
from nsctl.kernel import procfs
from nsctl.model.record import NamedTuple

Range = tuple[int, int]
"""First id, and number of ids."""

_ALL_IDS = 4294967295


class IdPool(NamedTuple):
    """Where ranges are taken from.

    Attributes:
        first: lowest id.
        last: highest id.
        size: ids of one container.
        directory: where reservations and the lock are kept; the same for all stores of a host.
        subordinate: files whose ranges are other people's (subuid(5)).
        proc_root: the host's procfs.
    """

    first: int = 0x70000000
    last: int = 0x7FFEFFFF
    size: int = 65536
    directory: str = "/run/nsctl-ids"
    subordinate: tuple[str, ...] = ("/etc/subuid", "/etc/subgid")
    proc_root: str = "/proc"


def parse_subordinate(raw: bytes) -> list[Range]:
    """Parse /etc/subuid or /etc/subgid.

    Args:
        raw: the whole file, "owner:first:count" a line.

    Returns:
        The ranges; lines of another form are no ranges, as for shadow-utils.
    """
    ranges = []
    for line in raw.split(b"\n"):
        fields = line.split(b":")
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            ranges.append((int(fields[1]), int(fields[2])))
    return ranges


def free_range(pool: IdPool, taken: Iterable[Range]) -> int:
    """Find the lowest range of a pool that touches nothing that is taken.

    Args:
        pool: where to look; ranges begin at multiples of its size from its first id.
        taken: ranges of others, in any order.

    Returns:
        Its first id.

    Raises:
        NsctlError: all are taken.
    """
    first = pool.first
    for start, count in sorted(taken):
        if start + count <= first:
            continue
        if start >= first + pool.size:
            break
        first = pool.first + -(-(start + count - pool.first) // pool.size) * pool.size
    if first + pool.size - 1 > pool.last:
        raise NsctlError(
            "allot",
            "user ids to a container",
            f"no {pool.size} ids from {pool.first} to {pool.last} are free",
            "remove containers that are no longer needed",
        )
    return first


def reserve(pool: IdPool, place: str, record: Callable[[int], None]) -> int:
    """Reserve a range for a container.

    Args:
        pool: where it comes from.
        place: the container's state directory; the range is free again once it is gone.
        record: called with the range's first id while the lock is held; makes that directory.

    Returns:
        The range's first id.

    Raises:
        NsctlError: none is free, or the reservations cannot be kept.
    """
    try:
        with _locked(pool) as directory:
            first = _choose(pool, directory)
            record(first)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(f"{first}-{pool.size}", flags, 0o600, dir_fd=directory)
            try:
                os.write(fd, os.fsencode(place))
            finally:
                os.close(fd)
            return first
    except OSError as error:
        raise translate(error, "reserve", "user ids") from error


def _choose(pool: IdPool, directory: int) -> int:
    taken = [*_reserved(directory), *_subordinate(pool), *live_ranges(pool.proc_root)]
    return free_range(pool, taken)


def prune(pool: IdPool) -> None:
    """Drop the reservations of containers that are gone, where the caller keeps any."""
    if not os.path.isdir(pool.directory) or not can_allot(pool):
        return
    try:
        with _locked(pool) as directory:
            _reserved(directory)
    except OSError as error:
        raise translate(error, "look through", "reserved user ids") from error


def peek(pool: IdPool) -> int:
    """Say which range `reserve` would give now.

    Returns:
        Its first id.
    """
    try:
        with _locked(pool) as directory:
            return _choose(pool, directory)
    except OSError as error:
        raise translate(error, "look for", "free user ids") from error


def release(pool: IdPool, first: int, size: int) -> None:
    """Give a range back, once its container's files are gone; a second time is no error.

    Args:
        pool: where it came from.
        first: its first id.
        size: number of its ids.
    """
    try:
        with _locked(pool) as directory, contextlib.suppress(FileNotFoundError):
            os.unlink(f"{first}-{size}", dir_fd=directory)
    except OSError as error:
        raise translate(error, "release", "user ids") from error


@contextlib.contextmanager
def _locked(pool: IdPool) -> Iterator[int]:
    with contextlib.suppress(FileExistsError):
        os.mkdir(pool.directory, 0o700)
    fd = os.open(pool.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise NsctlError("trust", f"the directory {pool.directory}", "it is open to others")
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def _reserved(directory: int) -> list[Range]:
    """What is reserved; reservations whose container is gone are dropped on the way."""
    ranges = []
    for name in os.listdir(directory):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            place = os.read(fd, 4096)
        finally:
            os.close(fd)
        # One that was being written when its writer was killed names no place.
        if not place or not os.path.isdir(place):
            os.unlink(name, dir_fd=directory)
            continue
        first, _, count = name.partition("-")
        ranges.append((int(first), int(count)))
    return ranges


def _subordinate(pool: IdPool) -> list[Range]:
    ranges = []
    for path in pool.subordinate:
        try:
            with open(path, "rb") as file:
                ranges += parse_subordinate(file.read())
        except FileNotFoundError:
            continue
    return ranges


def live_ranges(proc_root: str) -> list[Range]:
    """List the ids that processes' user namespaces map, in the caller's numbers.

    Args:
        proc_root: the host's procfs.

    Returns:
        Ranges of user and group ids together, without those of a namespace that maps all.
    """
    proc = procfs.ProcFs(proc_root)
    maps: set[bytes] = set()
    seen: set[str] = set()
    for pid in proc.pids():
        try:
            # Most processes are in a namespace whose maps have been read.
            namespace = os.readlink(f"{proc_root}/{pid}/ns/user")
            if namespace in seen:
                continue
        except OSError as error:
            if not vanished(error) and not refused(error):
                raise
            namespace = ""
        try:
            found = [proc.read(f"{pid}/{name}") for name in ("uid_map", "gid_map")]
        except OSError as error:
            if not vanished(error):
                raise
            continue
        maps.update(found)
        # One whose maps are still to be written is looked at again through others in it.
        if namespace and all(found):
            seen.add(namespace)
    extents = [extent for raw in maps for extent in procfs.parse_id_map(raw)]
    return [(row.outside, row.length) for row in extents if row.length != _ALL_IDS]


def can_allot(pool: IdPool) -> bool:
    """Tell whether the caller may give ranges of a pool away: root whose own ids hold it."""
    if os.geteuid() != 0:
        return False
    extents = procfs.parse_id_map(procfs.ProcFs(pool.proc_root).read("self/uid_map"))
    return any(row.inside <= pool.first and pool.last < row.inside + row.length for row in extents)
