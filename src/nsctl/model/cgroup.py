"""Control groups: the tree of each hierarchy, and what some groups limit and use (cgroups(7))."""

from __future__ import annotations

from nsctl.model.record import NamedTuple


class CgroupGroup(NamedTuple):
    """One group.

    Attributes:
        path: as the reader sees it, "/" for the root.
        files: of a group that something lives in, and of those above it: name and content of the
            files that say what it limits and uses, as the kernel wrote them; () for the others.
    """

    path: bytes
    files: tuple[tuple[str, bytes], ...] = ()


class CgroupHierarchy(NamedTuple):
    """One hierarchy as it is mounted where the reader is.

    Attributes:
        version: 1 or 2.
        controllers: of version 1, joined by commas, or its name ("name=systemd"); of version 2
            those that its root has.
        dev: device, as os.makedev gives it; it tells which mounts are of this hierarchy.
        top: the highest group that is seen, "/" for all.
        groups: all that were seen, each behind its parent.
    """

    version: int
    controllers: str
    dev: int
    top: bytes
    groups: tuple[CgroupGroup, ...]
