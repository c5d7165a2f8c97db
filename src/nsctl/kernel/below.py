"""Reading files below another root directory, such as a container's through /proc/PID/root.

Whoever lives there chooses what is found: a link out of it, a pipe, a device, a file without end.
So a path is resolved with that root as its root (openat2(2), since 5.6: no link and no ".." leads
out), only regular files are read, and no more of them than a limit. A hostile file system may
still never answer: what belongs to somebody who is not trusted is read by a helper that can be
killed.
"""

from __future__ import annotations

import errno
import os
import stat

from nsctl.model.record import NamedTuple

_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_RETRIES = 8


_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Content(NamedTuple):
    """A file as it was read.

    Attributes:
        data: its content, cut after the limit.
        uid: who owns it.
        mode: its permission bits.
        whole: it was not cut.
    """

    data: bytes
    uid: int
    mode: int
    whole: bool


def open_below(top: int, path: str, flags: int) -> int:
    """Open a path as if a directory were the root.

    Args:
        top: descriptor of the directory.
        path: from there.
        flags: of open(2); O_CLOEXEC is added.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        OSError: ENOENT, EACCES and so on; ENOSYS where a link is met on a kernel without openat2.
    """
    fd = _walk(top, path, flags)
    if fd is not None:
        return fd
    from nsctl.kernel.mount import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

    for _ in range(_RETRIES):
        try:
            return openat2(top, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            # A rename somewhere on the host meanwhile: try again (openat2(2)).
            if error.errno != errno.EAGAIN:
                raise
    return openat2(top, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def _open(root: str, path: str, flags: int) -> int:
    top = os.open(root, _DIRECTORY)
    try:
        return open_below(top, path, flags)
    finally:
        os.close(top)


def _walk(top: int, path: str, flags: int) -> int | None:
    """Open a path that leads through no link and no "..", one component after another.

    So it leads where openat2(2) would: ctypes, which that takes, costs more than all of this.

    Returns:
        A descriptor; None where the path is another one.
    """
    words = [word for word in path.split("/") if word]
    # With O_PATH a link at the end would be opened, and not be an error.
    follows = flags & (os.O_PATH | os.O_NOFOLLOW) == os.O_PATH
    if not words or ".." in words or path.endswith("/") or follows:
        return None
    at = top
    try:
        for word in words[:-1]:
            further = os.open(word, _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            if at != top:
                os.close(at)
            at = further
        return os.open(words[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    except OSError as error:
        # A link in between is no directory then, and one at the end a loop.
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            return None
        raise
    finally:
        if at != top:
            os.close(at)


def read_file(root: str, path: str, limit: int) -> Content:
    """Read a regular file below a root.

    Args:
        root: the directory that is the root: "/", "/proc/PID/root".
        path: the file in there, from the root.
        limit: bytes after which reading stops.

    Returns:
        What was read.

    Raises:
        OSError: ENOENT, EACCES and so on; EINVAL for what is no regular file; ENOSYS on a kernel
            without openat2.
    """
    fd = _open(root, path, _FILE)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        chunks, size = [], 0
        while size <= limit and (chunk := os.read(fd, limit + 1 - size)):
            chunks.append(chunk)
            size += len(chunk)
    finally:
        os.close(fd)
    data = b"".join(chunks)
    return Content(data[:limit], status.st_uid, stat.S_IMODE(status.st_mode), size <= limit)


def list_directory(root: str, path: str, limit: int) -> list[str]:
    """List a directory below a root.

    Args:
        root: the directory that is the root.
        path: the directory in there, from the root.
        limit: names after which listing stops.

    Returns:
        Names in no useful order, at most ``limit``.

    Raises:
        OSError: ENOENT, ENOTDIR, EACCES and so on.
    """
    fd = _open(root, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names: list[str] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                if len(names) >= limit:
                    break
                names.append(entry.name)
        return names
    finally:
        os.close(fd)


def read_link(root: str, path: str) -> str:
    """Read a symbolic link below a root.

    Returns:
        Where it leads, as it is written.

    Raises:
        OSError: ENOENT for what is no link, EACCES and so on.
    """
    fd = _open(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def open_socket(root: str, path: str) -> int:
    """Open the file of a unix socket below a root, to connect to it.

    Returns:
        An O_PATH descriptor, which the caller closes.

    Raises:
        OSError: ENOENT, EACCES and so on; ENOTSOCK for what is no socket.
    """
    fd = _open(root, path, os.O_PATH)
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), path)
    return fd
