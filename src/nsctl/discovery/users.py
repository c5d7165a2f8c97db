"""Names of the user ids that were met, as this host has them."""

from __future__ import annotations

import pwd

from nsctl.discovery.draft import Draft
from nsctl.model.part import Part


def run(draft: Draft) -> None:
    """Look up the names of the user ids met."""
    uids = {task.owner for task in draft.tasks}
    uids.update([ns.owner_uid for ns in draft.namespaces.values() if ns.owner_uid is not None])
    for namespace in draft.namespaces.values() if Part.IPC_OBJECTS in draft.parts else ():
        if namespace.ipc is not None:
            objects = namespace.ipc
            uids.update(each.rights.uid for each in objects.memory)
            uids.update(each.rights.uid for each in objects.semaphores)
            uids.update(each.rights.uid for each in objects.queues)
            uids.update(each.uid for each in objects.posix or ())
    for uid in uids:
        try:
            draft.users[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            continue
