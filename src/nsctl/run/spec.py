"""What is asked for when a container is made, checked and kept as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from nsctl.engines import own
from nsctl.errors import NsctlError, UsageError
from nsctl.model import capabilities
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.mounting import masks
from nsctl.mounting.filesystems import NODEV, NOEXEC, NOSUID, RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PRIVATE = "private"
HOST = "host"
CONTAINER = "container:"
PATH = "ns:"
BIND, TMPFS = "bind", "tmpfs"
MEMORY, CPUS, PIDS = "memory", "cpus", "pids"
UNCONFINED = "unconfined"

ATTRIBUTES = {"ro": RDONLY, "nosuid": NOSUID, "nodev": NODEV, "noexec": NOEXEC}
"""Options of a mount, and their MOUNT_ATTR_* bits."""

_OPPOSITES = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec"}
_DEFAULTS = frozenset({"bind", "rbind", "private", "rprivate", "relatime"})
_TMPFS_OPTIONS = frozenset({"size", "mode", "nr_inodes"})
_OWN_PLACES = ("/proc", "/sys", "/dev")
_NO_ID = 0xFFFFFFFF

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOSTNAME_LIMIT = 64  # uts_namespace(7): __NEW_UTS_LEN


class Mount(NamedTuple):
    """Something that is mounted besides what every container has.

    Attributes:
        kind: "bind" for a file or directory of the host, "tmpfs" for an empty one.
        source: an absolute path of the host, "" for a tmpfs.
        target: where, an absolute path inside.
        options: with commas: ro, rw, nosuid, nodev, noexec and their opposites; for a bind idmap,
            for a tmpfs size=, mode=, nr_inodes=.
    """

    kind: str
    source: str
    target: str
    options: str = ""


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
        namespaces: by type ("pid"): "private", "host", "container:NAME" or "ns:PATH"; private
            where nothing is said.
        boottime: offset of the boot-time clock in nanoseconds.
        monotonic: offset of the monotonic clock in nanoseconds.
        detach: it goes on when its starter ends, with null devices as standard streams.
        remove: nothing of it is kept once it has ended.
        read_only: its root cannot be written.
        capabilities: what it may have at most, a bit mask.
        seccomp: load a filter.
        no_new_privs: set-uid programs give nothing.
        image: what its root comes from, for people; "" for ``rootfs``.
        uid: user of its command, inside.
        gid: group of its command, inside.
        groups: supplementary groups, inside.
        mounts: what is mounted besides.
        masked: paths that are hidden; a "*" stands for part of one component.
        read_only_paths: paths that cannot be written.
        seccomp_profile: the filter as JSON in the form of an OCI configuration; "" for the
            default one.
        sets: inheritable, permitted, effective, bounding and ambient capabilities of its command;
            () for those that engines give to its user.
        init: PID 1 is a process of ours that reaps and passes signals on, the command its child.
        limits: name ("memory" in bytes, "cpus" in thousandths, "pids") and number of each.
        rlimits: RLIMIT_* number, soft and hard limit of each.
        umask: of its command.
        make_cwd: make the working directory where it does not exist.
        terminal: it has a terminal even where its starter has none.
        interactive: its standard input stays open for whoever attaches to it.
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
    image: str = ""
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)
    mounts: tuple[Mount, ...] = ()
    masked: tuple[str, ...] = masks.MASKED
    read_only_paths: tuple[str, ...] = masks.READ_ONLY
    seccomp_profile: str = ""
    sets: tuple[int, ...] = ()
    init: bool = True
    limits: tuple[tuple[str, int], ...] = ()
    rlimits: tuple[tuple[int, int, int], ...] = ()
    umask: int = 0o022
    make_cwd: bool = False
    terminal: bool = False
    interactive: bool = False

    def choice(self, kind: NamespaceType) -> str:
        """What is wanted of one type: "private", "host", "container:NAME" or "ns:PATH"."""
        return self.namespaces.get(kind, PRIVATE)

    def is_private(self, kind: NamespaceType) -> bool:
        """Whether one type is wanted as the container's own."""
        return self.choice(kind) == PRIVATE

    def other(self, kind: NamespaceType) -> str:
        """The container whose namespace is wanted, "" where it is nobody's."""
        choice = self.choice(kind)
        return choice[len(CONTAINER) :] if choice.startswith(CONTAINER) else ""

    def path(self, kind: NamespaceType) -> str:
        """The path of the namespace that is wanted, "" where none is named by a path."""
        choice = self.choice(kind)
        return choice[len(PATH) :] if choice.startswith(PATH) else ""

    def joined(self, kind: NamespaceType) -> str:
        """Whose namespace is joined, a container's name or a path; "" where none is."""
        return self.other(kind) or self.path(kind)

    @property
    def others(self) -> dict[NamespaceType, str]:
        """All types that are wanted from other containers, with their names."""
        return {kind: self.other(kind) for kind in TYPES if self.other(kind)}

    def environment(self, name: str) -> list[str]:
        """The whole environment, NAME=VALUE, of the container with a given name."""
        values = {
            "PATH": DEFAULT_PATH,
            "HOME": "/root",
            **({"TERM": "xterm"} if self.terminal else {}),
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
    _check_powers(spec)
    _check_mounts(spec)
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
    if not own.is_name(name):
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
        if choice in {PRIVATE, HOST} or spec.other(NamespaceType(kind)):
            continue
        if (path := spec.path(NamespaceType(kind))) and "\0" not in path:
            chosen[kind] = PATH + os.path.abspath(path)
            continue
        raise UsageError(
            f"{choice!r} is no choice for the {kind} namespace",
            "it is private, host, container:NAME or ns:PATH",
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
    elif names and not spec.path(NamespaceType.USER) and names != {spec.other(NamespaceType.USER)}:
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
        if spec.mounts:
            raise UsageError("further mounts need a mount namespace of the container's own")
        if spec.terminal and spec.detach:
            raise UsageError(
                "a terminal in the background needs a mount namespace of the container's own"
            )


def _check_powers(spec: Spec) -> None:
    for number in (spec.uid, spec.gid, *spec.groups):
        if not 0 <= number < _NO_ID:
            raise UsageError(f"{number} is no user or group id")
    if not 0 <= spec.umask <= 0o777:
        raise UsageError(f"{spec.umask:o} is no umask")
    if len(spec.sets) not in {0, 5}:
        raise UsageError("there are five sets of capabilities")
    for name, number in spec.limits:
        if name not in {MEMORY, CPUS, PIDS} or number <= 0:
            raise UsageError(f"{number} is no limit of {name}")


def _check_mounts(spec: Spec) -> None:
    targets: set[str] = set()
    for each in spec.mounts:
        check_mount(each)
        if each.target in targets:
            raise UsageError(f"two things are to be mounted on {each.target}")
        targets.add(each.target)


def check_mount(wanted: Mount) -> None:
    """Check what is to be mounted besides, as far as one can without the host.

    Raises:
        UsageError: it cannot be.
    """
    target = wanted.target
    if any("\0" in text for text in wanted):
        raise UsageError("a path cannot hold a NUL byte")
    if not target.startswith("/") or os.path.normpath(target) != target or target == "/":
        raise UsageError(
            f"{target!r} is no place to mount on", "give an absolute path without . and .."
        )
    for taken in _OWN_PLACES:
        if target == taken or (target.startswith(f"{taken}/") and taken != "/dev"):
            raise UsageError(f"nothing can be mounted on {target}, which is the container's own")
    if wanted.kind not in {BIND, TMPFS}:
        raise UsageError(f"there is no mount of type {wanted.kind!r}", "it is bind or tmpfs")
    if wanted.kind == BIND and not wanted.source.startswith("/"):
        raise UsageError(f"{wanted.source!r} is no absolute path of the host")
    options_of(wanted)


def options_of(wanted: Mount) -> tuple[int, bool, tuple[tuple[str, str], ...]]:
    """Read the options of a mount.

    Returns:
        MOUNT_ATTR_* bits; whether its owners are seen through the container's id maps; options of
        the file system.

    Raises:
        UsageError: there is no such option, or its value is none.
    """
    attributes = 0 if wanted.kind == BIND else ATTRIBUTES["nosuid"] | ATTRIBUTES["nodev"]
    idmap = False
    options: list[tuple[str, str]] = []
    for word in filter(None, wanted.options.split(",")):
        key, equals, value = word.partition("=")
        if word in ATTRIBUTES:
            attributes |= ATTRIBUTES[word]
        elif word in _OPPOSITES:
            attributes &= ~ATTRIBUTES[_OPPOSITES[word]]
        elif word == "idmap" and wanted.kind == BIND:
            idmap = True
        elif word in _DEFAULTS:
            continue
        elif equals and wanted.kind == TMPFS and key in _TMPFS_OPTIONS and value.isalnum():
            options.append((key, value))
        else:
            raise UsageError(
                f"{word!r} is no option of a {wanted.kind} mount",
                f"there are {', '.join([*ATTRIBUTES, *_OPPOSITES])}"
                + (", idmap" if wanted.kind == BIND else ", size=, mode=, nr_inodes="),
            )
    return attributes, idmap, tuple(options)


_ROWS: dict[str, tuple[type, ...]] = {
    "env": (str, str),
    "mounts": (str, str, str, str),
    "limits": (str, int),
    "rlimits": (int, int, int),
}
_LISTS: dict[str, type] = {
    "argv": str,
    "groups": int,
    "masked": str,
    "read_only_paths": str,
    "sets": int,
}


def to_json(spec: Spec) -> dict[str, object]:
    """A specification as an object of JSON types."""
    fields = spec._asdict()
    for name in _ROWS:
        fields[name] = [list(row) for row in fields[name]]
    for name in _LISTS:
        fields[name] = list(fields[name])
    return {**fields, "namespaces": dict(spec.namespaces)}


def from_json(fields: dict[str, object]) -> Spec:
    """Read what `to_json` wrote.

    Raises:
        NsctlError: it is not what `to_json` writes.
    """
    read = dict(fields)
    for name, types in _ROWS.items():
        if name in read:
            rows = tuple(_row(row, types, name) for row in _list(read[name], name))
            read[name] = tuple(Mount(*row) for row in rows) if name == "mounts" else rows
    for name, kind in _LISTS.items():
        if name in read:
            read[name] = _row(read[name], None, name, kind)
    try:
        spec = Spec(**read)  # type: ignore[arg-type]  # checked right below
    except TypeError as error:
        raise NsctlError("read", "a container's specification", str(error)) from error
    defaults = Spec("", ())
    for name, default in defaults._asdict().items():
        if name != "namespaces" and type(getattr(spec, name)) is not type(default):
            raise _of_another_type(name)
    pairs = spec.namespaces.items() if isinstance(spec.namespaces, dict) else [(None, None)]
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise _of_another_type("namespaces")
    return spec


def _of_another_type(name: str) -> NsctlError:
    return NsctlError("read", "a container's specification", f"{name} is of another type")


def _list(value: object, name: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise _of_another_type(name)
    return value


def _row(
    value: object, types: tuple[type, ...] | None, name: str, kind: type = str
) -> tuple[Any, ...]:
    """Read one row of values, whose types are given, or are all the same."""
    items = _list(value, name)
    wanted = (kind,) * len(items) if types is None else types
    if len(items) != len(wanted) or any(
        type(item) is not one for item, one in zip(items, wanted, strict=True)
    ):
        raise _of_another_type(name)
    return tuple(items)
