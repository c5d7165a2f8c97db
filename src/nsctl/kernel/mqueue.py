"""POSIX message queues, as a file system of the caller's IPC namespace: mq_overview(7).

Reading a queue's file would set its times, and receiving would take a message; asking for its
attributes does neither (mq_getsetattr(2)), and the mount keeps no access times.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct

from nsctl.kernel import mount
from nsctl.kernel.libc import syscall
from nsctl.model.contents import PosixQueue

# struct mq_attr: flags, most messages, size of one, messages now; four words are reserved.
_ATTRIBUTES = struct.Struct("=8q")
_QUIET = (
    mount.MOUNT_ATTR_RDONLY
    | mount.MOUNT_ATTR_NOSUID
    | mount.MOUNT_ATTR_NODEV
    | mount.MOUNT_ATTR_NOEXEC
    | mount.MOUNT_ATTR_NOATIME
)
_CLOSED = frozenset({errno.EACCES, errno.EPERM})


def open_all() -> int:
    """Mount the queues of the caller's IPC namespace, attached to nothing.

    Returns:
        A descriptor of the directory, which the caller closes; the mount goes with it.

    Raises:
        OSError: ENODEV on a kernel without queues, EPERM without CAP_SYS_ADMIN over the IPC
            namespace and the caller's mount namespace, ENOSYS before Linux 5.2.
    """
    context = mount.fsopen("mqueue")
    try:
        mount.fsconfig_create(context)
        root = mount.fsmount(context, _QUIET)
    finally:
        os.close(context)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    finally:
        os.close(root)


def listed(directory: int) -> list[PosixQueue]:
    """List queues.

    Args:
        directory: from `open_all`.

    Returns:
        One row a queue, by name.
    """
    found = []
    for name in sorted(os.listdir(directory), key=os.fsencode):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            found.append(_queue(directory, name))
    return found


def _queue(directory: int, name: str) -> PosixQueue:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    most: int | None = None
    largest: int | None = None
    messages: int | None = None
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if error.errno not in _CLOSED:
            raise
    else:
        try:
            _, most, largest, messages = attributes(fd)
        finally:
            os.close(fd)
    return PosixQueue(
        os.fsencode(name),
        status.st_mode & 0o7777,
        status.st_uid,
        status.st_gid,
        messages,
        most,
        largest,
    )


def encode(queue: PosixQueue) -> bytes:
    """Write a queue as a line, for `decode` in another process."""
    known = (queue.messages, queue.most, queue.largest)
    numbers = [queue.uid, queue.gid, *(-1 if number is None else number for number in known)]
    words = " ".join(map(str, numbers)).encode("ascii")
    return b"%s %o %s\n" % (queue.name.hex().encode("ascii"), queue.mode, words)


def decode(raw: bytes) -> list[PosixQueue]:
    """Read the lines that `encode` wrote.

    Raises:
        ValueError: a line of another form.
    """
    return [_decode(line) for line in raw.split(b"\n") if line]


def _decode(line: bytes) -> PosixQueue:
    name, mode, *numbers = line.split(b" ")
    uid, gid, messages, most, largest = map(int, numbers)
    known = (messages, most, largest) if messages >= 0 else (None, None, None)
    return PosixQueue(bytes.fromhex(name.decode("ascii")), int(mode, 8), uid, gid, *known)


def attributes(fd: int) -> tuple[int, int, int, int]:
    """Ask an open queue for its attributes (mq_getattr(3)).

    Returns:
        Flags, the most messages it takes, the size of the largest, messages in it.
    """
    buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
    syscall("mq_getsetattr", fd, None, buffer)
    flags, most, largest, messages = _ATTRIBUTES.unpack(buffer.raw[: _ATTRIBUTES.size])[:4]
    return flags, most, largest, messages
