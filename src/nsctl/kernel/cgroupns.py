"""Where the caller's cgroup namespace begins in each hierarchy: cgroup_namespaces(7).

/proc/PID/cgroup shows paths from the root of the reader's cgroup namespace, so the same process
read from two of them tells how their roots lie. Where no process does, a mount of the hierarchy
that is made in a cgroup namespace shows its root group, whose device and inode number are the same
wherever else the group is seen. It is attached nowhere, and has the options of the one that exists:
those of version 2 would otherwise be set anew for the whole host.
"""

from __future__ import annotations

import os

from nsctl.kernel import mount

_NO_OPTIONS = frozenset({"rw", "ro", "none", ""})
_QUIET = (
    mount.MOUNT_ATTR_RDONLY
    | mount.MOUNT_ATTR_NOSUID
    | mount.MOUNT_ATTR_NODEV
    | mount.MOUNT_ATTR_NOEXEC
)


def root_of(fs_type: str, options: str) -> tuple[int, int]:
    """Ask which group of a hierarchy is the root in the caller's cgroup namespace.

    Args:
        fs_type: "cgroup" or "cgroup2".
        options: of the superblock, as mountinfo shows those of a mount that exists: no hierarchy
            is ever made.

    Returns:
        Device of the hierarchy and inode number of the group.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN over the cgroup namespace and the caller's mount
            namespace.
    """
    context = mount.fsopen(fs_type)
    try:
        for option in options.split(","):
            key, equals, value = option.partition("=")
            if equals and key == "name":
                mount.fsconfig_set_string(context, key, value)
                mount.fsconfig_set_flag(context, "none")
            elif not equals and option not in _NO_OPTIONS:
                mount.fsconfig_set_flag(context, option)
        mount.fsconfig_create(context)
        root = mount.fsmount(context, _QUIET)
    finally:
        os.close(context)
    try:
        status = os.fstat(root)
        return status.st_dev, status.st_ino
    finally:
        os.close(root)


def derive(outside: bytes, inside: bytes) -> bytes | None:
    """Tell where a namespace begins from the path of one group, seen from two namespaces.

    Args:
        outside: as it is seen from the reader's namespace.
        inside: as it is seen from the other.

    Returns:
        The other's root as the reader sees it; None where these paths do not tell, because the
        group lies outside of either.
    """
    if b".." in outside.split(b"/") or b".." in inside.split(b"/"):
        return None
    below = b"" if inside == b"/" else inside
    if below and not (outside == below or outside.endswith(below)):
        return None
    return outside[: len(outside) - len(below)] or b"/"
