"""Making names for `ip netns`, and taking them away again.

A name is an empty file below /run/netns with a namespace bind-mounted on it, as ip-netns(8) makes
it. A waiter holds the container's first process by a pidfd and takes the name away at its end; the
next command does, where the waiter was killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys

from nsctl.errors import KernelRefusal, NsctlError, UnknownTarget, refused, translate, vanished
from nsctl.expose import names
from nsctl.expose.record import MADE, MOUNT, Record, Records, locked
from nsctl.kernel import mount as mounts
from nsctl.kernel.pidfd import has_ended
from nsctl.kernel.procfs import ProcFs, parse_stat, read_file
from nsctl.kernel.statx import is_mount_root
from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.targets import live
from nsctl.targets.live import HeldNamespace, Process

# Waits without anything of nsctl in memory, then lets the nsctl of that day clean up.
_WAITER = """
import os, select, sys
os.closerange(4, os.sysconf("SC_OPEN_MAX"))
poll = select.poll()
poll.register(3, select.POLLIN)
poll.poll()
os.close(3)
os.execv(sys.argv[1], [sys.argv[1], "-m", "nsctl", "netns", "hide", "--gone"])
"""


class Exposed(NamedTuple):
    """A name that was made.

    Attributes:
        name: below /run/netns.
        is_hosts: it is the network namespace that nsctl itself is in.
        waits: it goes when the container does.
    """

    name: str
    is_hosts: bool
    waits: bool


def expose(target: str, name: str = "", directory: str = names.DIRECTORY) -> Exposed:
    """Give a network namespace a name for `ip netns`.

    Args:
        target: whose network namespace.
        name: the name; by default the container's own.
        directory: where names are.

    Returns:
        What was made.

    Raises:
        NsctlError: there is such a name already, which is left as it is; there can be no such
            name; the target has none.
        KernelRefusal: it cannot be made.
    """
    found = live.resolve(target)
    try:
        chosen = names.check(name or _name_of(found))
        fd = _network(found)
    except BaseException:
        found.close()
        raise
    try:
        with locked() as records:
            _clean(records, directory)
            record = _record(chosen, found, fd)
            _make(records, record, fd, directory)
            if isinstance(found, Process):
                _start_waiter(records, record, found, directory)
        own = os.stat("/proc/self/ns/net").st_ino
        return Exposed(chosen, record.ino == own, record.pid != 0)
    finally:
        os.close(fd)
        found.close()


def hide(target: str, directory: str = names.DIRECTORY) -> list[str]:
    """Take away a name that nsctl made, or all of a target's.

    Args:
        target: the name, or the target that was exposed.
        directory: where names are.

    Returns:
        The names that were taken away.

    Raises:
        UnknownTarget: nsctl made no such name.
        KernelRefusal: it cannot be taken away.
    """
    with locked() as records:
        every = records.all()
        chosen = [record for record in every if record.name == target]
        if not chosen:
            chosen = [record for record in every if target == record.target]
        if not chosen:
            chosen = _of_target(target, every, directory)
        for record in chosen:
            _take_away(records, record, directory)
        _clean(records, directory)
    return [record.name for record in chosen]


def hide_gone(directory: str = names.DIRECTORY) -> list[str]:
    """Take away the names whose containers have ended.

    Returns:
        Those names.
    """
    with locked() as records:
        return _clean(records, directory)


def exposed() -> dict[str, Record]:
    """What nsctl exposed on this host, by name; {} for who may not know."""
    try:
        with locked() as records:
            return {record.name: record for record in records.all()}
    except KernelRefusal as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            return {}
        raise


# --- The parts -----------------------------------------------------------------------------------


def _name_of(found: Process | HeldNamespace) -> str:
    if isinstance(found, Process) and found.container is not None:
        return found.container.name
    hint = f"nsctl netns expose '{found.text}' NAME"
    raise UnknownTarget("name", f"TARGET {found.text}", "it is no container", hint)


def _network(found: Process | HeldNamespace) -> int:
    """Open the network namespace, of this very process."""
    if isinstance(found, HeldNamespace):
        if found.type is not NamespaceType.NET:
            raise NsctlError(
                "expose", f"TARGET {found.text}", f"it is a {found.type.word} namespace"
            )
        return os.dup(found.fd)
    try:
        fd = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=found.proc)
    except OSError as error:
        subject = f"network namespace of process {found.pid}"
        raise translate(error, "open", subject) from error
    if has_ended(found.pidfd):
        os.close(fd)
        raise UnknownTarget("use", f"process {found.pid}", "it has ended")
    return fd


def _record(name: str, found: Process | HeldNamespace, fd: int) -> Record:
    status = os.fstat(fd)
    return Record(
        name=name,
        target=found.text,
        pid=found.pid if isinstance(found, Process) else 0,
        start=found.start if isinstance(found, Process) else 0,
        boot_id=_boot_id(),
        dev=status.st_dev,
        ino=status.st_ino,
    )


def _boot_id() -> str:
    return ProcFs().read("sys/kernel/random/boot_id").decode("ascii").strip()


def _make(records: Records, record: Record, fd: int, directory: str) -> None:
    """Make the name, or leave nothing."""
    path = f"{directory}/{record.name}"
    if os.path.lexists(path):
        raise _taken(record.name)
    _prepare(records, directory)
    records.write(record)
    try:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0))
        except FileExistsError:
            raise _taken(record.name) from None
        try:
            mounts.mount(f"/proc/self/fd/{fd}", path, "", mounts.MS_BIND)
        except OSError:
            os.unlink(path)
            raise
    except OSError as error:
        records.forget(record.name)
        raise translate(error, "make", f"the name {record.name} in {directory}") from error
    except NsctlError:
        records.forget(record.name)
        raise


def _taken(name: str) -> NsctlError:
    cause = "there is such a name already, and it is left as it is"
    return NsctlError("expose", f"as {name}", cause, "give another: nsctl netns expose TARGET NAME")


def _prepare(records: Records, directory: str) -> None:
    """Have the directory be a shared mount, as ip-netns(8) makes it where it is none."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o755)
            records.note(MADE, holds=True)
        flags = mounts.MS_SHARED | mounts.MS_REC
        if not _is_mounted(directory):
            mounts.mount(directory, directory, "", mounts.MS_BIND | mounts.MS_REC)
            records.note(MOUNT, holds=True)
        mounts.mount("", directory, "", flags)
    except OSError as error:
        raise translate(error, "prepare", directory) from error


def _start_waiter(records: Records, record: Record, found: Process, directory: str) -> None:
    import nsctl

    package = os.path.dirname(os.path.dirname(os.path.abspath(nsctl.__file__)))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_DUP2, found.pidfd, 3),
        *((os.POSIX_SPAWN_DUP2, null, number) for number in range(3)),
    ]
    environ = {"PATH": os.defpath, "PYTHONPATH": package, "LANG": "C.UTF-8"}
    words = [sys.executable, "-I", "-S", "-c", _WAITER, sys.executable]
    try:
        pid = os.posix_spawn(sys.executable, words, environ, file_actions=actions, setsid=True)
        start = parse_stat(read_file(f"/proc/{pid}/stat")).start
    except OSError as error:
        _take_away(records, record, directory)
        raise translate(error, "start", f"what waits for process {found.pid}") from error
    finally:
        os.close(null)
    records.write(record._replace(waiter=pid, waiter_start=start))


def _of_target(text: str, every: list[Record], directory: str) -> list[Record]:
    """The names of what a TARGET leads to."""
    if os.path.lexists(f"{directory}/{text}") and "/" not in text:
        hint = f"`ip netns delete {text}` would remove it"
        raise UnknownTarget("hide", text, "nsctl did not make this name", hint)
    found = live.resolve(text)
    try:
        fd = _network(found)
        try:
            key = (os.fstat(fd).st_dev, os.fstat(fd).st_ino)
        finally:
            os.close(fd)
    finally:
        found.close()
    chosen = [record for record in every if (record.dev, record.ino) == key]
    if not chosen:
        raise UnknownTarget("hide", text, "nsctl made no name of its network namespace")
    return chosen


def _clean(records: Records, directory: str) -> list[str]:
    """Take away what belongs to containers that are gone, and the mount of the last name."""
    gone = []
    boot_id = _boot_id()
    for record in records.all():
        if record.boot_id != boot_id or (record.pid and not _lives(record.pid, record.start)):
            _take_away(records, record, directory)
            gone.append(record.name)
    _leave(records, directory)
    return gone


def _leave(records: Records, directory: str) -> None:
    """Leave the directory of names as it was found, once no name is in it."""
    if not records.is_noted(MOUNT) or records.all() or os.listdir(directory):
        return
    try:
        # Not lazily: somebody may have made a name there just now.
        mounts.umount2(directory, 0)
        records.note(MOUNT, holds=False)
        if records.is_noted(MADE):
            os.rmdir(directory)
            records.note(MADE, holds=False)
    except OSError as error:
        if error.errno not in {errno.EBUSY, errno.ENOTEMPTY}:
            raise translate(error, "remove", directory) from error


def _lives(pid: int, start: int) -> bool:
    try:
        stat = parse_stat(read_file(f"/proc/{pid}/stat"))
    except OSError as error:
        if vanished(error) or refused(error):
            return False
        raise
    return stat.start == start and stat.state not in "ZX"


def _take_away(records: Records, record: Record, directory: str) -> None:
    """Remove a name, if what is there is still what was put there."""
    path = f"{directory}/{record.name}"
    try:
        if _is_ours(path, record):
            mounts.umount2(path, mounts.MNT_DETACH)
        # Whatever else somebody mounted or wrote there is theirs.
        if _is_empty_file(path):
            os.unlink(path)
    except OSError as error:
        raise translate(error, "remove", path) from error
    if (
        record.waiter
        and record.waiter != os.getpid()
        and _lives(record.waiter, record.waiter_start)
    ):
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.waiter, signal.SIGKILL)
    records.forget(record.name)


def _is_ours(path: str, record: Record) -> bool:
    """Whether the namespace is mounted there that a record tells of."""
    try:
        place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        status = os.fstat(place)
        return (status.st_dev, status.st_ino) == (record.dev, record.ino)
    finally:
        os.close(place)


def _is_empty_file(path: str) -> bool:
    import stat

    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0 and not _is_mounted(path)


def _is_mounted(path: str) -> bool:
    """Whether something is mounted at a path."""
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return bool(is_mount_root(place))
    finally:
        os.close(place)
