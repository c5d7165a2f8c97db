"""Mounts: one row of a mount namespace's table."""

from __future__ import annotations

from typing import NamedTuple


class Mount(NamedTuple):
    """One mount, as its mount namespace shows it (proc_pid_mountinfo(5)).

    Attributes:
        id: number of the mount, used again after it is gone.
        parent: the mount it is mounted on.
        dev: device of its file system, as os.makedev gives it.
        root: which path of the file system is mounted, raw bytes.
        point: where, relative to the root of the process that was asked, raw bytes.
        read_only: writing is refused, by the mount or by the file system.
        fs_type: type of the file system.
        source: device, server or whatever else the file system names.
    """

    id: int
    parent: int
    dev: int
    root: bytes
    point: bytes
    read_only: bool
    fs_type: str
    source: bytes
