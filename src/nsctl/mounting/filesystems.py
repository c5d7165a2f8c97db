"""Steps that make a file system or clone a directory, and attach it in the new root.

Sources: fsopen(2), mount_setattr(2), the kernel's filesystems/overlayfs.rst and idmappings.rst.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat

from nsctl.errors import KernelRefusal, NsctlError, translate
from nsctl.kernel import mount
from nsctl.model.record import NamedTuple
from nsctl.mounting.context import Context

NOSUID, NODEV, NOEXEC, RDONLY = (
    mount.MOUNT_ATTR_NOSUID,
    mount.MOUNT_ATTR_NODEV,
    mount.MOUNT_ATTR_NOEXEC,
    mount.MOUNT_ATTR_RDONLY,
)
_WORDS = {RDONLY: "ro", NOSUID: "nosuid", NODEV: "nodev", NOEXEC: "noexec"}

Options = tuple[tuple[str, str], ...]


def option_text(attributes: int, options: Options) -> str:
    """Write attributes and options as mount(8) takes them after -o, "" for none."""
    words = [word for bit, word in _WORDS.items() if attributes & bit]
    words += [f"{key}={value}" if value else key for key, value in options]
    return ",".join(words)


def make_filesystem(fstype: str, attributes: int, options: Options) -> int:
    """Make a new file system as a detached mount.

    Args:
        fstype: as in /proc/filesystems.
        attributes: MOUNT_ATTR_* bits of the mount.
        options: of the file system; an empty value is a flag.

    Returns:
        Descriptor of the mount's root, which the caller closes.

    Raises:
        NsctlError: the kernel refused; the cause has its own message where it gave one.
    """
    try:
        fs = mount.fsopen(fstype)
    except OSError as error:
        raise translate(error, "make", f"a file system of type {fstype}") from error
    try:
        mount.fsconfig_set_string(fs, "source", fstype)
        for key, value in options:
            if value:
                mount.fsconfig_set_string(fs, key, value)
            else:
                mount.fsconfig_set_flag(fs, key)
        mount.fsconfig_create(fs)
        return mount.fsmount(fs, attributes)
    except OSError as error:
        raise refusal(error, fs, fstype) from error
    finally:
        os.close(fs)


def refusal(error: OSError, fs: int, fstype: str) -> NsctlError:
    """Join an error of a file system's making with what the kernel's own message says."""
    plain = translate(error, "make", f"a file system of type {fstype}")
    message = mount.fs_messages(fs)
    if not message:
        return plain
    return KernelRefusal(
        plain.operation, plain.subject, f"{plain.cause}, {message}", errno=error.errno or 0
    )


class Filesystem(NamedTuple):
    """Make a file system and mount it in the new root.

    Attributes:
        fstype: "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2" ..
        path: where, as the container will see it.
        attributes: MOUNT_ATTR_* bits.
        options: of the file system.
    """

    fstype: str
    path: str
    attributes: int = 0
    options: Options = ()

    def describe(self) -> str:
        """The work in one line."""
        return f"mount a new {self.fstype} on {self.path}"

    def command(self) -> str:
        """As mount(8) would do it from inside the new root."""
        text = option_text(self.attributes, self.options)
        return f"mount -t {self.fstype} {f'-o {text} ' if text else ''}{self.fstype} {self.path}"

    def execute(self, context: Context) -> None:
        """Make it detached, configured whole, and only then place it."""
        fd = make_filesystem(self.fstype, self.attributes, self.options)
        context.attach(fd, self.path)


class Prepare(NamedTuple):
    """Make a file system as a detached mount, for a later `Attach`.

    For what the container's user namespace may not make itself: a procfs, sysfs or mqueue of
    namespaces that are not its own.

    Attributes:
        fstype: "proc", "sysfs" or "mqueue".
        whose: of whose namespace it will tell, in words.
        attributes: MOUNT_ATTR_* bits.
    """

    fstype: str
    whose: str
    attributes: int

    def describe(self) -> str:
        """The work in one line."""
        return f"make a detached {self.fstype} of {self.whose}"

    def command(self) -> str:
        """There is no command for a detached mount."""
        return ""

    def execute(self, context: Context) -> None:
        """Make it."""
        context.prepared[self.fstype] = make_filesystem(self.fstype, self.attributes, ())


class Attach(NamedTuple):
    """Attach in the new root what `Prepare` made.

    Attributes:
        name: the file system type that was prepared.
        path: where, as the container will see it.
    """

    name: str
    path: str

    def describe(self) -> str:
        """The work in one line."""
        return f"attach the detached {self.name} on {self.path}"

    def command(self) -> str:
        """There is no command for a detached mount."""
        return ""

    def execute(self, context: Context) -> None:
        """Attach it."""
        context.attach(context.prepared.pop(self.name), self.path)


class IdmappedClone(NamedTuple):
    """Clone a directory's mount, its owners seen through the container's id maps.

    Done by whoever holds CAP_SYS_ADMIN where the file system belongs, before the container's
    user namespace is entered.

    Attributes:
        source: a directory of the host.
    """

    source: str

    def describe(self) -> str:
        """The work in one line."""
        return f"clone {self.source} with its owners seen through the container's id maps"

    def command(self) -> str:
        """As mount(8) of util-linux 2.39 would do it."""
        return (
            f"mount --bind -o X-mount.idmap=/proc/PID/ns/user {shlex.quote(self.source)} "
            '"$STORAGE/lower"'
        )

    def execute(self, context: Context) -> None:
        """Clone it, read-only: overlayfs only reads a lower layer."""
        try:
            fd = mount.open_tree(mount.AT_FDCWD, self.source, mount.OPEN_TREE_CLONE)
        except OSError as error:
            raise translate(error, "clone", self.source) from error
        try:
            mount.mount_setattr(
                fd, attr_set=mount.MOUNT_ATTR_IDMAP | RDONLY | NODEV, userns_fd=context.userns
            )
        except OSError as error:
            os.close(fd)
            raise translate(
                error,
                "id-map",
                self.source,
                "keep it on a file system that can be id-mapped (ext4, xfs, btrfs, tmpfs ..), "
                "or share the host's user namespace",
            ) from error
        context.prepared["lower"] = fd


class Overlay(NamedTuple):
    """Mount an overlay as the new root.

    It is made inside the container's user namespace, so that its superblock belongs there:
    device nodes and set-uid files of it mean nothing to the host, and nobody inside can change
    that. What is written lies in ``upper``.

    Attributes:
        lower: the directory below.
        storage: the directory with ``upper`` and ``work`` (and ``lower``, a place to attach
            an id-mapped clone).
        idmapped: the layer below is what `IdmappedClone` made.
        userxattr: keep overlayfs's own marks in user.overlay.*, as a user namespace must.
    """

    lower: str
    storage: str
    idmapped: bool
    userxattr: bool

    def describe(self) -> str:
        """The work in one line."""
        return f"mount an overlay of {self.lower} as the new root, changes kept in {self.storage}"

    def command(self) -> str:
        """As mount(8) would do it."""
        lower = f"{self.storage}/lower" if self.idmapped else self.lower
        options = f"lowerdir={lower},upperdir={self.storage}/upper,workdir={self.storage}/work"
        marks = ",userxattr" if self.userxattr else ""
        return f'mount -t overlay -o {shlex.quote(options + marks)},nodev overlay "$ROOT"'

    def execute(self, context: Context) -> None:
        """Make it, and attach it over "/", where it waits for `PivotRoot`."""
        fds = []
        try:
            directory = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
            if self.idmapped:
                clone = context.prepared.pop("lower")
                # Before 6.15 overlayfs takes no layer from a detached mount.
                mount.move_mount(clone, context.storage, "lower")
                lower = clone
            else:
                lower = os.open(self.lower, directory)
            fds.append(lower)
            fds.extend(
                os.open(name, directory | os.O_NOFOLLOW, dir_fd=context.storage)
                for name in ("upper", "work")
            )
            context.root = make_overlay(tuple(fds[:1]), fds[1], fds[2], userxattr=self.userxattr)
            mount.move_mount(context.root, mount.AT_FDCWD, "/")
        except OSError as error:
            raise translate(error, "mount an overlay of", self.lower) from error
        finally:
            for fd in fds:
                os.close(fd)


def make_overlay(lowers: tuple[int, ...], upper: int, work: int, *, userxattr: bool) -> int:
    """Make an overlay of directories given by descriptor, as a detached mount.

    Args:
        lowers: the layers below, topmost first.
        upper: the directory that takes changes.
        work: an empty directory on the same file system.
        userxattr: see `Overlay`.

    Returns:
        Descriptor of the mount's root, which the caller closes.

    Raises:
        NsctlError: the kernel refused.
    """
    fs = mount.fsopen("overlay")
    try:
        mount.fsconfig_set_string(fs, "source", "overlay")
        if userxattr:
            mount.fsconfig_set_flag(fs, "userxattr")
        for lower in lowers:
            _set_layer(fs, ("lowerdir+", "lowerdir") if len(lowers) == 1 else ("lowerdir+",), lower)
        _set_layer(fs, ("upperdir",), upper)
        _set_layer(fs, ("workdir",), work)
        mount.fsconfig_create(fs)
        return mount.fsmount(fs, NODEV)
    except OSError as error:
        raise refusal(error, fs, "overlay") from error
    finally:
        os.close(fs)


def _set_layer(fs: int, keys: tuple[str, ...], fd: int) -> None:
    """Set a layer by descriptor (6.13), else by its link in /proc, under the first known key.

    ``lowerdir+`` came with 6.7. No path is ever written out: one with a colon or comma in it,
    or longer than 255 bytes, would not arrive whole.
    """
    try:
        mount.fsconfig_set_fd(fs, keys[0], fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    else:
        return
    for key in keys:
        try:
            mount.fsconfig_set_string(fs, key, f"/proc/self/fd/{fd}")
        except OSError as error:
            if error.errno != errno.EINVAL or key == keys[-1]:
                raise
        else:
            return


class Bind(NamedTuple):
    """Attach a clone of a file or directory of the host, with what is mounted below it.

    Attributes:
        source: a file or directory of the host.
        path: where, as the container will see it.
        attributes: MOUNT_ATTR_* bits to set on all of it.
    """

    source: str
    path: str
    attributes: int = 0

    def describe(self) -> str:
        """The work in one line."""
        return f"bind the host's {self.source} on {self.path}{_in_brackets(self.attributes)}"

    def command(self) -> str:
        """As mount(8) would do it."""
        return f'mount --rbind {shlex.quote(self.source)} "$ROOT"{shlex.quote(self.path)}'

    def execute(self, context: Context) -> None:
        """Clone it, set the attributes, attach it."""
        fd = clone_of(self.source, self.attributes)
        context.attach_at(fd, self.path, is_directory=_is_directory(fd))


class PrepareBind(NamedTuple):
    """Clone a file or directory of the host as a detached mount, for a later `AttachBind`.

    Done by whoever may reach it, before the container's user namespace is entered.

    Attributes:
        source: a file or directory of the host.
        path: where it will be attached, as the container will see it.
        attributes: MOUNT_ATTR_* bits to set on all of it.
        idmapped: its owners are seen through the container's id maps.
    """

    source: str
    path: str
    attributes: int
    idmapped: bool

    def describe(self) -> str:
        """The work in one line."""
        mapped = ", its owners seen through the container's id maps" if self.idmapped else ""
        return f"clone the host's {self.source} for {self.path}{mapped}"

    def command(self) -> str:
        """As mount(8) of util-linux 2.39 would do it, beside where it goes."""
        option = "-o X-mount.idmap=/proc/PID/ns/user " if self.idmapped else ""
        return f'mount --rbind {option}{shlex.quote(self.source)} "$PLACE"'

    def execute(self, context: Context) -> None:
        """Clone it and set the attributes."""
        fd = clone_of(self.source, self.attributes, context.userns if self.idmapped else -1)
        context.prepared[f"bind {self.path}"] = fd


class AttachBind(NamedTuple):
    """Attach in the new root what `PrepareBind` cloned.

    Attributes:
        source: a file or directory of the host.
        path: where, as the container will see it.
        attributes: MOUNT_ATTR_* bits that are set on all of it.
    """

    source: str
    path: str
    attributes: int

    def describe(self) -> str:
        """The work in one line."""
        return f"bind the host's {self.source} on {self.path}{_in_brackets(self.attributes)}"

    def command(self) -> str:
        """As mount(8) would do it."""
        return f'mount --move "$PLACE" "$ROOT"{shlex.quote(self.path)}'

    def execute(self, context: Context) -> None:
        """Attach it."""
        fd = context.prepared.pop(f"bind {self.path}")
        context.attach_at(fd, self.path, is_directory=_is_directory(fd))


class Scratch(NamedTuple):
    """Mount an empty tmpfs at any place of the new root, made where it is missing.

    Attributes:
        path: where, as the container will see it.
        attributes: MOUNT_ATTR_* bits.
        options: of the file system.
    """

    path: str
    attributes: int
    options: Options

    def describe(self) -> str:
        """The work in one line."""
        return f"mount a new tmpfs on {self.path}"

    def command(self) -> str:
        """As mount(8) would do it."""
        text = option_text(self.attributes, self.options)
        return f"mount -t tmpfs {f'-o {text} ' if text else ''}tmpfs {shlex.quote(self.path)}"

    def execute(self, context: Context) -> None:
        """Make it and attach it."""
        fd = make_filesystem("tmpfs", self.attributes, self.options)
        context.attach_at(fd, self.path, is_directory=True)


def _in_brackets(attributes: int) -> str:
    text = option_text(attributes, ())
    return f" ({text})" if text else ""


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def clone_of(source: str, attributes: int, userns: int = -1) -> int:
    """Clone a file or directory of the host with what is mounted below it, as a detached mount.

    Args:
        source: its path.
        attributes: MOUNT_ATTR_* bits to set on all of it.
        userns: user namespace through whose maps its owners are seen, -1 for none; what is mounted
            below it is left out then, since not every file system can be mapped.

    Returns:
        Descriptor of the mount's root, which the caller closes.

    Raises:
        NsctlError: it cannot be cloned, or not be mapped.
    """
    recursive = 0 if userns >= 0 else mount.AT_RECURSIVE
    try:
        fd = mount.open_tree(mount.AT_FDCWD, source, mount.OPEN_TREE_CLONE | recursive)
    except OSError as error:
        raise translate(error, "bind", source) from error
    try:
        mapped = {"userns_fd": userns} if userns >= 0 else {}
        mount.mount_setattr(
            fd,
            attr_set=attributes | (mount.MOUNT_ATTR_IDMAP if userns >= 0 else 0),
            propagation=mount.MS_PRIVATE,
            recursive=bool(recursive),
            **mapped,
        )
    except OSError as error:
        os.close(fd)
        hint = "leave out idmap, or keep it on a file system that can be id-mapped"
        raise translate(error, "bind", source, hint if userns >= 0 else "") from error
    return fd
