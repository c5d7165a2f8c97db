"""What lies at one path of a layer of overlayfs, with what overlayfs itself keeps there."""

from __future__ import annotations

from nsctl.model.record import NamedTuple


class Entry(NamedTuple):
    """One file of a layer.

    Attributes:
        mode: type and permission bits (inode(7)).
        uid: owner, in the reader's numbers.
        gid: group, likewise.
        rdev: for a device file its number.
        size: in bytes.
        mtime: when it was changed, nanoseconds since the epoch.
        nlink: its names.
        capability: file capabilities as they are stored, b"" for none.
        whiteout: it stands for a name that was deleted (either kind).
        opaque: a directory that hides what lower layers have at its place.
        redirect: where lower layers have the rest of it: a name beside it, or a path from the
            overlay's root that begins with "/"; b"" for its own name.
        metacopy: a regular file that has only its attributes here, its content in a lower layer.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    size: int = 0
    mtime: int = 0
    nlink: int = 1
    capability: bytes = b""
    whiteout: bool = False
    opaque: bool = False
    redirect: bytes = b""
    metacopy: bool = False
