"""nsenter's options as values: which namespaces, files, sockets and directories were named.

Everything is opened here, before anything is joined, through the target's pidfd and directory; what
nsenter(1) of 2.42 says when it cannot be is said in its words, where its name was called.
"""

from __future__ import annotations

import os

from nsctl.enter.request import Given
from nsctl.errors import UsageError, translate
from nsctl.kernel import nsfs, nsfs_handle, pidfd, pidfd_namespaces, socketns
from nsctl.model.namespace import NamespaceType
from nsctl.targets.live import Process


def namespace_file(text: str, kind: NamespaceType) -> Given:
    """Open a namespace that was named by a file, or by its 64-bit id (":ID").

    Args:
        text: as given; an "=" before it is taken off, as getopt leaves it there.
        kind: of the option.

    Returns:
        The namespace, which the caller closes.

    Raises:
        NsctlError: it cannot be opened.
    """
    text = text.removeprefix("=")
    if text.startswith(":"):
        return _by_id(text[1:], kind)
    try:
        return Given(os.open(text, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), kind)
    except OSError as error:
        raise translate(error, "open", text) from error


def _by_id(digits: str, kind: NamespaceType) -> Given:
    if not (digits.isascii() and digits.isdecimal()) or int(digits) >= 1 << 64:
        raise UsageError(f"{digits!r} is no namespace's id")
    try:
        return Given(nsfs_handle.open_by_handle(nsfs_handle.handle(int(digits), kind, 0)), kind)
    except OSError as error:
        raise translate(
            error,
            "open",
            f"the namespace with the id {digits}",
            "kernels before 6.19 do not open one by its id alone: name a file",
        ) from error


def parent_user_namespace(process: Process | None, given: list[Given]) -> Given:
    """Open the user namespace above the one that is entered, else the owner of another namespace.

    Raises:
        NsctlError: it lies out of sight, or nothing leads to it.
    """
    named = [one.fd for one in given if one.type == NamespaceType.USER]
    try:
        if named:
            fd = os.dup(named[0])
        elif process is not None:
            fd = _user_namespace(process)
        elif given:
            fd = os.dup(given[0].fd)
        else:
            raise UsageError("no namespace whose parent could be entered")
        try:
            return Given(nsfs.get_userns(fd), NamespaceType.USER)
        finally:
            os.close(fd)
    except OSError as error:
        raise translate(error, "open", "the parent user namespace") from error


def _user_namespace(process: Process) -> int:
    try:
        return pidfd_namespaces.open_namespace(process.pidfd, NamespaceType.USER)
    except OSError:
        # Before 6.11 /proc alone leads to it.
        return os.open("ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.proc)


def socket_namespace(process: Process, text: str) -> Given:
    """Open the network namespace of a socket of the target's (SIOCGSKNS).

    Args:
        process: whose socket.
        text: number of its descriptor.

    Raises:
        NsctlError: it has no such socket, or it may not be asked.
    """
    if not (text.isascii() and text.isdecimal()) or int(text) > 0x7FFFFFFF:
        raise UsageError(f"failed to parse file descriptor: '{text}'")
    try:
        socket = pidfd.pidfd_getfd(process.pidfd, int(text))
        try:
            return Given(socketns.socket_netns(socket), NamespaceType.NET)
        finally:
            os.close(socket)
    except OSError as error:
        raise translate(
            error, "open", f"the network namespace of descriptor {text} of process {process.pid}"
        ) from error


def open_directory(text: str) -> int:
    """Open a directory that was named by a path outside.

    Raises:
        KernelRefusal: it cannot be opened.
    """
    path = text.removeprefix("=")
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise translate(error, "open", path) from error


def directory_of(process: Process | None, name: str) -> int:
    """Open the root or working directory of the target.

    Args:
        process: the target.
        name: "root" or "cwd".

    Raises:
        NsctlError: there is no target, or it may not be looked into.
    """
    if process is None:
        raise UsageError(f"neither filename nor target pid supplied for {name}")
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.proc)
    except OSError as error:
        raise translate(error, "open", f"/proc/{process.pid}/{name}") from error
