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
from nsctl.kernel.procfs import parse_fdinfo_mount, read_file
from nsctl.model.namespace import TYPES, Holder, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.task import Task

CAP_SYS_PTRACE = 19

_MNT = TYPES.index(NamespaceType.MNT)
_LINK = re.compile(r"(?:mnt|pid|net|ipc|uts|user|cgroup|time):\[[0-9]+\]")


def run(draft: Draft) -> None:
    """Look through the descriptors of every process."""
    unreadable: list[int] = []
    mounts = _NsfsMounts(draft.proc.root)
    for task in draft.tasks:
        if task.kernel or task.state in "ZX" or task.pid == draft.reader.pid:
            continue
        try:
            _process(draft, task, mounts)
        except PermissionError:
            unreadable.append(task.pid)
        except OSError as error:
            if not vanished(error):
                raise
    if unreadable:
        count = "1 process" if len(unreadable) == 1 else f"{len(unreadable)} processes"
        held = draft.holds(CAP_SYS_PTRACE)
        draft.gaps.append(
            Gap(
                Part.DESCRIPTORS,
                draft.proc.root,
                f"descriptors of {count}",
                PartState.PARTIAL,
                "the kernel refuses although CAP_SYS_PTRACE is held"
                if held
                else "they belong to other users or have more powers",
                "" if held else "CAP_SYS_PTRACE",
                tuple(unreadable),
            )
        )


class _NsfsMounts:
    """Which mounts are bind mounts of namespaces, read once for each mount namespace."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[int, frozenset[int]] = {}

    def of(self, task: Task) -> frozenset[int]:
        """Mount ids of the bind mounts that a process can see."""
        ino = task.ns[_MNT]
        if ino <= 0:
            return frozenset()
        if ino not in self._known:
            raw = read_file(f"{self._root}/{task.pid}/mountinfo", limit=1 << 28)
            self._known[ino] = nsfs_mount_ids(raw)
        return self._known[ino]


def _process(draft: Draft, task: Task, mounts: _NsfsMounts) -> None:
    directory = os.open(
        f"{draft.proc.root}/{task.pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    )
    try:
        for name in os.listdir(directory):
            try:
                link = os.readlink(name, dir_fd=directory)
                if _LINK.fullmatch(link) or (
                    link.startswith("/") and _is_mounted(draft, task, name, mounts)
                ):
                    _held(draft, directory, name, Holder("fd", pid=task.pid, fd=int(name)))
            except OSError as error:
                if not vanished(error):
                    raise
    finally:
        os.close(directory)


def _is_mounted(draft: Draft, task: Task, name: str, mounts: _NsfsMounts) -> bool:
    """Tell whether a descriptor was opened through a bind mount of a namespace."""
    ids = mounts.of(task)
    if not ids:
        return False
    info = read_file(f"{draft.proc.root}/{task.pid}/fdinfo/{name}")
    return parse_fdinfo_mount(info) in ids


def _held(draft: Draft, directory: int, name: str, holder: Holder) -> None:
    found = _identify(directory, name)
    if found is None:
        return
    draft.add_namespace(*found)
    namespace = draft.namespaces[found]
    draft.namespaces[found] = namespace._replace(holders=(*namespace.holders, holder))


def _identify(directory: int, name: str) -> tuple[NamespaceType, int] | None:
    """Ask what namespace a descriptor refers to.

    Returns:
        Type and inode, or None when it was closed meanwhile.
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
    finally:
        os.close(fd)
