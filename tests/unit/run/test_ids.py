"""Ranges of ids: never two that touch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import NsctlError
from nsctl.run import ids
from nsctl.run.ids import IdPool, free_range, parse_subordinate

pytestmark = pytest.mark.unit

POOL = IdPool(first=1000, last=1999, size=100)

ranges = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 400)), max_size=12)


@given(ranges)
def test_a_range_that_is_given_touches_none_that_is_taken(taken: list[tuple[int, int]]) -> None:
    try:
        first = free_range(POOL, taken)
    except NsctlError:
        # Then each place is touched by one.
        for place in range(POOL.first, POOL.last, POOL.size):
            assert any(start < place + 100 and place < start + count for start, count in taken)
        return
    assert POOL.first <= first
    assert first + 99 <= POOL.last
    assert all(start + count <= first or first + 100 <= start for start, count in taken)


@given(st.binary(max_size=200))
def test_subordinate_files_never_fail(raw: bytes) -> None:
    assert all(first >= 0 and count >= 0 for first, count in parse_subordinate(raw))


def test_a_subordinate_file_is_read_by_line() -> None:
    raw = b"alice:100000:65536\n# note\nbob:x:1\n\n1000:165536:65536"
    assert parse_subordinate(raw) == [(100000, 65536), (165536, 65536)]


def _pool(tmp_path: Path) -> IdPool:
    os.makedirs(tmp_path / "proc" / "7")
    (tmp_path / "proc" / "7" / "uid_map").write_bytes(b"         0       1000        100\n")
    (tmp_path / "proc" / "7" / "gid_map").write_bytes(b"         0          0 4294967295\n")
    (tmp_path / "subuid").write_bytes(b"alice:1150:10\n")
    subordinate = (str(tmp_path / "subuid"), str(tmp_path / "none"))
    return POOL._replace(
        directory=str(tmp_path / "ids"), subordinate=subordinate, proc_root=str(tmp_path / "proc")
    )


def test_what_lives_or_is_subordinate_or_reserved_is_taken(tmp_path: Path) -> None:
    pool = _pool(tmp_path)
    places = [str(tmp_path / name) for name in ("one", "two", "three")]
    assert ids.reserve(pool, places[0], lambda _: os.mkdir(places[0])) == 1200
    assert ids.peek(pool) == 1300
    assert ids.reserve(pool, places[1], lambda _: os.mkdir(places[1])) == 1300
    ids.release(pool, 1300, 100)
    ids.release(pool, 1300, 100)
    assert ids.reserve(pool, places[2], lambda _: os.mkdir(places[2])) == 1300


def test_a_reservation_ends_with_its_container(tmp_path: Path) -> None:
    pool = _pool(tmp_path)
    place = str(tmp_path / "one")
    ids.reserve(pool, place, lambda _: os.mkdir(place))
    os.rmdir(place)
    assert ids.peek(pool) == 1200
    assert os.listdir(pool.directory) == []
    # One that was cut off while it was written is none.
    Path(pool.directory, "1200-100").touch()
    assert ids.peek(pool) == 1200


def test_a_range_is_recorded_while_nobody_else_can_take_it(tmp_path: Path) -> None:
    pool = _pool(tmp_path)

    def fail(_first: int) -> None:
        raise NsctlError("record", "it", "no")

    with pytest.raises(NsctlError):
        ids.reserve(pool, str(tmp_path / "one"), fail)
    assert ids.peek(pool) == 1200


def test_a_directory_that_is_open_to_others_is_not_trusted(tmp_path: Path) -> None:
    pool = _pool(tmp_path)
    Path(pool.directory).mkdir()
    Path(pool.directory).chmod(0o755)
    with pytest.raises(NsctlError, match="open to others"):
        ids.peek(pool)
