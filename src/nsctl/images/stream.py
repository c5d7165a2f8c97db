"""Bytes of an archive: decompressed, and hashed on their way, without a file in between."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import lzma
import shutil
import subprocess
import threading
import zlib
from typing import BinaryIO, Protocol, Self, cast

from nsctl.errors import NsctlError

_CHUNK = 1 << 16
_MAGIC = 6
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"


class Reader(Protocol):
    """What is read from: like a binary file, as far as it matters here."""

    def read(self, size: int, /) -> bytes:
        """Read some bytes; b"" at the end."""
        ...


class Hashed:
    """Hashes what is read through it.

    Args:
        source: where it comes from.
        algorithm: as OCI digests name it.

    Raises:
        NsctlError: the algorithm is not one that digests may use.
    """

    def __init__(self, source: Reader, algorithm: str = "sha256") -> None:
        if algorithm not in {"sha256", "sha512"}:
            raise NsctlError("check", f"a digest of {algorithm}", "it is not sha256 or sha512")
        self._source = source
        self._hash = hashlib.new(algorithm)
        self._algorithm = algorithm

    def read(self, size: int, /) -> bytes:
        """Read some bytes."""
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def drain(self) -> None:
        """Read to the end: what an archive does not need counts too."""
        while self.read(_CHUNK):
            pass

    @property
    def digest(self) -> str:
        """What was read, as OCI writes it: the algorithm, a colon, hexadecimal digits."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"


class Bounded:
    """Reads no more than was said, so that a bomb does not go on for ever.

    Args:
        source: where it comes from.
        limit: bytes.
        what: for the error.
    """

    def __init__(self, source: Reader, limit: int, what: str) -> None:
        self._source = source
        self._left = limit
        self._what = what

    def read(self, size: int, /) -> bytes:
        """Read some bytes.

        Raises:
            NsctlError: there are more than the limit.
        """
        data = self._source.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise NsctlError("unpack", self._what, "it is larger than was allowed")
        return data


class _Whole:
    """A stream whose first bytes were looked at and put back."""

    def __init__(self, head: bytes, source: Reader) -> None:
        self._head = head
        self._source = source

    def read(self, size: int = _CHUNK, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._source.read(size)


class Decompressed:
    """What a compressed stream holds; gzip, bzip2, xz, zstd (by the program), or plain.

    A context manager, which ends the program where there is one.

    Args:
        source: the stream.
        what: what it is, for errors.

    Raises:
        NsctlError: it is compressed in a way for which something is missing.
    """

    def __init__(self, source: Reader, what: str) -> None:
        self._what = what
        self._zstd: _Zstd | None = None
        head = b""
        while len(head) < _MAGIC and (data := source.read(_MAGIC - len(head))):
            head += data
        whole = _Whole(head, source)
        self._content: Reader = whole
        if head.startswith(_GZIP):
            self._content = gzip.GzipFile(fileobj=cast("BinaryIO", whole))
        elif head.startswith(_BZIP2):
            self._content = bz2.BZ2File(cast("BinaryIO", whole))
        elif head.startswith(_XZ):
            self._content = lzma.LZMAFile(cast("BinaryIO", whole))  # noqa: SIM115  (of a stream)
        elif head.startswith(_ZSTD):
            self._zstd = _Zstd(whole, what)
            self._content = self._zstd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zstd is not None:
            self._zstd.close()

    def read(self, size: int, /) -> bytes:
        """Read some bytes of the content.

        Raises:
            NsctlError: the stream is damaged or cut short.
        """
        try:
            return self._content.read(size)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError) as error:
            raise NsctlError("unpack", self._what, f"it is damaged: {error}") from error


class _Zstd:
    """The program zstd, fed by a thread: the standard library has no such decompressor."""

    def __init__(self, source: Reader, what: str) -> None:
        program = shutil.which("zstd")
        if program is None:
            hint = "install zstd (Debian: zstd)"
            raise NsctlError("unpack", what, "it is compressed with zstd", hint)
        self._what = what
        self._failure: NsctlError | None = None
        self._process = subprocess.Popen(
            [program, "-dcq"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._feeder = threading.Thread(target=self._feed, args=(source,), daemon=True)
        self._feeder.start()

    def _feed(self, source: Reader) -> None:
        sink = cast("BinaryIO", self._process.stdin)
        try:
            with contextlib.suppress(BrokenPipeError), sink:
                while data := source.read(_CHUNK):
                    sink.write(data)
        except NsctlError as error:
            self._failure = error

    def read(self, size: int, /) -> bytes:
        data = cast("BinaryIO", self._process.stdout).read(size)
        if not data:
            self._feeder.join()
            if self._failure is not None:
                raise self._failure
            if self._process.wait():
                raise NsctlError("unpack", self._what, "zstd says that it is damaged")
        return data

    def close(self) -> None:
        self._process.kill()
        self._feeder.join()
        self._process.wait()
        cast("BinaryIO", self._process.stdout).close()
