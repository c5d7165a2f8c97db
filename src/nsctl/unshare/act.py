"""Doing what unshare(1) is asked for, in the calling process, which becomes the program.

The caller has one thread. Everything that is needed later is loaded before: once the mount
namespace or the root is another one, nothing of nsctl can be imported any more. The order of the
steps is util-linux's; see unshare(1), user_namespaces(7), time_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nsctl.errors import KernelRefusal, NsctlError, translate
from nsctl.kernel import mount as mounts
from nsctl.kernel import process
from nsctl.kernel import unshare as kernel
from nsctl.model.namespace import NamespaceType
from nsctl.unshare import ids
from nsctl.unshare.helpers import Errand
from nsctl.unshare.ids import IdRange, with_single
from nsctl.unshare.request import Request

BINFMT = "/proc/sys/fs/binfmt_misc"
PROPAGATIONS = {
    "slave": mounts.MS_REC | mounts.MS_SLAVE,
    "private": mounts.MS_REC | mounts.MS_PRIVATE,
    "shared": mounts.MS_REC | mounts.MS_SHARED,
    "unchanged": 0,
}
"""What --propagation can be, as mount(2) flags."""

_PRIVATE = PROPAGATIONS["private"]
_SAFE = mounts.MS_NOSUID | mounts.MS_NOEXEC | mounts.MS_NODEV
_FILES = {
    NamespaceType.PID: "ns/pid_for_children",
    NamespaceType.TIME: "ns/time_for_children",
}
_CLOCKS = (("boottime", 7), ("monotonic", 1))

Explain = Callable[[OSError, str, str], NsctlError]
"""Turns a refusal into words: the error, the operation, and to what."""


def act(request: Request, explain: Explain) -> int | None:
    """Make the namespaces, and be in them or wait for the child that is.

    Args:
        request: what is asked for.
        explain: says why the kernel refused to make the namespaces.

    Returns:
        None in the process that is to become the program, which is in the namespaces and has
        given up what it was to give up. In its parent, where ``request.fork`` made one, the
        program's exit status; where a signal ended the program, the same signal ends the parent.

    Raises:
        KernelRefusal: a system call failed; nothing was started.
        NsctlError: ids cannot be mapped as asked for.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # In the new namespace the caller has no number yet.
    outside = os.geteuid(), os.getegid()
    users, groups, request = _ranges(request)
    with _errands() as errands:
        binder = mapper = None
        if request.files and request.types & {NamespaceType.MNT, NamespaceType.USER}:
            caller = os.getpid()
            binder = Errand(lambda: _bind_files(request, caller), errands)
        if users or groups:
            mapper = Errand(_map_ids(users, groups, os.getpid()), errands)
        _give_to(request.owner)
        try:
            kernel.unshare(request.flags)
        except OSError as error:
            raise explain(error, "unshare", _words(request)) from error
        if mapper is not None:
            mapper.finish()
        _set_clocks(request)
        child = _fork(request) if request.fork else 0
        if request.fork and not child:
            errands.clear()  # they are the parent's to end
        else:
            try:
                if binder is not None:
                    binder.finish()
                elif request.files:
                    _bind_files(request, os.getpid())
            except BaseException:
                if child:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                raise
        if child:
            return _wait(child)
    _enter(request, outside)
    return None


def _words(request: Request) -> str:
    names = [kind.word for kind in NamespaceType if kind in request.types]
    return f"{', '.join(names)} namespace{'s' if len(names) > 1 else ''}" if names else "nothing"


@contextmanager
def _errands() -> Iterator[list[Errand]]:
    """Helpers that were started, all ended whatever happens."""
    started: list[Errand] = []
    try:
        yield started
    finally:
        for errand in started:
            errand.abandon()


def _ranges(request: Request) -> tuple[list[IdRange], list[IdRange], Request]:
    """What a helper outside must write, and what is left for the process itself."""
    users, groups = list(request.users), list(request.groups)
    # Whoever gives the namespace away cannot write its maps any more.
    if users or (request.map_user is not None and request.owner is not None):
        inside = ids.NO_ID if request.map_user is None else request.map_user
        users = with_single(users, os.geteuid(), inside)
        request = request._replace(map_user=None)
    if groups or (request.map_group is not None and request.owner is not None):
        inside = ids.NO_ID if request.map_group is None else request.map_group
        groups = with_single(groups, os.getegid(), inside)
        request = request._replace(map_group=None)
    return users, groups, request


# --- What is done outside ------------------------------------------------------------------------


def _bind_files(request: Request, pid: int) -> None:
    for kind, path in request.files:
        source = f"/proc/{pid}/{_FILES.get(kind, f'ns/{kind}')}"
        try:
            mounts.mount(source, path, "", mounts.MS_BIND)
        except OSError as error:
            raise translate(error, "mount", f"{source} on {path}") from error


def _map_ids(users: list[IdRange], groups: list[IdRange], pid: int) -> Callable[[], None]:
    """Write the maps of a process, as root or by newuidmap(1) and newgidmap(1)."""

    def write() -> None:
        for kind, ranges in (("uid", users), ("gid", groups)):
            if not ranges:
                continue
            if os.geteuid() == 0:
                _write_map(f"/proc/{pid}/{kind}_map", ranges)
            else:
                _run_mapper(f"new{kind}map", pid, ranges)

    return write


def _write_map(path: str, ranges: list[IdRange]) -> None:
    text = ids.as_text(ranges).encode()
    if len(text) > ids.MAP_SIZE:
        raise NsctlError("write", path, "it is too large for the kernel's limit of 4 KiB")
    _write(path, text)


def _run_mapper(program: str, pid: int, ranges: list[IdRange]) -> None:
    words = [program, str(pid), *(str(number) for each in ranges for number in each)]
    try:
        child = os.posix_spawnp(program, words, os.environ)
    except OSError as error:
        raise translate(error, "execute", program, "the package uidmap has it") from error
    _, status = os.waitpid(child, 0)
    if status:
        raise NsctlError("map ids", "", f"{program} refused", "it said why above; see subuid(5)")


def _write(path: str, text: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)
    except OSError as error:
        raise translate(error, "write", path) from error


# --- What is done by the process itself ----------------------------------------------------------


def _give_to(owner: tuple[int, int] | None) -> None:
    """Become who the user namespace is to belong to."""
    if owner is None:
        return
    uid, gid = owner
    with _step("drop", "supplementary groups"):
        os.setgroups([])
    with _step("set", f"group id {gid}"):
        os.setgid(gid)
    with _step("set", f"user id {uid}"):
        os.setuid(uid)


@contextmanager
def _step(operation: str, subject: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise translate(error, operation, subject) from error


def _set_clocks(request: Request) -> None:
    for (name, clock), offset in zip(_CLOCKS, (request.boottime, request.monotonic), strict=True):
        if offset is not None:
            try:
                _write("/proc/self/timens_offsets", f"{clock} {offset} 0".encode())
            except KernelRefusal as error:
                error.subject = f"the {name} offset"
                error.operation = "set"
                if error.errno == errno.ERANGE:
                    error.cause = "the clock would be negative or beyond what it can hold (ERANGE)"
                raise


def _fork(request: Request) -> int:
    """Fork; in the child, arrange for it to end with its parent where that was asked for."""
    waited_for = {signal.SIGINT, signal.SIGTERM}
    forwarded: list[int] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    parent = os.pidfd_open(os.getpid()) if request.kill_child else -1
    if request.forward_signals:

        def forward(number: int, _frame: object) -> None:
            for child in forwarded:
                os.kill(child, number)

        for number in waited_for:
            signal.signal(number, forward)
    try:
        child = os.fork()
    except OSError as error:
        raise translate(error, "fork", "the program") from error
    if child:
        forwarded.append(child)
        if request.forward_signals:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return child
    if request.forward_signals:
        for number in waited_for:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if parent >= 0:
        _end_with(parent, request.kill_child)
    return 0


def _end_with(parent: int, number: int) -> None:
    """Get a signal when the parent ends, and end now where it has already."""
    with _step("arrange for", "a signal at the parent's end"):
        kernel.set_parent_death_signal(number)
    poll = select.poll()
    poll.register(parent, select.POLLIN)
    if poll.poll(0):
        os._exit(1)


def _wait(child: int) -> int:
    """Wait for the program, and end as it ended."""
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number


def _enter(request: Request, outside: tuple[int, int]) -> None:
    """Arrange the new namespaces from inside, and give up what is to be given up."""
    _map_own_ids(request, outside)
    is_fixed = request.interpreter.rpartition(":")[2].find("F") >= 0
    if NamespaceType.MNT in request.types and request.propagation:
        with _step("change", "the propagation of the root file system"):
            mounts.mount("none", "/", "", request.propagation)
    if is_fixed and request.root:
        # The interpreter is opened now, from the caller's root.
        _mount_binfmt(BINFMT)
        _register(BINFMT, request.interpreter)
    if request.root:
        with _step("change root directory to", request.root):
            os.chroot(request.root)
    if request.root or request.directory:
        directory = request.directory or "/"
        with _step("change directory to", directory):
            os.chdir(directory)
    if request.mount_proc:
        _mount_proc(request)
    if request.mount_binfmt:
        _mount_binfmt(request.mount_binfmt)
    if request.interpreter and not (is_fixed and request.root):
        _register(request.mount_binfmt, request.interpreter)
    if request.gid is not None:
        with _step("drop", "supplementary groups"):
            os.setgroups([])
        with _step("set", f"group id {request.gid}"):
            os.setgid(request.gid)
    if request.uid is not None:
        with _step("set", f"user id {request.uid}"):
            os.setuid(request.uid)
    if request.kill_child and (request.uid, request.gid) != (None, None):
        # A change of credentials clears it.
        with _step("arrange for", "a signal at the parent's end"):
            kernel.set_parent_death_signal(request.kill_child)
    if request.keep_caps and NamespaceType.USER in request.types:
        with _step("keep", "capabilities"):
            _keep_capabilities()


def _map_own_ids(request: Request, outside: tuple[int, int]) -> None:
    if request.map_user is not None:
        _write("/proc/self/uid_map", f"{request.map_user} {outside[0]} 1".encode())
    if request.map_group is not None:
        # Without it the kernel lets an ordinary user write no map of groups (since 3.19).
        _set_setgroups("deny")
        _write("/proc/self/gid_map", f"{request.map_group} {outside[1]} 1".encode())
    if request.setgroups:
        _set_setgroups(request.setgroups)


def _set_setgroups(word: str) -> None:
    try:
        _write("/proc/self/setgroups", word.encode())
    except KernelRefusal as error:
        if error.errno != errno.ENOENT:  # before Linux 3.19
            raise


def _mount_proc(request: Request) -> None:
    place = request.mount_proc
    if not request.root and request.propagation != _PRIVATE:
        try:
            mounts.mount("none", place, "", _PRIVATE)
        except OSError as error:
            # Nothing is mounted there yet.
            if error.errno != errno.EINVAL:
                raise translate(error, "change", f"the propagation of {place}") from error
    with _step("mount a procfs on", place):
        mounts.mount("proc", place, "proc", _SAFE)


def _mount_binfmt(place: str) -> None:
    with _step("mount a binfmt_misc on", place):
        mounts.mount("binfmt_misc", place, "binfmt_misc", _SAFE)


def _register(place: str, definition: str) -> None:
    _write(f"{place}/register", os.fsencode(definition))


def _keep_capabilities() -> None:
    held = process.capget()
    process.capset(held._replace(inheritable=held.permitted))
    for capability in range(held.effective.bit_length()):
        if held.effective >> capability & 1:
            process.raise_ambient(capability)
