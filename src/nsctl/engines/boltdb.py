"""A read-only reader of BoltDB files, in which engines keep what no other file of theirs tells.

Podman's ``bolt_state.db`` and containerd's ``meta.db`` are such files. The engine may be writing
while we read, and the file may be another user's, so nothing in it is trusted: every offset is
checked against the file, no page is visited twice in one walk, and the bytes that are read in all
are bounded.

No lock is taken, which the engine would have to wait for. The format makes that safe: a
transaction writes to pages that the newest finished one does not use, and then one of the two
meta pages. What hangs below a meta page is therefore whole as long as that page is the newest:
`consistent` reads until it is so.

The format is that of go.etcd.io/bbolt: pages of a branch (keys with pages) or a leaf (keys with
values, of which some are buckets, small ones inside their parent's page), numbers in the byte
order of the machine.
"""

from __future__ import annotations

import struct

from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    Taken = TypeVar("Taken")

LIMIT = 64 << 20
"""Bytes of a file, and bytes that are looked at in it: values of a hostile one may overlap."""

_META = struct.Struct("=IIIIQQQQQQ")
_PAGE = struct.Struct("=QHHI")
_LEAF = struct.Struct("=IIII")
_BRANCH = struct.Struct("=IIQ")
_BUCKET = struct.Struct("=QQ")
_MAGIC = 0xED0CDAED
_VERSION = 2
_IS_BRANCH, _IS_LEAF, _IS_META = 1, 2, 4
_LEAF_BUCKET = 1
_PAGE_SIZES = tuple(1 << power for power in range(9, 17))
_DEPTH = 32
# What an element costs besides its bytes: a small page may claim very many of them.
_ELEMENT_COST = 64
_ATTEMPTS = 3
_FNV_START = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3


class Damaged(Exception):
    """The file is no BoltDB file, is damaged, or is larger than we read."""


class _Meta(NamedTuple):
    page_size: int
    root: int
    high_water: int
    txid: int


def _meta(raw: bytes) -> _Meta | None:
    """Take a meta page apart; None where it is not one, or only half written."""
    if len(raw) < _PAGE.size + _META.size:
        return None
    _, flags, _, _ = _PAGE.unpack_from(raw)
    fields = _META.unpack_from(raw, _PAGE.size)
    magic, version, page_size, _, root, _, _, high_water, txid, checksum = fields
    if not flags & _IS_META or magic != _MAGIC or version != _VERSION:
        return None
    if page_size not in _PAGE_SIZES:
        return None
    # The checksum is FNV-1a of all that stands before it.
    seen = _FNV_START
    for byte in raw[_PAGE.size : _PAGE.size + _META.size - 8]:
        seen = (seen ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return _Meta(page_size, root, high_water, txid) if seen == checksum else None


def _metas(data: bytes) -> list[_Meta]:
    """Find the valid ones of the two meta pages."""
    size = _PAGE.size + _META.size
    first = _meta(data[:size])
    # Where the first is half written, the size of a page is not known: it is one of a few.
    sizes = (first.page_size,) if first else _PAGE_SIZES
    others = [(place, _meta(data[place : place + size])) for place in sizes]
    found = [meta for place, meta in others if meta is not None and meta.page_size == place]
    return [first, *found] if first else found


class Database:
    """One file, as its newest finished transaction left it.

    Args:
        data: the whole file.
        limit: bytes that may be looked at in all.

    Raises:
        Damaged: it is no such file.
    """

    def __init__(self, data: bytes, limit: int = LIMIT) -> None:
        self._data = data
        self._left = limit
        found = _metas(data)
        if not found:
            raise Damaged("it has no valid meta page")
        self._newest = max(found, key=lambda meta: meta.txid)

    @property
    def root(self) -> Bucket:
        """The bucket of all named buckets."""
        return Bucket(self, self._newest.root)

    def spend(self, size: int) -> None:
        """Count bytes that are looked at.

        Raises:
            Damaged: there were more than is allowed.
        """
        self._left -= size
        if self._left < 0:
            raise Damaged("its values overlap, or are too many")

    def page(self, number: int) -> bytes:
        """Give a page with its overflow.

        Raises:
            Damaged: there is no such page, or it is not what it says.
        """
        newest = self._newest
        if not 2 <= number < newest.high_water:
            raise Damaged("a page is beyond its end")
        offset = number * newest.page_size
        header = self._data[offset : offset + _PAGE.size]
        if len(header) < _PAGE.size:
            raise Damaged("it is cut short")
        said, _, _, overflow = _PAGE.unpack(header)
        if said != number or overflow >= newest.high_water - number:
            raise Damaged("a page is not what it says")
        size = (overflow + 1) * newest.page_size
        self.spend(size)
        page = self._data[offset : offset + size]
        if len(page) < size:
            raise Damaged("it is cut short")
        return page


class Bucket:
    """Keys with values and further buckets, sorted by key.

    Args:
        database: in which.
        root: number of its first page, 0 where it lies in its parent's page.
        inline: that page then.
    """

    def __init__(self, database: Database, root: int, inline: bytes = b"") -> None:
        self._database = database
        self._root = root
        self._inline = inline

    def items(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Give all keys with their value or bucket.

        Raises:
            Damaged: a page is not well-formed.
        """
        if not self._root:
            yield from self._leaf(self._inline)
            return
        seen: set[int] = set()
        queue = [(self._root, 0)]
        while queue:
            number, depth = queue.pop()
            if number in seen or depth > _DEPTH:
                raise Damaged("its pages run in a circle")
            seen.add(number)
            page = self._database.page(number)
            flags = _PAGE.unpack_from(page)[1]
            if flags == _IS_LEAF:
                yield from self._leaf(page)
            elif flags == _IS_BRANCH:
                children = _children(page)
                self._database.spend(_ELEMENT_COST * len(children))
                queue += [(below, depth + 1) for below in reversed(children)]
            else:
                raise Damaged("a page is of another kind")

    def _leaf(self, page: bytes) -> Iterator[tuple[bytes, bytes | Bucket]]:
        for start in _elements(page, _LEAF.size):
            flags, position, key_size, value_size = _LEAF.unpack_from(page, start)
            self._database.spend(_ELEMENT_COST + key_size + value_size)
            key_at = start + position
            value_at = key_at + key_size
            if value_at + value_size > len(page):
                raise Damaged("a value is beyond the end of its page")
            key, value = page[key_at:value_at], page[value_at : value_at + value_size]
            if flags & _LEAF_BUCKET:
                if len(value) < _BUCKET.size:
                    raise Damaged("a bucket is cut short")
                root = _BUCKET.unpack_from(value)[0]
                yield key, Bucket(self._database, root, value[_BUCKET.size :])
            else:
                yield key, value

    def values(self) -> dict[bytes, bytes]:
        """All keys that have a value, with it."""
        return {key: value for key, value in self.items() if isinstance(value, bytes)}

    def buckets(self) -> dict[bytes, Bucket]:
        """All keys that have a bucket, with it."""
        return {key: value for key, value in self.items() if isinstance(value, Bucket)}

    def find(self, *path: bytes) -> Bucket | None:
        """Find a bucket below this one.

        Args:
            path: its name and those of the buckets above it.

        Returns:
            The bucket; None where there is none.
        """
        bucket = self
        for name in path:
            below = bucket.buckets().get(name)
            if below is None:
                return None
            bucket = below
        return bucket


def _elements(page: bytes, size: int) -> range:
    """Give the offsets of a page's elements."""
    if len(page) < _PAGE.size:
        raise Damaged("a page is cut short")
    count = _PAGE.unpack_from(page)[2]
    if _PAGE.size + count * size > len(page):
        raise Damaged("a page says that it has more than fits")
    return range(_PAGE.size, _PAGE.size + count * size, size)


def _children(page: bytes) -> list[int]:
    return [_BRANCH.unpack_from(page, start)[2] for start in _elements(page, _BRANCH.size)]


def consistent(read: Callable[[], bytes | None], take: Callable[[Bucket], Taken]) -> Taken | None:
    """Take something out of a file that may be written to meanwhile.

    Args:
        read: gives the whole file, or None where it cannot.
        take: takes it out of the bucket of all named buckets.

    Returns:
        What ``take`` gave; None where the file could not be read.

    Raises:
        Damaged: it is no such file, or was always being written to.
    """
    data = read()
    for _ in range(_ATTEMPTS):
        if data is None:
            return None
        failure = None
        try:
            taken = take(Database(data).root)
        except Damaged as error:
            failure = error
        again = read()
        if again is not None and _metas(again) == _metas(data):
            if failure is not None:
                raise failure
            return taken
        data = again
    raise Damaged("it is being written to all the time")
