"""Bind mounts of namespaces in every mount namespace, from the kernel's list of the mounts of nsfs.

No table of mounts is searched: only those mounts are asked for where they are that are of a
namespace. Where the kernel does not list them, all tables are searched.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.errors import refused, vanished
from nsctl.kernel import statmount
from nsctl.model.namespace import TYPES, Holder, NamespaceType
from nsctl.model.part import Gap, Part, PartState

_TYPE_OF_FLAG = {kind.clone_flag: kind for kind in TYPES}
_CAP_SYS_ADMIN = 21


def run(draft: Draft) -> None:
    """Note every bind mount."""
    if draft.lists is None or draft.lists.binds is None or not draft.lists.spaces:
        from nsctl.discovery import mounted

        mounted.run(draft)
        return
    # A mount that is in no namespace's list hangs on a descriptor, detached.
    attached = {space[0] for space in draft.lists.spaces if space[6]}
    closed: list[tuple[NamespaceType, int, int]] = []
    for bind in draft.lists.binds:
        kind = _TYPE_OF_FLAG.get(bind.type)
        if kind is None or bind.mntns_id not in attached:
            continue
        try:
            point = statmount.mount_point(bind.unique, bind.mntns_id)
        except OSError as error:
            if refused(error):
                closed.append((kind, bind.inum, bind.mntns))
            elif not vanished(error):
                raise
            elif not draft.reader.caps >> _CAP_SYS_ADMIN & 1:
                # Before 7.0 a mount that may not be asked for is not there.
                closed.append((kind, bind.inum, bind.mntns))
            continue
        draft.nsfs_mounts.add(bind.id)
        draft.nsfs_names.add(os.fsdecode(point.rpartition(b"/")[2]))
        draft.hold(kind, bind.inum, Holder("bind", path=point, mntns=bind.mntns))
    for kind, ino, mntns in closed:
        draft.hold(kind, ino, Holder("bind", mntns=mntns))
    if closed:
        count = len(closed)
        draft.gaps.append(
            Gap(
                Part.MOUNTED,
                "statmount",
                f"paths of {count} bind mount{'s' if count > 1 else ''} of namespaces",
                PartState.PARTIAL,
                "the kernel tells them to who has power over their mount namespace",
                "CAP_SYS_ADMIN",
            )
        )
