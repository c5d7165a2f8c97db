"""A container's log: bounded, readable while it is written, and after whatever was cut off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.run.log import BEFORE, CURRENT, ERRORS, OUTPUT, Reader, Writer

pytestmark = pytest.mark.unit

pieces = st.lists(
    st.tuples(st.sampled_from([OUTPUT, ERRORS]), st.binary(min_size=1, max_size=80)), max_size=30
)


def _read(directory: Path) -> list[tuple[int, bytes]]:
    reader = Reader(str(directory))
    try:
        return [(record.stream, record.data) for record in reader.read()]
    finally:
        reader.close()


@given(pieces)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, bytes]]
) -> None:
    place = tmp_path_factory.mktemp("log") / "c"
    writer = Writer(str(place))
    for stream, data in written:
        writer.add(stream, data)
    writer.close()
    assert _read(place) == written


@given(pieces, st.integers(1, 300))
def test_it_never_grows_beyond_its_bounds_and_keeps_the_last(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, bytes]], limit: int
) -> None:
    place = tmp_path_factory.mktemp("log") / "c"
    writer = Writer(str(place), limit)
    for stream, data in written:
        writer.add(stream, data)
        for name in (CURRENT, BEFORE):
            if (place / name).exists():
                # One record may be larger than a file.
                assert (place / name).stat().st_size <= max(limit, 120)
    writer.close()
    kept = _read(place)
    assert kept == written[len(written) - len(kept) :]
    assert bool(kept) == bool(written)


@given(pieces, st.integers(1, 300))
def test_a_reader_follows_over_a_change_of_files(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, bytes]], limit: int
) -> None:
    place = tmp_path_factory.mktemp("log") / "c"
    writer = Writer(str(place), limit)
    reader = Reader(str(place))
    seen = []
    for stream, data in written:
        writer.add(stream, data)
        seen += [(record.stream, record.data) for record in reader.read()]
    writer.close()
    reader.close()
    assert seen == written


@given(st.binary(max_size=60))
def test_what_was_cut_off_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, torn: bytes
) -> None:
    place = tmp_path_factory.mktemp("log") / "c"
    place.mkdir()
    (place / CURRENT).write_bytes(b"5 1 3\nabc" + torn)
    assert _read(place)[0] == (OUTPUT, b"abc")


def test_a_full_disk_loses_output_and_nothing_else(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "c"))
    writer.add(OUTPUT, b"before")
    real = writer._fd
    writer._fd = os.open("/dev/full", os.O_WRONLY)
    writer.add(OUTPUT, b"lost")
    os.close(writer._fd)
    writer._fd = real
    writer.add(OUTPUT, b"after")
    writer.close()
    assert _read(tmp_path / "c") == [(OUTPUT, b"before"), (OUTPUT, b"after")]


def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert _read(tmp_path / "none") == []
