"""A TARGET of the running host: one process that is held fast, or one namespace that is open.

A name takes no snapshot: one pass over the names of processes tells which engines have containers,
and those are asked. Only where none of them knows the name is everything read, because services and
other groups have names too, and to name what is near it.
"""

from __future__ import annotations

import os

from nsctl.errors import (
    KernelRefusal,
    TargetError,
    UnknownTarget,
    refused,
    translate,
    vanished,
)
from nsctl.kernel import pidfd
from nsctl.kernel.pidfd import has_ended
from nsctl.kernel.procfs import ProcFs, parse_stat, read_file, read_ns_links
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES, UNREADABLE, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.target import Target
from nsctl.targets import syntax

# A start that was read in a time namespace set off by a fraction of a tick is one off.
_START_SLACK = 1
# A container that is started again while it is looked for is found at the next try.
_TRIES = 3
_MNT = TYPES.index(NamespaceType.MNT)


class Process(NamedTuple):
    """A process that a TARGET leads to; whoever asked closes both descriptors (`close`).

    Attributes:
        pid: its number, which means this process as long as ``pidfd`` says that it lives.
        pidfd: of the process (pidfd_open(2)).
        proc: directory /proc/PID of the same process, O_RDONLY.
        start: clock ticks since boot as this /proc shows them.
        container: whose first process it is; None for a process that was named otherwise.
        text: the TARGET as it was typed.
    """

    pid: int
    pidfd: int
    proc: int
    start: int
    container: Container | None
    text: str

    def close(self) -> None:
        """Close both descriptors."""
        os.close(self.pidfd)
        os.close(self.proc)


class HeldNamespace(NamedTuple):
    """A namespace that a TARGET leads to; whoever asked closes the descriptor.

    Attributes:
        fd: of the namespace.
        type: its type.
        text: the TARGET as it was typed.
    """

    fd: int
    type: NamespaceType
    text: str

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


def resolve(text: str) -> Process | HeldNamespace:
    """Find what a TARGET leads to, and hold it fast.

    Args:
        text: as typed.

    Returns:
        A process for a container, a pod, a service, a PID and @host; a namespace for
        ``type:[INODE]`` and a path.

    Raises:
        UnknownTarget: nothing has this name; the hint has the nearest ones.
        AmbiguousTarget: more than one thing has it; the cause lists them.
        TargetError: what it names does not run, or is another process by now.
        KernelRefusal: it may not be opened.
    """
    target = syntax.parse(text)
    _check_proc()
    if target.kind == "path":
        from nsctl.targets import namespace_file

        return HeldNamespace(*namespace_file.open_namespace(target.text), text)
    if target.kind == "namespace" and target.type is not None:
        from nsctl.targets import held

        return HeldNamespace(held.open_namespace(target.type, target.ino), target.type, text)
    if target.kind == "pid":
        return _pinned(target)
    if target.kind == "host":
        return _host(target)
    for _ in range(_TRIES):
        container, pid, start = _named(target)
        process = _pin(pid, text, container)
        if not start or abs(process.start - start) <= _START_SLACK:
            return process
        process.close()
    raise TargetError("use", f"TARGET {text}", "it is started again and again")


def pin(target: Target) -> Target:
    """Check a ``PID:INODE``, and pin it by a namespace for a snapshot that is taken later.

    Args:
        target: of kind "pid", with an inode: of the process's pidfd (as nsenter(1) pins since
            2.42), or of a namespace that it is in.

    Returns:
        The same with the inode of a namespace of the process; 0 where its namespaces may not be
        read.

    Raises:
        UnknownTarget: there is no such process.
        TargetError: the number is another process's by now.
    """
    process = _pinned(target)
    try:
        links = read_ns_links(process.proc)
    finally:
        process.close()
    return target._replace(ino=max(links[_MNT], 0))


def _check_proc() -> None:
    """See to it that the numbers of /proc are those of the caller's system calls."""
    try:
        own = os.readlink("/proc/self")
    except OSError as error:
        raise translate(error, "read", "/proc") from error
    if own != str(os.getpid()):
        raise KernelRefusal(
            "use",
            "/proc",
            "it numbers processes as another PID namespace does",
            "mount the procfs of this one: mount -t proc proc /proc",
        )


def _pin(pid: int, text: str, container: Container | None = None) -> Process:
    """Hold a process fast: first by a pidfd, so that its directory can be checked against it."""
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        raise _unopened(error, pid) from error
    try:
        proc, start = _directory(pid)
    except OSError as error:
        os.close(fd)
        if vanished(error):
            raise UnknownTarget("use", f"process {pid}", "it has ended") from None
        raise translate(error, "open", f"/proc/{pid}") from error
    process = Process(pid, fd, proc, start, container, text)
    if has_ended(fd):
        process.close()
        raise UnknownTarget("use", f"process {pid}", "it has ended")
    return process


def _directory(pid: int) -> tuple[int, int]:
    """Open /proc/PID and read the process's start."""
    proc = ProcFs().open(pid)
    try:
        return proc, parse_stat(read_file("stat", proc)).start
    except BaseException:
        os.close(proc)
        raise


def _unopened(error: OSError, pid: int) -> Exception:
    """Why a process has no pidfd: most often there is none, or it is a thread."""
    try:
        leader = leader_of(pid)
    except OSError as unread:
        if vanished(unread):
            return UnknownTarget("find", f"process {pid}", "there is no such process")
        return translate(error, "open", f"process {pid}")
    if leader not in {0, pid}:
        return TargetError(
            "use", f"process {pid}", f"it is a thread of process {leader}", f"name {leader}"
        )
    return translate(error, "open", f"process {pid}")


def leader_of(pid: int, proc_root: str = "/proc") -> int:
    """Tell whose thread has a number.

    Args:
        pid: of a process or a thread.
        proc_root: where procfs is mounted.

    Returns:
        The number of its process, 0 where status does not say.

    Raises:
        OSError: it cannot be read; ENOENT or ESRCH where nothing has the number.
    """
    for line in read_file(f"{proc_root}/{pid}/status").split(b"\n"):
        if line.startswith(b"Tgid:\t"):
            return int(line[6:])
    return 0


def _pinned(target: Target) -> Process:
    process = _pin(target.pid, target.text)
    if not target.ino or pidfd.inode(process.pidfd) == target.ino:
        return process
    try:
        is_same = target.ino in read_ns_links(process.proc)
    except OSError as error:
        process.close()
        if vanished(error):
            raise UnknownTarget("use", f"process {target.pid}", "it has ended") from None
        raise translate(error, "read", f"namespaces of process {target.pid}") from error
    if is_same:
        return process
    process.close()
    raise TargetError(
        "use",
        f"process {target.text}",
        "neither its pidfd nor one of its namespaces has that inode: the PID may be another "
        "process's by now",
    )


def _host(target: Target) -> Process:
    """A process of the host: the first whose namespaces may be read, else the caller."""
    for pid in (1, 2, os.getpid()):
        try:
            process = _pin(pid, target.text)
        except (TargetError, KernelRefusal):
            continue
        try:
            status = parse_stat(read_file("stat", process.proc))
            # Of a PID namespace's own second process nothing is known.
            if (pid != 2 or status.kernel) and UNREADABLE not in read_ns_links(process.proc):
                return process
        except OSError as error:
            if not vanished(error) and not refused(error):
                process.close()
                raise translate(error, "read", f"process {pid}") from error
        process.close()
    raise UnknownTarget("find", "@host", "no process of the host may be read")


# --- Names ---------------------------------------------------------------------------------------


def _named(target: Target) -> tuple[Container | None, int, int]:
    """What a name means: its container, its first process, and that one's start as /proc shows it.

    Of a group that is no container the start is 0: the number was read a moment ago.
    """
    from nsctl import host
    from nsctl.relate.choose import choose

    # Names of other users' containers end in "@USER", and those of pods' are told apart by pods.
    is_plain = target.kind == "name" and not {"@", "/"} & set(target.name)
    wanted = target.name if is_plain else ""
    found = host.list_running(wanted=wanted, engine=target.engine)
    container = choose([each for each in found.containers if each.pid], target)
    if container is not None and target.name not in {container.name, container.id, ""}:
        # The beginning of an id: one that only control groups tell of may begin so too.
        found = host.list_running(by_groups=True)
        container = choose([each for each in found.containers if each.pid], target)
    if container is not None:
        return container, container.pid, container.start - found.shift
    return _searched(target, found.shift)


def _searched(target: Target, shift: int) -> tuple[Container | None, int, int]:
    """Find a name in a snapshot: of a service, a group, an image, what does not run, or nothing."""
    from nsctl import host
    from nsctl.model.part import Part
    from nsctl.relate.find import find

    parts = (Part.TASKS, Part.NAMESPACES, Part.CGROUPS, Part.COMMANDS, Part.CONTAINERS)
    found = find(host.take_snapshot(parts), target)
    container = found.container
    if container is not None and container.pid:
        return container, container.pid, container.start - shift
    if container is not None:
        raise TargetError(
            "use",
            f"TARGET {target.text}",
            f"{container.engine}://{container.name} does not run ({container.state or 'stopped'})",
        )
    if found.group is None:
        raise UnknownTarget("use", f"TARGET {target.text}", "no process of it lives")
    return None, found.group.leader, 0
