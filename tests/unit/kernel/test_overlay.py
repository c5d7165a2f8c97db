"""The layers in an overlay's options, as whoever mounted it wrote them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel.overlay import TRUSTED, USER, LayerDirectory, parse_layers, spellings
from support.examples import Mutations

pytestmark = pytest.mark.unit

NAMES = st.binary(min_size=1, max_size=20).filter(lambda raw: b"\0" not in raw)


def shown(raw: bytes) -> bytes:
    """As seq_escape() writes an option's value."""
    return b"".join(b"\\%03o" % byte if byte in b",= \t\n\\" else bytes((byte,)) for byte in raw)


def in_list(path: bytes) -> bytes:
    """A path in lowerdir=, as mount(8)'s users must write it."""
    return path.replace(b"\\", b"\\\\").replace(b":", b"\\:")


@given(st.lists(NAMES, min_size=1), NAMES, NAMES)
def test_all_layers_come_back_whatever_their_names(
    lower: list[bytes], upper: bytes, work: bytes
) -> None:
    together = shown(b":".join(map(in_list, lower)))
    options = b"rw,lowerdir=%s,upperdir=%s,workdir=%s,uuid=on" % (
        *(together, shown(upper), shown(work)),
    )
    found = parse_layers(options)
    assert (found.lower, found.upper, found.work) == (tuple(lower), upper, work)
    one_by_one = b"".join(b",lowerdir+=%s" % shown(path) for path in lower)
    assert parse_layers(b"rw" + one_by_one).lower == tuple(lower)


def test_layers_of_data_alone_stand_behind_two_colons() -> None:
    found = parse_layers(b"ro,lowerdir=/a:/b::/data1::/data2,userxattr")
    assert (found.lower, found.data) == ((b"/a", b"/b"), (b"/data1", b"/data2"))
    assert (found.prefix, found.upper) == (USER, b"")
    assert parse_layers(b"rw,lowerdir+=/a,datadir+=/d").data == (b"/d",)
    assert parse_layers(b"rw").prefix == TRUSTED


def test_a_mutilated_line_of_options_is_still_some_layers(mutations: Mutations) -> None:
    for raw in mutations([b"rw,lowerdir=/a\\134:b:/c,upperdir=/u\\054v,workdir=/w,userxattr"]):
        found = parse_layers(raw)
        assert all(isinstance(path, bytes) for path in (*found.lower, *found.data, found.upper))


def test_a_backslash_in_an_upper_directory_may_have_been_dropped() -> None:
    assert spellings(b"/u") == (b"/u",)
    assert spellings(b"/a\\:b") == (b"/a\\:b", b"/a:b")
    assert spellings(b"/a\\") == (b"/a\\", b"/a\\")


def test_a_layer_is_looked_at_without_a_link_being_followed_or_a_pipe_opened(
    tmp_path: Path,
) -> None:
    layer, secret = tmp_path / "layer", tmp_path / "secret"
    layer.mkdir()
    secret.mkdir()
    (secret / "file").write_text("x")
    (layer / "out").symlink_to("../secret")
    os.mkfifo(layer / "pipe")
    fd = os.open(layer, os.O_PATH)
    try:
        looked = LayerDirectory(fd, TRUSTED)
        pipe, link = looked.entry(b"pipe"), looked.entry(b"out")
        assert pipe is not None
        assert link is not None
        assert stat.S_ISFIFO(pipe.mode)
        assert stat.S_ISLNK(link.mode)
        assert looked.entry(b"nothing") is None
        for outward in (b"out/file", b"../secret/file"):
            with pytest.raises(OSError, match=r"symbolic links|cross-device"):
                looked.entry(outward)
        assert sorted(looked.names(b"")) == [b"out", b"pipe"]
        assert looked.names(b"pipe") == []
        few = LayerDirectory(fd, TRUSTED, limit=1)
        assert len(few.names(b"")) == 1
        assert few.cut
    finally:
        os.close(fd)


def test_a_path_longer_than_the_kernel_takes_is_walked_in_pieces(tmp_path: Path) -> None:
    name = "n" * 250
    at = os.open(tmp_path, os.O_PATH)
    top = os.dup(at)
    try:
        for _ in range(40):
            os.mkdir(name, dir_fd=at)
            deeper = os.open(name, os.O_PATH, dir_fd=at)
            os.close(at)
            at = deeper
        looked = LayerDirectory(top, TRUSTED)
        path = b"/".join([name.encode()] * 40)
        assert len(path) > 4096
        assert looked.entry(path) is not None
        assert looked.names(path) == []
    finally:
        os.close(at)
        os.close(top)
