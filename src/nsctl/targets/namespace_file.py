"""A TARGET that is a path to a namespace: /proc/PID/ns/net, /run/netns/NAME, any bind mount."""

from __future__ import annotations

import errno
import os

from nsctl.errors import TargetError, UnknownTarget, translate
from nsctl.kernel import nsfs
from nsctl.model.namespace import NamespaceType
from nsctl.model.target import Target


def resolve(target: Target) -> Target:
    """Ask the kernel which namespace a path leads to.

    Args:
        target: of kind "path".

    Returns:
        A target of kind "namespace" that keeps the text.

    Raises:
        UnknownTarget: there is no such path.
        TargetError: the path is no namespace.
        KernelRefusal: it cannot be opened.
    """
    fd, kind = open_namespace(target.text)
    try:
        return Target("namespace", target.text, ino=nsfs.inode(fd), type=kind)
    finally:
        os.close(fd)


def open_namespace(path: str) -> tuple[int, NamespaceType]:
    """Open a path to a namespace.

    Args:
        path: as typed.

    Returns:
        A descriptor, close-on-exec, which the caller closes; the type of the namespace.

    Raises:
        UnknownTarget: there is no such path.
        TargetError: the path is no namespace.
        KernelRefusal: it cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        refusal = translate(error, "open", f"TARGET {path}")
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise UnknownTarget("open", f"TARGET {path}", refusal.cause) from error
        raise refusal from error
    try:
        return fd, nsfs.get_nstype(fd)
    except OSError as error:
        os.close(fd)
        if error.errno in {errno.ENOTTY, errno.EINVAL}:
            raise TargetError("use", f"TARGET {path}", "it is not a namespace") from None
        raise translate(error, "ask", f"TARGET {path}") from error
    except ValueError as error:
        os.close(fd)
        raise TargetError("use", f"TARGET {path}", str(error)) from None
