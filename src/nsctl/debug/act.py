"""From a request to a debug shell that runs: what is shared, built, said, and cleaned up."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence

from nsctl.child.plan import Join, Plan
from nsctl.child.report import Failure
from nsctl.child.stage2 import object_path, open_stage2
from nsctl.confine import confinement
from nsctl.debug import builder, groups, powers, tools, world
from nsctl.debug.request import SHARED, Request
from nsctl.enter import session, surroundings
from nsctl.errors import KernelRefusal, NsctlError, UsageError, Vanished, refused, translate
from nsctl.kernel import executable, nsfs
from nsctl.kernel.pidfd import has_ended
from nsctl.kernel.procfs import read_ns_links
from nsctl.model import capabilities
from nsctl.model.namespace import TYPES, UNREADABLE, IdMaps, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.targets.live import HeldNamespace

Say = Callable[[str], None]
"""Called with a sentence for whoever asked."""

_STREAMS = (0, 1, 2)
_SYS_ADMIN = 1 << 21
_FRESH = (NamespaceType.NET, NamespaceType.IPC, NamespaceType.UTS, NamespaceType.CGROUP)
"""What the shell has of its own where it is not shared; user and time stay the caller's."""


class Sharing(NamedTuple):
    """Which namespaces are whose.

    Attributes:
        shared: the target's, as asked for.
        joined: those of them that are not the caller's already.
        own: made for the shell.
        pid_ns: inode of the PID namespace that is shared, 0 for none or the caller's own.
        user_ns: inode of the shell's user namespace.
        remarks: what there is to be said.
    """

    shared: frozenset[NamespaceType]
    joined: frozenset[NamespaceType]
    own: tuple[NamespaceType, ...]
    pid_ns: int
    user_ns: int
    remarks: tuple[str, ...]

    @property
    def flags(self) -> int:
        """The bits of what is joined, for setns(2)."""
        return sum(kind.clone_flag for kind in self.joined)


def debug(request: Request, say: Say, fds: Sequence[int] = _STREAMS) -> int:
    """Run a debug shell to its end.

    Args:
        request: what is asked for.
        say: told what there is to know before the shell runs.
        fds: its standard streams.

    Returns:
        Its exit status, 128 and the signal's number for one that was killed.

    Raises:
        NsctlError: it could not be started; `nsctl.child.report.Failure` has the exit status that
            a shell would give.
    """
    if not object_path():
        raise NsctlError("debug", "anything", f"there is no last stage for {os.uname().machine}")
    found = tools.find(request.tools)
    sharing = sharing_of(request)
    maps = _maps(request, sharing)
    allowed = _powers(request, sharing, maps)
    terminal = os.isatty(fds[0]) and os.isatty(fds[1])
    for remark in (*sharing.remarks, *allowed.remarks):
        say(remark)
    if terminal:
        say(_banner(request, sharing, found))
    program = open_stage2()
    try:
        files: tuple[tuple[str, str], ...] = ()
        if request.process is not None and NamespaceType.NET in sharing.shared:
            files = _network_files(program, request)
        made = groups.make(request.target.text)
        with _built(program, request, sharing, found, files, made, maps, allowed) as namespaces:
            plan = _plan(request, sharing, found, allowed, namespaces, terminal=terminal)
            joins_user = NamespaceType.USER in sharing.joined
            owner = (os.geteuid(), os.getegid()) if joins_user else (allowed.uid, allowed.gid)
            try:
                return session.run(program, plan, fds, made.join, owner)
            except Failure as error:
                raise _explained(error, request, plan, found) from error
    finally:
        os.close(program)


# --- Which namespaces ----------------------------------------------------------------------------


def sharing_of(request: Request) -> Sharing:
    """Find which namespaces the shell shares, and which are made for it.

    Args:
        request: what is asked for.

    Raises:
        UsageError: a namespace alone has no others to share.
        KernelRefusal: the target may not be looked at.
    """
    own = _links("/proc/self")
    if isinstance(request.target, HeldNamespace):
        return _sharing_of_namespace(request, request.target, own)
    process = request.target
    try:
        theirs = read_ns_links(process.proc)
    except OSError as error:
        raise translate(error, "debug", f"process {process.pid}") from error
    if UNREADABLE in theirs:
        raise KernelRefusal(
            "debug",
            process.text,
            "its namespaces may not even be looked at",
            "it is another user's, or has powers that you lack: become root (CAP_SYS_PTRACE)",
        )
    asked = frozenset(SHARED) if request.share is None else request.share
    remarks = []
    differs = frozenset(
        kind
        for place, kind in enumerate(TYPES)
        if theirs[place] > 0 and theirs[place] != own[place]
    )
    may_not = not confinement.own_credentials().caps.effective & _SYS_ADMIN
    if may_not and NamespaceType.USER not in asked:
        if NamespaceType.USER not in differs:
            raise KernelRefusal(
                "debug",
                process.text,
                "it is in your own user namespace, in which you have no power (CAP_SYS_ADMIN)",
                "become root",
            )
        asked |= {NamespaceType.USER}
        remarks.append("its user namespace is shared too: your power over it comes from there")
    elif request.write and NamespaceType.USER in differs - asked:
        asked |= {NamespaceType.USER}
        remarks.append("its user namespace is shared too: its files are written by its users alone")
    remarks += [
        f"its {kind.word} namespace is the one that nsctl is in too"
        for kind in TYPES
        if kind in asked - differs - {NamespaceType.USER, NamespaceType.TIME}
    ]
    pid = TYPES.index(NamespaceType.PID)
    joins_user = NamespaceType.USER in asked & differs
    return Sharing(
        asked,
        asked & differs,
        _fresh(asked),
        theirs[pid] if NamespaceType.PID in asked & differs else 0,
        (theirs if joins_user else own)[TYPES.index(NamespaceType.USER)],
        tuple(remarks),
    )


def _fresh(asked: frozenset[NamespaceType]) -> tuple[NamespaceType, ...]:
    fresh = [kind for kind in (*_FRESH, NamespaceType.PID) if kind not in asked]
    return (*fresh, NamespaceType.MNT)


def _sharing_of_namespace(request: Request, target: HeldNamespace, own: tuple[int, ...]) -> Sharing:
    if target.type is NamespaceType.MNT:
        raise UsageError("a mount namespace alone cannot be shared: name a container or process")
    kinds = frozenset({target.type})
    if request.share is not None and request.share != kinds:
        raise UsageError(
            f"{target.text} is a {target.type.word} namespace and has no other to share"
        )
    ino = nsfs.inode(target.fd)
    is_own = ino == own[TYPES.index(target.type)]
    user = own[TYPES.index(NamespaceType.USER)]
    return Sharing(
        kinds,
        frozenset() if is_own else kinds,
        _fresh(kinds),
        ino if target.type is NamespaceType.PID and not is_own else 0,
        ino if target.type is NamespaceType.USER else user,
        (),
    )


def _links(path: str) -> tuple[int, ...]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return read_ns_links(fd)
    finally:
        os.close(fd)


# --- What it may do ------------------------------------------------------------------------------


class Maps(NamedTuple):
    """Who the shell's user namespace has.

    Attributes:
        held: what confines the target; None for a namespace alone.
        root_uid: its root, or its lowest user where root is not mapped.
        root_gid: likewise.
        may_set_groups: setgroups(2) is allowed there.
    """

    held: confinement.Confinement | None
    root_uid: int = 0
    root_gid: int = 0
    may_set_groups: bool = True


def _maps(request: Request, sharing: Sharing) -> Maps:
    process = request.process
    if process is None:
        return Maps(None)
    held = confinement.read(process.pid, process.proc, process.pidfd)
    if NamespaceType.USER not in sharing.joined:
        return Maps(held)
    return Maps(
        held,
        _lowest(held.maps, "uids"),
        _lowest(held.maps, "gids"),
        held.maps.setgroups != "deny",
    )


def _lowest(maps: IdMaps, which: str) -> int:
    rows = maps.uids if which == "uids" else maps.gids
    return min((row.inside for row in rows), default=0)


def _powers(request: Request, sharing: Sharing, maps: Maps) -> powers.Powers:
    held = confinement.own_credentials().caps
    joins_user = NamespaceType.USER in sharing.joined
    can_give = capabilities.everything() if joins_user else held.permitted & held.bounding
    tracers = powers.Tracers((), 0)
    if sharing.pid_ns:
        tracers = powers.find_tracers(sharing.pid_ns, sharing.user_ns)
    user = None
    if request.uid is not None and request.gid is not None:
        user = (request.uid, request.gid)
        if joins_user and maps.held is not None and not maps.held.is_mapped(request.uid):
            raise UsageError(f"user {request.uid} is not mapped in the target's user namespace")
    elif joins_user and maps.root_uid:
        user = (maps.root_uid, maps.root_gid)
    target_user = (0, 0)
    if maps.held is not None:
        ids = maps.held.credentials.uids[1], maps.held.credentials.gids[1]
        if joins_user:
            inside = maps.held.uid_inside(ids[0]), maps.held.gid_inside(ids[1])
            ids = inside[0] or maps.root_uid, inside[1] or maps.root_gid
        target_user = ids
    found = powers.powers_of(
        request.profile, user, can_give, tracers, target_user, trust=request.trust
    )
    if joins_user and maps.held is not None and not maps.held.is_mapped(found.uid):
        remark = f"user {found.uid} is not mapped there: it is user {target_user[0]}, with no power"
        found = found._replace(
            uid=target_user[0], gid=target_user[1], remarks=(*found.remarks, remark)
        )
    return found


# --- What it is made of --------------------------------------------------------------------------


def _network_files(program: int, request: Request) -> tuple[tuple[str, str], ...]:
    """The files that say how names are found in the target's network, as it has them."""
    if request.process is None:
        return ()
    contents = surroundings.files_of(program, request.process, surroundings.NETWORK_FILES)
    return tuple(
        (os.fsdecode(path), content.decode("latin-1"))
        for path, content in zip(surroundings.NETWORK_FILES, contents, strict=True)
        if content is not None
    )


@contextlib.contextmanager
def _built(
    program: int,
    request: Request,
    sharing: Sharing,
    found: tools.Tools,
    files: tuple[tuple[str, str], ...],
    made: groups.Groups,
    maps: Maps,
    allowed: powers.Powers,
) -> Iterator[tuple[Join, ...]]:
    """Have the helper build everything, and leave nothing of it at the end.

    Yields:
        What the shell's last stage joins besides the target's.
    """
    process, namespace = request.process, -1
    if isinstance(request.target, HeldNamespace):
        namespace = request.target.fd
    joins = {NamespaceType.NET, NamespaceType.USER} & sharing.joined
    theirs_too = NamespaceType.USER.clone_flag if NamespaceType.USER in sharing.joined else 0
    wanted = {
        "title": f"debug of {request.target.text}",
        "program": program,
        "pidfd": -1 if process is None else process.pidfd,
        "proc": -1 if process is None else process.proc,
        "namespace": namespace,
        "has_target": process is not None,
        "target_flags": NamespaceType.MNT.clone_flag | theirs_too,
        "join": sum(kind.clone_flag for kind in joins),
        "own": [str(kind) for kind in sharing.own],
        "pid_is_foreign": bool(sharing.pid_ns),
        "tracers": bool(sharing.pid_ns)
        and bool(powers.find_tracers(sharing.pid_ns, _own_user_ns()).pids),
        "entries": list(found.entries),
        "files": list(files),
        "write": request.write,
        "is_confined": allowed.is_confined,
        "groups": list(made.directories),
        "root_uid": maps.root_uid,
        "root_gid": maps.root_gid,
        "may_set_groups": maps.may_set_groups,
    }
    ours, helper = _start(wanted, program, made)
    fds: list[int] = []
    try:
        fds, kinds = _receive(ours, request)
        yield tuple(Join(fd, kind.clone_flag) for fd, kind in zip(fds, kinds, strict=True))
    finally:
        for fd in fds:
            os.close(fd)
        ours.close()
        helper.wait()


def _own_user_ns() -> int:
    return os.stat("/proc/self/ns/user").st_ino


def _start(
    wanted: dict[str, object], program: int, made: groups.Groups
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            text = json.dumps({**wanted, "channel": theirs.fileno()})
            request_fd = executable.data_memfd("nsctl-request", text.encode())
            numbers = [wanted["pidfd"], wanted["proc"], wanted["namespace"]]
            passed = [fd for fd in numbers if isinstance(fd, int) and fd >= 0]
            try:
                helper = subprocess.Popen(
                    builder.command(request_fd),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), request_fd, program, *passed],
                    cwd="/",
                    start_new_session=True,
                )
            finally:
                os.close(request_fd)
    except OSError as error:
        ours.close()
        groups.remove(made.directories)
        raise translate(error, "start", "the builder of the debug shell") from error
    return ours, helper


def _receive(ours: socket.socket, request: Request) -> tuple[list[int], list[NamespaceType]]:
    text, fds, _, _ = socket.recv_fds(ours, builder.MESSAGE_LIMIT, len(TYPES))
    if not text:
        raise Vanished("debug", request.target.text, "what builds the debug shell was killed")
    message = json.loads(text)
    if "error" not in message:
        return fds, [NamespaceType(word) for word in message["own"]]
    operation, subject, cause, hint, number = message["error"]
    if request.process is not None and has_ended(request.process.pidfd):
        raise Vanished("debug", request.target.text, f"its process {request.process.pid} has ended")
    raise KernelRefusal(operation, subject, cause, hint, errno=number)


def _plan(
    request: Request,
    sharing: Sharing,
    found: tools.Tools,
    allowed: powers.Powers,
    namespaces: tuple[Join, ...],
    *,
    terminal: bool,
) -> Plan:
    target = request.target
    theirs: tuple[Join, ...] = ()
    if sharing.joined:
        fd = target.fd if isinstance(target, HeldNamespace) else target.pidfd
        theirs = (Join(fd, sharing.flags),)
    argv = request.argv or found.shell
    may_set = NamespaceType.USER not in sharing.joined or _may_set_groups(request)
    may_set = may_set and bool(
        NamespaceType.USER in sharing.joined
        or confinement.own_credentials().caps.effective & 1 << 6  # CAP_SETGID
    )
    return Plan(
        tuple(os.fsencode(word) for word in argv),
        env=_environment(request, found, allowed, terminal=terminal),
        mode="enter",
        # The target's first, of one process by one call: in another user namespace the power over
        # the shell's own comes from there.
        namespaces=(*theirs, *namespaces),
        cwd=b"/",
        setsid=True,
        keyring=b"",
        umask=0o022,
        capabilities=allowed.sets,
        groups=() if may_set else None,
        gid=allowed.gid,
        uid=allowed.uid,
        death_signal=signal.SIGKILL,
        no_new_privs=allowed.no_new_privs,
        filters=allowed.filters,
    )


def _may_set_groups(request: Request) -> bool:
    if request.process is None:
        return True
    try:
        fd = os.open("setgroups", os.O_RDONLY | os.O_CLOEXEC, dir_fd=request.process.proc)
    except OSError as error:
        if refused(error):
            return False
        raise translate(error, "debug", request.target.text) from error
    try:
        return os.read(fd, 16) != b"deny\n"
    finally:
        os.close(fd)


def _environment(
    request: Request, found: tools.Tools, allowed: powers.Powers, *, terminal: bool
) -> tuple[bytes, ...]:
    env = {
        "PATH": found.path,
        "HOME": "/tmp" if allowed.uid else "/root",  # noqa: S108  (of its own root)
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }
    if terminal:
        env["TERM"] = os.environ.get("TERM", "xterm")
        env["PS1"] = f"[debug of {_harmless(request.target.text)}] \\w \\$ "
    env |= dict(entry.split("=", 1) for entry in request.env)
    return tuple(os.fsencode(f"{name}={value}") for name, value in env.items())


def _harmless(text: str) -> str:
    """What a shell takes for nothing but letters in its prompt."""
    return "".join(letter if letter.isalnum() or letter in "-_./:@" else "?" for letter in text)


# --- What is said --------------------------------------------------------------------------------


def _banner(request: Request, sharing: Sharing, found: tools.Tools) -> str:
    names = ", ".join(str(kind) for kind in TYPES if kind in sharing.shared) or "nothing"
    words = f"debug of {request.target.text}, with {found.words}: shares {names}"
    if request.process is not None:
        words += f"; its files are in {world.TARGET}" + ("" if request.write else ", read-only")
    return words


def _explained(error: Failure, request: Request, plan: Plan, found: tools.Tools) -> NsctlError:
    """Say in words of the target what the last stage reported."""
    process = request.process
    if error.step in {"NAMESPACES", "FORK"}:
        if process is not None and has_ended(process.pidfd):
            return Vanished("debug", process.text, f"its process {process.pid} has ended")
        error.subject = f"the namespaces of {request.target.text}"
    elif error.step == "EXEC":
        error.subject = f"the command {os.fsdecode(plan.argv[0])}"
        if error.errno == errno.ENOENT:
            error.hint = f"it, or the interpreter that it names, is missing in {found.words}"
    return error
