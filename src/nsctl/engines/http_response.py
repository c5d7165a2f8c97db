"""An answer in HTTP/1.1 as it comes in, piece by piece, parsed strictly (RFC 9112).

No more is kept than a limit allows, and whatever two readers could understand differently is an
error: folded or odd header lines, two lengths, a length beside chunks, bytes after the end.
"""

from __future__ import annotations

import re

BODY_LIMIT = 16 << 20
"""Bytes that a body may have; 300 containers take half a megabyte."""
_HEAD_LIMIT = 1 << 16
_LINE_LIMIT = 1 << 10
_OK = 200

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [ -~\x80-\xff\t]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~\x80-\xff\t]*)")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[ -~\t]*)?")
_LENGTH = re.compile(rb"[0-9]{1,10}")


class ResponseError(Exception):
    """An answer is none that HTTP knows, or too long, or a refusal; in words."""


class Response:
    """An answer that is being read.

    Args:
        limit: bytes that its body may have.

    Attributes:
        body: what came of it so far.
        is_whole: all of it came.
    """

    def __init__(self, limit: int = BODY_LIMIT) -> None:
        self.body = bytearray()
        self.is_whole = False
        self._limit = limit
        self._rest = bytearray()
        self._step = self._head
        self._left = 0

    def feed(self, data: bytes) -> None:
        """Take what was received.

        Args:
            data: some bytes; b"" at the end of the connection.

        Raises:
            ResponseError: it is no good answer, or ends too early.
        """
        if not data and not self.is_whole:
            if self._step != self._until_end:
                raise ResponseError("it ends too early")
            self.is_whole = True
        self._rest += data
        going = not self.is_whole
        while going and self._rest:
            going = self._step() and not self.is_whole
        if self.is_whole and self._rest:
            raise ResponseError("it goes on after its end")

    # Each step takes what it can of `_rest`, and tells whether it wants to be followed by another.

    def _head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0 or end > _HEAD_LIMIT:
            if len(self._rest) > _HEAD_LIMIT:
                raise ResponseError("its head is too long")
            # Whatever speaks another protocol is known by its first bytes.
            if not self._rest.startswith(b"HTTP/1."[: len(self._rest)]):
                raise ResponseError("it is not HTTP")
            return False
        first, *lines = bytes(self._rest[:end]).split(b"\r\n")
        del self._rest[: end + 4]
        status = _STATUS.fullmatch(first)
        if status is None:
            raise ResponseError("it is not HTTP")
        if int(status[1]) != _OK:
            raise ResponseError(f"it says {int(status[1])}")
        self._choose(_fields(lines))
        return True

    def _choose(self, fields: dict[bytes, bytes]) -> None:
        """See how the body's end is told."""
        coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        if b"content-encoding" in fields:
            raise ResponseError("it is compressed, which was not asked for")
        if coding is not None:
            if coding.lower() != b"chunked" or length is not None:
                raise ResponseError("where it ends is unclear")
            self._step = self._size
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise ResponseError("its length is no number")
            self._expect(int(length))
            self._step = self._counted
            self.is_whole = self._left == 0
        else:
            self._step = self._until_end

    def _expect(self, size: int) -> None:
        if len(self.body) + size > self._limit:
            raise ResponseError(f"it is longer than {self._limit} bytes")
        self._left = size

    def _take(self) -> bool:
        """Move what belongs to the body; True when all that was announced is there."""
        piece = self._rest[: self._left]
        del self._rest[: len(piece)]
        self.body += piece
        self._left -= len(piece)
        return self._left == 0

    def _counted(self) -> bool:
        self.is_whole = self._take()
        return self.is_whole

    def _until_end(self) -> bool:
        self._expect(len(self._rest))
        return self._take()

    def _line(self) -> bytes | None:
        end = self._rest.find(b"\r\n")
        if end > _LINE_LIMIT or (end < 0 and len(self._rest) > _LINE_LIMIT + 1):
            raise ResponseError("a line in it is too long")
        if end < 0:
            return None
        line = bytes(self._rest[:end])
        del self._rest[: end + 2]
        return line

    def _size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match = _SIZE.fullmatch(line)
        if match is None:
            raise ResponseError("the size of a piece of it is no number")
        self._expect(int(match[1], 16))
        self._step = self._chunk if self._left else self._trailer
        return True

    def _chunk(self) -> bool:
        if not self._take():
            return False
        self._step = self._chunk_end
        return True

    def _chunk_end(self) -> bool:
        if len(self._rest) < len(b"\r\n"):
            return False
        if not self._rest.startswith(b"\r\n"):
            raise ResponseError("a piece of it is longer than announced")
        del self._rest[:2]
        self._step = self._size
        return True

    def _trailer(self) -> bool:
        # Nobody announced any; a good one is one empty line.
        line = self._line()
        if line is None:
            return False
        if line:
            raise ResponseError("it has a trailer, which was not asked for")
        self.is_whole = True
        return True


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise ResponseError("a line of its head is malformed")
        name = match[1].lower()
        if name in {b"content-length", b"transfer-encoding"} and name in found:
            raise ResponseError("where it ends is unclear")
        found[name] = match[2].rstrip(b" \t")
    return found
