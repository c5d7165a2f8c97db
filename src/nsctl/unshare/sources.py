"""Which ids there are to be mapped: subordinate ones, and all of the caller's user namespace."""

from __future__ import annotations

import os
import pwd

from nsctl.errors import NsctlError, translate
from nsctl.kernel.procfs import parse_id_map
from nsctl.unshare.ids import IdRange, first_subordinate

_SUBORDINATE = {"user": "/etc/subuid", "group": "/etc/subgid"}
_MAPS = {"user": "/proc/self/uid_map", "group": "/proc/self/gid_map"}


def subordinate(kind: str, *, identity: bool) -> IdRange:
    """Find the caller's first range of subordinate ids (subuid(5), subgid(5)).

    Args:
        kind: "user" or "group".
        identity: whether the range has the same numbers inside.

    Raises:
        NsctlError: the caller has no name or no range.
        KernelRefusal: the file cannot be read.
    """
    uid, path = os.geteuid(), _SUBORDINATE[kind]
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        cause = f"you (user {uid}) don't exist: no name stands in {path} for you"
        raise NsctlError("map ids", "", cause) from None
    return first_subordinate(_read(path), path, name, uid, identity=identity)


def available(kind: str) -> list[IdRange]:
    """List all ids of the caller's user namespace, each mapped to itself.

    Args:
        kind: "user" or "group".

    Raises:
        KernelRefusal: the map cannot be read.
    """
    extents = parse_id_map(_read(_MAPS[kind]))
    return [IdRange(extent.inside, extent.inside, extent.length) for extent in extents]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise translate(error, "open", path) from error
