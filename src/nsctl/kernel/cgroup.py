"""A process's control groups: where they are, what they limit, and how another is moved there.

Making and removing groups is `nsctl.kernel.cgroupfs`. Sources: cgroups(7), the kernel's
admin-guide/cgroup-v1 (memory.rst, pids.rst), scheduler/sched-bwc.rst, admin-guide/cgroup-v2.rst.

Hosts have version 1 (a hierarchy for each controller or several), version 2 (one for all), or
both at once. A process is in one group of each hierarchy. On a host with version 2 alone there is
one place, all its files lie there (``cpu.max`` for the two of ``cpu.cfs_*``, ``memory.max`` for
``memory.limit_in_bytes``), a limit exists only where the parent passes the controller on, and
groups that pass controllers on take no processes (EBUSY), the root excepted.
"""

from __future__ import annotations

import errno
import os

from nsctl.errors import translate
from nsctl.kernel.mountinfo import MountLine
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The kernel counts memory in pages, up to LONG_MAX / PAGE_SIZE; pages have 64 KiB at most here.
_UNLIMITED = 2**63 - 2**16


class Membership(NamedTuple):
    """One line of /proc/PID/cgroup (proc_pid_cgroup(5)).

    Attributes:
        hierarchy: its id, 0 for version 2.
        controllers: those of a version 1 hierarchy, or its name ("name=systemd"); () for
            version 2.
        path: of the group, seen from the reader's cgroup namespace ("/../.." outside of it).
    """

    hierarchy: int
    controllers: tuple[bytes, ...]
    path: bytes


class Place(NamedTuple):
    """A group as a directory.

    Attributes:
        version: of its hierarchy, 1 or 2.
        controllers: as in `Membership`; () for version 2.
        directory: of the group.
        top: where its hierarchy is mounted: the highest of its parents that can be seen.
        dev: device of the hierarchy, as os.makedev gives it.
    """

    version: int
    controllers: tuple[bytes, ...]
    directory: bytes
    top: bytes
    dev: int


class Limits(NamedTuple):
    """What a process's groups and their parents allow together; None for no limit.

    Attributes:
        memory: bytes.
        pids: processes and threads.
        cpus: processors' worth of time.
    """

    memory: int | None
    pids: int | None
    cpus: float | None


def parse(raw: bytes) -> tuple[Membership, ...]:
    """Parse /proc/PID/cgroup.

    Args:
        raw: the whole file. The kernel lets no group's name have a newline.

    Returns:
        One row a hierarchy, in the kernel's order.

    Raises:
        ValueError: a line that is not whole.
    """
    rows = []
    for line in raw.split(b"\n"):
        if not line:
            continue
        words = line.split(b":", 2)
        if len(words) != 3 or not words[0].isdigit() or not words[2].startswith(b"/"):
            raise ValueError(f"not a line of /proc/PID/cgroup: {line!r}")
        controllers = tuple(words[1].split(b",")) if words[1] else ()
        rows.append(Membership(int(words[0]), controllers, words[2]))
    return tuple(rows)


def places(memberships: Iterable[Membership], mounts: Iterable[MountLine]) -> tuple[Place, ...]:
    """Find the directories of a process's groups.

    Args:
        memberships: of the process, read in the same cgroup namespace as ``mounts``.
        mounts: of whoever will use the directories.

    Returns:
        One for each hierarchy that is mounted and whose mount reaches the group: a writable one
        where there is a choice. A mount may show a part of the hierarchy only, as in containers.
    """
    candidates = [
        line
        for line in sorted(mounts, key=lambda line: b"rw" not in line.options)
        if line.fs_type in {b"cgroup", b"cgroup2"}
    ]
    found = []
    for membership in memberships:
        for line in candidates:
            directory = _directory(membership, line)
            if directory:
                found.append(
                    Place(
                        2 if line.fs_type == b"cgroup2" else 1,
                        membership.controllers,
                        directory,
                        line.mount_point,
                        os.makedev(line.major, line.minor),
                    )
                )
                break
    return tuple(found)


def is_of(membership: Membership, fs_type: str, options: str) -> bool:
    """Tell whether a membership is one in a certain hierarchy.

    Args:
        membership: of a process.
        fs_type: type of a mount of the hierarchy.
        options: of its superblock.
    """
    if fs_type == "cgroup2":
        return not membership.controllers
    known = os.fsencode(options).split(b",")
    return bool(membership.controllers) and set(membership.controllers).issubset(known)


def _directory(membership: Membership, line: MountLine) -> bytes:
    """Give the directory of a group in a mount, b"" where it is not there."""
    if not is_of(membership, os.fsdecode(line.fs_type), os.fsdecode(line.super_options)):
        return b""
    root = line.root.rstrip(b"/") + b"/"
    path = membership.path.rstrip(b"/") + b"/"
    if not path.startswith(root):
        return b""
    below = path[len(root) : -1]
    if b".." in below.split(b"/"):
        return b""  # outside the namespace that the mount shows
    return line.mount_point.rstrip(b"/") + b"/" + below if below else line.mount_point


def limits(where: Iterable[Place]) -> Limits:
    """Read what limits a process, through all parents that can be seen.

    Args:
        where: its places. Inside a container the parents outside cannot be seen, nor their
            limits.

    Returns:
        The smallest of each kind. A file that is not there is no limit: the root has none, nor
        has a group that was not given the controller.

    Raises:
        KernelRefusal: a file may not be read.
    """
    memory: list[int] = []
    pids: list[int] = []
    cpus: list[float] = []
    for place in where:
        for directory in _upwards(place):
            memory += _memory(directory, place.version)
            pids += _numbers(_read(directory, "pids.max"))
            cpus += _cpus(directory, place.version)
    return Limits(min(memory, default=None), min(pids, default=None), min(cpus, default=None))


def _upwards(place: Place) -> list[bytes]:
    """List a group's directory and those of its parents."""
    directories = [place.directory]
    while directories[-1] != place.top and len(directories[-1]) > len(place.top):
        directories.append(os.path.dirname(directories[-1]))
    return directories


def is_frozen(where: Iterable[Place]) -> bool | None:
    """Tell whether processes of these groups are stopped by the kernel's freezer.

    A group is frozen with all of its parents' groups (cgroup-v1/freezer-subsystem.rst;
    cgroup-v2.rst, "cgroup.events").

    Args:
        where: a process's places; one of the freezer of version 1, one of version 2, or both.

    Returns:
        Whether any is frozen or about to be; None where none tells, as a root group does not.

    Raises:
        KernelRefusal: a file may not be read.
    """
    told: bool | None = None
    for place in where:
        if place.version == 2:
            lines = _read(place.directory, "cgroup.events").split(b"\n")
            is_told, frozen = b"frozen 0" in lines or b"frozen 1" in lines, b"frozen 1" in lines
        elif b"freezer" in place.controllers:
            word = _read(place.directory, "freezer.state")
            is_told, frozen = bool(word), word in {b"FROZEN\n", b"FREEZING\n"}
        else:
            continue
        if is_told:
            told = bool(told) or frozen
    return told


def _memory(directory: bytes, version: int) -> list[int]:
    raw = _read(directory, "memory.max" if version == 2 else "memory.limit_in_bytes")
    return [number for number in _numbers(raw) if number < _UNLIMITED]


def _cpus(directory: bytes, version: int) -> list[float]:
    if version == 2:
        quota, _, period = _read(directory, "cpu.max").partition(b" ")
    else:
        quota = _read(directory, "cpu.cfs_quota_us")
        period = _read(directory, "cpu.cfs_period_us") if _numbers(quota) else b""
    return [
        microseconds / each
        for microseconds in _numbers(quota)
        for each in _numbers(period)
        if each > 0
    ]


def _numbers(text: bytes) -> list[int]:
    """Read a limit: [] for "max", for version 1's -1, and for what is no number."""
    digits = text.removesuffix(b"\n")
    return [int(digits)] if digits.isdigit() and len(digits) <= 20 else []


def _read(directory: bytes, name: str) -> bytes:
    """Read one small file of a group; b"" where there is none."""
    path = directory + b"/" + os.fsencode(name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise translate(error, "read", os.fsdecode(path)) from error
    try:
        return os.read(descriptor, 4096)
    except OSError as error:
        if error.errno == errno.ENODEV:  # the group is being removed
            return b""
        raise translate(error, "read", os.fsdecode(path)) from error
    finally:
        os.close(descriptor)


def attach(where: Iterable[Place], pid: int) -> None:
    """Move a process, with all its threads, into groups.

    Nothing limits how many processes are moved into a group: one that is full takes them too.

    Args:
        where: one group of each hierarchy; those where it is already cost nothing.
        pid: the process, in the caller's numbers; the caller must know that it is still the one
            it means, as by being its parent.

    Raises:
        Vanished: the process is gone.
        KernelRefusal: ENODEV where the group is gone or another mount covers it, EACCES or EPERM
            without the right to move it, EBUSY for a version 2 group that passes controllers on.
            What was moved before stays moved.
    """
    for place in where:
        name = os.fsdecode(place.directory)
        try:
            directory = os.open(
                place.directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            )
            try:
                if os.fstat(directory).st_dev != place.dev:
                    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
                descriptor = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
            finally:
                os.close(directory)
            try:
                os.write(descriptor, b"%d\n" % pid)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise translate(
                error, "move", f"process {pid} into the control group {name}"
            ) from error
