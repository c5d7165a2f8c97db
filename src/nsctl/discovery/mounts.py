"""The mount table of every mount namespace, as the kernel lists it, or read through a process there.

The kernel's list (listmount(2), statmount(2)) is whole and needs no process. A process that changed
its root directory sees its mountinfo cut (chroot(2)): of a few members the longest table is taken.
"""

from __future__ import annotations

import errno
import os

from nsctl.discovery.draft import Draft
from nsctl.discovery.members import Members
from nsctl.discovery.mounted import CLOSED, list_namespaces
from nsctl.errors import refused, vanished
from nsctl.kernel import nsfs, statmount
from nsctl.kernel.mountinfo import parse_mount
from nsctl.kernel.procfs import parse_ns_link, read_file
from nsctl.model.mount import Mount
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Gap, Part, PartState

_MNT = TYPES.index(NamespaceType.MNT)
_ASKED = 3


def run(draft: Draft) -> None:
    """Read the mount tables."""
    members: dict[int, list[int]] = {}
    for task in draft.tasks:
        ino = task.ns[_MNT]
        if ino > 0 and not task.kernel and task.state not in "ZX":
            members.setdefault(ino, []).append(task.pid)
    ids = _ids(draft)
    unread = 0
    for ino in dict.fromkeys((*members, *ids)):
        told = _listed(ids[ino]) if ino in ids else None
        if told:
            draft.mounts[ino] = told
            continue
        answers = [_table(draft, pid, ino) for pid in members.get(ino, ())[:_ASKED]]
        tables = [table for table in answers if table is not None]
        longest = max(tables, key=len, default=None)
        if longest:
            draft.mounts[ino] = longest
        elif longest is not None or (ino in ids and ino not in members):
            unread += 1
    if unread:
        draft.gaps.append(
            Gap(
                Part.MOUNTS,
                draft.proc.root,
                f"mounts of {unread} mount namespace{'s' if unread > 1 else ''}",
                PartState.PARTIAL,
                "no process there could be asked for them",
            )
        )


def _ids(draft: Draft) -> dict[int, int]:
    """The 64-bit id of every mount namespace that is known, by its inode."""
    if draft.lists is not None and draft.lists.spaces:
        flag = NamespaceType.MNT.clone_flag
        return {row[2]: row[0] for row in draft.lists.spaces if row[1] == flag and row[6]}
    found = list_namespaces(draft)
    if found is not None:
        return {ino: info.ns_id for ino, info in found.items()}
    if not draft.own_numbers:
        return {}
    ids = {}
    members = Members(draft)
    for kind, ino in draft.namespaces:
        if kind is NamespaceType.MNT:
            with members.open(kind, ino) as fd:
                number = nsfs.get_id(fd) if fd is not None else None
            if number is not None:
                ids[ino] = number
    return ids


def _listed(ns_id: int) -> tuple[Mount, ...] | None:
    """Let the kernel list the mounts of a namespace.

    Returns:
        Its table; None where the kernel does not, or it is gone.
    """
    try:
        return statmount.table(ns_id)
    except OSError as error:
        if error.errno in CLOSED or vanished(error):
            return None
        raise


def _table(draft: Draft, pid: int, ino: int) -> tuple[Mount, ...] | None:
    """Read the table of a mount namespace through one process.

    Returns:
        The table; empty where the process may not be asked or sees none, None where it vanished
        or is not in that namespace any more.
    """
    try:
        directory = draft.proc.open(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        return ()
    try:
        raw = read_file("mountinfo", directory, 1 << 28)
        mounts = tuple(parse_mount(line) for line in raw.split(b"\n") if line)
        if parse_ns_link(os.readlink("ns/mnt", dir_fd=directory)) != ino:
            return None
    except OSError as error:
        if vanished(error) or error.errno == errno.EINVAL:  # a zombie has no mounts
            return None
        if refused(error):
            return ()
        raise
    finally:
        os.close(directory)
    return mounts
