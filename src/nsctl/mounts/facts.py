"""What is asked about mounts beyond their table: sizes of file systems, names of devices."""

from __future__ import annotations

from nsctl.child.mount_sizes import MountSizes
from nsctl.kernel import blockdev
from nsctl.kernel.overlay import parse_layers
from nsctl.model.mount import Layers, Mount, Sizes
from nsctl.mounts.names import HostNames, OtherNames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

OWN = "/"


def layers(mount: Mount) -> Layers | None:
    """Find the directories of an overlay, as who mounted it wrote them: paths of that one's root.

    Args:
        mount: with the options of its file system.

    Returns:
        The directories; None for another file system, and where its options were not read.
    """
    if mount.fs_type != "overlay" or not mount.super_options:
        return None
    found = parse_layers(mount.super_options)
    return Layers(found.lower, found.data, found.upper, found.work)


class Facts:
    """Asks about the mounts of one table; a context manager that ends the helper that it starts.

    Args:
        root: which root directory the paths of the table are of: `OWN`, "/proc/PID/root", or ""
            where nothing leads there.

    Attributes:
        names: what names of files and devices stand for there.
    """

    def __init__(self, root: str) -> None:
        self.names = HostNames() if root == OWN else OtherNames()
        self._root = root
        self._helper = MountSizes()
        self._known: dict[bytes, Sizes | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._helper.close()

    @property
    def silent(self) -> int:
        """How many file systems did not answer."""
        return self._helper.silent

    def sizes(self, mount: Mount) -> Sizes | None:
        """Ask how full the file system is that is seen at a mount point, as findmnt asks.

        Returns:
            What it says; None where it is not reached, or does not answer.
        """
        if not self._root:
            return None
        point = mount.point
        if point not in self._known:
            if self._root == OWN:
                self._known[point] = self._helper.at(point)
            else:
                self._known[point] = self._helper.below(self._root, point)
        return self._known[point]

    def tag(self, mount: Mount, name: str) -> bytes | None:
        """Find what the device of a mount is called.

        Args:
            mount: the mount.
            name: "UUID", "LABEL", "PARTUUID" or "PARTLABEL".

        Returns:
            The label or id; None where it has none, or is of no device of this host.
        """
        if self._root != OWN or not mount.source.startswith(b"/"):
            return None
        return blockdev.tag(mount.source, name)
