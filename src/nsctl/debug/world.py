"""The steps that make a debug shell's mount namespace, and the values that they share.

Each runs in the builder (`nsctl.debug.builder`), a process that nobody of the target can meet.
"""

from __future__ import annotations

import errno
import os
import shlex

from nsctl.debug.tools import BIND, Entry
from nsctl.errors import KernelRefusal, translate
from nsctl.kernel import mount
from nsctl.model.record import NamedTuple
from nsctl.mounting import devices, filesystems, masks, root
from nsctl.mounting.context import Context, check_device
from nsctl.mounting.filesystems import NODEV, NOEXEC, NOSUID, RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.mounting.step import Step

TARGET = "/target"
"""Where the target's files are."""

_HARD = NOSUID | NODEV | NOEXEC
_DIRECTORIES = (("/tmp", 0o1777), ("/root", 0o700), ("/run", 0o755), ("/var/tmp", 0o1777))  # noqa: S108  (of its own root)


class EmptyRoot(NamedTuple):
    """Mount an empty file system in memory as the new root, with the directories that are written."""

    def describe(self) -> str:
        """The work in one line."""
        return "mount an empty tmpfs as the new root"

    def command(self) -> str:
        """As mount(8) would do it."""
        return 'mount -t tmpfs -o nosuid,nodev,mode=755,size=25% tmpfs "$ROOT"'

    def execute(self, context: Context) -> None:
        """Make it, and attach it over "/", where it waits for `PivotRoot`."""
        context.root = filesystems.make_filesystem(
            "tmpfs", NOSUID | NODEV, (("mode", "0755"), ("size", "25%"))
        )
        try:
            mount.move_mount(context.root, mount.AT_FDCWD, "/")
            for path, mode in _DIRECTORIES:
                place = context.make_place(path, is_directory=True)
                try:
                    os.chmod(f"/proc/self/fd/{place}", mode)
                finally:
                    os.close(place)
        except OSError as error:
            raise translate(error, "make", "the root of the debug shell") from error


class Put(NamedTuple):
    """Put one thing of the tools into the root.

    Attributes:
        entry: what.
    """

    entry: Entry

    def describe(self) -> str:
        """The work in one line."""
        if self.entry.kind == BIND:
            return f"bind {self.entry.value} on {self.entry.path} (ro,nosuid,nodev)"
        return f"make the link {self.entry.path}"

    def command(self) -> str:
        """As mount(8) or ln(1) would do it."""
        path, value = shlex.quote(self.entry.path), shlex.quote(self.entry.value)
        if self.entry.kind == BIND:
            return f'mount --rbind -o ro {value} "$ROOT"{path}'
        return f'ln -s {value} "$ROOT"{path}'

    def execute(self, context: Context) -> None:
        """Put it there."""
        path = self.entry.path
        if self.entry.kind == BIND:
            step = filesystems.Bind(self.entry.value, path, RDONLY | NOSUID | NODEV)
            step.execute(context)
            # Hundreds of files of an image's /etc would be as many descriptors.
            os.close(context.mounts.pop(path))
            return
        parent = context.make_place(os.path.dirname(path), is_directory=True)
        try:
            os.symlink(self.entry.value, os.path.basename(path), dir_fd=parent)
        except OSError as error:
            raise translate(error, "make", f"the link {path}") from error
        finally:
            os.close(parent)


class File(NamedTuple):
    """Write a file into the root.

    Attributes:
        path: where.
        content: of it.
    """

    path: str
    content: bytes

    def describe(self) -> str:
        """The work in one line."""
        return f"write {self.path} as the target has it"

    def command(self) -> str:
        """As cp(1) would do it."""
        return f'cp /proc/PID/root{shlex.quote(self.path)} "$ROOT"{shlex.quote(self.path)}'

    def execute(self, context: Context) -> None:
        """Write it."""
        parent = context.make_place(os.path.dirname(self.path), is_directory=True)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(os.path.basename(self.path), flags, 0o644, dir_fd=parent)
            with open(fd, "wb") as file:
                file.write(self.content)
        except OSError as error:
            raise translate(error, "write", self.path) from error
        finally:
            os.close(parent)


class Device(NamedTuple):
    """Bind one device of the host into /dev, so that its node cannot be changed.

    No other node can be used there: the file system that /dev is takes none.

    Attributes:
        name: below /dev.
        major: number that the host's node must have.
        minor: likewise.
    """

    name: str
    major: int
    minor: int

    def describe(self) -> str:
        """The work in one line."""
        return (
            f"bind the host's /dev/{self.name}, read-only, checked to be {self.major}:{self.minor}"
        )

    def command(self) -> str:
        """As mount(8) would do it."""
        return f'mount --bind -o ro /dev/{self.name} "$ROOT"/dev/{self.name}'

    def execute(self, context: Context) -> None:
        """Take the host's node by descriptor, check it, attach a read-only clone."""
        path = f"/dev/{self.name}"
        try:
            # The host's, since "/" is still the host's root here.
            node = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                check_device(node, f"the host's {path}", self.major, self.minor)
                clone = mount.open_tree(node, "", mount.OPEN_TREE_CLONE | mount.AT_EMPTY_PATH)
            finally:
                os.close(node)
            mount.mount_setattr(
                clone, attr_set=RDONLY | NOSUID | NOEXEC, propagation=mount.MS_PRIVATE
            )
        except OSError as error:
            raise translate(error, "bind", f"the host's {path}") from error
        context.attach_at(clone, path, is_directory=False)
        del context.mounts[path]
        if self.name == "null":
            context.null = clone
        else:
            os.close(clone)


class Proc(NamedTuple):
    """Attach the procfs that was made for the shell's PID namespace."""

    def describe(self) -> str:
        """The work in one line."""
        return "mount a new proc of its PID namespace on /proc"

    def command(self) -> str:
        """As mount(8) would do it from inside."""
        return 'mount -t proc proc "$ROOT"/proc'

    def execute(self, context: Context) -> None:
        """Attach it."""
        context.attach(context.prepared.pop("proc"), "/proc")


class Sys(NamedTuple):
    """Mount a sysfs of the network namespace, where the user namespace may."""

    def describe(self) -> str:
        """The work in one line."""
        return "mount a new sysfs on /sys"

    def command(self) -> str:
        """As mount(8) would do it from inside."""
        return 'mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$ROOT"/sys'

    def execute(self, context: Context) -> None:
        """Mount it; a network that another user namespace owns has none for this one."""
        try:
            fd = filesystems.make_filesystem("sysfs", _HARD | RDONLY, ())
        except KernelRefusal as error:
            if error.errno != errno.EPERM:
                raise
            os.close(context.open_directory("/sys"))
            return
        context.attach(fd, "/sys")


class TargetFiles(NamedTuple):
    """Attach the clone of the target's mounts that was made in its mount namespace.

    Attributes:
        write: it is writable.
    """

    write: bool

    def describe(self) -> str:
        """The work in one line."""
        return f"attach a clone of the target's mounts on {TARGET}{'' if self.write else ' (ro)'}"

    def command(self) -> str:
        """There is no command for a detached mount."""
        return ""

    def execute(self, context: Context) -> None:
        """Attach it."""
        fd = context.prepared.pop("target")
        context.attach_at(fd, TARGET, is_directory=True)


def clone_target(root_fd: int, *, write: bool) -> int:
    """Clone the mounts below a process's root; for a child that is in its mount namespace.

    Args:
        root_fd: the process's root.
        write: the clone is writable.

    Returns:
        Descriptor of the detached clone, private, without set-user-ID files and devices.

    Raises:
        OSError: the kernel refused.
    """
    flags = mount.OPEN_TREE_CLONE | mount.AT_EMPTY_PATH | mount.AT_RECURSIVE
    fd = mount.open_tree(root_fd, "", flags)
    mount.mount_setattr(
        fd,
        attr_set=NOSUID | NODEV | (0 if write else RDONLY),
        propagation=mount.MS_PRIVATE,
        recursive=True,
    )
    return fd


def steps(
    entries: tuple[Entry, ...],
    files: tuple[tuple[str, bytes], ...],
    *,
    has_target: bool,
    write: bool,
    is_confined: bool,
) -> list[Step[Context]]:
    """List the steps, in order.

    Args:
        entries: of the tools.
        files: path and content of what is the target's in their place.
        has_target: there are files of a target.
        write: these are writable.
        is_confined: files of /proc and /sys that tell of the host are hidden.
    """
    terminals = (("mode", "0620"), ("ptmxmode", "0666"))
    taken = {path for path, _ in files}
    work: list[Step[Context]] = [EmptyRoot()]
    work += [Put(entry) for entry in entries if entry.path not in taken]
    work += [File(path, content) for path, content in files]
    work += [
        filesystems.Filesystem("tmpfs", "/dev", _HARD, (("mode", "0755"), ("size", "64k"))),
        *(Device(*device) for device in devices.DEVICES),
        devices.Links(),
        filesystems.Filesystem("devpts", "/dev/pts", NOSUID | NOEXEC, terminals),
        filesystems.Filesystem("tmpfs", "/dev/shm", _HARD, (("mode", "1777"), ("size", "25%"))),  # noqa: S108  (of its own root)
        Proc(),
        Sys(),
    ]
    if has_target:
        work.append(TargetFiles(write))
    if is_confined:
        work += [masks.ReadOnlyPath(path) for path in masks.READ_ONLY]
        work += [masks.MaskPath(path) for path in masks.MASKED]
    work.append(root.PivotRoot())
    return work
