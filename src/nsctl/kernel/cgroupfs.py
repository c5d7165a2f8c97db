"""The control group file systems: which are mounted, and groups in them made and removed.

Version 1 has one hierarchy a controller (or several controllers), version 2 has one for all;
hosts have either or both. Sources: cgroups(7), the kernel's admin-guide/cgroup-v1 and
admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os
import time

from nsctl.errors import Suppressed
from nsctl.kernel.mountinfo import MountLine
from nsctl.model.record import NamedTuple

_NO_CONTROLLER = frozenset({b"rw", b"ro", b"xattr", b"noprefix", b"clone_children", b"none"})
_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
_RETRY_SECONDS = 0.01
_ATTEMPTS = 20


class Hierarchy(NamedTuple):
    """One mounted hierarchy.

    Attributes:
        version: 1 or 2.
        name: of version 1, its controllers joined by commas, or "name=..."; "" of version 2.
        mount_point: where it is mounted.
        dev: device, as os.makedev gives it: the same hierarchy may be mounted twice.
        writable: the mount is not read-only.
    """

    version: int
    name: str
    mount_point: str
    dev: int
    writable: bool


def hierarchies(lines: list[MountLine]) -> list[Hierarchy]:
    """Find the mounted hierarchies.

    Args:
        lines: the mounts of the process that will use them.

    Returns:
        One row a hierarchy, in the order of the mounts; the first writable mount of it, else
        the first.
    """
    found: dict[int, Hierarchy] = {}
    for line in lines:
        if line.fs_type not in {b"cgroup", b"cgroup2"}:
            continue
        options = line.super_options.split(b",")
        names = [option for option in options if option not in _NO_CONTROLLER]
        names = [name for name in names if b"=" not in name or name.startswith(b"name=")]
        version = 2 if line.fs_type == b"cgroup2" else 1
        row = Hierarchy(
            version,
            "" if version == 2 else os.fsdecode(b",".join(names)),
            os.fsdecode(line.mount_point),
            os.makedev(line.major, line.minor),
            b"rw" in line.options and b"rw" in options,
        )
        known = found.get(row.dev)
        if known is None or (row.writable and not known.writable):
            found[row.dev] = row
    return list(found.values())


def group(hierarchy: Hierarchy, path: str) -> str:
    """Directory of a group.

    Args:
        hierarchy: in which hierarchy.
        path: below its mount, with a leading "/".

    Raises:
        OSError: ENODEV where the hierarchy's mount is hidden by another.
    """
    if os.stat(hierarchy.mount_point).st_dev != hierarchy.dev:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), hierarchy.mount_point)
    return hierarchy.mount_point + path


def make(directory: str) -> None:
    """Make a group and its parent; that they exist is no error.

    Args:
        directory: of the group, two levels below a mount of its hierarchy.

    Raises:
        OSError: mkdir's errno.
    """
    # Somebody may remove an empty parent meanwhile.
    for _ in range(_ATTEMPTS):
        try:
            for path in (os.path.dirname(directory), directory):
                _make_one(path)
        except FileNotFoundError:
            continue
        return
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), directory)


def _make_one(directory: str) -> None:
    """Make a group, and give it the processors and memory of its parent where it has none.

    On version 1 a new cpuset is empty and takes nobody in. A group that exists is looked at too:
    whoever made it may not have come that far yet.

    Raises:
        FileNotFoundError: it or its parent was removed meanwhile.
    """
    with Suppressed(FileExistsError):
        os.mkdir(directory, 0o755)
    for file in _CPUSET_FILES:
        own = _read_in(directory, file)
        if own is None:
            return
        if own.strip(b"\n"):
            continue
        above = _read_in(os.path.dirname(directory), file)
        if above is not None and above.strip(b"\n"):
            _write(f"{directory}/{file}", above)


def _read_in(directory: str, file: str) -> bytes | None:
    """Read a file of a group.

    Returns:
        Its content, None where groups of this hierarchy, or its root, have no such file.

    Raises:
        FileNotFoundError: the group is gone.
    """
    try:
        with open(f"{directory}/{file}", "rb") as source:
            return source.read()
    except FileNotFoundError:
        if os.path.isdir(directory):
            return None
        raise


def join(directory: str) -> None:
    """Move the calling process, with all its threads, into a group.

    Raises:
        OSError: the kernel's errno.
    """
    _write(f"{directory}/cgroup.procs", b"0\n")


def write(path: str, text: str) -> None:
    """Write a file of a group.

    Args:
        path: of the file.
        text: what is written, with one write.

    Raises:
        OSError: ENOENT where the group has no such file, EINVAL for what it does not take.
    """
    _write(path, os.fsencode(text) + b"\n")


def controllers(hierarchy: Hierarchy) -> frozenset[str]:
    """Name the controllers of a hierarchy: "memory", "cpu", "pids", "devices" .."""
    if hierarchy.version == 1:
        return frozenset(hierarchy.name.split(","))
    return _words(f"{hierarchy.mount_point}/cgroup.controllers")


def handed_down(directory: str) -> frozenset[str]:
    """Name the controllers that a version 2 group hands down; none where it does not exist."""
    return _words(f"{directory}/cgroup.subtree_control")


def _words(path: str) -> frozenset[str]:
    try:
        with open(path, "rb") as file:
            text = file.read().strip(b"\n")
    except FileNotFoundError:
        return frozenset()
    return frozenset(word.decode("ascii", "replace") for word in text.split(b" ") if word)


def processes(directory: str) -> list[int]:
    """List the processes of one group, in the numbers of the caller's PID namespace.

    Returns:
        Their ids; 0 stands for each that lives outside that namespace; [] when the group is gone.
    """
    try:
        with open(f"{directory}/cgroup.procs", "rb") as file:
            text = file.read()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENODEV}:
            return []
        raise
    return [int(line) for line in text.split(b"\n") if line]


def groups(directory: str) -> list[str]:
    """List a group and all below it, the deepest first; [] when it is gone."""
    return [path for path, _, _ in os.walk(directory, topdown=False)]


def remove(directory: str, seconds: float) -> None:
    """Remove a group and all below it, waiting until its last processes have gone.

    Args:
        directory: the group's directory; that it is gone already is no error.
        seconds: how long to wait for processes that are being ended.

    Raises:
        OSError: EBUSY when it still has processes after that time.
    """
    deadline = time.monotonic() + seconds
    for group in groups(directory):
        while True:
            try:
                os.rmdir(group)
            except FileNotFoundError:
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                break


def remove_if_empty(directory: str) -> None:
    """Remove a group that nobody uses; one that is in use, or gone, stays as it is."""
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno not in {errno.EBUSY, errno.ENOTEMPTY, errno.ENOENT}:
            raise


def _write(path: str, value: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)
