"""Mounting on descriptors: the calls of the new mount interface, and the two old ones it needs.

One thin wrapper a call, named as in its manual page; what is mounted where is decided in
``mounting/``. Sources: open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2),
mount_setattr(2), openat2(2), pivot_root(2), umount(2), linux/mount.h, linux/openat2.h.
"""

from __future__ import annotations

import ctypes
import os
import struct

from nsctl.kernel.libc import syscall

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40

_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_SET_FD = 5
_FSCONFIG_CMD_CREATE = 6

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_IDMAP = 0x100000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_MOUNT_ATTR = struct.Struct("=QQQQ")
_OPEN_HOW = struct.Struct("=QQQ")


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """Open a mount by path, or a detached clone of it (open_tree(2), since 5.2).

    Args:
        dir_fd: directory that a relative path starts from, or AT_FDCWD.
        path: where; "" with AT_EMPTY_PATH for ``dir_fd`` itself.
        flags: of `OPEN_TREE_CLONE`, `AT_RECURSIVE`, `AT_EMPTY_PATH`, `AT_SYMLINK_NOFOLLOW`.

    Returns:
        A descriptor, close-on-exec; a clone that was never attached dies with it.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN over the mount namespace, EINVAL for a mount of
            another mount namespace or one that hides locked mounts.
    """
    return syscall("open_tree", dir_fd, os.fsencode(path), flags | OPEN_TREE_CLOEXEC)


def move_mount(mount_fd: int, target_fd: int, target: str = "") -> None:
    """Attach the mount that a descriptor refers to (move_mount(2), since 5.2).

    Args:
        mount_fd: from `open_tree` or `fsmount`; afterwards it refers to the attached mount.
        target_fd: the place itself, or the directory that ``target`` starts from.
        target: path below ``target_fd``; "" for ``target_fd`` itself.

    Raises:
        OSError: the call's errno.
    """
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (0 if target else _MOVE_MOUNT_T_EMPTY_PATH)
    syscall("move_mount", mount_fd, b"", target_fd, os.fsencode(target), flags)


def fsopen(fstype: str) -> int:
    """Begin to make a file system (fsopen(2), since 5.2).

    Returns:
        A descriptor of the file system's context, close-on-exec.

    Raises:
        OSError: ENODEV for a type that the kernel does not know, EPERM without CAP_SYS_ADMIN
            over the caller's mount namespace.
    """
    return syscall("fsopen", fstype.encode(), _FSOPEN_CLOEXEC)


def fsconfig_set_flag(fs_fd: int, key: str) -> None:
    """Set an option that has no value (fsconfig(2))."""
    syscall("fsconfig", fs_fd, _FSCONFIG_SET_FLAG, key.encode(), None, 0)


def fsconfig_set_string(fs_fd: int, key: str, value: str) -> None:
    """Set an option to a text of at most 255 bytes (fsconfig(2))."""
    syscall("fsconfig", fs_fd, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)


def fsconfig_set_fd(fs_fd: int, key: str, fd: int) -> None:
    """Set an option to a descriptor (fsconfig(2); layers of overlayfs since 6.13)."""
    syscall("fsconfig", fs_fd, _FSCONFIG_SET_FD, key.encode(), None, fd)


def fsconfig_create(fs_fd: int) -> None:
    """Create the superblock from what was configured (fsconfig(2))."""
    syscall("fsconfig", fs_fd, _FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """Make a detached mount of a created file system (fsmount(2), since 5.2).

    Args:
        fs_fd: from `fsopen`, after `fsconfig_create`.
        attributes: of the MOUNT_ATTR_* bits.

    Returns:
        A descriptor of the mount's root, close-on-exec.

    Raises:
        OSError: EPERM also where a procfs or sysfs would reveal more than the caller sees.
    """
    return syscall("fsmount", fs_fd, _FSMOUNT_CLOEXEC, attributes)


def fs_messages(fs_fd: int) -> str:
    """Read what the kernel has to say about a file system's context (fsopen(2)).

    Returns:
        Its messages joined by "; ", without their level letter; "" where there are none.
    """
    messages = []
    while True:
        try:
            raw = os.read(fs_fd, 4096)
        except OSError:  # ENODATA when all have been read
            break
        messages.append(raw.decode(errors="replace").rstrip("\n")[2:])
    return "; ".join(messages)


def mount_setattr(
    fd: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
) -> None:
    """Change a mount's attributes (mount_setattr(2), since 5.12).

    Args:
        fd: descriptor of the mount's root.
        attr_set: MOUNT_ATTR_* bits to set; with MOUNT_ATTR_IDMAP the mount must be detached
            and never have been id-mapped.
        attr_clr: MOUNT_ATTR_* bits to clear.
        propagation: `MS_PRIVATE`, `MS_SLAVE`, or 0 to leave it.
        userns_fd: the user namespace whose maps MOUNT_ATTR_IDMAP takes.
        recursive: the mounts below it too, all or none.

    Raises:
        OSError: EPERM for lack of CAP_SYS_ADMIN where the file system belongs, or for a locked
            attribute; EINVAL for a file system that cannot be id-mapped.
    """
    attributes = _MOUNT_ATTR.pack(attr_set, attr_clr, propagation, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall(
        "mount_setattr", fd, b"", flags, ctypes.create_string_buffer(attributes), len(attributes)
    )


def openat2(dir_fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open a path under rules of resolution (openat2(2), since 5.6).

    Args:
        dir_fd: directory that resolution starts from, and its root with RESOLVE_IN_ROOT.
        path: path to open.
        flags: O_* flags; O_CLOEXEC is added.
        resolve: RESOLVE_* bits.
        mode: for O_CREAT.

    Returns:
        A descriptor.

    Raises:
        OSError: ELOOP for a link that the rules forbid, EXDEV for a way out, EAGAIN when the
            tree was changed during resolution.
    """
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve)
    return syscall("openat2", dir_fd, os.fsencode(path), ctypes.create_string_buffer(how), len(how))


def mount(source: str, target: str, fstype: str, flags: int) -> None:
    """Mount by paths, or change what is mounted (mount(2)).

    Where a container could swap a path, the calls on descriptors above are the ones to use.

    Args:
        source: a device, a path to bind, or a name.
        target: mount point.
        fstype: type of file system, "" where ``flags`` ask for none.
        flags: MS_* bits.

    Raises:
        OSError: the call's errno.
    """
    kind = os.fsencode(fstype) if fstype else None
    syscall("mount", os.fsencode(source), os.fsencode(target), kind, flags, None)


def pivot_root(new_root: str, put_old: str) -> None:
    """Exchange the root mount (pivot_root(2)).

    Raises:
        OSError: EINVAL where the old root is a ramfs, or a parent is shared.
    """
    syscall("pivot_root", os.fsencode(new_root), os.fsencode(put_old))


def umount2(path: str, flags: int) -> None:
    """Unmount (umount(2)).

    Raises:
        OSError: EINVAL for a locked mount.
    """
    syscall("umount2", os.fsencode(path), flags)
