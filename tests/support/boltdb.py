"""Writes small BoltDB files, for tests of what reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

PAGE = 4096
_MAGIC, _VERSION = 0xED0CDAED, 2
_LEAF_PAGE, _META_PAGE, _BRANCH_PAGE = 2, 4, 1

Tree = Mapping[bytes, Any]
"""Keys with bytes, or with another tree: a bucket."""


def meta(number: int, root: int, high_water: int, txid: int, page_size: int = PAGE) -> bytes:
    """A meta page.

    Args:
        number: of the page, 0 or 1.
        root: page of the bucket of all buckets.
        high_water: number of pages.
        txid: of the transaction.
        page_size: of the file.
    """
    body = struct.pack("=IIIIQQQQQ", _MAGIC, _VERSION, page_size, 0, root, 0, 2, high_water, txid)
    checksum = 0xCBF29CE484222325
    for byte in body:
        checksum = (checksum ^ byte) * 0x100000001B3 % (1 << 64)
    page = struct.pack("=QHHI", number, _META_PAGE, 0, 0) + body + struct.pack("=Q", checksum)
    return page.ljust(page_size, b"\0")


class Writer:
    """Lays out a tree.

    Args:
        fanout: elements of a page; more make a branch.
        inline: bytes up to which a bucket lies in its parent's page.
    """

    def __init__(self, fanout: int = 100, inline: int = 200) -> None:
        self._pages: list[bytes] = []
        self._fanout = fanout
        self._inline = inline

    def file(self, tree: Tree) -> bytes:
        """A whole file with one tree."""
        root = self._tree(tree)
        count = 2 + sum(len(page) // PAGE for page in self._pages)
        metas = meta(0, root, count, 1) + meta(1, root, count, 2)
        return metas + b"".join(self._pages)

    def _tree(self, tree: Tree) -> int:
        elements = [self._element(key, value) for key, value in sorted(tree.items())]
        parts = [
            elements[start : start + self._fanout]
            for start in range(0, len(elements), self._fanout)
        ] or [[]]
        numbers = [self._add(_LEAF_PAGE, _leaf(part), len(part)) for part in parts]
        if len(numbers) == 1:
            return numbers[0]
        firsts = [part[0][1] for part in parts]
        header = 16 * len(numbers)
        entries, keys = b"", b""
        for index, (key, number) in enumerate(zip(firsts, numbers, strict=True)):
            entries += struct.pack("=IIQ", header - 16 * index + len(keys), len(key), number)
            keys += key
        return self._add(_BRANCH_PAGE, entries + keys, len(numbers))

    def _element(self, key: bytes, value: Any) -> tuple[int, bytes, bytes]:
        if isinstance(value, bytes):
            return 0, key, value
        if not any(isinstance(below, Mapping) for below in value.values()):
            elements = [(0, below, value[below]) for below in sorted(value)]
            page = struct.pack("=QHHI", 0, _LEAF_PAGE, len(elements), 0) + _leaf(elements)
            if len(page) <= self._inline:
                return 1, key, struct.pack("=QQ", 0, 0) + page
        return 1, key, struct.pack("=QQ", self._tree(value), 0)

    def _add(self, flags: int, body: bytes, count: int) -> int:
        number = 2 + sum(len(page) // PAGE for page in self._pages)
        overflow = (16 + len(body) - 1) // PAGE
        page = struct.pack("=QHHI", number, flags, count, overflow) + body
        self._pages.append(page.ljust((overflow + 1) * PAGE, b"\0"))
        return number


def _leaf(elements: list[tuple[int, bytes, bytes]]) -> bytes:
    header = 16 * len(elements)
    entries, data = b"", b""
    for index, (flags, key, value) in enumerate(elements):
        position = header - 16 * index + len(data)
        entries += struct.pack("=IIII", flags, position, len(key), len(value))
        data += key + value
    return entries + data
