"""A namespace by its inode, opened: through a process that is in it, or what else holds it."""

from __future__ import annotations

import os

from nsctl.errors import UnknownTarget, refused, translate, vanished
from nsctl.kernel import nsfs, nsfs_handle
from nsctl.kernel.procfs import ProcFs, parse_ns_link
from nsctl.model.namespace import ABSENT, TYPES, Namespace, NamespaceType
from nsctl.model.part import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.model.snapshot import Snapshot

_MNT = TYPES.index(NamespaceType.MNT)
_FOR_CHILDREN = {NamespaceType.PID: "pid_for_children", NamespaceType.TIME: "time_for_children"}
_HOLDERS = frozenset(
    {
        Part.TASKS,
        Part.NAMESPACES,
        Part.THREADS,
        Part.CHILDREN,
        Part.NSFS_PATHS,
        Part.MOUNTED,
        Part.DESCRIPTORS,
        Part.SOCKETS,
        Part.RELATIONS,
    }
)


def open_namespace(kind: NamespaceType, ino: int) -> int:
    """Open a namespace.

    Args:
        kind: its type.
        ino: its inode.

    Returns:
        A descriptor, close-on-exec, which the caller closes.

    Raises:
        UnknownTarget: nothing that was found leads to it.
        KernelRefusal: /proc cannot be read.
    """
    fd = _through_processes(kind, ino)
    if fd is None:
        fd = _through_holders(kind, ino)
    if fd is None:
        raise UnknownTarget("open", f"namespace {kind}:[{ino}]", "nothing seen here leads to it")
    return fd


def _through_processes(kind: NamespaceType, ino: int) -> int | None:
    """Open it through the first process that is in it."""
    proc = ProcFs()
    try:
        pids = proc.pids()
    except OSError as error:
        raise translate(error, "read", proc.root) from error
    for pid in pids:
        path = f"{proc.root}/{pid}/ns/{kind}"
        try:
            if parse_ns_link(os.readlink(path)) != ino:
                continue
        except OSError as error:
            if vanished(error) or refused(error):
                continue
            raise translate(error, "read", path) from error
        fd = _open(path, kind, ino)
        if fd is not None:
            return fd
    return None


def _through_holders(kind: NamespaceType, ino: int) -> int | None:
    """Open it through what holds it, wherever no process is in it."""
    from nsctl import host

    snapshot = host.take_snapshot(_HOLDERS)
    for namespace in snapshot.namespaces:
        if namespace.id.type is kind and namespace.id.ino == ino:
            break
    else:
        return None
    if namespace.ns_id is not None:
        handle = nsfs_handle.handle(namespace.ns_id, kind, ino)
        try:
            return nsfs_handle.open_by_handle(handle)
        except OSError:
            # Every refusal is ESTALE, and older kernels have no such handles: there are other ways.
            pass
    for path in _paths(snapshot, namespace):
        fd = _open(path, kind, ino)
        if fd is not None:
            return fd
    return None


def _paths(snapshot: Snapshot, namespace: Namespace) -> list[str]:
    """All paths below /proc that lead to a namespace by what holds it."""
    kind = namespace.id.type
    found = []
    for holder in namespace.holders:
        task = f"/proc/{holder.pid}" + (f"/task/{holder.tid}" if holder.tid else "")
        if holder.kind == "thread":
            found.append(f"{task}/ns/{kind}")
        elif holder.kind == "child" and kind in _FOR_CHILDREN:
            found.append(f"{task}/ns/{_FOR_CHILDREN[kind]}")
        elif holder.kind == "fd":
            found.append(f"{task}/fd/{holder.fd}")
        elif holder.kind == "bind":
            path = os.fsdecode(holder.path)
            found += [
                f"/proc/{each.pid}/root{path}"
                for each in snapshot.tasks
                if each.ns[_MNT] == holder.mntns != ABSENT
            ][:3]
    return found


def _open(path: str, kind: NamespaceType, ino: int) -> int | None:
    """Open a path, if it is this very namespace; anybody may have put something else there.

    O_PATH first: to open a FIFO or a device would act on it.
    """
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        # Gone, refused, or on a file system that does not answer: the next way may lead there.
        return None
    try:
        if os.fstat(place).st_dev != os.stat("/proc/self/ns/mnt").st_dev:
            return None
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    if nsfs.inode(fd) == ino and nsfs.get_nstype(fd) is kind:
        return fd
    os.close(fd)
    return None
