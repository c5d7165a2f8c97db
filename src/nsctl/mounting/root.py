"""Steps about the tree as a whole: its propagation, and which mount is the root."""

from __future__ import annotations

import os

from nsctl.errors import translate
from nsctl.kernel import mount
from nsctl.model.record import NamedTuple
from nsctl.mounting.context import Context


class Propagation(NamedTuple):
    """Stop mounts from spreading out of a new mount namespace (mount_namespaces(7)).

    Attributes:
        slave: still receive the host's mounts; otherwise private, both ways.
    """

    slave: bool = False

    def describe(self) -> str:
        """The work in one line."""
        return f"make all mounts {'slaves of the host' if self.slave else 'private'}"

    def command(self) -> str:
        """As mount(8) would do it."""
        return f"mount --make-r{'slave' if self.slave else 'private'} /"

    def execute(self, context: Context) -> None:  # noqa: ARG002  (every step takes one)
        """Do it for the whole tree."""
        try:
            root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                mount.mount_setattr(
                    root,
                    propagation=mount.MS_SLAVE if self.slave else mount.MS_PRIVATE,
                    recursive=True,
                )
            finally:
                os.close(root)
        except OSError as error:
            raise translate(error, "change the propagation of", "all mounts") from error


class ReadOnlyRoot(NamedTuple):
    """Make the new root itself read-only; what is mounted below it stays as it is."""

    def describe(self) -> str:
        """The work in one line."""
        return "make the root read-only"

    def command(self) -> str:
        """As mount(8) would do it."""
        return 'mount -o remount,bind,ro "$ROOT"'

    def execute(self, context: Context) -> None:
        """Do it."""
        try:
            mount.mount_setattr(context.root, attr_set=mount.MOUNT_ATTR_RDONLY)
        except OSError as error:
            raise translate(error, "make read-only", "the root") from error


class PivotRoot(NamedTuple):
    """Enter the new root and drop the old one, with all mounts that belong to it."""

    def describe(self) -> str:
        """The work in one line."""
        return "pivot into the new root and detach the old one"

    def command(self) -> str:
        """As pivot_root(8) would do it."""
        return 'cd "$ROOT" && pivot_root . . && umount -l .'

    def execute(self, context: Context) -> None:
        """Stack the old root on the new one, so that no directory is needed for it."""
        try:
            os.fchdir(context.root)
            mount.pivot_root(".", ".")
            mount.umount2(".", mount.MNT_DETACH)
            os.chdir("/")
        except OSError as error:
            raise translate(
                error,
                "pivot into",
                "the new root",
                "a host whose own root is its initial ramfs cannot do this",
            ) from error
