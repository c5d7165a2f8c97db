"""The file format of a saved snapshot: one JSON document with a version in front.

``{"format": "nsctl-snapshot", "version": 1, "snapshot": [..]}``. Raw bytes are base64.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile

import msgspec

from nsctl.errors import ArchiveError, translate
from nsctl.model.namespace import NS_LINKS
from nsctl.model.snapshot import Snapshot

FORMAT = "nsctl-snapshot"
VERSION = 1
SIZE_LIMIT = 1 << 30


class _Header(msgspec.Struct):
    """What every version has: read first, so that a newer file is told from a damaged one."""

    format: str
    version: int


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    version: int
    snapshot: Snapshot


def encode(snapshot: Snapshot) -> bytes:
    """Turn a snapshot into a document.

    Returns:
        JSON in UTF-8, ended by a newline.
    """
    return msgspec.json.encode(_Document(FORMAT, VERSION, snapshot)) + b"\n"


def decode(data: bytes, name: str) -> Snapshot:
    """Turn a document into a snapshot, trusting nothing in it.

    Args:
        data: the document.
        name: what to call it in an error.

    Returns:
        The snapshot.

    Raises:
        ArchiveError: it is no snapshot, is damaged, or is of a version that is not known here.
    """
    try:
        header = msgspec.json.decode(data, type=_Header)
    except msgspec.DecodeError as error:
        raise ArchiveError("load", name, f"it is no saved snapshot, or damaged: {error}") from error
    if header.format != FORMAT:
        raise ArchiveError("load", name, f"it is of format {header.format!r}, not {FORMAT!r}")
    if header.version != VERSION:
        raise ArchiveError(
            "load",
            name,
            f"it is of version {header.version}, and this nsctl reads version {VERSION}",
            "use the nsctl that wrote it, or a newer one",
        )
    try:
        snapshot = msgspec.json.decode(data, type=_Document).snapshot
    except msgspec.DecodeError as error:
        raise ArchiveError("load", name, f"it is damaged: {error}") from error
    _check(snapshot, name)
    return snapshot


def _check(snapshot: Snapshot, name: str) -> None:
    """Check what types alone do not say, so that no later reader must."""
    width = len(NS_LINKS)
    rows = [task.ns for task in snapshot.tasks] + [snapshot.host.ns, snapshot.reader.ns]
    if any(len(ns) != width for ns in rows):
        raise ArchiveError("load", name, f"it is damaged: a process has not {width} namespaces")
    pids = [task.pid for task in snapshot.tasks]
    if any(pid <= 0 for pid in pids) or sorted(set(pids)) != pids:
        raise ArchiveError("load", name, "it is damaged: its process ids are not in order")


def save(snapshot: Snapshot, path: str) -> None:
    """Write a snapshot to a file that only its owner can read: command lines hold secrets.

    The file appears whole or not at all; an existing one is replaced in one step.

    Raises:
        KernelRefusal: the directory cannot be written to.
    """
    directory = os.path.dirname(path) or "."
    try:
        fd, temporary = tempfile.mkstemp(prefix=".nsctl-", dir=directory)  # mode 0600
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(encode(snapshot))
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise translate(error, "save a snapshot to", path) from error


def load(path: str) -> Snapshot:
    """Read a snapshot from a file.

    Raises:
        KernelRefusal: the file cannot be read.
        ArchiveError: see `decode`; also for what is no regular file or of absurd size.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise ArchiveError("load", path, "it is not a regular file")
            if status.st_size > SIZE_LIMIT:
                raise ArchiveError("load", path, "it is larger than any snapshot")
            data = file.read(SIZE_LIMIT)
    except OSError as error:
        raise translate(error, "load", path) from error
    return decode(data, path)
