"""Removing what a container wrote, which is hostile: links, deep trees, modes without rights."""

from __future__ import annotations

import contextlib
import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a directory with all below it.

    It goes down and up by one descriptor, so that neither depth nor links matter: a tree of a
    million levels needs no more descriptors than one of two.

    Args:
        path: of the directory; that it does not exist is no error.

    Raises:
        OSError: it is no directory, or something in it cannot be removed.
    """
    try:
        fd = os.open(os.path.dirname(path), _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        if _is_directory(fd, os.path.basename(path)):
            remove_at(fd, os.path.basename(path))
    finally:
        os.close(fd)


def remove_at(parent: int, name: str) -> None:
    """Remove what has a name in a directory, with all below it.

    Args:
        parent: descriptor of that directory.
        name: one part of a path; that there is no such name is no error, and where it is a link the
            link is removed.

    Raises:
        OSError: something cannot be removed.
    """
    try:
        if not _is_directory(parent, name):
            return
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent)
        return
    below = [name]
    fd = _down(os.dup(parent), name)
    try:
        while below:
            inner = _clear(fd)
            if inner:
                below.append(inner)
                fd = _down(fd, inner)
            else:
                fd = _into(fd, "..")
                os.rmdir(below.pop(), dir_fd=fd)
    finally:
        os.close(fd)


def _clear(fd: int) -> str:
    """Remove all that is no directory; give the name of one that is, "" for none."""
    inner = ""
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner = entry.name
            else:
                os.unlink(entry.name, dir_fd=fd)
    return inner


def _is_directory(fd: int, name: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        os.close(os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd))
        return True
    return False


def _down(fd: int, name: str) -> int:
    """Go into a directory that only its owner's will keeps closed."""
    try:
        return _into(fd, name)
    except PermissionError:
        # overlayfs makes "work" with no rights at all.
        os.chmod(name, 0o700, dir_fd=fd)
        return _into(fd, name)


def _into(fd: int, name: str) -> int:
    inner = os.open(name, _DIRECTORY, dir_fd=fd)
    os.close(fd)
    return inner
