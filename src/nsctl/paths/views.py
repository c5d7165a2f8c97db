"""Mount namespaces as somebody in them sees them, and where in a file system a file lies.

A path is always resolved with that somebody's root directory as its root (openat2(2)): neither a
link nor ".." leads out of it, and no magic link is followed. A file is told by the mount that it was
reached through, whose row in a mount table says which path of which file system that is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from nsctl.errors import refused, vanished
from nsctl.kernel.mount import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)
from nsctl.kernel.mountinfo import MountLine, parse_line
from nsctl.kernel.procfs import parse_fdinfo_mount, read_file
from nsctl.kernel.unshare import setns
from nsctl.model.record import NamedTuple

O_PATH = os.O_PATH | os.O_NOFOLLOW
_TABLE_LIMIT = 1 << 28
_RETRIES = 8
_CLONE_NEWNS = 0x20000
# Further mount namespaces in which a file is named that the caller's own does not have.
_FOREIGN = 3
_CLOSED = frozenset({errno.EINVAL, errno.ENAMETOOLONG})


class View(NamedTuple):
    """One process's view of its mount namespace.

    Attributes:
        pid: the process; 0 for the caller.
        fd: of its root directory, O_PATH.
        base: where that is in its mount namespace, b"" for the namespace's own root.
        table: its mountinfo.
        hidden: where in here the process's own root is, for the root of a namespace that only
            a process with another one is in; b"" otherwise.
    """

    pid: int
    fd: int
    base: bytes
    table: bytes
    hidden: bytes = b""

    def path(self, inner: bytes) -> bytes | None:
        """How the caller can name a path from its root; None where no name leads there."""
        if not self.pid:
            return inner
        rest = below(inner, self.hidden or b"/") if self.hidden else inner
        return None if rest is None else b"/proc/%d/root%s" % (self.pid, rest)


class Where(NamedTuple):
    """Where a file lies.

    Attributes:
        dev: device of its file system, as mountinfo writes it.
        path: in that file system, from its own root.
        line: of the mount that it was reached through.
        inner: its path from the root of the view that has this mount.
        view: that view.
    """

    dev: bytes
    path: bytes
    line: MountLine
    inner: bytes
    view: View


class Spot(NamedTuple):
    """A path that leads to a file.

    Attributes:
        path: as the caller can use it now.
        inner: from the root of the view.
        pid: the view's process, 0 for the caller's own.
        line: of the mount.
        status: of the file there.
    """

    path: bytes
    inner: bytes
    pid: int
    line: MountLine
    status: os.stat_result


def open_view(pid: int, proc: int = -1) -> View:
    """Open a process's view.

    Args:
        pid: the process, 0 for the caller.
        proc: descriptor of its /proc directory, where that is held.

    Raises:
        OSError: it has ended, or may not be looked at.
    """
    name = "self" if not pid else str(pid)
    directory = os.dup(proc) if proc >= 0 else os.open(f"/proc/{name}", os.O_PATH | os.O_DIRECTORY)
    try:
        fd = os.open("root", os.O_PATH | os.O_DIRECTORY, dir_fd=directory)
        try:
            table = read_file("mountinfo", directory, _TABLE_LIMIT)
            base = b"" if not pid else _base(fd)
        except BaseException:
            os.close(fd)
            raise
    finally:
        os.close(directory)
    return View(pid, fd, base, table)


def namespace_root(view: View) -> View | None:
    """Open the root of a mount namespace that only processes with another root directory are in.

    This enters the namespace, opens its root, and leaves it again: setns(2) gives whoever enters
    the namespace's own root. Nothing is looked up in it.

    Args:
        view: of one of these processes.

    Returns:
        None without the rights to enter it.
    """
    fds: list[int] = []
    try:
        fds.append(os.open("/proc/self", os.O_PATH | os.O_DIRECTORY))
        fds.append(os.open("/proc/self/ns/mnt", os.O_RDONLY))
        fds.append(os.open(f"/proc/{view.pid}/ns/mnt", os.O_RDONLY))
        setns(fds[2], _CLONE_NEWNS)
        try:
            fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
            table = read_file("mountinfo", fds[0], _TABLE_LIMIT)
        finally:
            setns(fds[1], _CLONE_NEWNS)
    except OSError:
        return None
    finally:
        for each in fds:
            os.close(each)
    return View(view.pid, fd, b"", table, view.base)


def _base(fd: int) -> bytes:
    try:
        return os.readlink(b"/proc/self/fd/%d" % fd).rstrip(b"/")
    except OSError as error:
        if error.errno in _CLOSED:
            return b""
        raise


def open_views(groups: Sequence[Sequence[int]]) -> Iterator[View]:
    """Open one view of each mount namespace.

    Args:
        groups: for each namespace some of its processes.

    Yields:
        The view of the first whose root is the namespace's own, else of the first that answers,
        and then the namespace's own root.
    """
    for pids in groups:
        second: View | None = None
        for pid in pids:
            try:
                view = open_view(pid)
            except OSError as error:
                if vanished(error) or refused(error) or error.errno in _CLOSED:
                    continue
                raise
            if not view.base:
                yield view
                break
            if second is None:
                second = view
            else:
                os.close(view.fd)
        else:
            if second is not None:
                yield second
                if root := namespace_root(second):
                    yield root
            continue
        if second is not None:
            os.close(second.fd)


def open_in(view: View, path: bytes, flags: int = O_PATH, *, links: bool = False) -> int:
    """Open a path as the process of a view would, but never a way out of its root.

    Args:
        view: whose.
        path: from its root.
        flags: of open(2).
        links: symbolic links on the way are followed; without, one is ELOOP.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        OSError: see openat2(2); ELOOP for a magic link too.
    """
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if links else RESOLVE_NO_SYMLINKS)
    for _ in range(_RETRIES):
        try:
            return openat2(view.fd, os.fsdecode(path or b"/"), flags, resolve)
        except OSError as error:
            # Something was renamed somewhere meanwhile (openat2(2)).
            if error.errno != errno.EAGAIN:
                raise
    return openat2(view.fd, os.fsdecode(path or b"/"), flags, resolve)


def mount_of(fd: int) -> int:
    """The number of the mount that a descriptor was reached through (proc_pid_fdinfo(5))."""
    return parse_fdinfo_mount(read_file(f"/proc/self/fdinfo/{fd}"))


def line_of(view: View, mount_id: int) -> MountLine | None:
    """The row of a mount in a view's table."""
    start = b"%d " % mount_id
    for line in view.table.split(b"\n"):
        if line.startswith(start):
            return parse_line(line)
    return None


def options_of(view: View, mount_id: int) -> bytes:
    """The options of a mount's superblock as they stand in a view's table: escapes in place."""
    start = b"%d " % mount_id
    for line in view.table.split(b"\n"):
        if line.startswith(start):
            return line.rpartition(b" ")[2]
    return b""


def lines_on(view: View, dev: bytes) -> Iterator[MountLine]:
    """The rows of all mounts of one file system in a view's table."""
    needle = b" " + dev + b" "
    for line in view.table.split(b"\n"):
        if needle in line and line.split(b" ", 3)[2] == dev:
            yield parse_line(line)


def device(line: MountLine) -> bytes:
    """The device of a row, as mountinfo writes it."""
    return b"%d:%d" % (line.major, line.minor)


def below(path: bytes, top: bytes) -> bytes | None:
    """What is left of a path below a directory: b"" for that itself, None for one elsewhere."""
    top = top.rstrip(b"/")
    if path == top or path.startswith(top + b"/"):
        return path[len(top) :].rstrip(b"/")
    return b"" if not top and path == b"/" else None


def where_is(fd: int, views: Sequence[View]) -> Where | None:
    """Tell where an open file lies.

    Args:
        fd: of it.
        views: some of those who may have its mount.

    Returns:
        None where no view's table has its mount, or its path is too long to be told.
    """
    number = mount_of(fd)
    for view in views:
        line = line_of(view, number)
        if line is None:
            continue
        try:
            path = os.readlink(b"/proc/self/fd/%d" % fd)
        except OSError as error:
            if error.errno in _CLOSED:
                return None
            raise
        inner = below(path, view.base or b"/")
        rest = below(inner or b"/", line.mount_point) if inner is not None else None
        if inner is None or rest is None:
            return None
        whole = (line.root.rstrip(b"/") + rest) or b"/"
        return Where(device(line), whole, line, inner or b"/", view)
    return None


def spots(where: Where, status: os.stat_result, views: Sequence[View]) -> Iterator[Spot]:
    """Find the paths that lead to a file, each tried.

    Args:
        where: it lies.
        status: of it.
        views: whose mounts to look at, the caller's own first.

    Yields:
        All paths in the caller's own view; some in others only where there is none.
    """
    found, foreign = 0, 0
    for view in views:
        if foreign >= _FOREIGN or (view.pid and found > foreign):
            return
        before = found
        for each in _spots_in(view, where, status):
            found += 1
            foreign += bool(view.pid)
            yield each
            if view.pid and found > before:
                break


def _spots_in(view: View, where: Where, status: os.stat_result) -> Iterator[Spot]:
    for line in lines_on(view, where.dev):
        rest = below(where.path, line.root)
        if rest is None:
            continue
        inner = (line.mount_point.rstrip(b"/") + rest) or b"/"
        try:
            fd = open_in(view, inner)
        except OSError:  # something else is mounted there, or it is gone
            continue
        try:
            found = os.fstat(fd)
            is_same = (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)
            path = view.path(inner)
            if is_same and path is not None and mount_of(fd) == line.mount_id:
                yield Spot(path, inner, view.pid, line, found)
        finally:
            os.close(fd)
