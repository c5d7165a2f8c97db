"""The reader of SQLite files, against SQLite itself, and on files that are damaged or hostile."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines.sqlitedb import Damaged, Database
from support.examples import Mutations

pytestmark = pytest.mark.unit

_VALUES = st.one_of(
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.binary(max_size=20),
)


def made(statements: list[tuple[str, list[Any]]], page_size: int = 4096) -> bytes:
    """A file of SQLite's own making."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA page_size={page_size}")
        for statement, values in statements:
            connection.executemany(statement, values)
        connection.commit()
        return bytes(connection.serialize())


def table(rows: list[tuple[Any, ...]], columns: int, page_size: int = 4096) -> bytes:
    names = ", ".join(f"c{index}" for index in range(columns))
    marks = ", ".join("?" * columns)
    return made(
        [(f"CREATE TABLE t({names})", [()]), (f"INSERT INTO t VALUES ({marks})", rows)],  # noqa: S608  (numbers only)
        page_size,
    )


@given(st.lists(st.tuples(_VALUES, _VALUES), max_size=30), st.sampled_from((512, 4096, 65536)))
def test_what_sqlite_wrote_is_read(rows: list[tuple[Any, ...]], page_size: int) -> None:
    assert list(Database(table(rows, 2, page_size)).table("t")) == rows


def test_many_and_long_records_are_read() -> None:
    rows = [(index, "x" * size) for index in range(400) for size in (1, 470, 4000, 30_000)]
    for page_size in (512, 1024, 4096):
        assert list(Database(table(rows, 2, page_size)).table("t")) == rows


def test_every_length_around_a_pages_end_is_read() -> None:
    rows = [(b"y" * size,) for size in range(380, 1700)]
    assert list(Database(table(rows, 1, 512)).table("t")) == rows


def test_what_was_added_to_a_table_later_is_read() -> None:
    data = made(
        [
            ("CREATE TABLE a(x TEXT PRIMARY KEY NOT NULL, y)", [()]),
            ("INSERT INTO a VALUES (?, ?)", [("one", 1), ("two", None)]),
            ("CREATE TABLE b(id INTEGER PRIMARY KEY, z)", [()]),
            ("INSERT INTO b VALUES (?, ?)", [(7, "seven")]),
            ("DELETE FROM a WHERE x = ?", [("one",)]),
        ]
    )
    database = Database(data)
    assert list(database.table("a")) == [("two", None)]
    # A column that is the rowid is not in the record.
    assert list(database.table("b")) == [(None, "seven")]
    with pytest.raises(Damaged, match="no table c"):
        list(database.table("c"))


def test_what_is_no_such_file_is_damaged(tmp_path: Path) -> None:
    for data in (b"", b"SQLite format 3\0", b"\xed\x0c\xda\xed" * 100, bytes(4096)):
        with pytest.raises(Damaged):
            Database(data)
    path = tmp_path / "utf16"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA encoding='UTF-16'")
        connection.execute("CREATE TABLE t(x)")
        connection.commit()
    with pytest.raises(Damaged, match="UTF-8"):
        Database(path.read_bytes())


def test_pages_that_run_in_a_circle_are_damaged() -> None:
    data = bytearray(table([(1,)], 1, 512))
    # The table's only page becomes the parent of itself.
    data[512:524] = bytes([5, 0, 0, 0, 0, 0, 0, 0]) + (2).to_bytes(4, "big")
    with pytest.raises(Damaged, match="circle"):
        list(Database(bytes(data)).table("t"))


def test_a_chain_of_overflow_pages_that_runs_in_a_circle_ends() -> None:
    data = bytearray(table([(b"z" * 5000,)], 1, 512))
    # Each page of the chain leads to itself.
    for page in range(3, len(data) // 512 + 1):
        start = (page - 1) * 512
        data[start : start + 4] = page.to_bytes(4, "big")
    assert len(next(iter(Database(bytes(data)).table("t")))) == 1


def test_records_that_overlap_end_at_the_limit() -> None:
    data = bytearray(table([(b"z" * 300,)], 1, 512))
    cell = data[512 + 8 : 512 + 10]
    data[512 + 3 : 512 + 5] = (80).to_bytes(2, "big")
    data[512 + 8 : 512 + 8 + 160] = cell * 80
    assert len(list(Database(bytes(data)).table("t"))) == 80
    with pytest.raises(Damaged, match="overlap"):
        list(Database(bytes(data), 5000).table("t"))


def test_damage_is_told_and_ends(mutations: Mutations) -> None:
    rows = [(f"id{index}", "x" * (37 * index), index) for index in range(60)]
    corpus = [table(rows, 3, 512), table([(1, b"2" * 9000, None)], 3, 1024)]
    for data in mutations(corpus):
        try:
            list(Database(data, 1 << 20).table("t"))
        except Damaged:
            continue
