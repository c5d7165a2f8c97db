"""Ending what belongs to a container, and removing what a killed nsctl left behind.

Everything that a container has follows from its state, which is written before any of it is made:
its control group, its storage, its range of ids. Its mounts lie in a namespace of its own and end
with its processes. So whoever finds a state whose lock nobody holds can remove all of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable
from functools import partial

from nsctl.engines import own
from nsctl.errors import KernelRefusal, NsctlError, UnknownTarget, refused, translate, vanished
from nsctl.kernel import cgroupfs, nsfs, procfs
from nsctl.kernel.remove import remove_tree
from nsctl.run import ids, subordinate
from nsctl.run.store import (
    Handle,
    Store,
    container_place,
    container_storage,
    hold,
    locked,
    opened,
    unfinished,
)

_END_SECONDS = 10.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNSETTLED = frozenset({"creating", "starting", "removing"})


def boot_id() -> str:
    """The id of this boot."""
    return procfs.ProcFs().read("sys/kernel/random/boot_id").strip(b"\n").decode("ascii")


def open_process(state: own.State) -> int:
    """Open a container's first process.

    Args:
        state: of the container.

    Returns:
        A pidfd, which the caller closes; -1 when it does not run.
    """
    if not state.pid or state.boot_id != boot_id():
        return -1
    try:
        pidfd = os.pidfd_open(state.pid)
    except ProcessLookupError:
        return -1
    try:
        # The pidfd first: whoever has the number and the start now is whom it refers to.
        seen = procfs.parse_stat(procfs.ProcFs().read(f"{state.pid}/stat"))
        if seen.start == state.start and seen.state not in "ZX":
            return pidfd
    except OSError as error:
        if not vanished(error):
            os.close(pidfd)
            raise
    os.close(pidfd)
    return -1


def await_end(pidfd: int, seconds: float) -> bool:
    """Wait for a process's end.

    Args:
        pidfd: of the process.
        seconds: how long at most; none at all where it is negative.

    Returns:
        False when it still runs after that time.
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    # poll(2) takes an int of milliseconds, and a negative one for ever.
    return bool(poll.poll(int(min(max(seconds, 0.0) * 1000, 0x7FFFFFFF))))


def kill(pidfd: int) -> None:
    """Kill a process and wait for its end.

    Raises:
        NsctlError: it does not end.
    """
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    if not await_end(pidfd, _END_SECONDS):
        raise NsctlError("end", "a container's process", "it is stuck inside the kernel")


def end_processes(state: own.State) -> None:
    """End all processes of a container.

    Those of a PID namespace of its own end with its first one. Otherwise the members of its
    control group are ended too; where it has none, the members of its mount namespace.

    Raises:
        NsctlError: one does not end.
    """
    pidfd = open_process(state)
    if pidfd >= 0:
        try:
            kill(pidfd)
        finally:
            os.close(pidfd)
    if state.boot_id != boot_id():
        return
    if state.cgroup_dirs:
        _end_group(state)
    elif state.mnt_ns_id and _namespace(state, "pid") != "private":
        for pid in procfs.ProcFs().pids():
            _kill_if(pid, lambda pid: _mnt_ns_id(pid) == state.mnt_ns_id)


def _namespace(state: own.State, kind: str) -> object:
    namespaces = state.spec.get("namespaces")
    return namespaces.get(kind) if isinstance(namespaces, dict) else None


def _end_group(state: own.State) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while members := [
        (pid, directory)
        for top in state.cgroup_dirs
        for directory in cgroupfs.groups(top)
        for pid in cgroupfs.processes(directory)
    ]:
        if time.monotonic() > deadline:
            raise NsctlError("end", f"the processes of {state.name}", "they do not end")
        for pid, directory in members:
            _kill_if(pid, partial(_is_member, directory))


def _is_member(directory: str, pid: int) -> bool:
    return pid in cgroupfs.processes(directory)


def _kill_if(pid: int, belongs: Callable[[int], bool]) -> None:
    """Kill a process, if after it was opened it still is what it was taken for."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if belongs(pid) and not await_end(pidfd, 0):
            kill(pidfd)
    finally:
        os.close(pidfd)


def _mnt_ns_id(pid: int) -> int:
    """The id of a process's mount namespace, 0 where it cannot be read."""
    try:
        proc = procfs.ProcFs().open(pid)
        try:
            fd = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        finally:
            os.close(proc)
    except OSError as error:
        if vanished(error) or refused(error):
            return 0
        raise
    try:
        return nsfs.get_id(fd) or 0
    finally:
        os.close(fd)


def end(handle: Handle) -> None:
    """End a container's processes and remove its control group; its changes stay.

    Raises:
        NsctlError: something of it cannot be ended or removed.
    """
    state = handle.state
    end_processes(state)
    try:
        for directory in state.cgroup_dirs:
            cgroupfs.remove(directory, _END_SECONDS)
            cgroupfs.remove_if_empty(os.path.dirname(directory))
    except OSError as error:
        raise translate(error, "remove", f"the control group of {state.name}") from error


def note(handle: Handle, **changes: object) -> None:
    """Change a state of which the next command would find out the same by itself.

    A full disk is no reason to leave off: what follows may be what makes room.
    """
    try:
        handle.update(**changes)
    except KernelRefusal as error:
        if error.errno not in _FULL:
            raise


def clear(handle: Handle, containers: int, store: Store) -> None:
    """Remove all that a container has, its state last; can be begun anew at any point.

    Args:
        handle: of the container.
        containers: from `opened`.
        store: whose container it is.

    Raises:
        NsctlError: something of it cannot be removed.
    """
    note(handle, status="removing")
    end(handle)
    state = handle.state
    try:
        if state.storage:
            _remove_storage(state.storage, store)
        _remove_state(containers, state.id)
    except OSError as error:
        raise translate(error, "remove", f"container {state.name}") from error
    if state.id_count:
        ids.release(store.pool, state.ids, state.id_count)


def _remove_storage(path: str, store: Store) -> None:
    """Remove what a container wrote, as whom it was written by where it was not the caller."""
    try:
        remove_tree(path)
    except PermissionError:
        maps = subordinate.maps_of(store.pool.subordinate, os.geteuid(), os.getegid())
        if maps is None:
            raise
        subordinate.remove(path, maps)


def _remove_state(containers: int, name: str) -> None:
    """Remove a container's state directory; others see it whole or not at all."""
    gone = name if name.startswith(".") else f".new-{name}"
    if gone != name:
        os.rename(name, gone, src_dir_fd=containers, dst_dir_fd=containers)
    fd = os.open(gone, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=containers)
    try:
        for entry in os.listdir(fd):
            os.unlink(entry, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(gone, dir_fd=containers)


def settle(handle: Handle, containers: int, store: Store) -> bool:
    """Bring a container's state up to what is true, given that nobody works on it.

    Args:
        handle: of the container.
        containers: from `opened`.
        store: whose container it is.

    Returns:
        Whether it is gone now.

    Raises:
        NsctlError: something of it cannot be ended or removed.
    """
    state = handle.state
    if state.status in _UNSETTLED:
        clear(handle, containers, store)
        return True
    if state.status != "running":
        return False
    pidfd = open_process(state)
    if pidfd >= 0:
        os.close(pidfd)
        # One in the foreground lives no longer than its starter, who holds the lock.
        if state.spec.get("detach"):
            return False
    if state.spec.get("remove"):
        clear(handle, containers, store)
        return True
    end(handle)
    note(handle, status="stopped", pid=0, start=0)
    return False


def collect(store: Store) -> list[str]:
    """Remove what killed commands left, and note which containers have ended.

    Args:
        store: where to look. Containers that somebody works on are left alone.

    Returns:
        The names of containers that were removed.

    Raises:
        NsctlError: something cannot be removed, or a state is damaged; everything else has been
            done nevertheless.
    """
    removed = []
    failed: list[NsctlError] = []
    with opened(store) as containers:
        if containers < 0:
            return []
        for container_id in own.container_ids(containers):
            try:
                handle = hold(containers, container_id, 0)
                if handle is None:
                    continue
                with handle:
                    name = handle.state.name
                    if settle(handle, containers, store):
                        removed.append(name)
            except UnknownTarget:
                continue
            except NsctlError as error:
                failed.append(error)
        try:
            with locked(containers):
                for name in unfinished(containers):
                    _remove_state(containers, name)
                _remove_orphans(store)
            _remove_unfinished_images(store)
        except OSError as error:
            raise translate(error, "remove", "what a killed command left") from error
    ids.prune(store.pool)
    if failed:
        raise failed[0]
    return removed


def _remove_unfinished_images(store: Store) -> None:
    """Remove what an import that was killed left."""
    path = f"{store.storage}/images"
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return
    if any(name.startswith(".new-") for name in names):
        from nsctl.images.store import ImageStore  # what it imports is much, and seldom needed

        ImageStore(path).remove_unfinished()


def _remove_orphans(store: Store) -> None:
    """Remove changes of which there is no state any more: the host was started anew."""
    parent = os.path.dirname(container_storage(store, "x"))
    try:
        names = os.listdir(parent)
    except FileNotFoundError:
        return
    for name in names:
        if not os.path.exists(container_place(store, name)):
            _remove_storage(f"{parent}/{name}", store)
