"""Parts of a snapshot, what state each is in, and what could not be read."""

from __future__ import annotations

from nsctl.model.record import NamedTuple
from nsctl.model.words import StrEnum


class Part(StrEnum):
    """What a view can ask for; only the steps that fill it run.

    What descriptors lead to (RINGS, SOCKETS, INFLIGHT) is no more complete than DESCRIPTORS, and
    what is read of each process no more than TASKS: a gap is noted once, where it is met first.
    LEADERS are the command lines of those processes alone that stand for a namespace: the first in
    it. COMMANDS has those too.
    """

    TASKS = "tasks"
    CGROUPS = "cgroups"
    COMMANDS = "commands"
    LEADERS = "leaders"
    CREDENTIALS = "credentials"
    NAMESPACES = "namespaces"
    RELATIONS = "relations"
    ID_MAPS = "id-maps"
    TIME_OFFSETS = "time-offsets"
    NETNSIDS = "netnsids"
    NSFS_PATHS = "nsfs-paths"
    DESCRIPTORS = "descriptors"
    THREADS = "threads"
    CHILDREN = "children"
    MOUNTED = "mounted"
    RINGS = "rings"
    SOCKETS = "sockets"
    INFLIGHT = "inflight"
    MOUNTS = "mounts"
    CONTAINERS = "containers"
    UTS_NAMES = "uts-names"
    IPC_OBJECTS = "ipc-objects"
    CGROUP_TREE = "cgroup-tree"
    ACCOUNTS = "accounts"
    NETWORKS = "networks"
    NET_SOCKETS = "net-sockets"


CONTENTS = frozenset(
    {
        Part.UTS_NAMES,
        Part.IPC_OBJECTS,
        Part.CGROUP_TREE,
        Part.ACCOUNTS,
        Part.NETWORKS,
        Part.NET_SOCKETS,
    }
)
"""What namespaces hold: read for the views that show it, not for those that list namespaces."""


class PartState(StrEnum):
    """How much of a part was read. All but READ are unknown, never "pass"."""

    READ = "read"
    PARTIAL = "partial"
    UNREADABLE = "unreadable"
    NOT_ASKED = "not-asked"


class Gap(NamedTuple):
    """One row of the completeness note.

    Attributes:
        part: which part lacks something.
        source: where it was looked for ("/proc").
        object: what could not be read, in words ("namespaces of 12 processes").
        state: PARTIAL or UNREADABLE.
        cause: why, in words.
        needs: the capability that would mend it ("CAP_SYS_PTRACE"), "" where none would.
        pids: the processes concerned, where it is about processes.
    """

    part: Part
    source: str
    object: str
    state: PartState
    cause: str
    needs: str = ""
    pids: tuple[int, ...] = ()
