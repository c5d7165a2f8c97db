"""What the processes of a mount namespace tell of it that its table does not.

Their root directories, and the mounts that only they still hold: those that were unmounted while
in use (umount(2) with MNT_DETACH) or never attached (fsmount(2), open_tree(2)) are in no table.
Nothing is opened but by O_PATH, so that no file system is asked; the type of one that is mounted
nowhere else is asked for by a helper.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterable, Iterator, Mapping

from nsctl.child.mount_sizes import MountSizes
from nsctl.errors import refused, vanished
from nsctl.kernel import statfs, statx
from nsctl.kernel.procfs import ProcFs, read_file
from nsctl.model.mount import Detached, Looked
from nsctl.model.record import NamedTuple

_MOUNT_ID = b"mnt_id:\t"
# Files of mounts that the kernel has for itself, and that are in no table either.
_INTERNAL = (
    b"/memfd:", b"/SYSV", b"/anon_hugepage", b"/dmabuf:", b"/[aio]", b"/drm mm object", b"/i915",
    b"/secretmem",
)  # fmt: skip
_DELETED = b" (deleted)"
# In place of a path that is longer than the kernel tells.
_TOO_LONG = b"/..."
_PIDS = 4096


class _Held(NamedTuple):
    pid: int
    what: str
    path: bytes
    dev: int


def look(
    pids: Collection[int], mounted: Collection[int], types: Mapping[int, str], proc_root: str
) -> Looked:
    """Look at the processes of a mount namespace.

    Args:
        pids: its processes.
        mounted: numbers of all mounts that are in a table.
        types: type of the file system on each device that is mounted somewhere.
        proc_root: where procfs is mounted.

    Returns:
        What they tell.
    """
    proc = ProcFs(proc_root)
    own = _device_of_shared_memory()
    roots: dict[bytes, list[int]] = {}
    held: dict[int, list[_Held]] = {}
    unread: list[int] = []
    chosen = sorted(pids)[:_PIDS]
    for pid in chosen:
        try:
            directory = proc.open(pid)
        except OSError as error:
            if vanished(error):
                continue
            if refused(error):
                unread.append(pid)
                continue
            raise
        try:
            root = _link("root", directory)
            if root != b"/":
                roots.setdefault(root, []).append(pid)
            for number, each in _held(pid, directory, mounted):
                if each.dev != own:
                    held.setdefault(number, []).append(each)
        except OSError as error:
            if refused(error):
                unread.append(pid)
            elif not vanished(error):
                raise
        finally:
            os.close(directory)
    return Looked(
        tuple((root, tuple(several)) for root, several in sorted(roots.items())),
        tuple(_detached(held, types, proc_root)),
        tuple(unread),
        len(pids) - len(chosen),
    )


def rooted_at_top(pids: Iterable[int], proc_root: str) -> int:
    """Find a process whose root directory is that of its mount namespace.

    Returns:
        The first of them, 0 where there is none that may be looked into.
    """
    for pid in pids:
        try:
            if os.readlink(f"{proc_root}/{pid}/root") == "/":
                return pid
        except OSError as error:
            if not (vanished(error) or refused(error) or error.errno == errno.ENAMETOOLONG):
                raise
    return 0


def _detached(
    held: Mapping[int, list[_Held]], types: Mapping[int, str], proc_root: str
) -> Iterator[Detached]:
    with MountSizes() as helper:
        for number, several in sorted(held.items()):
            first = several[0]
            kind = types.get(first.dev, "")
            if not kind:
                way = f"fd/{first.what}" if first.what.isdecimal() else first.what
                kind = statfs.NAMES.get(helper.magic(f"{proc_root}/{first.pid}/{way}"), "")
            holders = tuple((each.pid, each.what, each.path) for each in several)
            yield Detached(number, first.dev, kind, holders)


def _device_of_shared_memory() -> int:
    """The device of a mount that the kernel has for itself, for memory that processes share."""
    fd = os.memfd_create("nsctl")
    try:
        return statx.file_kind(fd).dev
    finally:
        os.close(fd)


def _held(pid: int, directory: int, mounted: Collection[int]) -> Iterator[tuple[int, _Held]]:
    """Find what one process has open on mounts that are in no table, by their numbers."""
    for name in ("root", "cwd"):
        with _opened(name, directory) as fd:
            number = -1 if fd is None else statx.mount_id(fd)
            if fd is not None and number > 0 and number not in mounted:
                path = _link(name, directory)
                yield number, _Held(pid, name, path, statx.file_kind(fd).dev)
    for entry in _names("fd", directory):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # closed meanwhile
            link = _link(f"fd/{entry}", directory)
            if not link.startswith(b"/") or link.startswith(_INTERNAL):
                continue
            number = _mount_id(read_file(f"fdinfo/{entry}", directory))
            if number <= 0 or number in mounted:
                continue
            with _opened(f"fd/{entry}", directory) as fd:
                if fd is not None:
                    path = link.removesuffix(_DELETED)
                    yield number, _Held(pid, entry, path, statx.file_kind(fd).dev)


def _link(name: str, directory: int) -> bytes:
    """Read a magic link of a process."""
    try:
        return os.fsencode(os.readlink(name, dir_fd=directory))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _TOO_LONG


@contextlib.contextmanager
def _opened(name: str, directory: int) -> Iterator[int | None]:
    try:
        fd = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if not vanished(error):
            raise
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _names(name: str, directory: int) -> Iterable[str]:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def _mount_id(fdinfo: bytes) -> int:
    start = fdinfo.find(_MOUNT_ID)
    if start < 0:
        return 0
    digits = fdinfo[start + len(_MOUNT_ID) :].partition(b"\n")[0]
    return int(digits) if digits.isdigit() else 0
