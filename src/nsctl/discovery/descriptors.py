"""Open descriptors of namespaces, in every process's own table.

The link of a descriptor reads "net:[INODE]", or a path where the namespace was opened through a
bind mount; such a path is looked into only where fdinfo says that its mount is one of a namespace.
Nothing else is touched: a file on a dead server or a hostile FUSE would hang whoever asks for its
status. A namespace that only a descriptor keeps alive becomes a row of its own.
"""

from __future__ import annotations

import errno
import os
import re

from nsctl.discovery.draft import Draft
from nsctl.errors import refused, vanished
from nsctl.kernel import nsfs
from nsctl.kernel.mountinfo import nsfs_mount_ids
from nsctl.kernel.procfs import parse_fdinfo_mount, parse_stat, read_file
from nsctl.model.namespace import TYPES, Holder, NamespaceType
from nsctl.model.part import Part, PartState
from nsctl.model.task import Task

_MNT = TYPES.index(NamespaceType.MNT)
_LINK = re.compile(r"(?:mnt|pid|net|ipc|uts|user|cgroup|time):\[[0-9]+\]")

_Found = list[tuple[NamespaceType, int, int]]
"""Type and inode of a namespace, and the number of the descriptor."""


def run(draft: Draft) -> None:
    """Look through the descriptors of every process."""
    unreadable: list[int] = []
    mounts = _NsfsMounts()
    for task in draft.tasks:
        if task.kernel or task.state in "ZX" or task.pid == draft.reader.pid:
            continue
        try:
            for kind, ino, fd in _process(draft, task, mounts):
                draft.add_namespace(kind, ino)
                namespace = draft.namespaces[kind, ino]
                holder = Holder("fd", pid=task.pid, fd=fd)
                draft.namespaces[kind, ino] = namespace._replace(
                    holders=(*namespace.holders, holder)
                )
        except PermissionError:
            unreadable.append(task.pid)
        except OSError as error:
            if not vanished(error):
                raise
    draft.note_refused(Part.DESCRIPTORS, "descriptors", unreadable, PartState.PARTIAL)


class _NsfsMounts:
    """Which mounts are bind mounts of namespaces, by mount namespace.

    A mountinfo shows what lies below its process's root directory: it is read once for each
    root that is met.
    """

    def __init__(self) -> None:
        self._read: set[tuple[int, str]] = set()
        self._ids: dict[int, frozenset[int]] = {}

    def of(self, task: Task, directory: int) -> frozenset[int]:
        """Mount ids of the bind mounts that a process can see.

        Args:
            task: the process.
            directory: descriptor of its /proc/PID.
        """
        ino = task.ns[_MNT]
        root = os.readlink("root", dir_fd=directory)
        if (ino, root) not in self._read:
            try:
                raw = read_file("mountinfo", directory, limit=1 << 28)
            except OSError as error:
                if error.errno == errno.EINVAL:  # it has become a zombie, without mounts
                    return frozenset()
                raise
            self._read.add((ino, root))
            self._ids[ino] = self._ids.get(ino, frozenset()) | nsfs_mount_ids(raw)
        return self._ids[ino]


def _process(draft: Draft, task: Task, mounts: _NsfsMounts) -> _Found:
    """Find one process's descriptors of namespaces."""
    found: _Found = []
    directory = draft.proc.open(task.pid)
    try:
        fds = os.open("fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            for name in os.listdir(fds):
                try:
                    link = os.readlink(name, dir_fd=fds)
                    if _LINK.fullmatch(link) or (
                        link.startswith("/") and _is_mounted(task, directory, name, mounts)
                    ):
                        identity = _identify(fds, name)
                        if identity is not None:
                            found.append((*identity, int(name)))
                except OSError as error:
                    if not vanished(error):
                        raise
        finally:
            os.close(fds)
        # The number may be another process's by now, which is in no row.
        if found and not _is_same(draft, task, directory):
            return []
        return found
    finally:
        os.close(directory)


def _is_same(draft: Draft, task: Task, directory: int) -> bool:
    start = parse_stat(read_file("stat", directory)).start
    return draft.start_of(start) == task.start


def _is_mounted(task: Task, directory: int, name: str, mounts: _NsfsMounts) -> bool:
    """Tell whether a descriptor was opened through a bind mount of a namespace."""
    ids = mounts.of(task, directory)
    return bool(ids) and parse_fdinfo_mount(read_file(f"fdinfo/{name}", directory)) in ids


def _identify(directory: int, name: str) -> tuple[NamespaceType, int] | None:
    """Ask what namespace a descriptor refers to.

    Returns:
        Type and inode, or None when it was closed meanwhile or is of no known type.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if vanished(error) or refused(error):
            return None
        raise
    try:
        return nsfs.get_nstype(fd), nsfs.inode(fd)
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EINVAL}:
            return None  # the number was given to another file meanwhile
        raise
    except ValueError:
        return None  # a type that nsctl does not know
    finally:
        os.close(fd)
