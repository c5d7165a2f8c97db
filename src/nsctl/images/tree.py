"""Writing a root file system from what somebody else packed: all below one directory.

Every path is resolved by the kernel inside that directory (openat2(2) with RESOLVE_IN_ROOT), so
that "..", absolute paths and symbolic links end where a chrooted process's would. Names are made
with O_EXCL and without following a link. No devices are made, no extended attribute gets through
that OverlayFS would obey, and what is written is counted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping

from nsctl.errors import NsctlError, translate
from nsctl.kernel.mount import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from nsctl.kernel.remove import remove_at
from nsctl.model.record import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_DEPTH = 200
_NAME = 255
_TRIES = 50
# Other attributes are the host's business, or OverlayFS would take them for its own.
_KEPT = ("user.", "security.capability")
_DROPPED = ("user.overlay.",)
_MODES = 0o7777


class Limits(NamedTuple):
    """How much an archive may become.

    Attributes:
        size: bytes of all files.
        entries: files, directories and links.
    """

    size: int = 32 << 30
    entries: int = 2_000_000


class Owner(NamedTuple):
    """Whose a file is, and what it is like.

    Attributes:
        uid: user id.
        gid: group id.
        mode: permission bits.
        mtime: seconds since the epoch.
    """

    uid: int
    gid: int
    mode: int
    mtime: float


class Tree:
    """A root file system that is being written.

    Args:
        root: descriptor of its directory, which nobody else writes to.
        limits: how much it may become.

    Attributes:
        skipped: devices that were not made.
    """

    def __init__(self, root: int, limits: Limits = Limits()) -> None:  # noqa: B008  (frozen)
        self._root = root
        self._limits = limits
        self._is_root = os.geteuid() == 0
        self._size = 0
        self._entries = 0
        # Modes of directories come last: one may forbid to write in it.
        self._directories: dict[tuple[str, ...], Owner] = {}
        self.skipped: list[str] = []

    # --- Making things ---------------------------------------------------------------------------

    def directory(self, path: str, owner: Owner) -> None:
        """Make a directory, or take the one that is there."""
        parts = split(path)
        if parts:
            with self._parent(parts) as (parent, name):
                self._count()
                kind = _kind(parent, name)
                if kind is not None and not stat.S_ISDIR(kind):
                    remove_at(parent, name)
                    kind = None
                if kind is None:
                    os.mkdir(name, 0o700, dir_fd=parent)
        self._directories[parts] = owner

    def file(self, path: str, owner: Owner, chunks: Iterable[bytes]) -> None:
        """Make a file, in place of whatever is there.

        Args:
            path: where.
            owner: whose.
            chunks: its content.
        """
        with self._parent(self._named(path)) as (parent, name):
            self._clear(parent, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=parent)
            try:
                for chunk in chunks:
                    self._size += len(chunk)
                    if self._size > self._limits.size:
                        raise _too_much(f"more than {self._limits.size} bytes")
                    _write(fd, chunk)
                self._own(fd, owner)
            finally:
                os.close(fd)

    def symlink(self, path: str, target: str, owner: Owner) -> None:
        """Make a symbolic link; where it leads is resolved inside, whenever it is."""
        with self._parent(self._named(path)) as (parent, name):
            self._clear(parent, name)
            os.symlink(target, name, dir_fd=parent)
            if self._is_root:
                os.chown(name, owner.uid, owner.gid, dir_fd=parent, follow_symlinks=False)
            os.utime(name, (owner.mtime, owner.mtime), dir_fd=parent, follow_symlinks=False)

    def hard_link(self, path: str, target: str) -> None:
        """Make another name of a file that is there already."""
        named = split(target)
        if not named:
            raise NsctlError("unpack", path, "it is a hard link to a directory")
        with (
            self._parent(self._named(path)) as (parent, name),
            self._parent(named) as (other, other_name),
        ):
            kind = _kind(other, other_name)
            if kind is None or stat.S_ISDIR(kind):
                raise NsctlError("unpack", path, f"it is a hard link to {target}, no file there")
            if os.path.samestat(os.fstat(parent), os.fstat(other)) and name == other_name:
                return
            self._clear(parent, name)
            os.link(other_name, name, src_dir_fd=other, dst_dir_fd=parent, follow_symlinks=False)

    def fifo(self, path: str, owner: Owner) -> None:
        """Make a FIFO."""
        with self._parent(self._named(path)) as (parent, name):
            self._clear(parent, name)
            os.mkfifo(name, 0o600, dir_fd=parent)
            # O_PATH: to open it would wait for another end.
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._own_path(f"/proc/self/fd/{fd}", owner)
            finally:
                os.close(fd)

    def device(self, path: str) -> None:
        """Leave a device out: a container has a /dev of its own."""
        self._count()
        self.skipped.append(path)

    def attributes(self, path: str, values: Mapping[str, bytes]) -> None:
        """Set the extended attributes that may be, on a file or directory that is there."""
        kept = {name: value for name, value in values.items() if _may_be(name)}
        if not kept:
            return
        with self._parent(split(path) or (".",)) as (parent, name):
            fd = os.open(
                name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent
            )
            try:
                for key, value in kept.items():
                    if self._is_root or not key.startswith("security."):
                        _set_attribute(fd, key, value)
            finally:
                os.close(fd)

    # --- Taking things away ----------------------------------------------------------------------

    def remove(self, path: str) -> None:
        """Remove what a path leads to, with all below it; that there is nothing is no error."""
        parts = self._named(path)
        try:
            fd = self._open(parts[:-1])
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            remove_at(fd, parts[-1])
        except OSError as error:
            raise translate(error, "remove", path) from error
        finally:
            os.close(fd)

    def empty(self, path: str, keep: frozenset[tuple[str, ...]]) -> None:
        """Remove what is in a directory.

        Args:
            path: the directory; that there is none is no error.
            keep: paths that stay, and all above them.
        """
        parts = split(path)
        above = {kept[:length] for kept in keep for length in range(len(kept) + 1)}
        queue = [parts]
        while queue:
            place = queue.pop()
            try:
                fd = self._open(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                for name in os.listdir(fd):
                    inner = (*place, name)
                    if inner in keep or inner in above:
                        queue.append(inner)
                    else:
                        remove_at(fd, name)
            finally:
                os.close(fd)

    def finish(self) -> None:
        """Give directories their owners, modes and times, the innermost first."""
        for parts in sorted(self._directories, key=len, reverse=True):
            try:
                fd = self._open(parts)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry took its place
            try:
                self._own(fd, self._directories[parts])
            finally:
                os.close(fd)

    # --- The parts -------------------------------------------------------------------------------

    def _named(self, path: str) -> tuple[str, ...]:
        self._count()
        parts = split(path)
        if not parts:
            raise NsctlError("unpack", path or "an entry without a name", "it names no file")
        return parts

    def _count(self) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise _too_much(f"more than {self._limits.entries} entries")

    @contextlib.contextmanager
    def _parent(self, parts: tuple[str, ...]) -> Iterator[tuple[int, str]]:
        """Open the directory that a path's last part is in, making what is missing of it."""
        fd = self._open(parts[:-1], create=True)
        try:
            yield fd, parts[-1]
        except OSError as error:
            raise translate(error, "unpack", "/".join(parts)) from error
        finally:
            os.close(fd)

    def _open(self, parts: tuple[str, ...], *, create: bool = False) -> int:
        path = "/".join(parts) or "."
        for _ in range(_TRIES):
            try:
                return openat2(self._root, path, _DIRECTORY, _RESOLVE)
            except FileNotFoundError:
                if not create:
                    raise
                self._make_parents(parts)
            except OSError as error:
                if error.errno == errno.EAGAIN:  # resolution was disturbed: again
                    continue
                if isinstance(error, NotADirectoryError) and create:
                    self._make_parents(parts)
                    continue
                raise
        raise NsctlError("unpack", path, "it cannot be reached")

    def _make_parents(self, parts: tuple[str, ...]) -> None:
        """Make what is missing of a path, one part after the other, in place of what is no way."""
        for length in range(1, len(parts) + 1):
            try:
                os.close(openat2(self._root, "/".join(parts[:length]), _DIRECTORY, _RESOLVE))
                continue
            except (FileNotFoundError, NotADirectoryError):
                pass
            fd = self._open(parts[: length - 1])
            try:
                name = parts[length - 1]
                if _kind(fd, name) is not None:
                    os.unlink(name, dir_fd=fd)  # a file, or a link that leads nowhere
                self._count()
                os.mkdir(name, 0o755, dir_fd=fd)
            finally:
                os.close(fd)

    def _clear(self, parent: int, name: str) -> None:
        if _kind(parent, name) is not None:
            remove_at(parent, name)

    def _own(self, fd: int, owner: Owner) -> None:
        if self._is_root:
            os.fchown(fd, owner.uid, owner.gid)
        # After chown, which takes set-user-ID away.
        os.fchmod(fd, owner.mode & _MODES if self._is_root else owner.mode & 0o1777)
        os.utime(fd, (owner.mtime, owner.mtime))

    def _own_path(self, path: str, owner: Owner) -> None:
        if self._is_root:
            os.chown(path, owner.uid, owner.gid)
        os.chmod(path, owner.mode & 0o777)
        os.utime(path, (owner.mtime, owner.mtime))


def split(path: str) -> tuple[str, ...]:
    """Take a path of an archive apart.

    Args:
        path: relative or absolute; both mean the root that is written.

    Returns:
        Its parts, without empty ones and ".".

    Raises:
        NsctlError: it has "..", a NUL byte, or is longer than any file system takes.
    """
    parts = tuple(part for part in path.split("/") if part not in {"", "."})
    if ".." in parts:
        raise NsctlError("unpack", path, "its path leads upwards")
    if "\0" in path or len(parts) > _DEPTH:
        raise NsctlError("unpack", path[:_NAME], "its path is no path")
    if any(len(os.fsencode(part)) > _NAME for part in parts):
        raise NsctlError("unpack", path[:_NAME], "its name is longer than 255 bytes")
    return parts


def _kind(parent: int, name: str) -> int | None:
    """The mode of what has a name, None for nothing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _may_be(name: str) -> bool:
    return name.startswith(_KEPT) and not name.startswith(_DROPPED)


def _set_attribute(fd: int, name: str, value: bytes) -> None:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        # A file system without them, or a file that has none (user.* on a link).
        if error.errno not in {errno.EOPNOTSUPP, errno.EPERM}:
            raise


def _write(fd: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]


def _too_much(what: str) -> NsctlError:
    return NsctlError(
        "unpack", "the archive", f"it holds {what}", "raise the limit if that is right"
    )
