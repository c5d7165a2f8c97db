"""What steps of mounting share: descriptors made so far, and resolution inside the new root."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from nsctl.errors import KernelRefusal, NsctlError, translate
from nsctl.kernel import mount

_RESOLVE = mount.RESOLVE_IN_ROOT | mount.RESOLVE_NO_MAGICLINKS | mount.RESOLVE_NO_SYMLINKS
_ATTEMPTS = 100


class Context:
    """Descriptors that one step makes and a later one uses; all are close-on-exec.

    Attributes:
        root: the new root's mount, -1 before it is made.
        storage: directory with ``upper``, ``work`` and ``lower``, seen from the mount
            namespace in which the overlay is made.
        userns: the user namespace whose maps id-mapped clones take, -1 for none.
        prepared: detached mounts made beforehand, by name.
        mounts: the mounts made inside the new root, by their path there.
        null: the null device that masks and standard streams take, -1 before it is known.
        empty: the attached empty directory that further masks are clones of, -1 before.
    """

    def __init__(self) -> None:
        self.root = -1
        self.storage = -1
        self.userns = -1
        self.prepared: dict[str, int] = {}
        self.mounts: dict[str, int] = {}
        self.null = -1
        self.empty = -1

    def locate(self, path: str) -> tuple[int, str]:
        """Find the mount that a path of the new root lies on, among those made here.

        Returns:
            Descriptor of the mount's root, and the rest of the path below it ("." for itself).
        """
        best = ""
        for place in self.mounts:
            if (path == place or path.startswith(place + "/")) and len(place) > len(best):
                best = place
        start = self.mounts[best] if best else self.root
        return start, path[len(best) :].strip("/") or "."

    def open(self, path: str, flags: int = 0) -> int:
        """Open a place in the new root without following any link.

        Args:
            path: absolute, as the container will see it.
            flags: O_* flags besides O_PATH and O_CLOEXEC (O_DIRECTORY).

        Returns:
            An O_PATH descriptor which the caller closes.

        Raises:
            OSError: ELOOP where a component is a symbolic link, ENOENT, ENOTDIR.
        """
        start, rest = self.locate(path)
        for _ in range(_ATTEMPTS):
            try:
                return mount.openat2(start, rest, os.O_PATH | flags, _RESOLVE)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def open_directory(self, path: str, mode: int = 0o755) -> int:
        """Open a directory in the new root to mount on, making it where it is missing.

        Args:
            path: absolute, as the container will see it; its parent must exist.
            mode: of a directory that is made.

        Returns:
            An O_PATH descriptor which the caller closes.

        Raises:
            NsctlError: it is a link, no directory, or cannot be made.
        """
        try:
            try:
                return self.open(path, os.O_DIRECTORY)
            except FileNotFoundError:
                parent = self.open(os.path.dirname(path), os.O_DIRECTORY)
                try:
                    os.mkdir(os.path.basename(path), mode, dir_fd=parent)
                finally:
                    os.close(parent)
                return self.open(path, os.O_DIRECTORY)
        except OSError as error:
            raise unusable(error, path) from error

    def make_place(self, path: str, *, is_directory: bool) -> int:
        """Open a place in the new root to mount on, making it and what is above where missing.

        Args:
            path: absolute, as the container will see it.
            is_directory: what it must be; otherwise it may be anything else.

        Returns:
            An O_PATH descriptor which the caller closes.

        Raises:
            NsctlError: it is a link or lies behind one, is of the other kind, or cannot be made.
        """
        try:
            try:
                place = self.open(path, os.O_DIRECTORY if is_directory else 0)
            except FileNotFoundError:
                self._make(path, is_directory=is_directory)
                place = self.open(path, os.O_DIRECTORY if is_directory else 0)
            if not is_directory and stat.S_ISDIR(os.fstat(place).st_mode):
                os.close(place)
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        except OSError as error:
            raise unusable(error, path) from error
        return place

    def _make(self, path: str, *, is_directory: bool) -> None:
        """Make what is missing of a path, its last component a directory or an empty file."""
        start, rest = self.locate(path)
        parts = rest.split("/")
        above = mount.openat2(start, ".", os.O_PATH | os.O_DIRECTORY, _RESOLVE)
        try:
            for number, name in enumerate(parts, 1):
                if number == len(parts) and not is_directory:
                    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                    os.close(os.open(name, flags, 0o644, dir_fd=above))
                    return
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=above)
                below = mount.openat2(above, name, os.O_PATH | os.O_DIRECTORY, _RESOLVE)
                os.close(above)
                above = below
        finally:
            os.close(above)

    def attach_at(self, mount_fd: int, path: str, *, is_directory: bool) -> None:
        """Attach a detached mount to any place of the new root, made where it is missing.

        Args:
            mount_fd: the mount's root; kept in `mounts`.
            path: absolute, as the container will see it.
            is_directory: whether the mount's root is one.

        Raises:
            NsctlError: the place cannot be used.
        """
        target = self.make_place(path, is_directory=is_directory)
        try:
            mount.move_mount(mount_fd, target)
        except OSError as error:
            raise translate(error, "mount on", path) from error
        finally:
            os.close(target)
        self.mounts[path] = mount_fd

    def attach(self, mount_fd: int, path: str) -> None:
        """Attach a detached mount to a directory of the new root and remember it.

        Args:
            mount_fd: the mount's root; kept in `mounts`.
            path: absolute, as the container will see it.

        Raises:
            NsctlError: the place cannot be used.
        """
        target = self.open_directory(path)
        try:
            mount.move_mount(mount_fd, target)
        except OSError as error:
            raise translate(error, "mount on", path) from error
        finally:
            os.close(target)
        self.mounts[path] = mount_fd


def unusable(error: OSError, path: str) -> NsctlError:
    """Say why a place in the root file system cannot be mounted on."""
    number = error.errno or 0
    if number == errno.ELOOP:
        cause = "it is a symbolic link, or lies behind one"
    elif number == errno.ENOTDIR:
        cause = "it is not a directory"
    elif number == errno.EISDIR:
        cause = "it is a directory, and what is mounted is none"
    else:
        return translate(error, "mount on", f"{path} of the root file system")
    return KernelRefusal(
        "mount on",
        f"{path} of the root file system",
        cause,
        f"make {path} a plain {'file' if number == errno.EISDIR else 'directory'} there",
        errno=number,
    )


def check_device(fd: int, path: str, major: int, minor: int) -> None:
    """Make sure that a descriptor is one certain character device.

    Args:
        fd: any descriptor of it, O_PATH too.
        path: what to call it.
        major: its major number.
        minor: its minor number.

    Raises:
        KernelRefusal: it is anything else.
    """
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(major, minor):
        raise KernelRefusal(
            "use", path, f"it is not character device {major}:{minor}", errno=errno.ENODEV
        )
