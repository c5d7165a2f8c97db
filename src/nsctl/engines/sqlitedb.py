"""A read-only reader of SQLite files: the rows of a table, and nothing that SQL can do.

Podman may keep its state in one since 4.8. SQLite itself would take locks, which the engine has to
wait for, and would run what a hostile file's schema says; so the file is read as bytes and its
pages are followed here, with every offset checked, no page visited twice in one walk, and the
bytes that are looked at bounded.

Numbers are of the file format's documentation (sqlite.org/fileformat2.html): a page is a b-tree's
interior (child pages) or leaf (records); a record that does not fit goes on in a chain of overflow
pages. Tables with a rowid only, texts in UTF-8 only. What is still in a write-ahead log is not
seen; the file beside it tells that there is one.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 64 << 20
"""Bytes of a file, and bytes that are looked at in it."""

Value = int | float | str | bytes | None

_MAGIC = b"SQLite format 3\0"
_INTERIOR, _LEAF = 5, 13
_UTF8 = 1
_DEPTH = 32
_SCHEMA_PAGE = 1
_HEADER = 100
# What a cell costs besides its bytes: a small page may claim very many of them.
_CELL_COST = 64
_INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Damaged(Exception):
    """The file is no SQLite file, is damaged, or uses what is not read here."""


class Database:
    """One file.

    Args:
        data: the whole file.
        limit: bytes that may be looked at in all.

    Raises:
        Damaged: it is no such file, or of another kind.
    """

    def __init__(self, data: bytes, limit: int = LIMIT) -> None:
        if len(data) < _HEADER or not data.startswith(_MAGIC):
            raise Damaged("it is no SQLite file")
        size = int.from_bytes(data[16:18], "big")
        self._page_size = 65536 if size == 1 else size
        self._usable = self._page_size - data[20]
        if self._page_size < 512 or self._page_size & (self._page_size - 1) or self._usable < 480:
            raise Damaged("its pages have no size that they can have")
        if int.from_bytes(data[56:60], "big") not in {0, _UTF8}:
            raise Damaged("its texts are not UTF-8")
        self._data = data
        self._left = limit

    def table(self, name: str) -> Iterator[tuple[Value, ...]]:
        """Give the rows of a table.

        Args:
            name: of the table.

        Yields:
            Its columns' values, in the order in which they were made; a column that is the rowid
            is None.

        Raises:
            Damaged: there is no such table, or a page is not well-formed.
        """
        for row in self._rows(_SCHEMA_PAGE):
            if len(row) >= 4 and row[0] == "table" and row[1] == name and isinstance(row[3], int):
                yield from self._rows(row[3])
                return
        raise Damaged(f"it has no table {name}")

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise Damaged("its records overlap, or are too many")

    def _page(self, number: int) -> bytes:
        self._spend(self._page_size)
        start = (number - 1) * self._page_size
        page = self._data[start : start + self._page_size] if number > 0 else b""
        if len(page) < self._page_size:
            raise Damaged("a page is beyond its end")
        return page

    def _rows(self, root: int) -> Iterator[tuple[Value, ...]]:
        seen: set[int] = set()
        queue = [(root, 0)]
        while queue:
            number, depth = queue.pop()
            if number in seen or depth > _DEPTH:
                raise Damaged("its pages run in a circle")
            seen.add(number)
            page = self._page(number)
            at = _HEADER if number == _SCHEMA_PAGE else 0
            kind, count = page[at], int.from_bytes(page[at + 3 : at + 5], "big")
            array = at + (12 if kind == _INTERIOR else 8)
            if kind not in {_INTERIOR, _LEAF} or array + 2 * count > len(page):
                raise Damaged("a page is of another kind, or says that it has more than fits")
            self._spend(_CELL_COST * count)
            cells = [
                int.from_bytes(page[place : place + 2], "big")
                for place in range(array, array + 2 * count, 2)
            ]
            if kind == _LEAF:
                for cell in cells:
                    yield _record(self._payload(page, cell))
                continue
            children = [int.from_bytes(page[cell : cell + 4], "big") for cell in cells]
            children.append(int.from_bytes(page[at + 8 : at + 12], "big"))
            queue += [(child, depth + 1) for child in reversed(children)]

    def _payload(self, page: bytes, cell: int) -> bytes:
        """Give a leaf cell's record, with what of it lies in other pages."""
        size, at = _varint(page, cell)
        _, at = _varint(page, at)  # the rowid
        most = self._usable - 35
        if size <= most:
            self._spend(size)
            if at + size > len(page):
                raise Damaged("a record is beyond the end of its page")
            return page[at : at + size]
        least = (self._usable - 12) * 32 // 255 - 23
        here = least + (size - least) % (self._usable - 4)
        here = here if here <= most else least
        self._spend(min(size, LIMIT))
        if size > LIMIT or at + here + 4 > len(page):
            raise Damaged("a record is longer than can be")
        parts, left = [page[at : at + here]], size - here
        following = int.from_bytes(page[at + here : at + here + 4], "big")
        # Each page takes from what is left, so a circle ends too.
        while left > 0:
            overflow = self._page(following)
            following = int.from_bytes(overflow[:4], "big")
            part = overflow[4 : 4 + min(left, self._usable - 4)]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read an integer of one to nine bytes; it and where it ends."""
    value = 0
    for index in range(9):
        if at + index >= len(data):
            raise Damaged("a number is cut short")
        byte = data[at + index]
        if index == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at + index + 1
    raise AssertionError  # the ninth byte always ends it


def _record(payload: bytes) -> tuple[Value, ...]:
    """Take a record apart."""
    end, at = _varint(payload, 0)
    if end > len(payload):
        raise Damaged("a record's header is cut short")
    values: list[Value] = []
    body = end
    while at < end:
        kind, at = _varint(payload, at)
        value, size = _value(payload, body, kind)
        values.append(value)
        body += size
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    """One column's value, and its size."""
    if kind in {0, 10, 11}:
        return None, 0
    if kind in {8, 9}:
        return kind - 8, 0
    size = 8 if kind == 7 else _INTEGER_SIZES.get(kind, (kind - 12) // 2)
    raw = payload[at : at + size]
    if len(raw) < size:
        raise Damaged("a value is cut short")
    if kind == 7:
        return float(struct.unpack(">d", raw)[0]), 8
    if kind in _INTEGER_SIZES:
        return int.from_bytes(raw, "big", signed=True), size
    return (raw.decode("utf-8", "replace") if kind & 1 else raw), size
