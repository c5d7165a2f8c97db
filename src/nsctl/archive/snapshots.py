"""The file format of a saved snapshot: one JSON document with a version in front.

``{"format": "nsctl-snapshot", "version": 1, "snapshot": [..]}``. Raw bytes are base64.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from nsctl.errors import ArchiveError, translate
from nsctl.model import accounts, cgroup, contents, network
from nsctl.model import namespace as namespace_model
from nsctl.model import snapshot as snapshot_model
from nsctl.model.namespace import NS_LINKS, Namespace, NamespaceType
from nsctl.model.snapshot import Snapshot

FORMAT = "nsctl-snapshot"
VERSION = 1
SIZE_LIMIT = 1 << 30

# Namespaces nest 32 deep (user_namespaces(7), pid_namespaces(7)).
_DEEPEST = 64
_SURROGATES = re.compile("[\ud800-\udfff]")
# Decoding raises more than msgspec's own: for bytes that are not UTF-8, for what is nested deeply.
_DAMAGE = (ValueError, RecursionError)


# Types that most views never import, which the decoder looks up by name where they are used.
for _module, _names in (
    (namespace_model, (contents.UtsNames, contents.IpcObjects, contents.CgroupRoot)),
    (snapshot_model, (accounts.Accounts, cgroup.CgroupHierarchy, network.Network, network.Socket)),
):
    for _type in _names:
        setattr(_module, _type.__name__, _type)
# Where nobody decodes, any text will do.
namespace_model.HolderKind = Literal[namespace_model.HOLDER_KINDS]


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
        JSON in UTF-8, ended by a newline. In text that came from bytes which are not UTF-8 (the
        name of a user or a file) U+FFFD stands for those: JSON has no form for them.
    """
    document = _Document(FORMAT, VERSION, snapshot)
    try:
        data = msgspec.json.encode(document, enc_hook=_text)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_readable(msgspec.to_builtins(document, enc_hook=_text)))
    return data + b"\n"


def _readable(value: object) -> object:
    """Replace lone surrogates in all text of what msgspec made of a document."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, (list, tuple)):
        return [_readable(item) for item in value]
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    return value


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
    except _DAMAGE as error:
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
        snapshot = msgspec.json.decode(data, type=_Document, dec_hook=_word).snapshot
    except _DAMAGE as error:
        raise ArchiveError("load", name, f"it is damaged: {error}") from error
    fault = _fault(snapshot)
    if fault:
        raise ArchiveError("load", name, f"it is damaged: {fault}")
    return snapshot


def _text(word: object) -> str:
    """Give a member of a set of words as msgspec writes it; there is nothing else of ours."""
    if not isinstance(word, str):
        raise TypeError(f"a snapshot cannot hold {type(word).__name__}")
    return str(word)


def _word(kind: type, word: object) -> object:
    """Give the member of a set of words; there is no other type that msgspec does not know."""
    return kind(word)


def _fault(snapshot: Snapshot) -> str:
    """Check what types alone do not say, so that no later reader must.

    Returns:
        What is wrong, in words, or "".
    """
    if not _is_in_range(snapshot):
        return "a number is larger than any of the kernel's"
    width = len(NS_LINKS)
    rows = [task.ns for task in snapshot.tasks] + [snapshot.host.ns, snapshot.reader.ns]
    if any(len(ns) != width for ns in rows):
        return f"a process has not {width} namespaces"
    pids = [task.pid for task in snapshot.tasks]
    if any(pid <= 0 for pid in pids) or sorted(set(pids)) != pids:
        return "its process ids are not in order"
    if any(ns.id.dev < 0 or ns.id.ino <= 0 for ns in snapshot.namespaces):
        return "a namespace has no device or inode"
    if _is_circular(snapshot.namespaces, lambda ns: (ns.id.type, ns.parent)):
        return "its namespaces are nested in a circle"
    if _is_circular(snapshot.namespaces, lambda ns: (NamespaceType.USER, ns.owner)):
        return "its namespaces own each other in a circle"
    return ""


def _is_in_range(value: object) -> bool:
    """Tell whether all numbers are such as 64 bits hold, with or without a sign."""
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 64
    if isinstance(value, tuple):
        return all(map(_is_in_range, value))
    if isinstance(value, dict):
        return all(map(_is_in_range, value.items()))
    return True


def _is_circular(
    namespaces: Iterable[Namespace], above: Callable[[Namespace], tuple[NamespaceType, int]]
) -> bool:
    """Tell whether a chain of parents or owners is longer than the kernel lets one grow."""
    by_key = {(ns.id.type, ns.id.ino): ns for ns in namespaces}
    for start in by_key.values():
        current: Namespace | None = start
        depth = 0
        while current is not None:
            if depth > _DEEPEST:
                return True
            current = by_key.get(above(current))
            depth += 1
    return False


def save(snapshot: Snapshot, path: str) -> None:
    """Write a snapshot to a file that only its owner can read: command lines hold secrets.

    The file appears whole or not at all; an existing one is replaced in one step, and a link is
    replaced, not followed: somebody else may have put it there.

    Raises:
        KernelRefusal: the directory cannot be written to.
        ArchiveError: there is something that is no file, such as a device.
    """
    directory = os.path.dirname(path) or "."
    try:
        _refuse_special(path)
        fd, temporary = tempfile.mkstemp(prefix=".nsctl-", dir=directory)  # mode 0600
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(encode(snapshot))
                file.flush()
                os.fsync(fd)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise translate(error, "save a snapshot to", path) from error


def _refuse_special(path: str) -> None:
    """Refuse to replace what no snapshot should: /dev/null, a pipe, /dev/stdout."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        # A link into procfs leads to an open descriptor.
        if not os.readlink(path).startswith("/proc/"):
            return
    elif stat.S_ISREG(mode):
        return
    raise ArchiveError("save a snapshot to", path, "it is not a regular file")


def load(path: str) -> Snapshot:
    """Read a snapshot from a file.

    Raises:
        KernelRefusal: the file cannot be read.
        ArchiveError: see `decode`; also for what is no regular file or of absurd size.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise ArchiveError("load", path, "it is not a regular file")
            if status.st_size > SIZE_LIMIT:
                raise ArchiveError("load", path, "it is larger than any snapshot")
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(SIZE_LIMIT)
        finally:
            os.close(fd)
    except OSError as error:
        raise translate(error, "load", path) from error
    return decode(data, path)
