"""Mounts: one row of a mount namespace's table."""

from __future__ import annotations

from nsctl.model.namespace import IdExtent
from nsctl.model.record import NamedTuple


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
        options: of the mount ("rw,nosuid"), as mountinfo has them.
        fields: the optional fields ("shared:3 master:1"), as mountinfo has them.
        super_options: of the file system, with the kernel's octal escapes still in them: only so
            a comma within a value is told from one between two options.
        unique_id: its 64-bit id, never used again in a boot; 0 where it was not read.
        parent_unique_id: that of the mount it is mounted on, also where that one is not listed.
        uid_map: of an id-mapped mount, how ids on disk become ids seen (inside and outside of
            an extent, mount_setattr(2)); None where it is none, or the kernel does not tell.
        gid_map: the same of group ids.
    """

    id: int
    parent: int
    dev: int
    root: bytes
    point: bytes
    read_only: bool
    fs_type: str
    source: bytes
    options: bytes = b""
    fields: bytes = b""
    super_options: bytes = b""
    unique_id: int = 0
    parent_unique_id: int = 0
    uid_map: tuple[IdExtent, ...] | None = None
    gid_map: tuple[IdExtent, ...] | None = None


class Sizes(NamedTuple):
    """What a file system says of itself (statvfs(3)).

    Attributes:
        unit: bytes of a block.
        blocks: how many it has.
        free: how many of these are free.
        available: how many of these an ordinary user may fill.
        files: how many inodes it has.
        free_files: how many of these are free.
    """

    unit: int
    blocks: int
    free: int
    available: int
    files: int
    free_files: int


class Layers(NamedTuple):
    """Directories of an overlay, as who mounted it wrote them: paths of that one's root.

    Attributes:
        lower: uppermost first.
        data: lower layers that hold nothing but data.
        upper: what is written to, b"" where nothing is.
        work: its working directory, b"" where there is none.
    """

    lower: tuple[bytes, ...]
    data: tuple[bytes, ...]
    upper: bytes
    work: bytes


class Detached(NamedTuple):
    """A mount that is in no mount table.

    Attributes:
        id: its number.
        dev: device of its file system.
        fs_type: type of that, "" unknown.
        holders: process, and its descriptor, or "cwd" or "root"; with the path in the mount.
    """

    id: int
    dev: int
    fs_type: str
    holders: tuple[tuple[int, str, bytes], ...]


class Looked(NamedTuple):
    """What the processes of a mount namespace tell of it that its table does not.

    Attributes:
        roots: root directories other than that of the namespace, as the kernel names them, with
            the processes that have each.
        detached: mounts in no table.
        unread: processes that may not be looked into.
        more: how many processes were not looked at, beyond a bound.
    """

    roots: tuple[tuple[bytes, tuple[int, ...]], ...]
    detached: tuple[Detached, ...]
    unread: tuple[int, ...]
    more: int
