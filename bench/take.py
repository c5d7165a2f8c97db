"""Take a snapshot of some parts and print a line for each namespace: what a small program would do.

    python -I bench/take.py bare|full|mounts

"bare" has processes, namespaces, their owners and whose they are, without what else keeps them.
"full" adds threads, descriptors, sockets, bind mounts and the identity of processes; "mounts" adds
to that the mount table of every mount namespace.
"""

from __future__ import annotations

import sys

from nsctl import take_snapshot
from nsctl.model.part import Part
from nsctl.relate.members import memberships

BARE = {
    *(Part.TASKS, Part.CGROUPS, Part.LEADERS, Part.NAMESPACES, Part.RELATIONS, Part.CONTAINERS),
}
FULL = BARE | {
    *(Part.THREADS, Part.CHILDREN, Part.NSFS_PATHS, Part.MOUNTED, Part.DESCRIPTORS, Part.RINGS),
    *(Part.SOCKETS, Part.INFLIGHT, Part.CREDENTIALS, Part.ID_MAPS),
}
SETS = {"bare": BARE, "full": FULL, "mounts": FULL | {Part.MOUNTS}}

if __name__ == "__main__":
    taken = take_snapshot(SETS[sys.argv[1]])
    for row in memberships(taken):
        holders = ",".join(holder.kind for holder in row.holders)
        mounts = len(taken.mounts.get(row.namespace.id.ino, ()))
        owner = row.owners[0].name if row.owners else "-"
        print(*row.namespace.id, row.namespace.owner, len(row.tasks), owner, holders, mounts)
