"""Steps that hide or protect what of the host shows through /proc and /sys.

The paths are those that Moby hides since 2025, /proc/interrupts and the processors'
thermal_throttle among them; what a kernel does not have is skipped.
"""

from __future__ import annotations

import errno
import os
import stat
from fnmatch import fnmatchcase

from nsctl.errors import translate
from nsctl.kernel import mount
from nsctl.model.record import NamedTuple
from nsctl.mounting.context import Context
from nsctl.mounting.filesystems import NODEV, NOEXEC, NOSUID, RDONLY, make_filesystem

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/system/cpu/cpu*/thermal_throttle",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
"""Hidden: files by the null device, directories by one empty read-only directory."""

READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Readable, never writable."""

_HARD = NOSUID | NODEV | NOEXEC | RDONLY


class MaskPath(NamedTuple):
    """Hide one path.

    Attributes:
        path: as the container will see it; a "*" stands for part of one component.
    """

    path: str

    def describe(self) -> str:
        """The work in one line."""
        return f"hide {self.path}"

    def command(self) -> str:
        """As mount(8) would do it, for a file."""
        return f"mount --bind /dev/null {self.path}"

    def execute(self, context: Context) -> None:
        """Hide it, or all that it matches."""
        for path in _matches(context, self.path):
            try:
                place = context.open(path)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                    continue
                raise translate(error, "hide", path) from error
            try:
                _hide(context, place)
            except OSError as error:
                raise translate(error, "hide", path) from error
            finally:
                os.close(place)


def _hide(context: Context, place: int) -> None:
    clone = mount.OPEN_TREE_CLONE | mount.AT_EMPTY_PATH
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        cover = mount.open_tree(context.null, "", clone)
        try:
            mount.move_mount(cover, place)
        finally:
            os.close(cover)
    elif context.empty < 0:
        # One superblock for all: a container whose PID 1 is restarted often would otherwise
        # leave hundreds of them to be freed.
        context.empty = make_filesystem(
            "tmpfs", _HARD, (("mode", "0555"), ("size", "4k"), ("nr_inodes", "1"))
        )
        mount.move_mount(context.empty, place)
    else:
        cover = mount.open_tree(context.empty, "", clone)
        try:
            mount.move_mount(cover, place)
        finally:
            os.close(cover)


def _matches(context: Context, path: str) -> list[str]:
    """Fill in the one component of a path that has a "*" in it."""
    if "*" not in path:
        return [path]
    parts = path.split("/")
    index = next(place for place, part in enumerate(parts) if "*" in part)
    parent = "/".join(parts[:index])
    try:
        fd = context.open(parent, os.O_DIRECTORY)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return []
        raise translate(error, "hide", path) from error
    try:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    finally:
        os.close(fd)
    try:
        names = sorted(os.listdir(readable))
    finally:
        os.close(readable)
    rest = parts[index + 1 :]
    return ["/".join([parent, name, *rest]) for name in names if fnmatchcase(name, parts[index])]


class ReadOnlyPath(NamedTuple):
    """Make one path read-only, with all below it.

    Attributes:
        path: as the container will see it.
    """

    path: str

    def describe(self) -> str:
        """The work in one line."""
        return f"make {self.path} read-only"

    def command(self) -> str:
        """As mount(8) would do it."""
        return f"mount --bind {self.path} {self.path} && mount -o remount,bind,ro {self.path}"

    def execute(self, context: Context) -> None:
        """Attach a read-only clone of it over itself."""
        try:
            place = context.open(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translate(error, "make read-only", self.path) from error
        clone = -1
        try:
            clone = mount.open_tree(
                place, "", mount.OPEN_TREE_CLONE | mount.AT_EMPTY_PATH | mount.AT_RECURSIVE
            )
            mount.mount_setattr(clone, attr_set=_HARD, recursive=True)
            mount.move_mount(clone, place)
        except OSError as error:
            raise translate(error, "make read-only", self.path) from error
        finally:
            os.close(place)
            if clone >= 0:
                os.close(clone)
