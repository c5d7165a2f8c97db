"""Steps that fill /dev: devices of the host by descriptor, or nodes of the container's own.

A user namespace may not make device nodes, and what it mounts shows none: there the host's own
nodes are bound, one by one. With the host's user namespace, binding them would let root inside
change their mode for the whole host, so that nodes of the container's own are made.
"""

from __future__ import annotations

import os
import stat

from nsctl.errors import translate
from nsctl.kernel import mount
from nsctl.model.record import NamedTuple
from nsctl.mounting.context import Context, check_device

DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
"""Name, major and minor number of what every container gets (admin-guide/devices.rst)."""

LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
"""The links of /dev that programs expect."""


class BindDevice(NamedTuple):
    """Bind one device of the host into the new /dev.

    Attributes:
        name: below /dev.
        major: number that the host's node must have.
        minor: number that the host's node must have.
    """

    name: str
    major: int
    minor: int

    def describe(self) -> str:
        """The work in one line."""
        return f"bind the host's /dev/{self.name}, checked to be {self.major}:{self.minor}"

    def command(self) -> str:
        """As mount(8) would do it."""
        return f'mount --bind /dev/{self.name} "$ROOT"/dev/{self.name}'

    def execute(self, context: Context) -> None:
        """Take the host's node by descriptor, check it, attach a clone on a new empty file."""
        path = f"/dev/{self.name}"
        place = -1
        try:
            # The host's, since "/" is still the host's root here.
            node = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                check_device(node, f"the host's {path}", self.major, self.minor)
                clone = mount.open_tree(node, "", mount.OPEN_TREE_CLONE | mount.AT_EMPTY_PATH)
            finally:
                os.close(node)
            dev = context.mounts["/dev"]
            os.close(
                os.open(
                    self.name,
                    os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o644,
                    dir_fd=dev,
                )
            )
            place = os.open(self.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev)
            mount.move_mount(clone, place)
        except OSError as error:
            raise translate(error, "bind", f"the host's {path}") from error
        finally:
            if place >= 0:
                os.close(place)
        if self.name == "null":
            context.null = clone
        else:
            os.close(clone)


class MakeDevice(NamedTuple):
    """Make one device node in the new /dev.

    Attributes:
        name: below /dev.
        major: its major number.
        minor: its minor number.
    """

    name: str
    major: int
    minor: int

    def describe(self) -> str:
        """The work in one line."""
        return f"make the device node /dev/{self.name} ({self.major}:{self.minor})"

    def command(self) -> str:
        """As mknod(1) would do it."""
        return f'mknod -m 666 "$ROOT"/dev/{self.name} c {self.major} {self.minor}'

    def execute(self, context: Context) -> None:
        """Make it on the file system that /dev is, and check what was made."""
        dev = context.mounts["/dev"]
        device = os.makedev(self.major, self.minor)
        try:
            os.mknod(self.name, stat.S_IFCHR | 0o600, device, dir_fd=dev)
            os.chmod(self.name, 0o666, dir_fd=dev)  # noqa: S103  (as everywhere, whatever the umask)
            node = os.open(self.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev)
        except OSError as error:
            raise translate(error, "make", f"the device node /dev/{self.name}") from error
        check_device(node, f"/dev/{self.name}", self.major, self.minor)
        if self.name == "null":
            context.null = node
        else:
            os.close(node)


class Links(NamedTuple):
    """Make the links of /dev that programs expect."""

    def describe(self) -> str:
        """The work in one line."""
        return "make the links " + ", ".join(f"/dev/{name}" for name, _ in LINKS)

    def command(self) -> str:
        """As ln(1) would do it, the first of them."""
        return " && ".join(f'ln -s {target} "$ROOT"/dev/{name}' for name, target in LINKS)

    def execute(self, context: Context) -> None:
        """Make them on the file system that /dev is."""
        for name, target in LINKS:
            try:
                os.symlink(target, name, dir_fd=context.mounts["/dev"])
            except OSError as error:
                raise translate(error, "make", f"the link /dev/{name}") from error
