"""Open descriptors of namespaces, in the table of every process and of every thread with its own.

The link of a descriptor reads "net:[INODE]", or a path where the namespace was opened through a
bind mount; such a path is looked into only where fdinfo says that its mount is one of a namespace.
What is looked into is opened as a mere reference first, and goes on only on the device of nsfs.
Nothing else is touched: a file on a dead server or a hostile FUSE would hang whoever asks for its
status. Sockets, tun devices and rings, which keep namespaces too, are noted for later steps.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from nsctl.discovery.draft import Draft, Place
from nsctl.errors import refused, vanished
from nsctl.kernel import io_uring_fdinfo, nsfs
from nsctl.kernel.procfs import parse_fdinfo_ino, parse_fdinfo_mount, parse_stat, read_file
from nsctl.model.namespace import TYPES, Holder, NamespaceType
from nsctl.model.part import Part, PartState
from nsctl.model.task import Task

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KINDS = frozenset(map(str, TYPES))
# Links that are remembered as leading to no namespace: most descriptors are of a few files.
_DULL = 4096
# Inodes of nsfs: the initial namespaces' and whatever the kernel numbers as it goes.
_FIRST_INO = 0xEFFFFFF0
_LAST_INO = 0xFFFFFFFF
_SOCKET = "socket:["
_SETTLED = frozenset({errno.ENOTTY, errno.EINVAL})

_Found = list[tuple[NamespaceType, int, Place]]
"""Type and inode of a namespace, and the descriptor."""


def run(draft: Draft) -> None:
    """Look through the descriptors of every process."""
    look(draft, draft.tasks)


def look(draft: Draft, tasks: Iterable[Task]) -> None:
    """Look through those of some processes."""
    unreadable: list[int] = []
    dull: set[str] = set()
    for task in tasks:
        ended = task.state in "ZX" and task.threads < 2
        if task.kernel or ended or task.pid == draft.reader.pid:
            continue
        try:
            found = _process(draft, task, dull)
        except PermissionError:
            unreadable.append(task.pid)
            continue
        except OSError as error:
            if not vanished(error):
                raise
            continue
        for kind, ino, place in found:
            thread = f"task/{place.tid}/" if place.tid else ""
            draft.hold(
                kind,
                ino,
                Holder("fd", pid=place.pid, fd=place.fd, tid=place.tid),
                f"{place.pid}/{thread}fd/{place.fd}",
            )
    draft.note_refused(Part.DESCRIPTORS, "descriptors", unreadable, PartState.PARTIAL)


def _process(draft: Draft, task: Task, dull: set[str]) -> _Found:
    """Find one process's descriptors of namespaces."""
    directory = draft.proc.open(task.pid)
    try:
        found: _Found = []
        if task.state not in "ZX":
            found = _Table(draft, task.pid, 0, directory, dull).read()
        for tid in _own_tables(draft, task, directory):
            thread = os.open(f"task/{tid}", _DIRECTORY, dir_fd=directory)
            try:
                seen = {(kind, ino, place.fd) for kind, ino, place in found}
                found += [
                    (kind, ino, place)
                    for kind, ino, place in _Table(draft, task.pid, tid, thread, dull).read()
                    # Where the kernel does not tell shared tables, they are read again.
                    if draft.compares or (kind, ino, place.fd) not in seen
                ]
            except OSError as error:
                if not vanished(error):
                    raise
            finally:
                os.close(thread)
        # The number may be another process's by now, which is in no row.
        if found and draft.start_of(parse_stat(read_file("stat", directory)).start) != task.start:
            return []
        return found
    finally:
        os.close(directory)


def _own_tables(draft: Draft, task: Task, directory: int) -> list[int]:
    """Choose threads whose tables together are all that the first thread's is not.

    Returns:
        Thread ids, one for each table; every thread where the kernel does not compare.
    """
    if task.threads < 2:
        return []
    threads = os.open("task", _DIRECTORY, dir_fd=directory)
    try:
        tids = [int(name) for name in os.listdir(threads) if name != str(task.pid)]
    finally:
        os.close(threads)
    if not draft.own_numbers:
        draft.compares = False
    # Ordered as the kernel orders tables, so that a thousand threads take ten thousand questions.
    known = [task.pid] if task.state not in "ZX" else []
    chosen: list[int] = []
    for tid in tids:
        if not draft.compares:
            chosen.append(tid)
            continue
        try:
            place, found = _search(known, tid)
        except OSError as error:
            if vanished(error):
                continue
            if error.errno != errno.ENOSYS and not refused(error):
                raise
            draft.compares = False
            chosen.append(tid)
            continue
        if not found:
            known.insert(place, tid)
            chosen.append(tid)
    return chosen


def _search(known: list[int], tid: int) -> tuple[int, bool]:
    """Find where a thread's table stands in an ordered list of threads, and whether it is there."""
    from nsctl.kernel import kcmp

    low, high = 0, len(known)
    while low < high:
        middle = (low + high) // 2
        order = kcmp.files_order(tid, known[middle])
        if order == 0:
            return middle, True
        if order < 0:
            high = middle
        else:
            low = middle + 1
    return low, False


def _link(name: str, fds: int) -> str:
    """Read a descriptor's link; "/" for a path that is longer than the kernel tells."""
    try:
        return os.readlink(name, dir_fd=fds)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return "/"
        raise


class _Table:
    """Reads one table of descriptors.

    Args:
        draft: the draft.
        pid: the process.
        tid: the thread whose own table it is, 0 for the process's.
        directory: descriptor of its directory in procfs.
        dull: links that are known to lead to no namespace, which is added to.
    """

    def __init__(self, draft: Draft, pid: int, tid: int, directory: int, dull: set[str]) -> None:
        self._draft = draft
        self._dull = dull
        self._pid = pid
        self._tid = tid
        self._directory = directory
        self._sockets = bool({Part.SOCKETS, Part.INFLIGHT, Part.NET_SOCKETS} & draft.parts)

    def read(self) -> _Found:
        """Find the descriptors of namespaces, and note what else may keep some."""
        found: _Found = []
        dull = self._dull
        fds = os.open("fd", _DIRECTORY, dir_fd=self._directory)
        try:
            for name in os.listdir(fds):
                try:
                    link = _link(name, fds)
                    if link in dull or not self._may_be_namespace(name, link):
                        continue
                    identity = self._identify(fds, name)
                except OSError as error:
                    if not vanished(error):
                        raise
                    continue
                if identity is not None:
                    found.append((*identity, Place(self._pid, int(name), self._tid)))
        finally:
            os.close(fds)
        return found

    def _may_be_namespace(self, name: str, link: str) -> bool:
        """Tell by link and fdinfo whether a descriptor is worth to be looked at."""
        if link.startswith("/"):
            last = link.rpartition("/")[2]
            if last == "" or last in self._draft.nsfs_names:
                return self._is_mounted(name)
            if "tun" in last:
                self._draft.tuns.append(Place(self._pid, int(name), self._tid))
            elif len(self._dull) < _DULL:
                self._dull.add(link)
            return False
        if link.startswith(_SOCKET):
            if self._sockets:
                place = Place(self._pid, int(name), self._tid)
                self._draft.sockets.setdefault(int(link[len(_SOCKET) : -1]), []).append(place)
            return False
        if link == io_uring_fdinfo.LINK:
            self._draft.rings.append(Place(self._pid, int(name), self._tid))
            return False
        return link.partition(":[")[0] in _KINDS

    def _is_mounted(self, name: str) -> bool:
        """Tell whether a descriptor was opened through a bind mount of a namespace.

        One whose mount was detached since is in no table of mounts, and has "/" for a link: its
        inode then tells that it may be one.
        """
        info = read_file(f"fdinfo/{name}", self._directory)
        if parse_fdinfo_mount(info) in self._draft.nsfs_mounts:
            return True
        return _FIRST_INO <= parse_fdinfo_ino(info) <= _LAST_INO

    def _identify(self, fds: int, name: str) -> tuple[NamespaceType, int] | None:
        """Ask what namespace a descriptor refers to.

        Returns:
            Type and inode, or None when it was closed meanwhile or is of no known type.
        """
        from nsctl.kernel.statx import file_kind

        try:
            place = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=fds)
        except OSError as error:
            if vanished(error) or refused(error):
                return None
            raise
        try:
            # The number may have been given to any other file meanwhile.
            if file_kind(place).dev != self._draft.dev:
                return None
            fd = self._reopen(place)
        finally:
            os.close(place)
        try:
            return nsfs.get_nstype(fd), nsfs.inode(fd)
        except OSError as error:
            if error.errno in _SETTLED:
                return None
            raise
        except ValueError:
            return None  # a type that nsctl does not know
        finally:
            os.close(fd)

    def _reopen(self, place: int) -> int:
        path = f"{self._draft.proc.root}/self/fd/{place}"
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
