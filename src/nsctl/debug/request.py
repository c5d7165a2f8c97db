"""What is asked for when a debug shell is started: options of a command line as values."""

from __future__ import annotations

from nsctl.errors import UsageError
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.targets.live import HeldNamespace, Process

SHARED = (NamespaceType.PID, NamespaceType.NET)
"""What is shared where nothing else is asked for: as `docker run --pid=container:X
--network=container:X`, and what a pod's containers see of each other with its debugger."""

SHAREABLE = tuple(kind for kind in TYPES if kind is not NamespaceType.MNT)
"""All but the mount namespace: in that one it is `nsctl enter`."""

PROFILES = ("general", "baseline", "restricted", "netadmin", "sysadmin")
"""As in kubectl-debug(1)."""

HOST, BUSYBOX = "host", "busybox"
"""Tools that need no directory."""

_ID_LIMIT = 0xFFFFFFFF


class Request(NamedTuple):
    """A debug shell.

    Attributes:
        target: beside what.
        argv: the command; () for a shell.
        share: types of the target's namespaces to share; None for `SHARED`.
        tools: `HOST`, `BUSYBOX`, or a directory, archive or image of a root file system.
        profile: of `PROFILES`, "" for the first.
        uid: user in place of the profile's; None for that.
        gid: group, likewise.
        env: "NAME=value" each, in place of what is set otherwise.
        write: the target's files can be changed.
        trust: the target may trace the shell although that has more powers.
    """

    target: Process | HeldNamespace
    argv: tuple[str, ...] = ()
    share: frozenset[NamespaceType] | None = None
    tools: str = HOST
    profile: str = ""
    uid: int | None = None
    gid: int | None = None
    env: tuple[str, ...] = ()
    write: bool = False
    trust: bool = False

    @property
    def process(self) -> Process | None:
        """The target, where it is a process."""
        return self.target if isinstance(self.target, Process) else None


def parse_share(text: str) -> frozenset[NamespaceType]:
    """Read a list of types of namespaces.

    Args:
        text: names with commas between, "all" or "none".

    Raises:
        UsageError: one of them is no type, or is the mount namespace.
    """
    found: set[NamespaceType] = set()
    for word in text.split(","):
        if word == "all":
            found.update(SHAREABLE)
            continue
        if word == "none" and text == "none":
            continue
        kinds = [kind for kind in TYPES if word in {str(kind), kind.word}]
        if not kinds or kinds == [NamespaceType.MNT]:
            names = ", ".join(map(str, SHAREABLE))
            if kinds:
                raise UsageError(
                    "a debug shell has a mount namespace of its own, with the target's files in it",
                    "nsctl enter TARGET -m runs a command in the target's",
                )
            raise UsageError(f"--share takes {names}, all or none, not {word!r}")
        found.update(kinds)
    return frozenset(found)


def parse_user(text: str) -> tuple[int, int]:
    """Read ``UID[:GID]``; the group is the user's number where none is given.

    Raises:
        UsageError: it is not of that form.
    """
    words = text.split(":")
    if len(words) > 2 or not all(word.isascii() and word.isdecimal() for word in words):
        raise UsageError(f"--user takes UID or UID:GID, numbers, not {text!r}")
    numbers = [int(word) for word in words]
    if max(numbers) >= _ID_LIMIT:
        raise UsageError(f"--user {text}: a number is too large")
    return numbers[0], numbers[-1]


def check_env(entries: list[str]) -> tuple[str, ...]:
    """See that entries of an environment are some.

    Raises:
        UsageError: one has no name.
    """
    for entry in entries:
        if entry.find("=") < 1 or "\0" in entry:
            raise UsageError(f"--env takes NAME=VALUE, not {entry!r}")
    return tuple(
        dict(zip((entry.split("=")[0] for entry in entries), entries, strict=True)).values()
    )
