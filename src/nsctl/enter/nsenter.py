"""nsenter(1) of util-linux 2.42 for its scripts: the same order, powers, words and exit statuses.

Nothing is added: the command keeps the caller's powers, descriptors, signals and terminal, as with
the original. But it is started by the last stage from a sealed file, which a container cannot
overwrite through /proc/PID/exe, and all namespaces of the target are those of one pidfd.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from nsctl.child.plan import Join, Plan
from nsctl.child.report import NUMBERS, STEPS
from nsctl.child.stage2 import exec_stage2, open_stage2
from nsctl.enter.surroundings import own_environment, unique
from nsctl.errors import NsctlError
from nsctl.kernel import nsfs, pidfd, pidfd_namespaces, socketns
from nsctl.kernel.procfs import parse_id_map, read_file
from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

KINDS = {
    "user": NamespaceType.USER,
    "cgroup": NamespaceType.CGROUP,
    "ipc": NamespaceType.IPC,
    "uts": NamespaceType.UTS,
    "net": NamespaceType.NET,
    "pid": NamespaceType.PID,
    "mount": NamespaceType.MNT,
    "time": NamespaceType.TIME,
}
"""By their options, in the order in which they are joined."""

_ID_LIMIT = 1 << 32
_PID_LIMIT = 1 << 31
_ERRORS = 134  # the last error number of both machines is EHWPOISON, 133
_DEFAULT_SHELL = b"/bin/sh"
_PASSWORD_UNKNOWN = 65534

_SENTENCES = {
    "LABEL": "failed to set exec context",
    "CGROUP": "write cgroup.procs failed",
    "NAMESPACES": "reassociate to namespaces failed",
    "ROOT": "chroot failed",
    "DIRECTORY": "change directory by working directory file descriptor failed",
    "CWD": "cannot open current working directory",
    "FORK": "fork failed",
    "GROUPS": "setgroups failed",
    "GID": "setgid() failed",
    "UID": "setuid() failed",
}


class Options(NamedTuple):
    """What was given; names as nsenter's long options.

    Attributes:
        kinds: type to file, or to None where the target's is meant.
        every: all types.
        target: PID, or PID:INODE.
        net_socket: number of a descriptor of the target's.
        user_parent: the user namespace above.
        uid: number, or "follow".
        gid: likewise.
        preserve: leave both.
        keep_caps: keep what a user namespace grants.
        root: directory; "" for the target's; None for none.
        directory: likewise, opened outside.
        inside: directory, opened inside.
        env: take the target's environment.
        no_fork: do not fork for a PID namespace.
        join_cgroup: join the target's control group.
        follow_context: take the target's SELinux context.
        argv: the program and its arguments.
    """

    kinds: Mapping[NamespaceType, str | None]
    every: bool = False
    target: str | None = None
    net_socket: str | None = None
    user_parent: bool = False
    uid: str | None = None
    gid: str | None = None
    preserve: bool = False
    keep_caps: bool = False
    root: str | None = None
    directory: str | None = None
    inside: str | None = None
    env: bool = False
    no_fork: bool = False
    join_cgroup: bool = False
    follow_context: bool = False
    argv: Sequence[str] = ()


def _failed(sentence: str, error: OSError | None = None) -> NsctlError:
    reason = f": {os.strerror(error.errno or 0)}" if error is not None else ""
    return NsctlError("", "", sentence + reason)


class _Target:
    """The process that --target names."""

    def __init__(self, text: str | None) -> None:
        self.pid = 0
        self.pidfd = -1
        if text is None:
            return
        digits, colon, inode = text.partition(":")
        words = [digits.strip(" \t"), *([inode] if colon else [])]
        if not all(word.isascii() and word.isdecimal() for word in words):
            raise _failed(f"failed to parse PID argument '{text}'")
        self.pid = int(words[0])
        if not 0 < self.pid < _PID_LIMIT:
            raise _failed(f"failed to parse PID argument '{text}'")
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            if colon:
                raise _failed(f"failed to open pidfd of {self.pid}", error) from error
            return  # opening a file of it says why
        if colon and pidfd.inode(self.pidfd) != int(inode):
            raise _failed(f"pidfd inode {inode} not found for pid {self.pid}")

    def open(self, name: str, path: str | None = None) -> int:
        """Open a file of the target's directory in /proc, or another in its place."""
        if path is None:
            if not self.pid:
                raise _failed(f"neither filename nor target pid supplied for {name}")
            path = f"/proc/{self.pid}/{name}"
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _failed(f"cannot open {path}", error) from error

    def inode(self, kind: NamespaceType) -> int:
        """The inode of one of its namespaces."""
        path = f"/proc/{self.pid}/ns/{kind}"
        try:
            return os.stat(path).st_ino
        except OSError as error:
            raise _failed(f"stat of {path} failed", error) from error


def become(options: Options) -> NoReturn:
    """Do what nsenter does; this process becomes the command, or waits above it.

    Args:
        options: what was given.

    Raises:
        NsctlError: it cannot be done; the sentence is the original's.
    """
    target = _Target(options.target)
    joins, kinds = _joins(options, target)
    plan = _identity(options, target, kinds, _places(options, target))
    plan = plan._replace(
        namespaces=tuple(joins),
        two_passes=True,
        mode="fork" if NamespaceType.PID in kinds and not options.no_fork else "exec",
        words=_words(options, joins, target.pidfd),
    )
    # What Python ignores, and its parent most likely did not.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    exec_stage2(open_stage2(), plan, -1)


# --- Namespaces ----------------------------------------------------------------------------------


def _joins(options: Options, target: _Target) -> tuple[list[Join], set[NamespaceType]]:
    """Open what is joined: first what the target's pidfd gives at once, then the files."""
    files: dict[NamespaceType, int] = {}
    enabled = set(options.kinds)
    for kind, path in options.kinds.items():
        if path is not None:
            files[kind] = target.open(f"ns/{kind}", path.removeprefix("="))
    if options.every and not target.pid:
        raise _failed("no target PID specified for --all")
    if options.every:
        enabled |= {kind for kind in KINDS.values() if _is_usable(kind, target)}
    plain = enabled - files.keys()
    if (plain or options.net_socket or options.user_parent) and not target.pid:
        raise _failed("no target PID specified")
    if target.pidfd < 0:
        for kind in KINDS.values():
            if kind in plain:
                files[kind] = target.open(f"ns/{kind}")
        plain = set()
    if options.user_parent:
        files[NamespaceType.USER] = _parent(target, files, enabled)
        plain.discard(NamespaceType.USER)
    if options.net_socket is not None:
        files[NamespaceType.NET] = _of_socket(target, options.net_socket)
        plain.discard(NamespaceType.NET)
    kinds = plain | files.keys()
    if not kinds:
        raise _failed("no namespace specified")
    joins = [Join(target.pidfd, sum(kind.clone_flag for kind in plain))] if plain else []
    joins += [Join(files[kind], kind.clone_flag) for kind in KINDS.values() if kind in files]
    return joins, kinds


def _is_usable(kind: NamespaceType, target: _Target) -> bool:
    """With --all a type that the kernel lacks is left out, and one's own user namespace."""
    try:
        own = os.stat(f"/proc/self/ns/{kind}").st_ino
    except FileNotFoundError:
        return False
    return kind != NamespaceType.USER or not target.pid or own != target.inode(kind)


def _parent(
    target: _Target, files: Mapping[NamespaceType, int], enabled: set[NamespaceType]
) -> int:
    fd = files.get(NamespaceType.USER, -1)
    try:
        if fd < 0 and target.pidfd >= 0:
            fd = pidfd_namespaces.open_namespace(target.pidfd, NamespaceType.USER)
    except OSError:
        # Before 6.11 a pidfd has no namespaces to give; the file has.
        fd = -1
    if fd < 0:
        named = [files[kind] for kind in KINDS.values() if kind in enabled and kind in files]
        fd = named[0] if named else target.open("ns/user")
    try:
        return nsfs.get_userns(fd)
    except OSError as error:
        raise _failed("failed to open parent namespace", error) from error


def _of_socket(target: _Target, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) >= _PID_LIMIT:
        raise _failed(f"failed to parse file descriptor: '{text}'")
    try:
        socket = pidfd.pidfd_getfd(target.pidfd, int(text))
    except OSError as error:
        raise _failed(f"pidfd_getfd({target.pidfd}, {text})", error) from error
    try:
        return socketns.socket_netns(socket)
    except OSError as error:
        raise _failed(f"ioctl({socket}, SIOCGSKNS)", error) from error
    finally:
        os.close(socket)


# --- Places, and who the command is -------------------------------------------------------------


def _places(options: Options, target: _Target) -> Plan:
    """Directories, control group, context, environment and program."""
    argv = tuple(os.fsencode(word) for word in options.argv)
    root = directory = group = None
    if options.root is not None:
        root = target.open("root", options.root or None)
    if options.directory is not None:
        directory = target.open("cwd", options.directory.removeprefix("=") or None)
    env = own_environment()
    if options.env:
        fd = target.open("environ")
        with open(fd, "rb") as file:
            env = unique(file.read().split(b"\0"))
    if options.join_cgroup:
        group = _group(target)
    cwd = None
    if options.inside is not None:
        cwd = os.fsencode(options.inside.removeprefix("=")) or None
    plan = Plan(
        argv,
        env=env,
        keep=None,
        signals=True,
        scripts=True,
        root=root,
        directory=directory,
        cwd=cwd,
        cgroup=group,
        label=_context(target) if options.follow_context else None,
    )
    if argv:
        return plan
    shell = dict(entry.partition(b"=")[::2] for entry in env).get(b"SHELL", _DEFAULT_SHELL)
    return plan._replace(argv=(b"-" + os.path.basename(shell),), program=shell)


def _group(target: _Target) -> int:
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        raise _failed("--join-cgroup is only supported in cgroup v2")
    fd = target.open("cgroup")
    with open(fd, "rb") as file:
        first = file.read().partition(b"\n")[0]
    path = f"/sys/fs/cgroup/{os.fsdecode(first.rpartition(b':')[2])}/cgroup.procs"
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise _failed("failed to open cgroup.procs", error) from error


def _context(target: _Target) -> tuple[bytes, bytes] | None:
    """The target's SELinux context, where SELinux is on; else the option means nothing."""
    if not os.path.exists("/sys/fs/selinux/enforce"):
        return None
    if not target.pid:
        raise _failed("no target PID specified for --follow-context")
    try:
        context = read_file(f"/proc/{target.pid}/attr/current").rstrip(b"\n\0")
    except OSError as error:
        raise _failed(f"failed to get {target.pid} SELinux context", error) from error
    return b"/proc/self/attr/exec", context


def _identity(options: Options, target: _Target, kinds: set[NamespaceType], plan: Plan) -> Plan:
    """In a user namespace one is its root, unless other ids are named or kept."""
    enters_user = NamespaceType.USER in kinds
    forced = enters_user and not options.preserve
    uid = _number(options.uid, "uid") if options.uid is not None else None
    gid = _number(options.gid, "gid") if options.gid is not None else None
    if "follow" in {options.uid, options.gid}:
        uid, gid = _followed(options, target, uid, gid, enters_user=enters_user)
    if forced:
        uid, gid = uid or 0, gid or 0
    return plan._replace(
        uid=uid,
        gid=gid,
        groups=None if gid is None else (),
        lenient_groups=gid is not None,
        keep_caps=options.keep_caps and enters_user,
    )


def _number(text: str, what: str) -> int:
    if text == "follow":
        return 0
    digits = text.strip(" \t\n")
    if not (digits.isascii() and digits.isdecimal()) or int(digits) >= _ID_LIMIT:
        raise _failed(f"failed to parse {what}: '{text}'")
    return int(digits)


def _followed(
    options: Options, target: _Target, uid: int | None, gid: int | None, *, enters_user: bool
) -> tuple[int | None, int | None]:
    """The owner of the target's directory in /proc, as the namespace that is entered numbers it."""
    about = os.stat(target.open(""))
    ids = [about.st_uid, about.st_gid]
    if enters_user:
        for place, name in enumerate(("uid_map", "gid_map")):
            rows = parse_id_map(read_file(f"/proc/{target.pid}/{name}"))
            inside = [
                row.inside + ids[place] - row.outside
                for row in rows
                if row.outside <= ids[place] < row.outside + row.length
            ]
            ids[place] = inside[0] if inside else _PASSWORD_UNKNOWN
    return (
        ids[0] if options.uid == "follow" else uid,
        ids[1] if options.gid == "follow" else gid,
    )


# --- What the last stage says --------------------------------------------------------------------


def _words(options: Options, joins: Sequence[Join], pidfd_: int) -> tuple[bytes, ...]:
    """Sentences for every step, for every namespace, and the system's for every error."""
    program = options.argv[0] if options.argv else os.environ.get("SHELL", "/bin/sh")
    sentences = [_SENTENCES.get(step.name, f"cannot {step.operation} it") for step in STEPS]
    sentences[NUMBERS["EXEC"]] = f"failed to execute {program}"
    names = {kind.clone_flag: f"ns/{kind}" for kind in KINDS.values()}
    sentences += [
        f"reassociate to namespace '{names[join.flags]}' failed"
        if join.fd != pidfd_
        else _SENTENCES["NAMESPACES"]
        for join in joins
    ]
    errors = [os.strerror(number) for number in range(_ERRORS)]
    return tuple(os.fsencode(f"nsenter: {one}") for one in sentences) + tuple(
        os.fsencode(one) for one in errors
    )
