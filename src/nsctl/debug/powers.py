"""What a debug shell may do: profiles as kubectl-debug(1) has them, and who could take that over.

Whoever may trace the shell has what it has (ptrace(2), "access mode checking"). A target's root is
kept off by one capability that it lacks. Nothing keeps off who has CAP_SYS_PTRACE in the shell's user
namespace and meets the shell in a shared PID namespace: against that one the shell has no capability
that the tracer lacks. Sources: capabilities(7), ptrace(2), user_namespaces(7).
"""

from __future__ import annotations

import os

from nsctl.child.plan import Filter
from nsctl.errors import NsctlError, refused, translate, vanished
from nsctl.kernel import procfs, seccomp
from nsctl.model import capabilities
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.task import CapabilitySets

_PID = TYPES.index(NamespaceType.PID)
_USER = TYPES.index(NamespaceType.USER)
SYS_PTRACE = capabilities.mask(("CAP_SYS_PTRACE",))
_NET = capabilities.mask(("CAP_NET_ADMIN", "CAP_NET_RAW"))
_NOBODY = 65534


class Profile(NamedTuple):
    """What a profile gives.

    Attributes:
        capabilities: bit mask; None for all that the caller has.
        is_root: its user is root; else the target's where that is none, or nobody.
        is_confined: the default filter of engines, and the files of /proc and /sys that they hide.
        no_new_privs: as in PR_SET_NO_NEW_PRIVS(2const).
    """

    capabilities: int | None
    is_root: bool = True
    is_confined: bool = True
    no_new_privs: bool = False


PROFILES = {
    "general": Profile(capabilities.DEFAULT | SYS_PTRACE),
    "baseline": Profile(capabilities.DEFAULT),
    "restricted": Profile(0, is_root=False, no_new_privs=True),
    "netadmin": Profile(capabilities.DEFAULT | _NET),
    "sysadmin": Profile(None, is_confined=False),
}


class Tracers(NamedTuple):
    """Who could trace the shell whatever it has.

    Attributes:
        pids: processes that have, or can get, CAP_SYS_PTRACE in its user namespace.
        common: capabilities that all of them have or can get.
        others: the other processes there, each with its permitted capabilities: one that has all
            of the shell's may trace it too, where it is the same user (ptrace(2)).
    """

    pids: tuple[int, ...]
    common: int
    others: tuple[tuple[int, int], ...] = ()


class Powers(NamedTuple):
    """What a debug shell may do.

    Attributes:
        sets: its capability sets.
        uid: its user.
        gid: its group.
        filters: seccomp filters.
        no_new_privs: as in PR_SET_NO_NEW_PRIVS(2const).
        is_confined: see `Profile`.
        remarks: what there is to be said.
    """

    sets: CapabilitySets
    uid: int
    gid: int
    filters: tuple[Filter, ...]
    no_new_privs: bool
    is_confined: bool
    remarks: tuple[str, ...]


def find_tracers(pid_ns: int, user_ns: int) -> Tracers:
    """Find who in a PID namespace could trace a process in a certain user namespace.

    Args:
        pid_ns: inode of the PID namespace.
        user_ns: inode of the user namespace that the shell will be in.

    Returns:
        The processes; those that may not be looked at are another user's and have no power there.

    Raises:
        KernelRefusal: /proc cannot be read.
    """
    pids: list[int] = []
    others: list[tuple[int, int]] = []
    common = capabilities.everything()
    proc = procfs.ProcFs()
    for pid in proc.pids():
        try:
            fd = proc.open(pid)
            try:
                links = procfs.read_ns_links(fd)
                if links[_PID] != pid_ns or links[_USER] != user_ns:
                    continue
                held = procfs.parse_status(procfs.read_file("status", fd)).credentials
            finally:
                os.close(fd)
        except OSError as error:
            if vanished(error) or refused(error):
                continue
            raise translate(error, "read", f"process {pid}") from error
        # A file with capabilities, or a set-user-ID one, gives what the bounding set has.
        can_have = held.caps.permitted | (0 if held.no_new_privs else held.caps.bounding)
        if can_have & SYS_PTRACE:
            pids.append(pid)
            common &= can_have
        else:
            others.append((pid, held.caps.permitted))
    return Tracers(tuple(pids), common if pids else 0, tuple(others))


def powers_of(
    name: str,
    user: tuple[int, int] | None,
    held: int,
    tracers: Tracers,
    target_user: tuple[int, int],
    *,
    trust: bool,
) -> Powers:
    """Find what a debug shell may do.

    Args:
        name: of the profile, "" for the first.
        user: user and group that were asked for.
        held: capabilities that the caller can hand on, a bit mask.
        tracers: who could trace the shell.
        target_user: user and group of the target, in the numbers of the shell's user namespace.
        trust: they may.

    Raises:
        NsctlError: the profile would hand powers to the target.
    """
    profile = PROFILES[name or "general"]
    mask = held if profile.capabilities is None else profile.capabilities & held
    remarks = []
    if tracers.pids and not trust and mask & ~tracers.common:
        extra = ", ".join(capabilities.names(mask & ~tracers.common))
        if name in {"netadmin", "sysadmin"}:
            raise NsctlError(
                "use",
                f"--profile {name}",
                f"process {tracers.pids[0]}, which it would share the PID namespace with, may trace "
                f"every process there (CAP_SYS_PTRACE) and would gain {extra}",
                "leave pid out (--share net), or say --trust",
            )
        mask &= tracers.common
        remarks.append(
            f"the target may trace this shell (CAP_SYS_PTRACE), which therefore has no {extra}"
        )
    uid, gid = (0, 0) if profile.is_root else target_user
    if not uid and not profile.is_root:
        uid, gid = _NOBODY, _NOBODY
    if user is not None:
        uid, gid = user
    own = 0 if uid else mask
    equals = [pid for pid, permitted in tracers.others if not own & ~permitted]
    if equals and not tracers.pids:
        remarks.append(
            f"process {equals[0]} of the target may trace this shell as the same user: with this "
            "profile it has no capability that the process lacks (--profile general, or leave pid "
            "out)"
        )
    filters: tuple[Filter, ...] = ()
    if profile.is_confined:
        compiled = seccomp.default_filter(mask)
        filters = (Filter(compiled.program, compiled.flags),)
    return Powers(
        CapabilitySets(0, own, own, mask, 0),
        uid,
        gid,
        filters,
        profile.no_new_privs,
        profile.is_confined,
        tuple(remarks),
    )
