"""The helper that builds a debug shell's namespaces, and stays to clean up behind the shell.

It is started anew, single-threaded, with the descriptor of its request, a JSON object. Three
processes come of it. The *guardian* stays in the host's namespaces until its channel ends, be it that
the shell has ended or that nsctl was killed; then it empties and removes the shell's control groups.
The *builder*, a child of it, makes namespaces and mounts, sends their descriptors over the channel and
ends. Where the shell has a PID namespace of its own, the *first process* there is a last stage that
never gets its go: it has no powers, reaps, and with its end the kernel ends all of the namespace.
"""

from __future__ import annotations

import array  # noqa: F401  (socket.send_fds imports it when it is called)
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from nsctl.child import report
from nsctl.child.plan import Plan
from nsctl.child.stage2 import exec_stage2
from nsctl.debug import groups, world
from nsctl.debug.tools import Entry
from nsctl.errors import EXIT_REFUSED_BEFORE_START, NsctlError, translate
from nsctl.kernel import cgroupfs, mount, netdevice, process, unshare
from nsctl.kernel.pidfd import has_ended
from nsctl.model.namespace import NamespaceType
from nsctl.model.task import CapabilitySets
from nsctl.mounting import filesystems
from nsctl.mounting.context import Context
from nsctl.mounting.filesystems import NODEV, NOEXEC, NOSUID

MESSAGE_LIMIT = 65536
"""Bytes of one message on the channel."""

_SHOWN = 1500
_HOSTNAME = "debug"
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from nsctl.debug.builder import main; main(int(sys.argv[2]))"
)


def command(request_fd: int) -> list[str]:
    """Arguments that start the helper, from the nsctl that runs now and the bare interpreter."""
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [sys.executable, "-I", "-S", "-B", "-c", _BOOT, top, str(request_fd)]


def main(request_fd: int) -> NoReturn:
    """Guard, build and clean up; never returns."""
    with open(request_fd, "rb") as file:
        request = json.loads(file.read())
    channel = socket.socket(fileno=request["channel"])
    for fd in (request["channel"], request["program"], request["pidfd"], request["proc"]):
        if fd >= 0:
            os.set_inheritable(fd, False)  # noqa: FBT003  (positional only)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever is waited for decides, not a key
    process.set_child_subreaper()
    status = EXIT_REFUSED_BEFORE_START
    try:
        guardian = os.pidfd_open(os.getpid())
        go_reading, go_writing = os.pipe2(os.O_CLOEXEC)
        told, tells = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        builder = os.fork()
        if not builder:
            os.close(go_writing)
            told.close()
            _build_and_tell(request, channel, guardian, go_reading, tells)
        os.close(go_reading)
        tells.close()
        _, mounts, _, _ = socket.recv_fds(told, 1, 1)
        os.waitpid(builder, 0)
        _guard(request, channel, go_writing, mounts)
        status = 0
    except NsctlError as error:
        # Nobody listens on the channel any more; what is left must not go unsaid.
        os.write(2, f"nsctl: {error.sentence}\n".encode())
    finally:
        os._exit(status)


def _guard(
    request: dict[str, Any], channel: socket.socket, go_writing: int, mounts: list[int]
) -> None:
    """Wait until nobody wants the shell any more, then leave nothing of it."""
    while channel.recv(1):
        pass
    os.close(go_writing)  # the first process of a PID namespace ends, and all in it
    if request["groups"]:
        groups.remove(tuple(request["groups"]))
    elif mounts:
        groups.end_members(mounts[0])
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _build_and_tell(
    request: dict[str, Any],
    channel: socket.socket,
    guardian: int,
    go: int,
    tells: socket.socket,
) -> NoReturn:
    """The builder: make everything, send it, or say why not."""
    try:
        _die_with(guardian)
        _build(request, channel, go, tells)
        os._exit(0)
    except NsctlError as error:
        _tell(channel, error)
    except OSError as error:
        _tell(channel, translate(error, "build", "the debug shell"))
    finally:
        os._exit(EXIT_REFUSED_BEFORE_START)


def _die_with(pidfd: int) -> None:
    unshare.set_parent_death_signal(signal.SIGKILL)
    if has_ended(pidfd):
        os._exit(EXIT_REFUSED_BEFORE_START)


def _tell(channel: socket.socket, error: NsctlError) -> None:
    texts = [error.operation, error.subject, error.cause, error.hint]
    number = getattr(error, "errno", 0)
    message = {"error": [*(text[:_SHOWN] for text in texts), number]}
    channel.send(json.dumps(message).encode())


def _build(request: dict[str, Any], channel: socket.socket, go: int, tells: socket.socket) -> None:
    """Make the namespaces and what is mounted; nothing is imported any more from here on."""
    context = Context()
    own = [NamespaceType(word) for word in request["own"]]
    steps = world.steps(
        tuple(Entry(*each) for each in request["entries"]),
        tuple((path, content.encode("latin-1")) for path, content in request["files"]),
        has_target=request["has_target"],
        write=request["write"],
        is_confined=request["is_confined"],
    )
    sys.meta_path.clear()
    sys.path.clear()
    unshare.set_dumpable(False)
    os.umask(0o022)
    if request["has_target"]:
        context.prepared["target"] = _target_files(request)
    for directory in request["groups"]:
        cgroupfs.join(directory)
    own_proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if request["join"]:
        _join(request)
    _unshare(own)
    first = -1
    if NamespaceType.PID in own:
        first, first_channel, first_report = _first_process(request, context, go)
    else:
        context.prepared["proc"] = _proc_of_target(request)
    fds = _open_own(own_proc, own)
    os.close(own_proc)
    # Open in the guardian, its number is nobody else's.
    socket.send_fds(tells, [b"!"], [fds[own.index(NamespaceType.MNT)]])
    for step in steps:
        step.execute(context)
    if first >= 0:
        first_channel.send(b"!")
        report.await_ready(first_report)
    message = {"own": [str(kind) for kind in own]}
    socket.send_fds(channel, [json.dumps(message).encode()], fds)


def _target_files(request: dict[str, Any]) -> int:
    """Clone the target's mounts, in a child that joins its mount namespace and ends."""
    root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=request["proc"])

    def work() -> int:
        unshare.setns(request["pidfd"], request["target_flags"])
        return world.clone_target(root, write=request["write"])

    try:
        return _by_child(work)
    except OSError as error:
        hint = (
            "become root, or the user whose container it is" if error.errno == errno.EPERM else ""
        )
        raise translate(error, "clone", "the target's mounts", hint) from error
    finally:
        os.close(root)


def _by_child(work: Callable[[], int]) -> int:
    """Let a child make a descriptor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if not child:
        try:
            ours.close()
            fd = work()
            socket.send_fds(theirs, [b"\0\0\0\0"], [fd])
        except OSError as error:
            theirs.send((error.errno or errno.EIO).to_bytes(4, "little"))
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        text, fds, _, _ = socket.recv_fds(ours, 4, 1)
    os.waitpid(child, 0)
    number = int.from_bytes(text, "little") if text else errno.EPIPE
    if number:
        raise OSError(number, os.strerror(number))
    return fds[0]


def _join(request: dict[str, Any]) -> None:
    """Join what decides who makes mounts, and of whose network: the user and network namespaces."""
    fd = request["pidfd"] if request["pidfd"] >= 0 else request["namespace"]
    try:
        unshare.setns(fd, request["join"])
        if request["join"] & NamespaceType.USER.clone_flag:
            if request["may_set_groups"]:
                os.setgroups([])
            os.setresgid(request["root_gid"], request["root_gid"], request["root_gid"])
            os.setresuid(request["root_uid"], request["root_uid"], request["root_uid"])
            unshare.set_dumpable(False)
            unshare.set_parent_death_signal(signal.SIGKILL)
    except OSError as error:
        hint = (
            "become root, or the user whose container it is" if error.errno == errno.EPERM else ""
        )
        raise translate(error, "join", "the target's namespaces", hint) from error


def _unshare(own: list[NamespaceType]) -> None:
    flags = 0
    for kind in own:
        flags |= kind.clone_flag
    try:
        unshare.unshare(flags)
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mount.mount_setattr(root, propagation=mount.MS_PRIVATE, recursive=True)
        finally:
            os.close(root)
        if NamespaceType.NET in own:
            netdevice.set_up("lo")
        if NamespaceType.UTS in own:
            socket.sethostname(_HOSTNAME)
    except OSError as error:
        hint = "user.max_*_namespaces in sysctl(8)" if error.errno == errno.ENOSPC else ""
        raise translate(error, "make", "the debug shell's namespaces", hint) from error


def _new_proc() -> int:
    return filesystems.make_filesystem("proc", NOSUID | NODEV | NOEXEC, ())


def _proc_of_target(request: dict[str, Any]) -> int:
    """Make a procfs of the PID namespace that will be shared.

    By naming the namespace (since 6.18); else by a child that is in it, where it can meet nobody who
    could trace it.
    """
    if not request["pid_is_foreign"]:
        return _new_proc()
    if request["pidfd"] >= 0:
        pid_ns = os.open("ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=request["proc"])
    else:
        pid_ns = os.dup(request["namespace"])
    fs = mount.fsopen("proc")
    try:
        mount.fsconfig_set_string(fs, "source", "proc")
        try:
            mount.fsconfig_set_fd(fs, "pidns", pid_ns)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return _proc_from_within(request, pid_ns)
        mount.fsconfig_create(fs)
        return mount.fsmount(fs, NOSUID | NODEV | NOEXEC)
    except OSError as error:
        raise translate(error, "make", "a proc of the target's PID namespace") from error
    finally:
        os.close(fs)
        os.close(pid_ns)


def _proc_from_within(request: dict[str, Any], pid_ns: int) -> int:
    if request["tracers"]:
        raise NsctlError(
            "make",
            "a proc of the target's PID namespace",
            "this kernel makes one from within only, where the target may trace who does it",
            "leave pid out: --share net",
        )

    def work() -> int:
        # A child of this one is born there; it passes the descriptor on.
        unshare.setns(pid_ns, NamespaceType.PID.clone_flag)
        return _by_child(_make_proc)

    return _by_child(work)


def _make_proc() -> int:
    fs = mount.fsopen("proc")
    mount.fsconfig_set_string(fs, "source", "proc")
    mount.fsconfig_create(fs)
    return mount.fsmount(fs, NOSUID | NODEV | NOEXEC)


def _open_own(proc: int, own: list[NamespaceType]) -> list[int]:
    """Open the namespaces that were made, while the host's /proc can be reached."""
    fds = []
    for kind in own:
        name = "pid_for_children" if kind is NamespaceType.PID else str(kind)
        path = f"{os.getpid()}/ns/{name}"
        fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc))
    return fds


def _first_process(
    request: dict[str, Any], context: Context, go: int
) -> tuple[int, socket.socket, int]:
    """Fork the first process of the new PID namespace, which makes its procfs and then waits.

    Returns:
        Its PID, the channel on which it is told that the root is there, and its report.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    parent = os.pidfd_open(os.getpid())
    child = os.fork()
    if not child:
        try:
            _die_with(parent)
            ours.close()
            socket.send_fds(theirs, [b"!"], [_make_proc()])
            if theirs.recv(1):
                # It outlives the builder: what ends it is the guardian's end of the go.
                unshare.set_parent_death_signal(0)
                _pause(request, writing, go)
        finally:
            os._exit(EXIT_REFUSED_BEFORE_START)
    theirs.close()
    os.close(writing)
    os.close(parent)
    text, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not text:
        raise NsctlError("make", "the first process of the debug shell", "it died")
    context.prepared["proc"] = fds[0]
    return child, ours, reading


def _pause(request: dict[str, Any], writing: int, go: int) -> NoReturn:
    """Become a last stage that waits for good; an ignored SIGCHLD lets the kernel reap."""
    for number in range(1, signal.NSIG):
        if number not in {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    plan = Plan(
        (os.fsencode(request["title"]),),
        go=go,
        signals=True,
        cwd=b"/",
        setsid=True,
        keyring=b"",
        capabilities=CapabilitySets(0, 0, 0, 0, 0),
        stdio=None,
    )
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    exec_stage2(request["program"], plan, writing)
