"""The helper's part of `nsctl.paths.storage`: walks to data roots and layers, and who has them open."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from typing import cast

from nsctl.errors import refused, vanished
from nsctl.kernel.mountinfo import MountLine, parse_line
from nsctl.kernel.procfs import parse_fdinfo_mount, read_file
from nsctl.model.record import NamedTuple
from nsctl.paths.ask import Piece
from nsctl.paths.layers import open_layers
from nsctl.paths.views import (
    View,
    Where,
    below,
    device,
    line_of,
    mount_of,
    open_in,
    open_view,
    open_views,
    spots,
    where_is,
)

_LINKS = 40
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_DEPTH = 256
_ACL = "system.posix_acl_access"
_LINE = 1 << 20


class _Tree(NamedTuple):
    """A directory whose files are a container's."""

    container: int
    layer: str
    dev: bytes
    path: bytes


def find(arguments: dict[str, object]) -> Iterator[Piece]:
    """Look at data roots, at the layers of containers, and at who has these open.

    Yields:
        ("step", root, path, mode, uid, gid, link, has acl) for each directory on the way to a
        data root, then ("end", root, device, inode, process), or ("gone", root, errno) where it
        does not lead there; ("layer", container, name, path, mode, uid, gid, process) and
        ("no-layers", container, type of file system), or ("closed", container, errno); ("holds", root, container), and
        ("inner", root, path, ..) as "step" for what leads from a data root to its layers;
        ("open", container, process, how, path, layer, writable), ("unread", process) and
        ("cut", what).
    """
    views = list(open_views(cast("list[list[int]]", arguments["views"])))
    by_pid: dict[int, View] = {view.pid: view for view in views}
    ends: dict[int, Where] = {}
    for number, (pid, path) in enumerate(cast("list[tuple[int, bytes]]", arguments["roots"])):
        try:
            view = by_pid.get(pid) or by_pid.setdefault(pid, open_view(pid))
            yield from _root(number, view, views[0], path, ends)
        except OSError as error:
            yield ("gone", number, error.errno or 0)
    trees: list[_Tree] = []
    for number, (pid, parents, image) in enumerate(
        cast("list[tuple[int, list[int], bytes]]", arguments["containers"])
    ):
        try:
            yield from _layers_of(number, pid, parents, image, views, trees)
            for root, end in ends.items():
                yield from _held(root, end, number, trees)
        except OSError as error:
            yield ("closed", number, error.errno or 0)
    pids = cast("list[int]", arguments["processes"])
    yield from _who(pids, trees, views, cast("float", arguments["seconds"]))


# --- The way to a directory ----------------------------------------------------------------------


def _root(
    number: int, view: View, own: View, path: bytes, ends: dict[int, Where]
) -> Iterator[Piece]:
    """The way to one data root, in the caller's own view where it is the same directory there."""
    fd = open_in(view, path, _DIRECTORY, links=True)
    try:
        if view is not own:
            with contextlib.suppress(OSError):
                other = open_in(own, path, _DIRECTORY, links=True)
                if os.path.samestat(os.fstat(other), os.fstat(fd)):
                    view, fd, other = own, other, fd
                os.close(other)
        if where := where_is(fd, [view]):
            ends[number] = where
        yield from _way(number, view, path)
        status = os.fstat(fd)
        yield ("end", number, status.st_dev, status.st_ino, view.pid)
    finally:
        os.close(fd)


def _held(root: int, end: Where, container: int, trees: Sequence[_Tree]) -> Iterator[Piece]:
    """What of a container's layers lies below a data root, and what leads there."""
    holds = False
    for tree in trees:
        rest = below(tree.path, end.path) if tree.dev == end.dev else None
        if tree.container != container or tree.layer == "merged" or not rest:
            continue
        holds = True
        at = end.inner.rstrip(b"/")
        for name in rest.strip(b"/").split(b"/")[:-1]:
            at += b"/" + name
            with contextlib.suppress(OSError):
                yield ("inner", *_step(root, end.view, at)[0][1:])
    if holds:
        yield ("holds", root, container)


def _way(number: int, view: View, path: bytes) -> Iterator[Piece]:
    """Each directory from the root to a path, links in their place."""
    at = b"/"
    rest = [name for name in path.split(b"/") if name]
    yield _step(number, view, at)[0]
    links = steps = 0
    while rest:
        name = rest.pop(0)
        steps += 1
        if steps > _DEPTH:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if name == b"..":
            at = at.rpartition(b"/")[0] or b"/"
            continue
        if name == b".":
            continue
        here = at.rstrip(b"/") + b"/" + name
        piece, link = _step(number, view, here)
        yield piece
        if not link:
            at = here
            continue
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if link.startswith(b"/"):
            at = b"/"
        rest = [part for part in link.split(b"/") if part] + rest


def _step(number: int, view: View, path: bytes) -> tuple[Piece, bytes]:
    fd = open_in(view, path)
    try:
        status = os.fstat(fd)
        link = os.readlink(b"", dir_fd=fd) if stat.S_ISLNK(status.st_mode) else b""
        step = ("step", number, path, status.st_mode, status.st_uid, status.st_gid, link, _acl(fd))
        return step, link
    finally:
        os.close(fd)


def _acl(fd: int) -> bool:
    """Whether more than the mode says who may do what (acl(5))."""
    try:
        return bool(os.getxattr(f"/proc/self/fd/{fd}", _ACL))
    except OSError:
        return False


# --- Layers --------------------------------------------------------------------------------------


def _layers_of(
    number: int,
    pid: int,
    parents: Sequence[int],
    image: bytes,
    views: Sequence[View],
    trees: list[_Tree],
) -> Iterator[Piece]:
    target = open_view(pid)
    line = line_of(target, mount_of(target.fd))
    if line is None:
        yield ("no-layers", number, b"unknown")
        return
    if line.fs_type != b"overlay":
        yield ("no-layers", number, line.fs_type)
        own = line_of(views[0], mount_of(views[0].fd))
        # What shares the caller's own root has none that is a container's.
        if own is None or (device(own), own.root) != (device(line), line.root):
            trees.append(_Tree(number, "root", device(line), line.root))
        return
    trees.append(_Tree(number, "merged", device(line), line.root))
    opened = open_layers(line, target, views, parents, image)
    if opened is None:
        yield ("no-layers", number, b"overlay")
        return
    for index, directory in enumerate(opened.directories):
        if directory is None:
            continue
        status = os.fstat(directory.fd)
        where = where_is(directory.fd, [opened.view, *views])
        path, pid = opened.paths[index], opened.view.pid
        if where is not None:
            trees.append(_Tree(number, opened.name_of(index), where.dev, where.path))
            path = where.inner if where.view is opened.view else path
            for spot in spots(where, status, views[:1]):
                path, pid = spot.path, 0
                break
        name = opened.name_of(index)
        yield ("layer", number, name, path, status.st_mode, status.st_uid, status.st_gid, pid)


# --- Who has them open ---------------------------------------------------------------------------


class _Mounts:
    """Rows of all mount tables that were met, by the number of the mount."""

    def __init__(self, views: Sequence[View]) -> None:
        self._rows: dict[int, tuple[MountLine, bytes]] = {}
        self._known: set[str] = set()
        for view in views:
            self._take(view.table, view.base)

    def _take(self, table: bytes, base: bytes) -> None:
        for text in table.split(b"\n"):
            if text:
                line = parse_line(text)
                self._rows.setdefault(line.mount_id, (line, base))

    def learn(self, pid: int) -> None:
        """Read the table of a process whose namespace was not met."""
        try:
            name = os.readlink(f"/proc/{pid}/ns/mnt")
            if name in self._known:
                return
            self._known.add(name)
            view = open_view(pid)
        except OSError as error:
            if vanished(error) or refused(error) or error.errno == errno.EINVAL:
                return
            raise
        os.close(view.fd)
        self._take(view.table, view.base)

    def place(self, mount: int, path: bytes) -> tuple[bytes, bytes] | None:
        """Device, and path in its file system, of a path that was reached through a mount."""
        row = self._rows.get(mount)
        if row is None:
            return None
        line, base = row
        rest = below(path, (base + line.mount_point).rstrip(b"/") or b"/")
        return None if rest is None else (device(line), line.root.rstrip(b"/") + rest or b"/")


def _who(
    pids: Sequence[int], trees: Sequence[_Tree], views: Sequence[View], seconds: float
) -> Iterator[Piece]:
    if not trees:
        return
    mounts = _Mounts(views)
    by_device: dict[bytes, list[_Tree]] = {}
    for tree in trees:
        by_device.setdefault(tree.dev, []).append(tree)
    until = time.monotonic() + seconds
    for position, pid in enumerate(pids):
        if time.monotonic() > until:
            yield (
                "cut",
                f"{len(pids) - position} of {len(pids)} processes, after {seconds:g} seconds",
            )
            return
        mounts.learn(pid)
        try:
            yield from _of_process(pid, by_device, mounts)
        except OSError as error:
            if refused(error):
                yield ("unread", pid)
            elif not vanished(error):
                raise


def _of_process(pid: int, by_device: dict[bytes, list[_Tree]], mounts: _Mounts) -> Iterator[Piece]:
    directory = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY)
    try:
        for how in ("cwd", "root", "exe"):
            place = _of_link(directory, how, mounts)
            yield from _matches(pid, how, place, by_device, writable=False)
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                path = os.readlink(os.fsencode(f"fd/{name}"), dir_fd=directory)
                if not path.startswith(b"/"):
                    continue  # a pipe, a socket or the like
                info = read_file(f"fdinfo/{name}", directory)
                place = mounts.place(parse_fdinfo_mount(info), path.removesuffix(b" (deleted)"))
            except OSError as error:
                if vanished(error) or error.errno == errno.ENAMETOOLONG:
                    continue
                raise
            writable = _is_writable(info)
            yield from _matches(pid, f"fd {name}", place, by_device, writable=writable)
        yield from _mapped(pid, directory, by_device)
    finally:
        os.close(directory)


def _is_writable(info: bytes) -> bool:
    for line in info.split(b"\n"):
        if line.startswith(b"flags:"):
            flags = int(line[6:].strip(b"\t "), 8)
            return flags & os.O_ACCMODE != os.O_RDONLY and not flags & os.O_PATH
    return False


def _of_link(directory: int, how: str, mounts: _Mounts) -> tuple[bytes, bytes] | None:
    """Where a magic link of a process leads; opening it as O_PATH asks no file system."""
    try:
        fd = os.open(how, os.O_PATH, dir_fd=directory)
    except OSError as error:
        if vanished(error):
            return None
        raise
    try:
        path = os.readlink(b"/proc/self/fd/%d" % fd).removesuffix(b" (deleted)")
        return mounts.place(mount_of(fd), path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise
    finally:
        os.close(fd)


def _mapped(pid: int, directory: int, by_device: dict[bytes, list[_Tree]]) -> Iterator[Piece]:
    """Files that are mapped: told by device and path, for a map names no mount."""
    seen: set[bytes] = set()
    for line in read_file("maps", directory, _LINE).split(b"\n"):
        words = line.split(b" ", 5)
        if len(words) < 6:
            continue
        path = words[5].lstrip(b" ").removesuffix(b" (deleted)")
        major, _, minor = words[3].partition(b":")
        if not path.startswith(b"/") or path in seen:
            continue
        seen.add(path)
        dev = b"%d:%d" % (int(major, 16), int(minor, 16))
        for tree in by_device.get(dev, ()):
            rest = below(path, tree.path)
            if tree.layer == "merged" or rest is not None:
                inner = path if tree.layer == "merged" else rest or b"/"
                yield ("open", tree.container, pid, "map", inner, tree.layer, b"w" in words[1])
                break


def _matches(
    pid: int,
    how: str,
    place: tuple[bytes, bytes] | None,
    by_device: dict[bytes, list[_Tree]],
    *,
    writable: bool,
) -> Iterator[Piece]:
    if place is None:
        return
    dev, path = place
    for tree in by_device.get(dev, ()):
        rest = below(path, tree.path)
        if rest is not None:
            yield ("open", tree.container, pid, how, rest or b"/", tree.layer, writable)
