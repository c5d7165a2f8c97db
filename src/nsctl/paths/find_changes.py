"""The helper's part of `nsctl.paths.changes`: opens the layers of a root and compares them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import cast

from nsctl.paths.ask import Piece
from nsctl.paths.find_stopped import open_stopped
from nsctl.paths.layers import open_layers
from nsctl.paths.views import below, line_of, mount_of, open_view, open_views
from nsctl.relate.layers import Change, Overlay, Same, changes


def find(arguments: dict[str, object]) -> Iterator[Piece]:
    """Compare the upper layer of a process's root with the lower ones.

    Args:
        arguments: of a process; with "roots" those of `nsctl.paths.find_stopped.open_stopped`.

    Yields:
        ("mount", type, source, root, point) for a root that is no overlay, or ("layers", upper,
        lower ones, process, verified, its attributes are trusted ones); then ("change", kind, path, why, entry), ("same", path) and
        ("unread", path, errno), and ("cut", why) where it did not come to an end.
    """
    if "roots" in arguments:
        heads, overlay = open_stopped(arguments)
        yield from heads
        if overlay is not None:
            yield from _compared(overlay, b"", arguments)
        return
    pid, proc = cast("int", arguments["pid"]), cast("int", arguments["proc"])
    target = open_view(pid, proc)
    line = line_of(target, mount_of(target.fd))
    if line is None:
        yield ("mount", b"", b"", b"", b"")
        return
    if line.fs_type != b"overlay":
        yield ("mount", line.fs_type, line.source, line.root, line.mount_point)
        return
    views = list(open_views(cast("list[list[int]]", arguments["views"])))
    parents = cast("list[int]", arguments["parents"])
    image = cast("bytes", arguments["image"])
    opened = open_layers(line, target, views, parents, image)
    if opened is None:
        yield ("mount", b"overlay", line.super_options, line.root, line.mount_point)
        return
    inner = os.readlink(b"/proc/self/fd/%d" % target.fd)
    start = line.root.rstrip(b"/") + (below(inner, target.base + line.mount_point) or b"")
    if start.strip(b"/") and opened.overlay.find(start, lower=True) is None:
        # A directory that somebody made in an overlay of his own, as Docker's driver vfs may.
        yield ("mount", b"a directory of another overlay", b"", start, b"")
        return
    yield (
        "layers",
        opened.paths[0],
        list(opened.paths[1 : opened.named]),
        opened.view.pid,
        opened.verified,
        b"userxattr" not in line.super_options.split(b","),
    )
    if not opened.paths[0]:
        return
    yield from _compared(opened.overlay, start, arguments)
    for directory in opened.directories:
        if directory is not None and directory.cut:
            yield ("cut", "a directory has too many names")
            return


def _compared(overlay: Overlay, start: bytes, arguments: dict[str, object]) -> Iterator[Piece]:
    limit, seconds = cast("int", arguments["limit"]), cast("float", arguments["seconds"])
    until = time.monotonic() + seconds
    looked = 0

    def go_on() -> bool:
        nonlocal looked
        looked += 1
        return looked <= limit and time.monotonic() < until

    for found in changes(overlay, start, go_on):
        if isinstance(found, Change):
            entry = None if found.new is None else tuple(found.new)
            yield ("change", found.kind, found.path, found.why, entry)
        elif isinstance(found, Same):
            yield ("same", found.path)
        else:
            yield ("unread", found.path, found.errno)
    if looked > limit:
        yield ("cut", f"after {limit} names")
    elif time.monotonic() >= until:
        yield ("cut", f"after {seconds:g} seconds")
