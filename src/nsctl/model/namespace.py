"""Namespaces: their eight types, what identifies one, and what is known of it.

Sources: namespaces(7), ioctl_nsfs(2), user_namespaces(7), time_namespaces(7).
"""

from __future__ import annotations

from nsctl.model.record import NamedTuple
from nsctl.model.words import StrEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    # What lists namespaces only does not pay for these; the archive sees to them when it decodes.
    from nsctl.model.contents import CgroupRoot, IpcObjects, UtsNames


class NamespaceType(StrEnum):
    """The eight types, spelt as under /proc/PID/ns, in the order of every table of ours."""

    MNT = "mnt"
    PID = "pid"
    NET = "net"
    IPC = "ipc"
    UTS = "uts"
    USER = "user"
    CGROUP = "cgroup"
    TIME = "time"

    @property
    def clone_flag(self) -> int:
        """The CLONE_NEW* bit of this type, as in clone(2)."""
        return _CLONE_FLAGS[self]

    @property
    def word(self) -> str:
        """The type as namespaces(7) writes it in prose ("mount", "PID")."""
        return _WORDS[self]


_CLONE_FLAGS = {
    NamespaceType.MNT: 0x00020000,
    NamespaceType.PID: 0x20000000,
    NamespaceType.NET: 0x40000000,
    NamespaceType.IPC: 0x08000000,
    NamespaceType.UTS: 0x04000000,
    NamespaceType.USER: 0x10000000,
    NamespaceType.CGROUP: 0x02000000,
    NamespaceType.TIME: 0x00000080,
}
_WORDS = {
    NamespaceType.MNT: "mount",
    NamespaceType.PID: "PID",
    NamespaceType.NET: "network",
    NamespaceType.IPC: "IPC",
    NamespaceType.UTS: "UTS",
    NamespaceType.USER: "user",
    NamespaceType.CGROUP: "cgroup",
    NamespaceType.TIME: "time",
}

TYPES: tuple[NamespaceType, ...] = tuple(NamespaceType)
"""All eight, in order; a Task's ``ns`` has one inode for each, then the two for children."""

PID_FOR_CHILDREN = len(TYPES)
TIME_FOR_CHILDREN = len(TYPES) + 1
NS_LINKS: tuple[str, ...] = (*TYPES, "pid_for_children", "time_for_children")
"""The names below /proc/PID/ns, in the order of a Task's ``ns``."""

ABSENT = 0
"""In place of an inode: the process has none (a zombie) or the kernel lacks the type."""
UNREADABLE = -1
"""In place of an inode: the kernel would not say."""


class NamespaceId(NamedTuple):
    """What identifies a namespace while it lives: never the inode alone.

    Attributes:
        type: one of the eight.
        dev: device of nsfs, as os.makedev gives it.
        ino: inode on nsfs; used again within milliseconds of a namespace's end.
    """

    type: NamespaceType
    dev: int
    ino: int


class IdExtent(NamedTuple):
    """One line of a uid_map or gid_map (user_namespaces(7)).

    Attributes:
        inside: first id in the namespace.
        outside: first id in the user namespace of the process that read the map.
        length: number of ids.
    """

    inside: int
    outside: int
    length: int


class IdMaps(NamedTuple):
    """The maps of a user namespace, as its reader saw them.

    Attributes:
        uids: extents of uid_map.
        gids: extents of gid_map.
        setgroups: "allow", "deny", or "" where it could not be read.
        projids: extents of projid_map.
    """

    uids: tuple[IdExtent, ...]
    gids: tuple[IdExtent, ...]
    setgroups: str
    projids: tuple[IdExtent, ...] = ()


class TimeOffsets(NamedTuple):
    """Offsets of a time namespace against the initial one, in nanoseconds (time_namespaces(7))."""

    monotonic: int
    boottime: int


HOLDER_KINDS = ("thread", "child", "fd", "socket", "tun", "inflight", "ioring", "bind", "kernel")
if TYPE_CHECKING:
    HolderKind = Literal[
        "thread", "child", "fd", "socket", "tun", "inflight", "ioring", "bind", "kernel"
    ]
else:
    HolderKind = str


class Holder(NamedTuple):
    """What keeps a namespace alive besides the processes in it.

    Attributes:
        kind: "thread" (a thread of a process that is elsewhere is in it), "child" (it waits for
            the next child of a process or thread), "fd" (an open descriptor), "socket" (of a
            network namespace: one of a process that is elsewhere), "tun" (a descriptor of a
            device in it), "inflight" (a message that nobody has read yet holds one of these),
            "ioring" (a file registered with an io_uring), "bind" (a bind mount), "kernel"
            (nothing of these was found: only the kernel's own lists and other namespaces lead
            to it).
        pid: the process; 0 for "bind" and "kernel".
        fd: the descriptor, in the process's table: the namespace's own, the socket's, the
            device's, that of the socket which the message waits for, or the ring's.
        path: mount point in its mount namespace, for "bind".
        mntns: for "bind", inode of the mount namespace that has the mount.
        tid: the thread, where it is one with a namespace or a table of descriptors of its own.
    """

    kind: HolderKind
    pid: int = 0
    fd: int = -1
    path: bytes = b""
    mntns: int = 0
    tid: int = 0


class Namespace(NamedTuple):
    """One namespace and what the kernel says of it.

    Attributes:
        id: type, device and inode.
        ns_id: the kernel's 64-bit id, never reused in a boot; None where the kernel has none.
        parent: inode of the parent (user and PID namespaces); 0 where there is none or it lies
            outside the reader's scope.
        owner: inode of the owning user namespace; 0 where it lies outside the reader's scope.
        owner_uid: for a user namespace, the uid of its creator in the reader's numbers.
        maps: for a user namespace, its id maps; None where not read.
        offsets: for a time namespace, its own offsets; None where not read.
        netnsid: for a network namespace, its id in the reader's, -1 unassigned, None not read.
        nsfs_paths: where it is bind-mounted in the reader's mount namespace, as far as asked.
        holders: what else keeps it alive, as far as that was looked for; what waits for a
            process's children is not listed here, the tasks say it.
        names: for a UTS namespace, its names; None where not read.
        ipc: for an IPC namespace, what it holds; None where not read.
        cgroup_roots: for a cgroup namespace, where it begins in each hierarchy; None where not
            read.
    """

    id: NamespaceId
    ns_id: int | None = None
    parent: int = 0
    owner: int = 0
    owner_uid: int | None = None
    maps: IdMaps | None = None
    offsets: TimeOffsets | None = None
    netnsid: int | None = None
    nsfs_paths: tuple[bytes, ...] = ()
    holders: tuple[Holder, ...] = ()
    names: UtsNames | None = None
    ipc: IpcObjects | None = None
    cgroup_roots: tuple[CgroupRoot, ...] | None = None
