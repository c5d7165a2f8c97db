"""Archives that try to leave the directory they are unpacked to, and ordinary ones."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import NsctlError
from nsctl.images.stream import Decompressed
from nsctl.images.tar import unpack
from nsctl.images.tree import Limits, Tree, split

pytestmark = pytest.mark.unit

Entry = tuple[str, dict[str, Any], bytes]


def entry(name: str, content: bytes = b"", **fields: Any) -> Entry:
    return name, fields, content


def archive(*entries: Entry, fmt: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    """Write a tar archive, whose entries say whatever they are told to."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=fmt) as tar:
        for name, fields, content in entries:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in fields.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    raw.seek(0)
    return raw


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Path, Callable[..., Tree]]]:
    """A directory beside which there is something to be harmed, and what unpacks to it."""
    root = tmp_path / "a" / "root"
    root.mkdir(parents=True)
    (tmp_path / "a" / "victim").write_text("safe")
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)

    def run(raw: io.BytesIO, *, is_layer: bool = False, limits: Limits = Limits()) -> Tree:  # noqa: B008
        tree = Tree(fd, limits)
        unpack(raw, tree, "it", is_layer=is_layer)
        tree.finish()
        return tree

    try:
        yield root, run
    finally:
        os.close(fd)
        assert (tmp_path / "a" / "victim").read_text() == "safe"
        assert sorted(os.listdir(tmp_path / "a")) == ["root", "victim"]
        assert os.listdir(tmp_path) == ["a"]


SYM, HARD, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


def test_an_ordinary_root_comes_out_as_it_went_in(place: Any) -> None:
    root, run = place
    run(
        archive(
            entry("./", type=DIR, mode=0o755),
            entry("./etc", type=DIR, mode=0o750, mtime=5),
            entry("./etc/passwd", b"root:x:0:0\n", mode=0o640, mtime=7),
            entry("./bin/sh", b"#!", mode=0o755),
            entry("link", type=SYM, linkname="/etc/passwd"),
            entry("hard", type=HARD, linkname="etc/passwd"),
            entry("closed", type=DIR, mode=0o500),
            entry("closed/inner", b"x", mode=0o600),
            entry("pipe", type=tarfile.FIFOTYPE, mode=0o600),
            entry("n" * 200, b"long"),
        )
    )
    assert (root / "etc/passwd").read_text() == "root:x:0:0\n"
    assert stat.S_IMODE((root / "etc").stat().st_mode) == 0o750
    assert ((root / "etc").stat().st_mtime, (root / "etc/passwd").stat().st_mtime) == (5, 7)
    assert os.readlink(root / "link") == "/etc/passwd"
    assert os.path.samefile(root / "hard", root / "etc/passwd")
    assert stat.S_IMODE((root / "closed").stat().st_mode) == 0o500
    assert stat.S_ISFIFO((root / "pipe").lstat().st_mode)
    assert (root / ("n" * 200)).read_text() == "long"


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../victim", b"bad")],
        [entry("x/../../victim", b"bad")],
        [entry("x", type=HARD, linkname="../victim")],
        [entry("x", type=HARD, linkname="/../../victim")],
        [entry("x" * 300, b"")],
        [entry("a/" * 300 + "x", b"")],
        [entry("x", type=HARD, linkname="nowhere")],
        [entry("x", type=DIR), entry("y", type=HARD, linkname="x")],
        [entry(".", b"a file in place of the root")],
        [entry("x", type=b"Z")],
        [entry("x", uid=-1)],
    ],
)
def test_what_cannot_be_is_refused(place: Any, entries: list[Entry]) -> None:
    _, run = place
    with pytest.raises(NsctlError, match="cannot unpack"):
        run(archive(*entries))


@pytest.mark.parametrize(
    "entries",
    [
        # A link to the outside, and something through it.
        [entry("l", type=SYM, linkname="../.."), entry("l/victim", b"bad")],
        [entry("l", type=SYM, linkname="/"), entry("l/victim", b"bad")],
        [entry("l", type=SYM, linkname="../victim"), entry("l", b"bad")],
        [entry("l", type=SYM, linkname="../victim"), entry("h", type=HARD, linkname="l")],
        [
            entry("d", type=DIR),
            entry("d/l", type=SYM, linkname="../../victim"),
            entry("d/l/x", b"bad"),
        ],
        # CVE-2025-4517: a chain of long links that a length limit cut short.
        [
            *(
                item
                for depth in range(16)
                for item in (
                    entry("/".join("abcdefghijklmnop"[: depth + 1]) + "d" * 200, type=DIR),
                    entry("abcdefghijklmnop"[depth], type=SYM, linkname="d" * 200),
                )
            ),
            entry("a/b/c/l", type=SYM, linkname="../" * 16),
            entry("escape", type=SYM, linkname="a/b/c/l/../../victim"),
            entry("escape", type=HARD, linkname="escape"),
        ],
        # A directory that becomes a link, and whose mode is set in the end.
        [
            entry("d", type=DIR, mode=0o777),
            entry("d", type=SYM, linkname="../../a"),
        ],
        [entry("/victim", b"inside")],
    ],
)
def test_nothing_outside_is_touched(place: Any, entries: list[Entry]) -> None:
    root, run = place
    before = stat.S_IMODE(root.parent.stat().st_mode)
    with contextlib.suppress(NsctlError):
        run(archive(*entries))
    assert stat.S_IMODE(root.parent.stat().st_mode) == before


def test_devices_are_left_out_and_told(place: Any) -> None:
    root, run = place
    tree = run(archive(entry("dev/sda", type=tarfile.BLKTYPE), entry("null", type=tarfile.CHRTYPE)))
    assert tree.skipped == ["dev/sda", "null"]
    assert not (root / "null").exists()


def test_attributes_that_overlayfs_obeys_are_left_out(place: Any) -> None:
    root, run = place
    attributes = {
        "SCHILY.xattr.user.good": "yes",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.user.overlay.redirect": "/etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.security.selinux": "x",
    }
    run(archive(entry("x", b"1", pax_headers=attributes)))
    assert [name for name in os.listxattr(root / "x") if name != "security.selinux"] in (
        ["user.good"],
        [],  # a file system without them
    )


def test_size_and_number_are_bounded(place: Any) -> None:
    _, run = place
    with pytest.raises(NsctlError, match="more than 10 bytes"):
        run(archive(entry("x", b"1" * 11)), limits=Limits(size=10))
    with pytest.raises(NsctlError, match="more than 3 entries"):
        run(archive(*(entry(f"x{i}") for i in range(4))), limits=Limits(entries=3))
    with pytest.raises(NsctlError, match="more than 3 entries"):
        run(archive(entry("a/b/c/d/e")), limits=Limits(entries=3))


def test_a_name_that_claims_to_be_huge_is_not_read() -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    raw = io.BytesIO(header.tobuf(tarfile.GNU_FORMAT))
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(NsctlError, match="its names take"):
            unpack(raw, Tree(fd), "it", is_layer=False)
    finally:
        os.close(fd)


def test_layers_take_away_what_was_below_them(place: Any) -> None:
    root, run = place
    run(
        archive(
            entry("a", b"1"), entry("d/x", b"1"), entry("d/y", b"1"), entry("o/old/deep", b"1"),
            entry("o/both", b"1"), entry("k", b"1"),
        )
    )  # fmt: skip
    run(
        archive(
            entry(".wh.a"), entry("d/.wh.x"), entry("o/new", b"2"), entry("o/.wh..wh..opq"),
            entry("o/both", b"2"), entry("k", b"2"), entry(".wh.k"), entry(".wh..wh.plnk"),
        ),
        is_layer=True,
    )  # fmt: skip
    left = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    assert left == ["d", "d/y", "k", "o", "o/both", "o/new"]
    assert (root / "k").read_text() == "2"
    with pytest.raises(NsctlError):
        run(archive(entry(".wh...")), is_layer=True)


def test_in_a_root_that_is_no_layer_such_names_are_files(place: Any) -> None:
    root, run = place
    run(archive(entry("a", b"1"), entry(".wh.a")))
    assert sorted(os.listdir(root)) == [".wh.a", "a"]


@given(st.binary(max_size=2000))
def test_any_bytes_are_unpacked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    directory = tmp_path_factory.mktemp("any")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with Decompressed(io.BytesIO(raw), "it") as plain:
            unpack(plain, Tree(fd), "it", is_layer=True)
    except NsctlError:
        pass
    finally:
        os.close(fd)


@given(st.text(max_size=100))
def test_a_path_that_is_taken_goes_down_only(path: str) -> None:
    try:
        parts = split(path)
    except NsctlError:
        return
    assert not {"", ".", ".."} & set(parts)
    assert all("/" not in part and "\0" not in part for part in parts)
