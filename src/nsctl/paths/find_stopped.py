"""The helper's part of `nsctl.paths.changes` for containers that do not run: nothing is mounted.

Which layers such a container has stands in its engine's own files, in Docker's data root:
``image/overlay2/layerdb/mounts/ID/mount-id`` (the name of its directory in ``overlay2``), in that of
containers-storage(5) (Podman): ``overlay-containers/containers.json`` ("layer"). In that directory
``diff`` is the upper layer and the file ``lower`` has the others, topmost first. One of ours has
``upper`` in its own directory, over the directory that it was made from.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from typing import cast

from nsctl.kernel.overlay import TRUSTED, USER, LayerDirectory, Maps
from nsctl.model.namespace import IdExtent
from nsctl.paths.ask import Piece
from nsctl.paths.views import View, open_in, open_view
from nsctl.relate.layers import Overlay

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_LIMIT = 1 << 24
_ROOTS = 64
_IDS = 1 << 16


def open_stopped(arguments: dict[str, object]) -> tuple[tuple[Piece, ...], Overlay | None]:
    """Open the layers of a container that does not run.

    Args:
        arguments: "engine", "id" and "image" (the directory that it was made from, b"" for none)
            of the container, "roots": pairs of a process (0 for the
            caller) and the path of a data root of its engine in its view, "user": whether the
            engine is an ordinary user's, whose layers have ``user.overlay.`` attributes.

    Returns:
        The head of the answer as `nsctl.paths.find_changes.find` has it, and the layers; None
        where no data root has them.
    """
    own = cast("str", arguments["id"])
    prefix = USER if arguments["user"] else TRUSTED
    for pid, root in cast("list[tuple[int, bytes]]", arguments["roots"]):
        try:
            view = open_view(pid)
        except OSError:
            continue
        if arguments["engine"] == "nsctl":
            image = cast("bytes", arguments["image"])
            opened = [_open_own(view, root + b"/" + own.encode(), image)]
        else:
            where = _of_podman if arguments["engine"] == "podman" else _of_docker
            opened = [_open(view, home, prefix) for home in where(view, root, own)]
        for paths, overlay in filter(None, opened):
            head = ("layers", paths[0], paths[1:], pid, False, prefix == TRUSTED)
            return (head,), overlay
    return (("mount", b"", b"", b"", b""),), None


def _of_docker(view: View, root: bytes, own: str) -> Iterator[bytes]:
    """The directory of a container's layer; a daemon that maps ids has a root of its own inside."""
    for above in (root, *_mapped(view, root)):
        name = _read(view, b"%s/image/overlay2/layerdb/mounts/%s/mount-id" % (above, own.encode()))
        if _is_name(name):
            yield b"%s/overlay2/%s" % (above, name)


def _mapped(view: View, root: bytes) -> Iterator[bytes]:
    """Docker's UID.GID directories (--userns-remap)."""
    try:
        fd = open_in(view, root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        names = [os.fsencode(name) for name in os.listdir(fd)]
    except OSError:
        return
    finally:
        os.close(fd)
    for name in sorted(names)[:_ROOTS]:
        uid, _, gid = name.partition(b".")
        if uid.isdigit() and gid.isdigit():
            yield root + b"/" + name


def _of_podman(view: View, root: bytes, own: str) -> Iterator[bytes]:
    for listed in (b"containers.json", b"volatile-containers.json"):
        try:
            rows = json.loads(_read(view, b"%s/overlay-containers/%s" % (root, listed)))
        except ValueError:
            continue
        for row in rows if isinstance(rows, list) else ():
            name = row.get("layer") if isinstance(row, dict) and row.get("id") == own else None
            if isinstance(name, str) and _is_name(os.fsencode(name)):
                yield b"%s/overlay/%s" % (root, os.fsencode(name))


def _is_name(name: bytes) -> bool:
    return bool(name) and b"/" not in name and b"\0" not in name and name not in {b".", b".."}


def _read(view: View, path: bytes) -> bytes:
    """A small regular file of an engine's; b"" where there is none that may be read."""
    try:
        fd = open_in(view, path, _FILE)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        parts, size = [], 0
        while size <= _LIMIT and (chunk := os.read(fd, _LIMIT)):
            parts.append(chunk)
            size += len(chunk)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return b"".join(parts).strip(b"\n")


def _open(view: View, directory: bytes, prefix: bytes) -> tuple[list[bytes], Overlay] | None:
    """Open the layers that a directory of the overlay driver stands for."""
    home = directory.rpartition(b"/")[0]
    names = [name for name in _read(view, directory + b"/lower").split(b":") if name]
    paths = [directory + b"/diff", *(home + b"/" + name for name in names)]
    fds: list[int] = []
    try:
        # Lower ones are named by short links (``l/NAME``) to their directories.
        fds += [open_in(view, path, _DIRECTORY, links=bool(at)) for at, path in enumerate(paths)]
    except OSError:
        return None
    return paths, Overlay([LayerDirectory(fd, prefix) for fd in fds], [])


def _open_own(view: View, home: bytes, image: bytes) -> tuple[list[bytes], Overlay] | None:
    """Open the layers of one of ours.

    What it was made from is mounted on ``lower`` with its ids mapped, and that directory belongs to
    the first of them: the container can change the owner of ``upper``, but not of this one.
    """
    if not image:
        return None
    paths = [home + b"/upper", image]
    try:
        upper, below, lower = (
            open_in(view, path, _DIRECTORY) for path in (paths[0], home + b"/lower", image)
        )
    except OSError:
        return None
    first = os.fstat(below)
    maps, prefix = None, TRUSTED
    if first.st_uid:
        # A user namespace of its own keeps overlayfs's marks where it may (`userxattr`).
        prefix = USER
        uids, gids = ((IdExtent(0, each, _IDS),) for each in (first.st_uid, first.st_gid))
        maps = Maps(uids, gids)
    layers = [LayerDirectory(upper, prefix), LayerDirectory(lower, prefix, maps=maps)]
    return paths, Overlay(layers, [])
