"""The helper's part of `nsctl.paths.inside`: where a container sees a file of the host."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import cast

from nsctl.kernel.mountinfo import MountLine
from nsctl.paths.ask import Piece
from nsctl.paths.find_outside import describe, mount_facts, read_maps
from nsctl.paths.layers import Opened, open_layers, overlays
from nsctl.paths.views import (
    View,
    Where,
    below,
    lines_on,
    mount_of,
    open_in,
    open_view,
    open_views,
    where_is,
)


def find(arguments: dict[str, object]) -> Iterator[Piece]:
    """Find the paths at which a process sees a file.

    Yields:
        ("file", facts) of the file as it was named; ("seen", facts) for each path that leads to
        it; ("covered", facts) for each that would, where something else is in the way.
    """
    pid, proc = cast("int", arguments["pid"]), cast("int", arguments["proc"])
    path = cast("bytes", arguments["path"])
    fd = os.open(path, os.O_PATH)
    target = open_view(pid, proc)
    views = list(open_views(cast("list[list[int]]", arguments["views"])))
    maps = read_maps(proc)
    status = os.fstat(fd)
    where = where_is(fd, [*views, target])
    facts: dict[str, object] = {"path": path, **describe(status, maps)}
    if where is not None:
        facts |= mount_facts(where)
    yield ("file", facts)
    if where is None:
        return
    for line in lines_on(target, where.dev):
        yield from _through(target, line, where, status, maps)
    parents, image = cast("list[int]", arguments["parents"]), cast("bytes", arguments["image"])
    for line in overlays(target):
        opened = open_layers(line, target, views, parents, image)
        if opened is not None:
            yield from _layered(target, opened, where, views, maps)


_Maps = dict[str, list[tuple[int, int, int]]]


def _through(
    target: View, line: MountLine, where: Where, status: os.stat_result, maps: _Maps
) -> Iterator[Piece]:
    """A mount of the same file system."""
    rest = below(where.path, line.root)
    if rest is None:
        return
    inner = (line.mount_point.rstrip(b"/") + rest) or b"/"
    yield _tried(target, inner, line, "", (status.st_dev, status.st_ino), maps)


def _tried(
    target: View,
    inner: bytes,
    line: MountLine,
    layer: str,
    identity: tuple[int, int] | None,
    maps: _Maps,
) -> Piece:
    """Try a path: seen where it leads to the file, covered where to another."""
    facts: dict[str, object] = {"path": inner, "layer": layer, "fs_type": line.fs_type}
    try:
        fd = open_in(target, inner)
    except OSError as error:
        return ("covered", {**facts, "cause": os.strerror(error.errno or 0)})
    try:
        found = os.fstat(fd)
        is_same = identity in {None, (found.st_dev, found.st_ino)}
        if not is_same or mount_of(fd) != line.mount_id:
            return ("covered", {**facts, "cause": "another mount is in the way"})
        more = {
            "idmapped": b"idmapped" in line.options,
            "read_only": b"ro" in line.options or b"ro" in line.super_options.split(b","),
        }
        return ("seen", {**facts, **more, **describe(found, maps)})
    finally:
        os.close(fd)


def _layered(
    target: View,
    opened: Opened,
    where: Where,
    views: Sequence[View],
    maps: _Maps,
) -> Iterator[Piece]:
    """An overlay that has the file in one of its layers."""
    for layer, directory in enumerate(opened.directories):
        if directory is None:
            continue
        at = where_is(directory.fd, [opened.view, *views])
        rest = below(where.path, at.path) if at is not None and at.dev == where.dev else None
        if rest is None:
            continue
        name = opened.name_of(layer)
        path = rest.lstrip(b"/")
        inner = _mounted_at(opened.line, b"/" + path)
        entry = directory.entry(path)
        if inner is None or entry is None:
            continue
        if entry.whiteout:
            cause = "it stands for a deleted name there"
            yield ("covered", {"path": inner, "layer": name, "cause": cause})
            continue
        node = opened.overlay.find(path)
        if node is not None and (layer, path) in node.places:
            yield _tried(target, inner, opened.line, name, None, maps)
            continue
        cause = "a directory above it was renamed, replaced or deleted"
        if node is not None:
            cause = f"the {opened.name_of(node.places[0].layer)} layer has another file there"
        elif opened.overlay.find(path, lower=True) is not None:
            cause = "the upper layer deleted it"
        yield ("covered", {"path": inner, "layer": name, "cause": cause})


def _mounted_at(line: MountLine, path: bytes) -> bytes | None:
    rest = below(path, line.root)
    return None if rest is None else (line.mount_point.rstrip(b"/") + rest) or b"/"
