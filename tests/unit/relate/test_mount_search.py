"""Which rows findmnt shows, on tables made by hand and at random."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.mount import Mount
from nsctl.mounts.names import OtherNames
from nsctl.relate.mount_search import (
    Wanted,
    parse_tag,
    same_path,
    search,
    source_or_device,
    unique_targets,
)

pytestmark = pytest.mark.unit

NAMES = OtherNames()
_ROW = st.tuples(
    st.integers(1, 12),
    st.integers(0, 12),
    st.sampled_from([b"/", b"/a", b"/a/b", b"/c", b"relative", b""]),
    st.sampled_from(["tmpfs", "ext4", "proc"]),
)
_TABLES = st.lists(_ROW, max_size=15).map(
    lambda rows: [
        Mount(number, parent, 5, b"/", point, read_only=False, fs_type=kind, source=b"s")
        for number, parent, point, kind in rows
    ]
)


@given(_TABLES)
def test_a_tree_has_every_mount_exactly_once(table: list[Mount]) -> None:
    found = search(table, Wanted(tree=True), NAMES)
    assert sorted(map(id, found.mounts)) == sorted(map(id, table))
    for line, parent in enumerate(found.parents):
        assert parent < line
        if parent >= 0:
            assert found.mounts[parent].id == found.mounts[line].parent
    assert found.failed == (not table)


@given(_TABLES, st.booleans(), st.booleans(), st.booleans())
def test_what_is_chosen_and_what_is_not_are_the_whole(
    table: list[Mount], tree: bool, submounts: bool, backward: bool
) -> None:
    wanted = Wanted(types=b"tmpfs", tree=tree, backward=backward)
    chosen = search(table, wanted, NAMES).mounts
    others = search(table, wanted._replace(invert=True), NAMES).mounts
    assert sorted(map(id, (*chosen, *others))) == sorted(map(id, table))
    below = search(table, wanted._replace(submounts=submounts), NAMES).mounts
    assert {id(each) for each in chosen} <= {id(each) for each in below}


@given(_TABLES)
def test_of_each_place_one_is_left(table: list[Mount]) -> None:
    left = unique_targets(table)
    places = [each.point.rstrip(b"/") for each in left]
    assert len(set(places)) == len(places)
    assert {each.point.rstrip(b"/") for each in table} == set(places)


def test_a_stack_as_high_as_the_kernel_allows_is_shown() -> None:
    table = [
        Mount(number, number - 1, 5, b"/", b"/", read_only=False, fs_type="tmpfs", source=b"s")
        for number in range(1, 30_001)
    ]
    assert len(search(table, Wanted(tree=True), NAMES).mounts) == 30_000
    wanted = Wanted(source=b"s", submounts=True, first=True)
    assert len(search(table, wanted, NAMES).mounts) == 30_000


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        (b"UUID=a-b", (b"UUID", b"a-b")),
        (b'LABEL="a b"', (b"LABEL", b"a b")),
        (b"LABEL='a'", (b"LABEL", b"a")),
        (b"LABEL=", None),
        (b'LABEL="a', None),
        (b"SIZE=5", None),
        (b"/dev/sda", None),
    ],
)
def test_tags_are_taken_apart(text: bytes, tag: tuple[bytes, bytes] | None) -> None:
    assert parse_tag(text) == tag


def test_numbers_of_devices_are_told_from_sources() -> None:
    assert source_or_device(b"8:1") == (None, (8, 1))
    assert source_or_device(b"server:/x") == (b"server:/x", None)


def test_slashes_do_not_tell_paths_apart() -> None:
    assert same_path(b"//a///b/", b"/a/b")
    assert same_path(b"/", b"")
    assert not same_path(b"a", b"/a")
