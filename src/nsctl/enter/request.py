"""What is asked for when something is entered."""

from __future__ import annotations

from nsctl.errors import UsageError
from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.targets.live import HeldNamespace, Process

TARGET, CALLER = "target", "caller"
POWERS = (TARGET, CALLER)
"""Whose powers the command gets."""

FOLLOW = -1
"""In place of an id: that of the target."""


KINDS = {
    "mount": NamespaceType.MNT,
    "uts": NamespaceType.UTS,
    "ipc": NamespaceType.IPC,
    "net": NamespaceType.NET,
    "pid": NamespaceType.PID,
    "cgroup": NamespaceType.CGROUP,
    "user": NamespaceType.USER,
    "time": NamespaceType.TIME,
}
"""The options that name a type of namespace."""

_ID_LIMIT = 0xFFFFFFFF


class Given(NamedTuple):
    """A namespace that was named by itself: a file, a socket's, another's parent.

    Attributes:
        fd: of the namespace.
        type: its type.
    """

    fd: int
    type: NamespaceType


class Request(NamedTuple):
    """A command in somebody else's namespaces.

    Attributes:
        target: the process, or a namespace alone; None where all namespaces are given.
        argv: the command; () for a shell.
        kinds: namespaces of the target to enter; None for all.
        given: namespaces to enter besides, or in place of the target's.
        powers: one of `POWERS`; "" for the target's where the command is one of its own root,
            and the caller's where it is one of the host's.
        filters: where seccomp filters are taken from, of `nsctl.confine.filters.CHOICES`.
        strict: refuse where anything that confines the target cannot be taken over.
        uid: in place of the user; `FOLLOW` for the target's; None for what belongs there.
        gid: in place of the group, likewise.
        preserve_credentials: ids and groups stay as they are.
        keep_caps: capabilities that are granted in a user namespace stay over exec.
        root: directory that becomes the root; None for that of the namespace that is entered.
        directory: directory to change to, opened outside.
        cwd: directory to change to, a path inside; "" for what belongs there.
        environment_of_target: the environment is the target's own.
        fork: the command is born inside a PID namespace that is entered.
        join_cgroup: into the target's control groups whatever the powers are.
        label: the target's security label whatever the powers are.
    """

    target: Process | HeldNamespace | None
    argv: tuple[str, ...] = ()
    kinds: frozenset[NamespaceType] | None = None
    given: tuple[Given, ...] = ()
    powers: str = ""
    filters: str = "kernel"
    strict: bool = False
    uid: int | None = None
    gid: int | None = None
    preserve_credentials: bool = False
    keep_caps: bool = False
    root: int | None = None
    directory: int | None = None
    cwd: str = ""
    environment_of_target: bool = False
    fork: bool = True
    join_cgroup: bool = False
    label: bool = False

    @property
    def process(self) -> Process | None:
        """The target, where it is a process."""
        return self.target if isinstance(self.target, Process) else None


def number(text: str | None, what: str) -> int | None:
    """Read a user or group id, or "follow".

    Args:
        text: as given, None for nothing.
        what: "uid" or "gid".

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    if text == "follow":
        return FOLLOW
    digits = text.strip(" \t\n")
    if not (digits.isascii() and digits.isdecimal()) or int(digits) >= _ID_LIMIT:
        raise UsageError(f"failed to parse {what}: '{text}'")
    return int(digits)
