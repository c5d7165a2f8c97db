"""A whole mount as statmount(2) tells it, in the words of mountinfo."""

from __future__ import annotations

import contextlib
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import nsfs, statmount
from nsctl.kernel.mountinfo import parse_mount
from nsctl.model.namespace import IdExtent
from support.examples import Mutations

pytestmark = pytest.mark.unit

_ALL = 0x7FFF


def render(
    *,
    mask: int = _ALL,
    attributes: int = 0,
    sb_flags: int = 0,
    propagation: tuple[int, int, int, int] = (0, 0, 0, 0),
    options: bytes = b"",
    uid_map: tuple[bytes, ...] = (),
    gid_map: tuple[bytes, ...] = (),
) -> bytes:
    """The buffer that the kernel would fill."""
    offsets: dict[str, int] = {}
    tail = b""
    texts = {
        "options": (options,),
        "fs_type": (b"fuse",),
        "root": (b"/r oot",),
        "point": (b"/po\nint",),
        "subtype": (b"sshfs",),
        "source": (b"sou rce",),
        "security": (b"seclabel", b"context=a b"),
        "uid_map": uid_map,
        "gid_map": gid_map,
    }
    for name, several in texts.items():
        offsets[name] = len(tail)
        tail += b"".join(text + b"\0" for text in several) or b"\0"
    header = struct.pack(
        "=IIQIIQIIQQIIQQQQQIIQIIIIIIQIIII",
        *(512 + len(tail), offsets["options"], mask, 8, 1, 0xEF53, sb_flags, offsets["fs_type"]),
        *(1 << 40, 1 << 39, 33, 32, attributes, *propagation, offsets["root"], offsets["point"]),
        *(77, offsets["subtype"], offsets["source"], 0, 0, 2, offsets["security"], _ALL),
        *(len(uid_map), offsets["uid_map"], len(gid_map), offsets["gid_map"]),
    )
    return header.ljust(512, b"\0") + tail


def test_everything_is_spelt_as_mountinfo_spells_it() -> None:
    _, row = statmount.parse_mount(
        render(
            attributes=1 | 2 | 8 | 0x10 | 0x80 | 0x200000,
            sb_flags=1 | 0x10 | 1 << 25,
            propagation=(1 << 20 | 1 << 19, 5, 3, 2),
            options=b"size=5,x=a\\040b",
        )
    )
    assert row.options == b"ro,nosuid,noexec,noatime,nodiratime,nosymfollow"
    assert row.fields == b"shared:5 master:3 propagate_from:2"
    assert row.super_options == (b"ro,sync,lazytime,seclabel,context=a\\040b,size=5,x=a\\040b")
    assert (row.fs_type, row.source, row.root, row.point) == (
        "fuse.sshfs",
        b"sou rce",
        b"/r oot",
        b"/po\nint",
    )
    assert (row.id, row.parent, row.unique_id, row.parent_unique_id) == (33, 32, 1 << 40, 1 << 39)
    assert row.read_only
    assert row.uid_map is None


@pytest.mark.parametrize(
    ("bits", "word"), [(0, b"rw,relatime"), (0x10, b"rw,noatime"), (0x20, b"rw")]
)
def test_access_times_are_one_of_three(bits: int, word: bytes) -> None:
    assert statmount.parse_mount(render(attributes=bits))[1].options == word


def test_an_id_map_has_its_extents() -> None:
    _, row = statmount.parse_mount(
        render(attributes=0x100000, uid_map=(b"0 1000 1", b"1 2000 5"), gid_map=(b"0 7 9",))
    )
    assert row.uid_map == (IdExtent(0, 1000, 1), IdExtent(1, 2000, 5))
    assert row.gid_map == (IdExtent(0, 7, 9),)
    assert b"idmapped" in row.options


def test_a_kernel_that_does_not_tell_the_map_leaves_it_unknown() -> None:
    _, row = statmount.parse_mount(render(mask=_ALL & ~0x6000, attributes=0x100000))
    assert (row.uid_map, row.gid_map) == (None, None)
    assert b"idmapped" in row.options


def test_damaged_answers_parse_or_are_refused(mutations: Mutations) -> None:
    whole = render(attributes=0x100000, uid_map=(b"0 1000 1",), gid_map=(b"0 7 9",))
    for raw in mutations([whole]):
        with contextlib.suppress(ValueError):
            statmount.parse_mount(raw)


@given(st.binary(max_size=700))
def test_arbitrary_bytes_parse_or_are_refused(raw: bytes) -> None:
    for text in (raw, raw.ljust(512, b"\0")):
        with contextlib.suppress(ValueError):
            statmount.parse_mount(text)


def test_the_kernels_own_list_and_mountinfo_say_the_same() -> None:
    fd = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        number = nsfs.get_id(fd)
    finally:
        os.close(fd)
    try:
        table = None if number is None else statmount.table(number)
    except OSError as error:
        pytest.skip(f"needs listmount(2): {error}")
    if table is None:
        pytest.skip("needs a kernel whose statmount(2) tells sources")
    with open("/proc/self/mountinfo", "rb") as file:
        lines = [parse_mount(line) for line in file.read().split(b"\n") if line]
    told = {
        row.id: row._replace(unique_id=0, parent_unique_id=0, uid_map=None, gid_map=None)
        for row in table
    }
    assert {line.id: line for line in lines} == told
