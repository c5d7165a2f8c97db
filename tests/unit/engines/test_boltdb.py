"""The reader of BoltDB files, on files that are sound, damaged, hostile and being written to."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines.boltdb import Bucket, Damaged, Database, consistent
from support.boltdb import PAGE, Writer, meta
from support.examples import Mutations

pytestmark = pytest.mark.unit

_KEYS = st.binary(min_size=1, max_size=20)
_TREES = st.recursive(
    st.binary(max_size=9000), lambda below: st.dictionaries(_KEYS, below, max_size=6), max_leaves=20
)


def walked(bucket: Bucket) -> dict[bytes, Any]:
    return {
        key: walked(value) if isinstance(value, Bucket) else value for key, value in bucket.items()
    }


@given(st.dictionaries(_KEYS, _TREES, max_size=6), st.integers(1, 5), st.integers(0, 300))
def test_what_was_written_is_read(tree: dict[bytes, Any], fanout: int, inline: int) -> None:
    data = Writer(fanout, inline).file(tree)
    assert walked(Database(data).root) == tree


def test_a_bucket_is_found_by_its_path() -> None:
    root = Database(Writer().file({b"a": {b"b": {b"c": b"d"}, b"e": b"f"}})).root
    found = root.find(b"a", b"b")
    assert found is not None
    assert found.values() == {b"c": b"d"}
    assert root.find(b"a", b"e") is None
    assert root.find(b"x", b"b") is None
    assert root.buckets().keys() == {b"a"}


def test_the_newest_finished_transaction_is_read() -> None:
    data = Writer().file({b"k": b"v"})
    pages = data[2 * PAGE :]
    count = 2 + len(pages) // PAGE
    older = meta(0, 99, count, 7)
    newer = meta(1, 2, count, 8)
    assert walked(Database(older + newer + pages).root) == {b"k": b"v"}
    half = newer[:48] + b"\xff" * 4 + newer[52:]
    with pytest.raises(Damaged, match="beyond its end"):
        walked(Database(older + half + pages).root)
    half = older[:48] + b"\xff" * 4 + older[52:]
    assert walked(Database(half + newer + pages).root) == {b"k": b"v"}


def test_what_is_no_such_file_is_damaged() -> None:
    for data in (b"", b"SQLite format 3\0", bytes(3 * PAGE), b"\xff" * 3 * PAGE):
        with pytest.raises(Damaged, match="no valid meta page"):
            Database(data)


def test_pages_that_run_in_a_circle_are_damaged() -> None:
    branch = struct.pack("=QHHI", 2, 1, 2, 0) + struct.pack("=IIQ", 32, 0, 2) * 2
    data = meta(0, 2, 3, 1) + meta(1, 2, 3, 2) + branch.ljust(PAGE, b"\0")
    with pytest.raises(Damaged, match="circle"):
        walked(Database(data).root)


def test_values_that_overlap_end_at_the_limit() -> None:
    # Each of 250 values is the rest of the page.
    elements = b"".join(
        struct.pack("=IIII", 0, 0, 0, PAGE - 16 - 16 * index) for index in range(250)
    )
    page = (struct.pack("=QHHI", 2, 2, 250, 0) + elements).ljust(PAGE, b"\0")
    data = meta(0, 2, 3, 1) + meta(1, 2, 3, 2) + page
    assert len(walked(Database(data).root)) == 1
    root = Database(data, 100 * PAGE).root
    with pytest.raises(Damaged, match="overlap"):
        walked(root)


def test_a_page_that_is_not_what_it_says_is_damaged() -> None:
    data = bytearray(Writer().file({b"k": b"v"}))
    for place, value, told in (
        (2 * PAGE, b"\x07", "not what it says"),
        (2 * PAGE + 8, b"\x10", "another kind"),
        (2 * PAGE + 10, b"\xff\xff", "more than fits"),
        (2 * PAGE + 12, b"\xff", "not what it says"),
        (2 * PAGE + 28, b"\xff\xff", "beyond the end"),
    ):
        broken = bytearray(data)
        broken[place : place + len(value)] = value
        with pytest.raises(Damaged, match=told):
            walked(Database(bytes(broken)).root)
    with pytest.raises(Damaged, match="cut short"):
        walked(Database(bytes(data[: 2 * PAGE + 100])).root)


def test_damage_is_told_and_ends(mutations: Mutations) -> None:
    deep = {b"ctr": {bytes([65 + index]) * 8: {b"config": b"x" * 900} for index in range(9)}}
    corpus = [Writer(3, 0).file(deep), Writer().file({b"a": {b"b": b"c"}})]
    for data in mutations(corpus):
        try:
            walked_shallow(Database(data, 1 << 20).root)
        except Damaged:
            continue


def walked_shallow(bucket: Bucket, depth: int = 0) -> None:
    for value in bucket.buckets().values():
        if depth < 3:
            walked_shallow(value, depth + 1)
    bucket.values()


def test_a_file_that_changes_meanwhile_is_read_again() -> None:
    old, new = Writer().file({b"k": b"old"}), Writer().file({b"k": b"new"})
    new = new[:PAGE] + meta(1, 2, 3, 3) + new[2 * PAGE :]
    # Between two transactions pages of the older may hold anything.
    torn = old[: 2 * PAGE] + b"\xee" * PAGE
    files = iter([torn, new, new])
    assert consistent(lambda: next(files), walked) == {b"k": b"new"}


def test_a_file_that_always_changes_is_given_up() -> None:
    plain = Writer().file({b"k": b"v"})
    files = iter([plain[:PAGE] + meta(1, 2, 3, txid) + plain[2 * PAGE :] for txid in range(9)])
    with pytest.raises(Damaged, match="all the time"):
        consistent(lambda: next(files), walked)


def test_a_damaged_file_that_stays_is_told() -> None:
    data = Writer().file({b"k": b"v"})[: 2 * PAGE]
    with pytest.raises(Damaged, match="cut short"):
        consistent(lambda: data, walked)


def test_a_file_that_cannot_be_read_is_none() -> None:
    assert consistent(lambda: None, walked) is None
    files = iter([Writer().file({}), None])
    assert consistent(lambda: next(files), walked) is None
