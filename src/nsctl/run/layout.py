"""Finds out what a container's plan depends on, from the kernel where it can be asked."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence

from nsctl.engines import own
from nsctl.errors import NsctlError, translate
from nsctl.kernel import cgroupfs, mountinfo, nsfs, procfs
from nsctl.model import capabilities
from nsctl.model.namespace import NamespaceType
from nsctl.run import garbage, plan
from nsctl.run.spec import Spec
from nsctl.run.store import find, states

_SYS_PTRACE = capabilities.NUMBERS["CAP_SYS_PTRACE"]


@contextlib.contextmanager
def others_of(spec: Spec, containers: int) -> Iterator[dict[str, int]]:
    """Open the namespaces of other containers that a specification names."""
    fds: dict[str, int] = {}
    try:
        for kind, name in spec.others.items():
            fds[str(kind)] = _namespace_of(find(containers, name), kind)
        if NamespaceType.PID in fds:
            _check_tracers(containers, fds[NamespaceType.PID])
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


def _namespace_of(state: own.State, kind: NamespaceType) -> int:
    pidfd = garbage.open_process(state)
    if pidfd < 0:
        raise NsctlError("join", f"the {kind.word} namespace of {state.name}", "it does not run")
    try:
        proc = procfs.ProcFs().open(state.pid)
        try:
            fd = os.open(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        finally:
            os.close(proc)
        # The number could have gone to another process between the two.
        if garbage.await_end(pidfd, 0):
            os.close(fd)
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    except OSError as error:
        raise translate(error, "open", f"the {kind.word} namespace of {state.name}") from error
    finally:
        os.close(pidfd)
    return fd


def _check_tracers(containers: int, pid_ns: int) -> None:
    """Refuse a PID namespace in which the first process would be at somebody's mercy.

    It builds the container from within, with the host's files and powers in its reach. Against
    root of another user namespace it is protected by being unreadable (ptrace(2)); against one who
    may trace in the host's own, nothing is (CVE-2016-9962).
    """
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
    containers: int,
    others: dict[str, int],
    kinds: Sequence[str],
) -> plan.Layout:
    """Find out what a container's plan depends on, from the kernel where it can be asked."""
    uid, gid = os.geteuid(), os.getegid()
    mapping, root_uid, root_gid = plan.NONE, 0, 0
    if spec.is_private(NamespaceType.USER):
        has_range = state.id_count > 0
        mapping = plan.RANGE if has_range else plan.SINGLE
        root_uid, root_gid = (state.ids, state.ids) if has_range else (uid, gid)
    elif spec.other(NamespaceType.USER) and not _is_own(others["user"]):
        mapping = plan.OTHER
        root_uid, root_gid = _root_ids(find(containers, spec.other(NamespaceType.USER)))
    hierarchies = cgroupfs.hierarchies(
        mountinfo.parse(procfs.ProcFs().read("self/mountinfo", 1 << 28))
    )
    privileged = uid == 0 and bool(state.cgroup)
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
    )


def _is_own(userns: int) -> bool:
    """Whether a user namespace is the caller's own."""
    own_fd = _open_own(NamespaceType.USER)
    try:
        return nsfs.inode(userns) == nsfs.inode(own_fd)
    finally:
        os.close(own_fd)


def _open_own(kind: NamespaceType) -> int:
    proc = procfs.ProcFs().open("self")
    try:
        return os.open(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    finally:
        os.close(proc)


def _root_ids(state: own.State) -> tuple[int, int]:
    """What uid and gid 0 of another container's user namespace are outside."""
    found = []
    for name in ("uid_map", "gid_map"):
        rows = procfs.parse_id_map(procfs.ProcFs().read(f"{state.pid}/{name}"))
        roots = [row.outside for row in rows if row.inside == 0]
        if not roots:
            raise NsctlError(
                "share", f"the user namespace of {state.name}", "it has no root that is mapped"
            )
        found.append(roots[0])
    return found[0], found[1]


def _is_foreign(kind: NamespaceType, others: dict[str, int], mapping: str) -> bool:
    """Whether a shared namespace belongs to another user namespace than the container lives in."""
    if mapping in {plan.RANGE, plan.SINGLE}:
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
