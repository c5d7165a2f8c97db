"""Finds out what a container's plan depends on, from the kernel where it can be asked."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence

from nsctl.engines import own
from nsctl.errors import (
    NsctlError,
    UnknownTarget,
    UsageError,
    refused,
    translate,
    vanished,
)
from nsctl.kernel import cgroupfs, mountinfo, nsfs, procfs
from nsctl.model import capabilities
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.run import garbage, groups, ids, plan, subordinate
from nsctl.run.spec import Spec
from nsctl.run.store import find, states
from nsctl.targets import live, namespace_file

_PID = TYPES.index(NamespaceType.PID)
_USER = TYPES.index(NamespaceType.USER)
_SYS_PTRACE = capabilities.NUMBERS["CAP_SYS_PTRACE"]


@contextlib.contextmanager
def others_of(spec: Spec, containers: int) -> Iterator[dict[str, int]]:
    """Open the namespaces of others that a specification names, by containers or by paths."""
    fds: dict[str, int] = {}
    try:
        for kind in TYPES:
            if spec.other(kind):
                fds[str(kind)] = _of_container(containers, spec.other(kind), kind)
            elif spec.path(kind):
                fds[str(kind)] = _of_path(spec.path(kind), kind)
        if NamespaceType.PID in fds:
            _check_tracers(containers, fds[NamespaceType.PID])
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


def check_others(spec: Spec, containers: int) -> None:
    """See that the containers exist whose namespaces a specification names.

    Raises:
        TargetError: one does not.
    """
    for name in set(spec.others.values()):
        try:
            find(containers, name)
        except UnknownTarget:
            live.resolve(name).close()


def _of_container(containers: int, name: str, kind: NamespaceType) -> int:
    """Open a namespace of one of our containers, else of another engine's."""
    try:
        state = find(containers, name)
    except UnknownTarget:
        found = live.resolve(name)
        try:
            if isinstance(found, live.HeldNamespace):
                raise UsageError(f"{name} is no container", "name a namespace as ns:PATH") from None
            return _namespace_of_process(found.proc, found.pidfd, name, kind)
        finally:
            found.close()
    return _namespace_of(state, kind)


def _of_path(path: str, kind: NamespaceType) -> int:
    fd, found = namespace_file.open_namespace(path)
    if found is kind:
        return fd
    os.close(fd)
    raise UsageError(f"{path} is a {found.word} namespace, not a {kind.word} namespace")


def _namespace_of(state: own.State, kind: NamespaceType) -> int:
    pidfd = garbage.open_process(state)
    if pidfd < 0:
        raise NsctlError("join", f"the {kind.word} namespace of {state.name}", "it does not run")
    try:
        proc = procfs.ProcFs().open(state.pid)
        try:
            return _namespace_of_process(proc, pidfd, state.name, kind)
        finally:
            os.close(proc)
    except OSError as error:
        raise translate(error, "open", f"the {kind.word} namespace of {state.name}") from error
    finally:
        os.close(pidfd)


def _namespace_of_process(proc: int, pidfd: int, name: str, kind: NamespaceType) -> int:
    """Open a namespace below a directory /proc/PID, which the pidfd says is still the process's."""
    try:
        fd = os.open(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        # The number could have gone to another process between the two.
        if garbage.await_end(pidfd, 0):
            os.close(fd)
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    except OSError as error:
        raise translate(error, "open", f"the {kind.word} namespace of {name}") from error
    return fd


def _check_tracers(containers: int, pid_ns: int) -> None:
    """Refuse a PID namespace in which the first process would be at somebody's mercy.

    It builds the container from within, with the host's files and powers in its reach. Against
    root of another user namespace it is protected by being unreadable (ptrace(2)); against one who
    may trace in the host's own, nothing is (CVE-2016-9962).
    """
    if _is_own(pid_ns, NamespaceType.PID):
        return  # the host's, whose processes are no containers
    for state in states(containers):
        held = state.spec.get("capabilities")
        if not isinstance(held, int) or not held >> _SYS_PTRACE & 1:
            continue
        with contextlib.ExitStack() as stack:
            try:
                pid, user = (
                    stack.enter_context(_opened_of(state, kind))
                    for kind in (NamespaceType.PID, NamespaceType.USER)
                )
            except NsctlError:
                continue  # it does not run
            if nsfs.inode(pid) == nsfs.inode(pid_ns) and _is_own(user):
                raise NsctlError(
                    "join",
                    "the PID namespace",
                    f"{state.name} is in it, has CAP_SYS_PTRACE in your user namespace, and could "
                    "take over what builds this container",
                    f"start {state.name} without CAP_SYS_PTRACE, or with a user namespace of its own",
                )
    _check_foreign_tracers(pid_ns)


def _check_foreign_tracers(pid_ns: int) -> None:
    """The same for processes that are no container's of ours."""
    user = _open_own(NamespaceType.USER)
    try:
        own_user, wanted = nsfs.inode(user), nsfs.inode(pid_ns)
    finally:
        os.close(user)
    for pid, proc in _processes():
        links = procfs.read_ns_links(proc)
        if links[_PID] != wanted or links[_USER] != own_user:
            continue
        status = procfs.parse_status(procfs.read_file("status", proc))
        held = status.credentials.caps
        if (held.permitted | held.bounding) >> _SYS_PTRACE & 1:
            raise NsctlError(
                "join",
                "the PID namespace",
                f"process {pid} is in it, may get CAP_SYS_PTRACE in your user namespace, and could "
                "take over what builds this container",
                "share the PID namespace of a container without CAP_SYS_PTRACE",
            )


def _processes() -> Iterator[tuple[int, int]]:
    """Give all processes and their directories in /proc, which are closed behind each."""
    proc = procfs.ProcFs()
    for pid in proc.pids():
        try:
            fd = proc.open(pid)
            try:
                yield pid, fd
            finally:
                os.close(fd)
        except OSError as error:
            if not vanished(error) and not refused(error):
                raise translate(error, "read", f"process {pid}") from error


@contextlib.contextmanager
def _opened_of(state: own.State, kind: NamespaceType) -> Iterator[int]:
    fd = _namespace_of(state, kind)
    try:
        yield fd
    finally:
        os.close(fd)


def layout_of(
    spec: Spec,
    state: own.State,
    others: dict[str, int],
    kinds: Sequence[str],
    pool: ids.IdPool,
) -> plan.Layout:
    """Find out what a container's plan depends on, from the kernel where it can be asked."""
    uid, gid = os.geteuid(), os.getegid()
    maps = subordinate.maps_of(pool.subordinate, uid, gid)
    mapping, root_uid, root_gid = plan.NONE, 0, 0
    if spec.is_private(NamespaceType.USER):
        has_range = state.id_count > 0
        mapping = plan.RANGE if has_range else plan.SUBORDINATE if maps else plan.SINGLE
        root_uid, root_gid = (state.ids, state.ids) if has_range else (uid, gid)
    elif spec.joined(NamespaceType.USER) and not _is_own(others["user"]):
        mapping = plan.OTHER
        root_uid, root_gid = _root_ids(others["user"], spec.joined(NamespaceType.USER))
    _check_user(spec, mapping, maps.length if maps else state.id_count)
    hierarchies = cgroupfs.hierarchies(
        mountinfo.parse(procfs.ProcFs().read("self/mountinfo", 1 << 28))
    )
    privileged = uid == 0 and bool(state.cgroup)
    files = groups.rows(spec.limits, hierarchies, state.cgroup)
    devices = groups.devices(hierarchies, state.cgroup) if mapping == plan.NONE else ()
    return plan.Layout(
        id=state.id,
        name=state.name,
        uid=uid,
        gid=gid,
        mapping=mapping,
        ids=state.ids,
        id_count=state.id_count,
        root_uid=root_uid,
        root_gid=root_gid,
        storage=state.storage,
        cgroup_dirs=tuple(
            cgroupfs.group(row, state.cgroup)
            for row in hierarchies
            if state.cgroup and row.writable
        ),
        privileged=privileged,
        foreign=tuple(
            str(kind)
            for kind in plan.SHOWN_BY
            if not spec.is_private(kind) and _is_foreign(kind, others, mapping)
        ),
        has_cgroup2=any(row.version == 2 for row in hierarchies),
        streams=(kinds[0], kinds[1], kinds[2]),
        group_files=(*files, *devices),
        confines_devices=bool(devices),
        maps=(maps.uids, maps.gids) if maps else ("", ""),
        held=_held() if mapping == plan.NONE else capabilities.everything(),
    )


def _held() -> int:
    """What the caller may hand on in his own user namespace."""
    return procfs.parse_status(procfs.ProcFs().read("self/status")).credentials.caps.bounding


def _check_user(spec: Spec, mapping: str, id_count: int) -> None:
    """See that the command's user and groups mean something in its user namespace."""
    highest = {plan.RANGE: id_count - 1, plan.SUBORDINATE: id_count - 1, plan.SINGLE: 0}.get(
        mapping
    )
    if highest is None:
        return
    for number in (spec.uid, spec.gid, *spec.groups):
        if number > highest:
            raise UsageError(
                f"user or group {number} means nothing in the container's user namespace, which "
                f"has {highest + 1} {'ids' if highest else 'id, that of root'}",
                "run the command as root, which is no more than yourself outside",
            )
    if mapping == plan.SINGLE and set(spec.groups) - {spec.gid}:
        raise UsageError("an ordinary user's container can have no supplementary groups")


def _is_own(fd: int, kind: NamespaceType = NamespaceType.USER) -> bool:
    """Whether a namespace is the caller's own."""
    own_fd = _open_own(kind)
    try:
        return nsfs.inode(fd) == nsfs.inode(own_fd)
    finally:
        os.close(own_fd)


def _open_own(kind: NamespaceType) -> int:
    proc = procfs.ProcFs().open("self")
    try:
        return os.open(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    finally:
        os.close(proc)


def _root_ids(userns: int, name: str) -> tuple[int, int]:
    """What uid and gid 0 of somebody's user namespace are outside."""
    wanted = nsfs.inode(userns)
    for _, proc in _processes():
        if procfs.read_ns_links(proc)[_USER] != wanted:
            continue
        found = []
        for file in ("uid_map", "gid_map"):
            rows = procfs.parse_id_map(procfs.read_file(file, proc))
            found += [row.outside for row in rows if row.inside == 0]
        if len(found) != 2:
            raise NsctlError(
                "share", f"the user namespace of {name}", "it has no root that is mapped"
            )
        return found[0], found[1]
    raise NsctlError(
        "share", f"the user namespace of {name}", "no process is in it, to tell of its maps"
    )


def _is_foreign(kind: NamespaceType, others: dict[str, int], mapping: str) -> bool:
    """Whether a shared namespace belongs to another user namespace than the container lives in."""
    if mapping in {plan.RANGE, plan.SINGLE, plan.SUBORDINATE}:
        return True
    with contextlib.ExitStack() as stack:

        def close_later(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        shared = others[kind] if kind in others else close_later(_open_own(kind))
        if mapping == plan.OTHER:
            lived_in = others["user"]
        else:
            lived_in = close_later(_open_own(NamespaceType.USER))
        try:
            owner = close_later(nsfs.get_userns(shared))
        except PermissionError:
            return True  # it lies outside the caller's scope
        return nsfs.inode(owner) != nsfs.inode(lived_in)
