"""What statmount(2) fills in, and what mount namespaces say of themselves."""

from __future__ import annotations

import contextlib
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import nsfs, statmount
from support.examples import Mutations

pytestmark = pytest.mark.unit

_TEXT = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b""))


def render(mask: int, strings: tuple[bytes, bytes, bytes]) -> bytes:
    offsets, tail = [], b""
    for text in strings:
        offsets.append(len(tail))
        tail += text + b"\0"
    fs_type, root, point = offsets
    header = struct.pack(
        "=IIQIIQIIQQIIQQQQQII",
        *(512 + len(tail), 0, mask, 8, 1, 0xEF53, 0, fs_type),
        *(1 << 40, 1 << 39, 33, 32, 0, 0, 0, 0, 0, root, point),
    )
    return header.ljust(512, b"\0") + tail


@given(_TEXT, _TEXT, _TEXT)
def test_ids_and_strings_are_taken_out(fs_type: bytes, root: bytes, point: bytes) -> None:
    raw = render(0x3F, (fs_type, root, point))
    assert statmount.parse_statmount(raw) == (1 << 40, 33, fs_type, root, point)


def test_what_the_kernel_did_not_give_is_empty() -> None:
    raw = render(statmount.STATMOUNT_FS_TYPE, (b"nsfs", b"net:[7]", b"/run"))
    assert statmount.parse_statmount(raw)[2:] == (b"nsfs", b"", b"")


def test_damaged_answers_parse_or_are_refused(mutations: Mutations) -> None:
    for raw in mutations([render(0x3F, (b"nsfs", b"net:[4026532720]", b"/run/netns/a"))]):
        _parse(raw)
        _parse(raw.ljust(600, b"\xff"))


@given(st.binary(max_size=700))
def test_arbitrary_bytes_parse_or_are_refused(raw: bytes) -> None:
    _parse(raw)
    _parse(raw.ljust(512, b"\0"))


def _parse(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        statmount.parse_statmount(raw)


def test_the_own_mounts_are_listed_as_mountinfo_shows_them() -> None:
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        info = nsfs.get_mnt_info(own)
        ids = list(statmount.listmount(info.ns_id))
        mounts = [statmount.statmount(mnt_id, info.ns_id) for mnt_id in ids]
    except OSError as error:
        pytest.skip(f"needs listmount and statmount: {error.strerror}")
    finally:
        os.close(own)
    with open("/proc/self/mountinfo", "rb") as file:
        shown = {int(line.split(b" ")[0]) for line in file.read().split(b"\n") if line}
    assert shown <= {mount.old_id for mount in mounts}
    assert info.mounts >= len(shown)
