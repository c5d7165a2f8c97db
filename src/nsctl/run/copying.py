"""Copying files between a running container and the host, by descriptors, never out of its root.

A path of the container is resolved with its root as the root (openat2(2)); below what it leads to
no link is followed, whoever swaps what for what meanwhile. Files are opened only once they are known
to be regular ones. A file appears under its name when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator

from nsctl.errors import NsctlError, UsageError, translate
from nsctl.kernel import mount, process, procfs
from nsctl.model.record import NamedTuple
from nsctl.run import garbage
from nsctl.run.store import Store, default_store, find, opened

_CHUNK = 1 << 20
_DEPTH = 300
_ATTEMPTS = 100
_RESOLVE = mount.RESOLVE_IN_ROOT | mount.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Place(NamedTuple):
    """One end of a copy.

    Attributes:
        container: name or id of a container of ours, "" for the host.
        path: there; relative ones begin at the root, for the host at the working directory.
    """

    container: str
    path: str


class Report(NamedTuple):
    """What was copied.

    Attributes:
        files: number of files, links and directories.
        skipped: devices and sockets, which are not copied.
    """

    files: int
    skipped: tuple[str, ...]


class _End:
    """One end, opened.

    Args:
        root: descriptor of its root, -1 for the host.
        owner: user and group that what is made belongs to.
    """

    def __init__(self, root: int, owner: tuple[int, int]) -> None:
        self.root = root
        self.owner = owner

    def open(self, path: str, flags: int) -> int:
        """Open a path, following links within the root."""
        if self.root < 0:
            return os.open(path, flags | os.O_CLOEXEC)
        for _ in range(_ATTEMPTS):
            try:
                return mount.openat2(self.root, path.lstrip("/") or ".", flags, _RESOLVE)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def copy(source: Place, target: Place, store: Store | None = None) -> Report:
    """Copy a file or directory, with all below it.

    Args:
        source: what. A path that ends in "/." is what is in a directory.
        target: where; into it, where it is a directory already.
        store: whose containers they are.

    Returns:
        What was copied.

    Raises:
        UsageError: neither or both are a container's, or the two do not go together.
        NsctlError: something cannot be read or written; what was copied before is there.
    """
    if bool(source.container) == bool(target.container):
        raise UsageError(
            "one of the two must be in a container, and one on the host", "write NAME:PATH for it"
        )
    store = store or default_store()
    with contextlib.ExitStack() as stack:
        given = stack.enter_context(_opened(source.container, store))
        taken = stack.enter_context(_opened(target.container, store))
        work = _Copy(taken.owner if os.geteuid() == 0 else None)
        # In a container's file system root of the host has no number, and could make nothing.
        if target.container and os.geteuid() == 0:
            stack.enter_context(process.file_owner(*taken.owner))
        parent, name, whole = _source(given, source, stack)
        _into(work, (parent, name, whole), taken, target, stack)
    return Report(work.files, tuple(work.skipped))


@contextlib.contextmanager
def _opened(container: str, store: Store) -> Iterator[_End]:
    """Open an end: of a container its root, through a process that is certainly its first."""
    if not container:
        yield _End(-1, (os.geteuid(), os.getegid()))
        return
    with opened(store) as containers:
        state = find(containers, container)
    pidfd = garbage.open_process(state)
    if pidfd < 0:
        raise NsctlError(
            "copy",
            f"files of {state.name}",
            "it does not run",
            f"start it: nsctl start {state.name}",
        )
    root = -1
    try:
        try:
            proc = procfs.ProcFs().open(state.pid)
            try:
                root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
                owner = tuple(_outside(proc, kind) for kind in ("uid", "gid"))
            finally:
                os.close(proc)
            if garbage.await_end(pidfd, 0):
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        except OSError as error:
            raise translate(error, "open", f"the root of {state.name}") from error
        yield _End(root, (owner[0], owner[1]))
    finally:
        os.close(pidfd)
        if root >= 0:
            os.close(root)


def _outside(proc: int, kind: str) -> int:
    """What number root of a process's user namespace has outside."""
    for row in procfs.parse_id_map(procfs.read_file(f"{kind}_map", proc)):
        if row.inside == 0:
            return row.outside
    return os.geteuid()


def _source(given: _End, source: Place, stack: contextlib.ExitStack) -> tuple[int, str, bool]:
    """Open the directory that holds the source.

    Returns:
        Its descriptor; the source's name in it; whether only what is in it is meant.
    """
    path = source.path.rstrip("/") or "/"
    whole = path == "." or path.endswith("/.") or path == "/"
    try:
        if whole or os.path.basename(path) in {"..", ""}:
            fd = given.open(path, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, fd)
            return fd, ".", True
        above = os.path.dirname(path) or ("." if given.root < 0 else "/")
        fd = given.open(above, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, fd)
        os.stat(os.path.basename(path), dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        raise translate(error, "copy", f"{_words(source)}") from error
    return fd, os.path.basename(path), False


def _words(place: Place) -> str:
    return f"{place.container}:{place.path}" if place.container else place.path


def _into(
    work: _Copy,
    source: tuple[int, str, bool],
    taken: _End,
    target: Place,
    stack: contextlib.ExitStack,
) -> None:
    parent, name, whole = source
    try:
        fd = taken.open(target.path or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
            raise translate(error, "copy to", _words(target)) from error
    else:
        stack.callback(os.close, fd)
        if whole:
            work.content(parent, fd, "")
        else:
            work.entry(parent, name, fd, name, "")
        return
    path = target.path.rstrip("/")
    is_directory = whole or stat.S_ISDIR(
        os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    )
    if target.path.endswith("/") and not is_directory:
        raise UsageError(f"there is no directory {_words(target)}")
    try:
        above = os.path.dirname(path) or ("." if taken.root < 0 else "/")
        fd = taken.open(above, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise translate(error, "copy to", _words(target)) from error
    stack.callback(os.close, fd)
    if whole:
        work.directory(parent, fd, os.path.basename(path), "")
    else:
        work.entry(parent, name, fd, os.path.basename(path), "")


class _Copy:
    """Copies entries of directories.

    Args:
        owner: who owns what is made; None for whoever makes it.
    """

    def __init__(self, owner: tuple[int, int] | None) -> None:
        self.files = 0
        self.skipped: list[str] = []
        self._owner = owner

    def entry(self, source: int, name: str, target: int, new: str, path: str) -> None:
        """Copy one entry of a directory under a name into another."""
        path = f"{path}/{name}"
        try:
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
            try:
                mode = os.fstat(found).st_mode
                if stat.S_ISREG(mode):
                    self._file(found, target, new)
                elif stat.S_ISLNK(mode):
                    self._link(os.readlink("", dir_fd=found), target, new)
                elif stat.S_ISDIR(mode):
                    inner = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=found)
                    try:
                        self.directory(inner, target, new, path)
                    finally:
                        os.close(inner)
                else:
                    self.skipped.append(path)
            finally:
                os.close(found)
        except OSError as error:
            raise translate(error, "copy", path) from error

    def content(self, source: int, target: int, path: str) -> None:
        """Copy all entries of a directory into another."""
        if path.count("/") > _DEPTH:
            raise NsctlError("copy", path, f"it lies deeper than {_DEPTH} directories")
        for name in sorted(os.listdir(source)):
            self.entry(source, name, target, name, path)

    def directory(self, source: int, target: int, name: str, path: str) -> None:
        """Copy a directory under a name into another, or into the one that has the name."""
        try:
            os.mkdir(name, 0o700, dir_fd=target)
            is_new = True
        except FileExistsError:
            is_new = False
        inner = os.open(name, _DIRECTORY, dir_fd=target)
        try:
            self.content(source, inner, path)
            self.files += 1
            if is_new:
                status = os.fstat(source)
                if self._owner is not None:
                    os.fchown(inner, *self._owner)
                os.fchmod(inner, status.st_mode & 0o1777)
                os.utime(inner, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(inner)

    def _file(self, found: int, target: int, name: str) -> None:
        # Of what is known to be a regular file; the link is our own.
        reading = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(reading)
            with self._placed(target, name) as temporary:
                writing = os.open(temporary, _NEW, 0o600, dir_fd=target)
                try:
                    while chunk := os.read(reading, _CHUNK):
                        view = memoryview(chunk)
                        while view:
                            view = view[os.write(writing, view) :]
                    if self._owner is not None:
                        os.fchown(writing, *self._owner)
                    # What sets a user or group would do so for another than it was meant for.
                    os.fchmod(writing, status.st_mode & 0o777)
                    os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
                finally:
                    os.close(writing)
        finally:
            os.close(reading)

    def _link(self, leads_to: str, target: int, name: str) -> None:
        with self._placed(target, name) as temporary:
            os.symlink(leads_to, temporary, dir_fd=target)
            if self._owner is not None:
                os.chown(temporary, *self._owner, dir_fd=target, follow_symlinks=False)

    @contextlib.contextmanager
    def _placed(self, target: int, name: str) -> Iterator[str]:
        """Give a name to make something under, and put it into its place once it is made."""
        temporary = f".nsctl-{secrets.token_hex(8)}"
        try:
            yield temporary
            os.rename(temporary, name, src_dir_fd=target, dst_dir_fd=target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=target)
            raise
        self.files += 1
