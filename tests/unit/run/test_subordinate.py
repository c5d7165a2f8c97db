"""Which ids an ordinary user may map, from files and programs that stand for the host's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.run import subordinate
from nsctl.run.subordinate import Maps, maps_of

NOBODY = 65534


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs in which the two are, with their set-user-ID bit."""
    place = tmp_path / "bin"
    place.mkdir()
    for name in ("newuidmap", "newgidmap"):
        (place / name).write_text("")
        (place / name).chmod(0o4755)
    monkeypatch.setenv("PATH", str(place))
    return place


def files(tmp_path: Path, users: str, groups: str) -> tuple[str, str]:
    (tmp_path / "subuid").write_text(users)
    (tmp_path / "subgid").write_text(groups)
    return str(tmp_path / "subuid"), str(tmp_path / "subgid")


@pytest.mark.usefixtures("programs")
def test_the_user_comes_first_and_the_range_behind(tmp_path: Path) -> None:
    paths = files(tmp_path, "x:1:2\nnobody:100:50\nnobody:900:9\n", "65534:200:40\n")
    expected = Maps("0 65534 1\n1 100 50\n", "0 7 1\n1 200 40\n", 41)
    assert maps_of(paths, NOBODY, 7) == expected


@pytest.mark.parametrize("missing", ["newuidmap", "newgidmap"])
def test_without_a_program_or_its_bit_there_is_no_range(
    tmp_path: Path, programs: Path, missing: str
) -> None:
    paths = files(tmp_path, "nobody:100:50\n", "nobody:100:50\n")
    assert maps_of(paths, NOBODY, 7) is not None
    (programs / missing).chmod(0o755)
    assert maps_of(paths, NOBODY, 7) is None
    (programs / missing).unlink()
    assert maps_of(paths, NOBODY, 7) is None


@pytest.mark.usefixtures("programs")
def test_a_range_for_groups_alone_is_none(tmp_path: Path) -> None:
    assert maps_of(files(tmp_path, "", "nobody:100:50\n"), NOBODY, 7) is None
    assert maps_of(files(tmp_path, "nobody:100:0\n", "nobody:1:5\n"), NOBODY, 7) is None
    assert maps_of((str(tmp_path / "none"), str(tmp_path / "none")), NOBODY, 7) is None
    assert maps_of((), NOBODY, 7) is None


@pytest.mark.usefixtures("programs")
def test_root_needs_no_programs(tmp_path: Path) -> None:
    assert maps_of(files(tmp_path, "root:100:50\n", "root:100:50\n"), 0, 0) is None


@given(st.binary(max_size=200))
def test_any_file_has_a_range_or_none(raw: bytes) -> None:
    fd = os.memfd_create("subuid")
    try:
        os.write(fd, raw)
        found = subordinate._first(f"/proc/self/fd/{fd}", {b"a"})
    finally:
        os.close(fd)
    assert found is None or found[1] > 0
