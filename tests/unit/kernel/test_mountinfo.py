"""Lines of mountinfo parse back to what is mounted, whatever its paths contain."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import mountinfo
from support.examples import Mutations

pytestmark = pytest.mark.unit

# As seq_path() and mangle() escape: blank, tab, newline, backslash and, in sources, the hash.
ESCAPED = b" \t\n\\"


def escape(raw: bytes, characters: bytes = ESCAPED) -> bytes:
    return b"".join(
        b"\\%03o" % byte if byte in characters else bytes((byte,)) for byte in raw if byte
    )


def render(line: mountinfo.MountLine) -> bytes:
    fields = b"".join(
        b"%s " % (f"{tag}:{value}" if tag != "unbindable" else tag).encode()
        for tag, value in line.fields
    )
    return b"%d %d %d:%d %s %s %s %s- %s %s %s" % (
        line.mount_id,
        line.parent_id,
        line.major,
        line.minor,
        escape(line.root),
        escape(line.mount_point),
        b",".join(line.options),
        fields,
        escape(line.fs_type, ESCAPED + b"#"),
        escape(line.source, ESCAPED + b"#"),
        escape(line.super_options),
    )


NUMBERS = st.integers(0, (1 << 31) - 1)
PATHS = st.one_of(
    st.binary(max_size=20).map(lambda raw: b"/" + raw.replace(b"\0", b"")),
    st.sampled_from([b"/-", b"/a - nsfs b", b"/\\040", b"/\r\x0b\x0c\x85", b"net:[4026532720]"]),
)
FIELDS = st.one_of(
    st.tuples(st.sampled_from(["shared", "master", "propagate_from"]), st.integers(1, 1 << 30)),
    st.just(("unbindable", 0)),
)
LINES = st.builds(
    mountinfo.MountLine,
    mount_id=NUMBERS,
    parent_id=NUMBERS,
    major=st.integers(0, 4095),
    minor=st.integers(0, (1 << 20) - 1),
    root=PATHS,
    mount_point=PATHS,
    options=st.lists(st.sampled_from([b"rw", b"ro", b"nosuid", b"idmapped"]), min_size=1).map(
        tuple
    ),
    fields=st.lists(FIELDS, max_size=3).map(tuple),
    fs_type=st.sampled_from([b"ext4", b"nsfs", b"fuse.a b#", b"-"]),
    source=PATHS | st.sampled_from([b"", b"none", b"-", b"nsfs", b"#"]),
    super_options=st.sampled_from([b"rw", b"rw,lowerdir=/a:/b c", b""]),
)


@given(st.lists(LINES, max_size=4))
def test_a_mountinfo_reads_as_it_was_written(lines: list[mountinfo.MountLine]) -> None:
    raw = b"".join(render(line) + b"\n" for line in lines)
    assert mountinfo.parse(raw) == lines


@given(st.binary(max_size=40))
def test_octal_escapes_are_undone_for_every_byte(raw: bytes) -> None:
    plain = raw.replace(b"\0", b"")
    assert mountinfo.unescape(escape(plain, bytes(range(256)))) == plain


@given(st.lists(LINES, max_size=6))
def test_bind_mounts_of_namespaces_are_told_by_their_file_system(
    lines: list[mountinfo.MountLine],
) -> None:
    raw = b"".join(render(line) + b"\n" for line in lines)
    of_nsfs = [line for line in lines if line.fs_type == b"nsfs"]
    assert mountinfo.nsfs_mounts(raw) == [
        ("net", 4026532720, line.mount_point, line.mount_id)
        for line in of_nsfs
        if line.root == b"net:[4026532720]"
    ]


def test_another_file_systems_options_do_not_make_it_a_namespace() -> None:
    raw = b"36 25 0:4 net:[7] /mnt rw - tmpfs none rw,x - nsfs y\n"
    assert mountinfo.nsfs_mounts(raw) == []


def test_a_directory_named_like_a_namespace_is_none() -> None:
    raw = b"36 25 0:4 /net:[7] /mnt rw - nsfs nsfs rw\n"
    assert [mount.type for mount in mountinfo.nsfs_mounts(raw)] == ["/net"]


@given(st.binary(max_size=120))
def test_arbitrary_bytes_parse_or_are_refused(raw: bytes) -> None:
    _all(raw)
    _all(b"36 25 0:4 " + raw + b" - nsfs nsfs rw")


def test_damaged_text_parses_or_is_refused(mutations: Mutations) -> None:
    real = [
        b"36 25 0:4 net:[4026532720] /run/netns/a rw shared:3 master:1 - nsfs nsfs rw\n",
        (
            b"25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
            b"90 25 0:40 / /mnt/a\\040b ro,nosuid unbindable - fuse.x x#y rw,user_id=0\n"
        ),
    ]
    for raw in mutations(real):
        _all(raw)


def _all(raw: bytes) -> None:
    for parse in (mountinfo.parse, mountinfo.nsfs_mounts):
        try:
            parse(raw)
        except ValueError:
            continue


@given(st.lists(st.sampled_from([b"\\", b"0", b"1", b"7", b"8", b"377", b"a", b"\xff"])))
def test_octal_escapes_are_undone_as_a_regular_expression_would(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    expected = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), raw)
    assert mountinfo.unescape(raw) == expected


@given(LINES)
def test_a_row_of_a_mount_table_says_what_its_line_says(line: mountinfo.MountLine) -> None:
    row = mountinfo.parse_mount(render(line))
    assert (row.id, row.parent, row.root, row.point, row.source) == (
        *(line.mount_id, line.parent_id, line.root, line.mount_point, line.source),
    )
    assert row.dev == os.makedev(line.major, line.minor)
    assert row.fs_type.encode("utf-8", "surrogateescape") == line.fs_type
    assert row.options == b",".join(line.options)
    assert row.read_only == (b"ro" in line.options or b"ro" in line.super_options.split(b","))
