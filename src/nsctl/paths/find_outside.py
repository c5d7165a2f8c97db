"""The helper's part of `nsctl.paths.outside`: one file of a container, and what leads to it outside."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import cast

from nsctl.kernel.procfs import parse_id_map, read_file
from nsctl.paths.ask import Piece
from nsctl.paths.layers import Opened, open_layers
from nsctl.paths.views import (
    O_PATH,
    Spot,
    View,
    Where,
    open_in,
    open_view,
    open_views,
    spots,
    where_is,
)
from nsctl.relate.layers import Node

_LINK_LIMIT = 64


def find(arguments: dict[str, object]) -> Iterator[Piece]:
    """Find a file of a process, and what leads to it elsewhere.

    Yields:
        ("file", facts), then ("spot", facts) for each path that leads to it; ("missing", errno,
        facts) where it is not there, with ("spot", ..) for what an upper layer hides.
    """
    pid, proc = cast("int", arguments["pid"]), cast("int", arguments["proc"])
    path = cast("bytes", arguments["path"])
    target = open_view(pid, proc)
    views = list(open_views(cast("list[list[int]]", arguments["views"])))
    parents = cast("list[int]", arguments["parents"])
    image = cast("bytes", arguments["image"])
    maps = read_maps(proc)
    try:
        fd, facts = _open(target, path)
    except OSError as error:
        yield ("missing", error.errno or 0, {"path": path})
        yield from _hidden(target, path, views, parents, image)
        return
    status = os.fstat(fd)
    where = where_is(fd, [target, *views])
    facts |= describe(status, maps)
    if where is not None:
        facts |= mount_facts(where)
    opened, node = None, None
    if where is not None and where.line.fs_type == b"overlay":
        opened = open_layers(where.line, target, views, parents, image)
        node = opened.overlay.find(where.path) if opened is not None else None
        facts["layers"] = (
            None
            if opened is None or node is None
            else [(opened.name_of(place.layer), place.path) for place in node.places]
        )
    yield ("file", facts)
    if where is not None:
        yield from of_views(where, status, views)
    if opened is not None and node is not None:
        yield from of_layers(opened, node, views)
    inner = cast("bytes | None", facts.get("inner")) or path
    whole = b"/proc/%d/root%s" % (pid, inner)
    yield ("spot", {"path": whole, "by": "process", "pid": pid, **owner(status)})


def read_maps(proc: int) -> dict[str, list[tuple[int, int, int]]]:
    """The id maps of a process's user namespace, in the caller's numbers."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for kind in ("uid", "gid"):
        try:
            rows = parse_id_map(read_file(f"{kind}_map", proc))
        except (OSError, ValueError):
            rows = ()
        found[kind] = [(row.inside, row.outside, row.length) for row in rows]
    return found


def _inside(number: int, rows: Sequence[tuple[int, int, int]]) -> int | None:
    for inside, outside, length in rows:
        if outside <= number < outside + length:
            return inside + number - outside
    return None


def owner(status: os.stat_result) -> dict[str, object]:
    """Owner and group as the caller sees them at one path."""
    return {"uid": status.st_uid, "gid": status.st_gid}


def describe(
    status: os.stat_result, maps: dict[str, list[tuple[int, int, int]]]
) -> dict[str, object]:
    """What a file is, and whose inside and outside."""
    return {
        "mode": status.st_mode,
        "size": status.st_size,
        "rdev": status.st_rdev,
        "nlink": status.st_nlink,
        **owner(status),
        "uid_inside": _inside(status.st_uid, maps["uid"]),
        "gid_inside": _inside(status.st_gid, maps["gid"]),
    }


def mount_facts(where: Where) -> dict[str, object]:
    """Where a file lies, seen from inside."""
    line = where.line
    return {
        "inner": where.inner,
        "point": line.mount_point,
        "fs_type": line.fs_type,
        "source": line.source,
        "root": line.root,
        "idmapped": b"idmapped" in line.options,
        "read_only": b"ro" in line.options or b"ro" in line.super_options.split(b","),
    }


def _open(target: View, path: bytes) -> tuple[int, dict[str, object]]:
    """Open a file as the process would, and tell of links at the end of the path."""
    facts: dict[str, object] = {"path": path, "link": None, "dangling": 0}
    fd = open_in(target, path, O_PATH, links=True)
    if not stat.S_ISLNK(os.fstat(fd).st_mode):
        return fd, facts
    facts["link"] = os.readlink(b"", dir_fd=fd)
    try:
        followed = open_in(target, path, os.O_PATH, links=True)
    except OSError as error:
        facts["dangling"] = error.errno or errno.EIO
        return fd, facts
    os.close(fd)
    return followed, facts


def spot(found: Spot, by: str) -> Piece:
    """One path as a piece."""
    return (
        "spot",
        {
            "path": found.path,
            "by": by,
            "pid": found.pid,
            "read_only": b"ro" in found.line.options,
            **owner(found.status),
        },
    )


def of_views(where: Where, status: os.stat_result, views: Sequence[View]) -> Iterator[Piece]:
    """Paths through other mounts of the same file system."""
    for found in spots(where, status, views):
        yield spot(found, "mount")


def of_layers(opened: Opened, node: Node, views: Sequence[View]) -> Iterator[Piece]:
    """Paths to where a file of an overlay lies in its layers."""
    for place in node.places:
        directory = opened.directories[place.layer]
        if directory is None:
            continue
        try:
            fd = directory.open(place.path)
        except OSError:
            continue
        try:
            yield from of_layer(opened, fd, views, place.layer, place.path)
        finally:
            os.close(fd)


def of_layer(
    opened: Opened, fd: int, views: Sequence[View], layer: int, path: bytes
) -> Iterator[Piece]:
    """Paths to one open file of a layer."""
    status = os.fstat(fd)
    name = opened.name_of(layer)
    where = where_is(fd, [opened.view, *views])
    found = [] if where is None else list(spots(where, status, views))
    for each in found:
        yield spot(each, name)
    if not found:
        whole = opened.view.path(opened.paths[layer].rstrip(b"/") + b"/" + path)
        if whole is not None:
            pid = opened.view.pid
            yield ("spot", {"path": whole, "by": name, "pid": pid, **owner(status)})


def _hidden(
    target: View, path: bytes, views: Sequence[View], parents: Sequence[int], image: bytes
) -> Iterator[Piece]:
    """Tell where lower layers have what an upper one deleted."""
    above, _, name = path.rstrip(b"/").rpartition(b"/")
    try:
        fd = open_in(target, above or b"/", os.O_PATH | os.O_DIRECTORY, links=True)
    except OSError:
        return
    try:
        where = where_is(fd, [target, *views])
    finally:
        os.close(fd)
    if where is None or where.line.fs_type != b"overlay" or not name:
        return
    opened = open_layers(where.line, target, views, parents, image)
    if opened is None:
        return
    node = opened.overlay.find(where.path.rstrip(b"/") + b"/" + name, lower=True)
    if node is not None:
        yield ("deleted", [opened.name_of(place.layer) for place in node.places])
        yield from of_layers(opened, node, views)
