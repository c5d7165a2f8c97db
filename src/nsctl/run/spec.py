"""What is asked for when a container is made, checked and kept as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from nsctl.engines import own
from nsctl.errors import NsctlError, UsageError
from nsctl.model import capabilities
from nsctl.model.namespace import TYPES, NamespaceType

PRIVATE = "private"
HOST = "host"
CONTAINER = "container:"

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOSTNAME_LIMIT = 64  # uts_namespace(7): __NEW_UTS_LEN


class Spec(NamedTuple):
    """One container, as asked for.

    Attributes:
        rootfs: directory with its root file system, which is only read; "/" where the mount
            namespace is not private, because then it has that namespace's root.
        argv: command and arguments.
        name: "" for one that is made up.
        env: name and value pairs besides PATH, HOME, and what says that this is a container.
        cwd: where the command starts.
        hostname: "" for the container's name.
        namespaces: by type ("pid"): "private", "host" or "container:NAME"; private where
            nothing is said.
        boottime: offset of the boot-time clock in nanoseconds.
        monotonic: offset of the monotonic clock in nanoseconds.
        detach: it goes on when its starter ends, with null devices as standard streams.
        remove: nothing of it is kept once it has ended.
        read_only: its root cannot be written.
        capabilities: what it may have at most, a bit mask.
        seccomp: load the default filter.
        no_new_privs: set-uid programs give nothing.
    """

    rootfs: str
    argv: tuple[str, ...]
    name: str = ""
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    hostname: str = ""
    namespaces: Mapping[str, str] = {}
    boottime: int = 0
    monotonic: int = 0
    detach: bool = False
    remove: bool = False
    read_only: bool = False
    capabilities: int = capabilities.DEFAULT
    seccomp: bool = True
    no_new_privs: bool = True

    def choice(self, kind: NamespaceType) -> str:
        """What is wanted of one type: "private", "host" or "container:NAME"."""
        return self.namespaces.get(kind, PRIVATE)

    def is_private(self, kind: NamespaceType) -> bool:
        """Whether one type is wanted as the container's own."""
        return self.choice(kind) == PRIVATE

    def other(self, kind: NamespaceType) -> str:
        """The container whose namespace is wanted, "" where it is nobody's."""
        choice = self.choice(kind)
        return choice[len(CONTAINER) :] if choice.startswith(CONTAINER) else ""

    @property
    def others(self) -> dict[NamespaceType, str]:
        """All types that are wanted from other containers, with their names."""
        return {kind: self.other(kind) for kind in TYPES if self.other(kind)}

    def environment(self, name: str) -> list[str]:
        """The whole environment, NAME=VALUE, of the container with a given name."""
        values = {
            "PATH": DEFAULT_PATH,
            "HOME": "/root",
            "container": "nsctl",
            "container_name": name,
            **dict(self.env),
        }
        return [f"{key}={value}" for key, value in values.items()]


def checked(spec: Spec, uid: int) -> Spec:
    """Check a specification for what can be known without the host.

    Args:
        spec: as asked for.
        uid: who asks.

    Returns:
        The same with absolute paths, all eight namespaces, and for an ordinary user who wants
        another container's namespaces that container's user namespace too: it owns the others,
        and only from inside it may they be joined.

    Raises:
        UsageError: it asks for something that cannot be.
    """
    if spec.name:
        check_name(spec.name)
    _check_texts(spec)
    spec = spec._replace(namespaces=_namespaces(spec, uid))
    _check_agreement(spec)
    if spec.is_private(NamespaceType.MNT):
        spec = spec._replace(rootfs=os.path.realpath(spec.rootfs))
        if not os.path.isdir(spec.rootfs):
            raise UsageError(f"the root file system {spec.rootfs} is not a directory")
        if spec.rootfs == "/":
            raise UsageError(
                "the host's own root as a container's root would show it all of the host's files",
                "give a directory with a root file system of its own",
            )
    return spec


def check_name(name: str) -> None:
    """Check a container's name.

    Raises:
        UsageError: it could be mistaken for something else.
    """
    if not own.NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a container",
            "use up to 63 letters, digits, dots, dashes and underscores, and begin with a letter "
            "or digit",
        )
    if name.isdecimal():
        raise UsageError(f"the name {name} would be taken for a PID")


def _check_texts(spec: Spec) -> None:
    if not spec.argv or not spec.argv[0]:
        raise UsageError("there is no command to run")
    texts = [*spec.argv, spec.cwd, spec.hostname, spec.rootfs]
    texts += [text for pair in spec.env for text in pair]
    if any("\0" in text for text in texts):
        raise UsageError("a command, path or environment cannot hold a NUL byte")
    for key, _ in spec.env:
        if not key or "=" in key:
            raise UsageError(f"{key!r} is no name of an environment variable")
    if not spec.cwd.startswith("/"):
        raise UsageError(f"the working directory {spec.cwd} is not absolute")
    if len(os.fsencode(spec.hostname)) > HOSTNAME_LIMIT:
        raise UsageError(f"a host name has at most {HOSTNAME_LIMIT} bytes")


def _namespaces(spec: Spec, uid: int) -> dict[str, str]:
    unknown = set(spec.namespaces) - set(TYPES)
    if unknown:
        raise UsageError(
            f"there is no namespace type {min(unknown)!r}", f"the types are {', '.join(TYPES)}"
        )
    chosen = {str(kind): spec.choice(kind) for kind in TYPES}
    for kind, choice in chosen.items():
        if choice in {PRIVATE, HOST} or (spec.other(NamespaceType(kind))):
            continue
        raise UsageError(
            f"{choice!r} is no choice for the {kind} namespace",
            "it is private, host or container:NAME",
        )
    if uid == 0:
        return chosen
    names = set(spec.others.values())
    if chosen["user"] == HOST:
        raise UsageError(
            "an ordinary user's container needs a user namespace of its own",
            "only root can share the host's",
        )
    if names and "user" not in spec.namespaces and len(names) == 1:
        chosen["user"] = CONTAINER + min(names)
    elif names and names != {chosen["user"].removeprefix(CONTAINER)}:
        raise UsageError(
            "an ordinary user can join another container's namespaces only together with its "
            "user namespace",
            f"add the user namespace of {min(names)}",
        )
    return chosen


def _check_agreement(spec: Spec) -> None:
    if (spec.boottime or spec.monotonic) and not spec.is_private(NamespaceType.TIME):
        raise UsageError("clock offsets need a time namespace of the container's own")
    if spec.hostname and not spec.is_private(NamespaceType.UTS):
        raise UsageError("a host name needs a UTS namespace of the container's own")
    if not spec.is_private(NamespaceType.MNT):
        if spec.rootfs != "/":
            raise UsageError(
                "without a mount namespace of its own a container has that namespace's root",
                "give / as the root file system",
            )
        if spec.read_only:
            raise UsageError("a read-only root needs a mount namespace of the container's own")


def to_json(spec: Spec) -> dict[str, object]:
    """A specification as an object of JSON types."""
    return {
        **spec._asdict(),
        "argv": list(spec.argv),
        "env": [list(pair) for pair in spec.env],
        "namespaces": dict(spec.namespaces),
    }


def from_json(fields: dict[str, object]) -> Spec:
    """Read what `to_json` wrote.

    Raises:
        NsctlError: it is not what `to_json` writes.
    """
    try:
        spec = Spec(**fields)  # type: ignore[arg-type]  # checked right below
        spec = spec._replace(
            argv=tuple(str(word) for word in spec.argv),
            env=tuple((str(key), str(value)) for key, value in spec.env),
        )
    except (TypeError, ValueError) as error:
        raise NsctlError("read", "a container's specification", str(error)) from error
    defaults = Spec("", ())
    for name, default in defaults._asdict().items():
        if name != "namespaces" and type(getattr(spec, name)) is not type(default):
            raise NsctlError("read", "a container's specification", f"{name} is of another type")
    pairs = spec.namespaces.items() if isinstance(spec.namespaces, dict) else [(None, None)]
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise NsctlError("read", "a container's specification", "namespaces is of another type")
    return spec
