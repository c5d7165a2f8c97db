"""What containers in the background have said: records in two files of bounded size.

A record is a line ``NANOSECONDS STREAM BYTES`` and that many bytes; NANOSECONDS since the epoch,
STREAM 1 for output (a terminal's too) and 2 for errors. When the file is full it takes the place of
the one before it. What was being written when its writer was killed, or for which there was no room,
is no whole record and is passed over.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

from nsctl.errors import translate
from nsctl.model.record import NamedTuple

OUTPUT, ERRORS = 1, 2
LIMIT = 8 << 20
"""Bytes of each of the two files."""

CURRENT, BEFORE = "log", "log.before"
_HEAD = re.compile(rb"([0-9]{1,20}) ([12]) ([0-9]{1,8})\n")
_HEAD_LIMIT = 40
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Record(NamedTuple):
    """A piece of what was said.

    Attributes:
        time: nanoseconds since the epoch.
        stream: `OUTPUT` or `ERRORS`.
        data: what was said; it may end in the middle of a line.
    """

    time: int
    stream: int
    data: bytes


class Writer:
    """Appends to a container's log.

    Args:
        directory: of the container's changes; it is made where it does not exist.
        limit: bytes of each file.

    Raises:
        NsctlError: the log cannot be opened.
    """

    def __init__(self, directory: str, limit: int = LIMIT) -> None:
        self._path = f"{directory}/{CURRENT}"
        self._before = f"{directory}/{BEFORE}"
        self._limit = limit
        try:
            os.makedirs(os.path.dirname(directory), 0o700, exist_ok=True)
            if not os.path.isdir(directory):
                os.mkdir(directory, 0o711)
            self._open()
        except OSError as error:
            raise translate(error, "open", f"the log {self._path}") from error

    def _open(self) -> None:
        self._fd = os.open(self._path, _APPEND, 0o600)
        self._size = os.fstat(self._fd).st_size

    def add(self, stream: int, data: bytes) -> None:
        """Append what was said; where there is no room for it, it is lost.

        A container goes on whether its log does or not.
        """
        text = b"%d %d %d\n" % (time.time_ns(), stream, len(data)) + data
        try:
            if self._size and self._size + len(text) > self._limit:
                os.rename(self._path, self._before)
                os.close(self._fd)
                self._open()
            written = os.write(self._fd, text)
            if written < len(text):
                os.ftruncate(self._fd, self._size)
            else:
                self._size += written
        except OSError:
            # A full disk most often: the next record may find room again.
            self._size = os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


class Reader:
    """Reads a container's log, from its beginning, as far as it goes.

    Args:
        directory: of the container's changes.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._file = -1
        self._rest = b""
        self._next = [BEFORE, CURRENT]

    def read(self) -> Iterator[Record]:
        """Read what is there and has not been read yet."""
        while True:
            if self._file < 0 and not self._open_next():
                return
            chunk = os.read(self._file, 1 << 20)
            if chunk:
                self._rest += chunk
                yield from self._records()
            elif not self._ended():
                return

    def _open_next(self) -> bool:
        while self._next:
            name = self._next.pop(0)
            try:
                self._file = os.open(
                    f"{self._directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                )
            except FileNotFoundError:
                continue
            self._rest = b""
            return True
        self._next = [CURRENT]
        return False

    def _ended(self) -> bool:
        """Whether nothing more comes in this file; then it is closed."""
        if not self._next:
            try:
                current = os.stat(f"{self._directory}/{CURRENT}")
            except FileNotFoundError:
                return False
            mine = os.fstat(self._file)
            if (current.st_dev, current.st_ino) == (mine.st_dev, mine.st_ino):
                return False
            if os.lseek(self._file, 0, os.SEEK_CUR) < mine.st_size:
                return True  # more of it came between the two; read on
            self._next = [CURRENT]
        os.close(self._file)
        self._file = -1
        return True

    def _records(self) -> Iterator[Record]:
        while self._rest:
            head = _HEAD.match(self._rest)
            if head is None:
                if len(self._rest) < _HEAD_LIMIT and b"\n" not in self._rest:
                    return
                # Somebody was killed in the middle of a record: go on at the next line.
                self._rest = self._rest.partition(b"\n")[2]
                continue
            end = head.end() + int(head[3])
            if len(self._rest) < end:
                return
            yield Record(int(head[1]), int(head[2]), self._rest[head.end() : end])
            self._rest = self._rest[end:]

    def close(self) -> None:
        """Close it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
