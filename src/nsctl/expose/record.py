"""What is remembered of a name: whose it is, so that it can be taken away when that is gone.

One file a name, in a directory that only root may look into. Whoever works on names holds a lock
there. A record is written before the name is made and removed after it, so that one who is killed
leaves nothing that the next command does not find.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from nsctl.errors import NsctlError, translate

_LIMIT = 1 << 16
_VERSION = 1
_FILE = re.compile(r"[^/]{1,200}\.json")


class Record(NamedTuple):
    """One name.

    Attributes:
        name: below /run/netns.
        target: what was named, as it was typed.
        pid: the process whose end takes the name away; 0 for a namespace that was named itself.
        start: that process's start in clock ticks.
        boot_id: in which boot.
        dev: device of nsfs.
        ino: the namespace's inode there.
        waiter: the process that waits for that end, 0 where there is none (yet).
        waiter_start: its start.
    """

    name: str
    target: str
    pid: int
    start: int
    boot_id: str
    dev: int
    ino: int
    waiter: int = 0
    waiter_start: int = 0


class Records:
    """All records of a host, while the lock is held.

    Args:
        directory: where they are; open and locked.
    """

    def __init__(self, directory: int) -> None:
        self._directory = directory

    def all(self) -> list[Record]:
        """Read all records.

        Raises:
            NsctlError: one is damaged.
        """
        names = sorted(os.listdir(self._directory))
        found = (self._read(name) for name in names if _FILE.fullmatch(name))
        return [record for record in found if record is not None]

    def write(self, record: Record) -> None:
        """Write a record, whole or not at all.

        Raises:
            KernelRefusal: it cannot be written.
        """
        import json

        text = json.dumps({"version": _VERSION, **record._asdict()}).encode()
        temporary = f".{record.name}.new"
        try:
            fd = os.open(
                temporary,
                os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=self._directory,
            )
            try:
                os.write(fd, text)
            finally:
                os.close(fd)
            os.rename(
                temporary,
                _file(record.name),
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
            )
        except OSError as error:
            raise translate(error, "write", f"what is known of the name {record.name}") from error

    def forget(self, name: str) -> None:
        """Remove a record; that there is none is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_file(name), dir_fd=self._directory)

    def is_noted(self, mark: str) -> bool:
        """Tell whether something was noted."""
        return self._has(mark)

    def note(self, mark: str, *, holds: bool) -> None:
        """Note something of the directory of names, `MOUNT` or `MADE`, or that it holds no more."""
        if holds:
            flags = os.O_CREAT | os.O_CLOEXEC | os.O_WRONLY
            os.close(os.open(mark, flags, 0o600, dir_fd=self._directory))
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(mark, dir_fd=self._directory)

    def _has(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _read(self, name: str) -> Record | None:
        import json

        what = f"what is known of the name {name.removesuffix('.json')}"
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translate(error, "read", what) from error
        try:
            record = _decode(json.loads(os.read(fd, _LIMIT)), name)
        except (ValueError, RecursionError) as error:
            hint = f"remove the file if {record_path(name)} is no name of yours"
            raise NsctlError("read", what, "it is damaged", hint) from error
        finally:
            os.close(fd)
        return record


def _decode(fields: object, file: str) -> Record:
    """Take a record apart that may be anything.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(fields, dict) or fields.pop("version", None) != _VERSION:
        raise ValueError("another version")
    if set(fields) != set(Record._fields):
        raise ValueError("other fields")
    record = Record(**fields)
    if [type(value) for value in record] != [type(value) for value in _SAMPLE]:
        raise ValueError("other types")
    if _file(record.name) != file:
        raise ValueError("another name")
    return record


_SAMPLE = Record("", "", 0, 0, "", 0, 0)
MOUNT = "mount"
"""Mark: the directory of names is a mount of ours, which goes with the last name."""
MADE = "made"
"""Mark: the directory is ours too."""
DIRECTORY = "/run/nsctl-netns"


def _file(name: str) -> str:
    return f"{name}.json"


def record_path(name: str) -> str:
    """Where a record's file is, for people."""
    return f"{DIRECTORY}/{name}"


@contextlib.contextmanager
def locked(directory: str = DIRECTORY) -> Iterator[Records]:
    """Work on the records of this host, alone.

    Args:
        directory: where they are; it is made where it does not exist.

    Raises:
        KernelRefusal: it cannot be made or opened, as for anybody but root.
        NsctlError: it is somebody else's, or open to others.
    """
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        hint = "names for `ip netns` are made by root"
        raise translate(error, "open", directory, hint) from error
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise NsctlError("trust", directory, "it is not root's alone")
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield Records(fd)
    finally:
        os.close(fd)
