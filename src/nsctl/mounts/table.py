"""One mount table: a process's own, as its mountinfo shows it, a saved one, or the kernel's list."""

from __future__ import annotations

import errno
import os

from nsctl.errors import KernelRefusal, translate
from nsctl.kernel import blockdev, nsfs, statmount
from nsctl.kernel.mountinfo import parse_mount
from nsctl.kernel.procfs import read_file
from nsctl.model.mount import Mount
from nsctl.model.record import NamedTuple

OWN = "/proc/self/mountinfo"
_LIMIT = 1 << 28
_ROOT_DEVICE = b"/dev/root"
# What the kernel says where it does not list mounts, or not to this caller.
_NO_LIST = frozenset({errno.ENOSYS, errno.EPERM, errno.EACCES, errno.ENOENT, errno.EINVAL})


class Table(NamedTuple):
    """What was read.

    Attributes:
        mounts: in the kernel's order.
        tid: whose table it is, 0 where no process's.
        bad: numbers of lines, from 1, that are no lines of mountinfo.
        other: it has the format of fstab(5), and nothing of it was read.
    """

    mounts: list[Mount]
    tid: int = 0
    bad: tuple[int, ...] = ()
    other: bool = False


def read_table(path: str) -> Table:
    """Read a file in the format of mountinfo.

    Args:
        path: /proc/PID/mountinfo, or a copy of one.

    Returns:
        The table.

    Raises:
        OSError: it cannot be read.
    """
    return parse_table(read_file(path, limit=_LIMIT), _tid(path))


def parse_table(raw: bytes, tid: int = 0) -> Table:
    """Parse a file in the format of mountinfo.

    Args:
        raw: the whole file.
        tid: whose table it is, 0 where no process's.

    Returns:
        The table; lines that are none are left out and named, as libmount does.
    """
    mounts: list[Mount] = []
    bad: list[int] = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        text = line.strip(b" \t\r")
        if not text or text.startswith(b"#"):
            continue
        if not mounts and not bad and not _begins_with_numbers(text):
            return Table([], tid, other=True)
        try:
            mount = parse_mount(text)
        except ValueError:
            bad.append(number)
            continue
        mounts.append(_named(mount) if mount.source == _ROOT_DEVICE else mount)
    return Table(mounts, tid, tuple(bad))


def _begins_with_numbers(line: bytes) -> bool:
    first, _, rest = line.partition(b" ")
    return first.isdigit() and rest.lstrip(b" ")[:1].isdigit()


def _tid(path: str) -> int:
    directory = os.path.basename(os.path.dirname(os.path.realpath(path)))
    return int(directory) if directory.isascii() and directory.isdecimal() else 0


def _named(mount: Mount) -> Mount:
    """Name the device that the kernel was started with, where it can be found."""
    major, minor = os.major(mount.dev), os.minor(mount.dev)
    path = blockdev.device_path(major, minor) if major else None
    return mount if path is None else mount._replace(source=path)


def own_list() -> list[Mount]:
    """Let the kernel list the mounts of the caller's own mount namespace (listmount(2)).

    Raises:
        KernelRefusal: this kernel does not list them.
    """
    return list(_listed("/proc/self/ns/mnt"))


def with_unique_ids(mounts: list[Mount], tid: int) -> list[Mount]:
    """Add to rows of mountinfo what only the kernel's list has: 64-bit ids and id maps.

    Args:
        mounts: the rows.
        tid: whose mountinfo that was.

    Returns:
        The rows; as they were where the kernel does not list them.
    """
    try:
        listed = {mount.id: mount for mount in _listed(f"/proc/{tid}/ns/mnt")}
    except KernelRefusal:
        return mounts
    rows = []
    for mount in mounts:
        same = listed.get(mount.id)
        if same is not None and (same.dev, same.root) == (mount.dev, mount.root):
            rows.append(
                mount._replace(
                    unique_id=same.unique_id,
                    parent_unique_id=same.parent_unique_id,
                    uid_map=same.uid_map,
                    gid_map=same.gid_map,
                )
            )
        else:
            rows.append(mount)
    return rows


def _listed(path: str) -> tuple[Mount, ...]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            number = nsfs.get_id(fd)
        finally:
            os.close(fd)
        table = None if number is None else statmount.table(number)
    except OSError as error:
        if error.errno not in _NO_LIST:
            raise translate(error, "list", "mounts") from error
        table = None
    if table is None:
        raise KernelRefusal("list", "mounts", "this kernel does not list them to us")
    return table
