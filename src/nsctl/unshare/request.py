"""What unshare(1) is asked for, as one value."""

from __future__ import annotations

from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.unshare.ids import IdRange


class Request(NamedTuple):
    """New namespaces, and how the program begins in them.

    Attributes:
        types: namespaces to make.
        files: where a namespace is bind-mounted to outlive the program, by type.
        fork: the program is a child of the caller, who waits for it.
        kill_child: the signal that the child gets when the caller ends, 0 for none.
        forward_signals: SIGTERM and SIGINT are passed on to the child.
        map_user: the number inside of the caller's effective user id, None for no such map.
        map_group: the same for the group id.
        users: ranges of user ids to map besides; () for none.
        groups: the same for group ids.
        owner: user and group id that the user namespace will belong to, None for the caller's.
        setgroups: "allow", "deny", or "" to leave it.
        propagation: mount(2) flags of all mounts in a new mount namespace, 0 to leave them.
        mount_proc: where a new procfs is mounted, "" for nowhere.
        mount_binfmt: where a binfmt_misc is mounted, "" for nowhere.
        interpreter: a definition that is registered there, "" for none.
        root: the program's root directory, "" for the caller's.
        directory: its working directory, "" for the caller's.
        uid: the user id that it has in the new namespaces, None for the caller's.
        gid: the same for the group id; its supplementary groups are dropped then.
        keep_caps: it keeps the capabilities that the user namespace gave, over exec.
        monotonic: offset of that clock in seconds, None to leave it.
        boottime: the same for the boot-time clock.
    """

    types: frozenset[NamespaceType] = frozenset()
    files: tuple[tuple[NamespaceType, str], ...] = ()
    fork: bool = False
    kill_child: int = 0
    forward_signals: bool = False
    map_user: int | None = None
    map_group: int | None = None
    users: tuple[IdRange, ...] = ()
    groups: tuple[IdRange, ...] = ()
    owner: tuple[int, int] | None = None
    setgroups: str = ""
    propagation: int = 0
    mount_proc: str = ""
    mount_binfmt: str = ""
    interpreter: str = ""
    root: str = ""
    directory: str = ""
    uid: int | None = None
    gid: int | None = None
    keep_caps: bool = False
    monotonic: int | None = None
    boottime: int | None = None

    @property
    def flags(self) -> int:
        """The CLONE_NEW* bits of all types."""
        bits = 0
        for kind in self.types:
            bits |= kind.clone_flag
        return bits
