"""Which of the host's directories a mount namespace shows, told by device and root.

A mount shows files of the host when its file system is mounted in the host's own table too; where
on the host follows from the two mounts' roots. What a declared option says is not asked.
"""

from __future__ import annotations

from nsctl.model.mount import Mount
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import Group

_MNT = TYPES.index(NamespaceType.MNT)
# Each container has its own instances of these, or the kernel filters what they show.
_OWN_KINDS = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "nsfs", "devtmpfs", "binfmt_misc"}
)


class HostFiles(NamedTuple):
    """A directory or file of the host that can be seen.

    Attributes:
        path: on the host, raw bytes.
        point: where it is seen, raw bytes.
        read_only: it cannot be written there.
    """

    path: bytes
    point: bytes
    read_only: bool


def host_files(snapshot: Snapshot, group: Group) -> tuple[HostFiles, ...] | None:
    """Find what of the host's files a group's mount namespace shows.

    Args:
        snapshot: with mounts.
        group: one of its groups, not in the host's own mount namespace.

    Returns:
        One row a mount, in the order of the table; None where a table was not read.
    """
    ours = snapshot.mounts.get(snapshot.host.ns[_MNT])
    theirs = snapshot.mounts.get(group.isolation[_MNT])
    if ours is None or theirs is None:
        return None
    by_dev: dict[int, list[Mount]] = {}
    for mount in ours:
        by_dev.setdefault(mount.dev, []).append(mount)
    found = []
    for mount in theirs:
        if mount.fs_type in _OWN_KINDS:
            continue
        path = _path_on_host(mount, by_dev.get(mount.dev, []))
        if path is not None and not (_is_layered_root(mount) and path != b"/"):
            found.append(HostFiles(path, mount.point, mount.read_only))
    return tuple(found)


def _is_layered_root(mount: Mount) -> bool:
    """A container's root over layers is its own, also where the host has it mounted.

    The host's own root may be layered too, and is the host's.
    """
    return mount.point == b"/" and mount.root == b"/" and mount.fs_type in {"overlay", "aufs"}


def _path_on_host(mount: Mount, candidates: list[Mount]) -> bytes | None:
    """Where the host has the same files: through the mount whose root is nearest above."""
    best: Mount | None = None
    for candidate in candidates:
        above = candidate.root.rstrip(b"/")
        inside = mount.root == candidate.root or mount.root.startswith(above + b"/")
        if inside and (best is None or len(candidate.root) > len(best.root)):
            best = candidate
    if best is None:
        return None
    rest = mount.root[len(best.root.rstrip(b"/")) :]
    return (best.point.rstrip(b"/") + rest).rstrip(b"/") or b"/"
