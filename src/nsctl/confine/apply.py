"""From what confines a process to the plan of a command that is confined alike.

Ids and powers come from one source: where the container has a configuration that is to be believed,
its user with its capabilities, less what its first process cannot have either; else that process
itself. Every number in the plan is one of the user namespace that the command will be in.
"""

from __future__ import annotations

from nsctl.child.plan import Limit, Plan
from nsctl.confine.confinement import Confinement, own_credentials, own_limits
from nsctl.errors import KernelRefusal
from nsctl.model import capabilities
from nsctl.model.execution import Execution
from nsctl.model.record import NamedTuple
from nsctl.model.task import CapabilitySets, Credentials

_SETGID = 1 << 6
_SETPCAP = 1 << 8
_SYS_RESOURCE = 1 << 24


class User(NamedTuple):
    """Who a command is.

    Attributes:
        uid: in the numbers of the user namespace that it will be in.
        gid: likewise.
        groups: likewise; None where they may not be set and stay the caller's.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] | None


class Applied(NamedTuple):
    """A plan, and what is to be said of it.

    Attributes:
        plan: with everything that confines.
        lacks: what cannot be taken over, each in words.
    """

    plan: Plan
    lacks: tuple[str, ...]


def user_of(confinement: Confinement, execution: Execution | None, *, inside: bool) -> User:
    """Find the user of a command in a process's container.

    Args:
        confinement: of the process.
        execution: what the container's configuration says, None for none.
        inside: the command will be in the process's user namespace; else in the reader's.

    Returns:
        The user.

    Raises:
        KernelRefusal: it is not mapped there.
    """
    held = confinement.credentials
    if execution is not None and execution.uid is not None and execution.gid is not None:
        declared = (execution.uid, execution.gid, execution.groups)
        if inside:
            return _mapped(confinement, *declared)
        return User(*_outside(confinement, *declared))
    if not inside:
        return User(held.uids[1], held.gids[1], held.groups)
    uid = confinement.uid_inside(held.uids[1])
    gid = confinement.gid_inside(held.gids[1])
    if uid is None or gid is None:
        raise KernelRefusal(
            "enter",
            "the container",
            f"user {held.uids[1]} of its process {confinement.pid} is not mapped in its user "
            "namespace",
            "choose one that is: -S UID -G GID",
        )
    groups = [confinement.gid_inside(group) for group in held.groups]
    return _mapped(confinement, uid, gid, tuple(one for one in groups if one is not None))


def _mapped(confinement: Confinement, uid: int, gid: int, groups: tuple[int, ...]) -> User:
    if not confinement.is_mapped(uid):
        raise KernelRefusal(
            "enter",
            "the container",
            f"its user {uid} is not mapped in its user namespace",
            "choose one that is: -S UID -G GID",
        )
    may_set = confinement.maps.setgroups != "deny"
    return User(uid, gid, groups if may_set else None)


def _outside(
    confinement: Confinement, uid: int, gid: int, groups: tuple[int, ...]
) -> tuple[int, int, tuple[int, ...]]:
    """Translate from the process's user namespace into the reader's."""
    outside = [
        confinement.uid_outside(uid),
        *map(confinement.gid_outside, (gid, *groups)),
    ]
    numbers = [number for number in outside if number is not None]
    if len(numbers) < len(outside):
        raise KernelRefusal(
            "enter", "the container", "its user's ids are not mapped in its user namespace"
        )
    return numbers[0], numbers[1], tuple(numbers[2:])


def powers_of(
    confinement: Confinement, execution: Execution | None, user: User, *, inside: bool
) -> CapabilitySets:
    """Find the capability sets of a command.

    Args:
        confinement: of the process.
        execution: what the container's configuration says.
        user: who the command is.
        inside: it will be in the process's user namespace; outside it has none of its powers.

    Returns:
        The sets.
    """
    held = confinement.credentials.caps
    if not inside:
        return CapabilitySets(0, 0, 0, 0, 0)
    if execution is not None and execution.capabilities is not None:
        # A configuration may name what its own process was never given.
        return CapabilitySets(*(mask & held.bounding for mask in execution.capabilities))
    if user.uid == 0:
        return CapabilitySets(held.inheritable, *(held.bounding,) * 3, 0)
    if user.uid == confinement.uid_inside(confinement.credentials.uids[1]):
        return held
    return CapabilitySets(0, 0, 0, held.bounding, 0)


def limited(sets: CapabilitySets, mine: Credentials) -> tuple[CapabilitySets, list[str]]:
    """Leave out what the caller itself does not have, as it must where it joins no user namespace.

    Args:
        sets: what is wanted.
        mine: the caller's own.

    Returns:
        The sets, and in words what is missing.
    """
    permitted, bounding = mine.caps.permitted, mine.caps.bounding
    lacks = []
    missing = (sets.permitted & ~permitted) | (sets.bounding & ~bounding)
    if missing:
        names = ", ".join(capabilities.names(missing))
        lacks.append(f"{names}, which the caller itself does not have")
    wanted = sets.bounding & bounding
    if wanted != bounding and not permitted & _SETPCAP:
        lacks.append("its bounding set, which only CAP_SETPCAP lowers")
        wanted = bounding
    within = [mask & permitted for mask in sets]
    return CapabilitySets(*within)._replace(bounding=wanted), lacks


def confined(
    plan: Plan,
    confinement: Confinement,
    execution: Execution | None,
    user: User,
    *,
    inside: bool,
    new_user_namespace: bool,
) -> Applied:
    """Confine the command of a plan as a process is confined.

    Args:
        plan: without anything of this.
        confinement: of the process.
        execution: what its container's configuration says, None for none.
        user: who the command is.
        inside: it will be in the process's user namespace.
        new_user_namespace: which is another than the caller's.

    Returns:
        The plan with ids, groups, capability sets, no_new_privs, limits, umask, label and a new
        session keyring; the seccomp filters are the caller's to add.
    """
    sets = powers_of(confinement, execution, user, inside=inside)
    lacks: list[str] = []
    groups = user.groups
    if not new_user_namespace:
        mine = own_credentials()
        sets, more = limited(sets, mine)
        lacks += more
        if groups is not None and not mine.caps.permitted & _SETGID:
            if set(groups) != set(mine.groups):
                lacks.append("its groups, which only CAP_SETGID sets")
            groups = None
    wanted = dict(confinement.limits)
    if execution is not None:
        wanted |= {number: (soft, hard) for number, soft, hard in execution.limits}
    limits, more = _limits(wanted)
    lacks += more
    no_new_privs = bool(confinement.credentials.no_new_privs)
    umask = confinement.extra.umask
    if execution is not None and execution.uid is not None:
        no_new_privs = execution.no_new_privs
        umask = umask if execution.umask is None else execution.umask
    return Applied(
        plan._replace(
            label=_label(confinement.label),
            keyring=b"",
            limits=limits,
            umask=umask,
            capabilities=sets,
            groups=groups,
            gid=user.gid,
            uid=user.uid,
            no_new_privs=no_new_privs,
        ),
        (*lacks, *confinement.lacks),
    )


def _limits(wanted: dict[int, tuple[int, int]]) -> tuple[tuple[Limit, ...], list[str]]:
    """Leave out what only CAP_SYS_RESOURCE may do: a hard limit above the caller's own."""
    mine = own_limits()
    may_raise = bool(own_credentials().caps.permitted & _SYS_RESOURCE)
    limits, lacks = [], []
    for number, (soft, hard) in sorted(wanted.items()):
        highest = mine.get(number, (hard, hard))[1]
        if hard > highest and not may_raise:
            from nsctl.kernel.procstatus import LIMITS

            lacks.append(
                f"its limit {LIMITS[number].decode().removeprefix('Max ')}, above the caller's own"
                " (CAP_SYS_RESOURCE)"
            )
            soft, hard = min(soft, highest), highest  # noqa: PLW2901  (what can be had of it)
        if (soft, hard) != mine.get(number):
            limits.append(Limit(number, soft, hard))
    return tuple(limits), lacks


def label_of(confinement: Confinement) -> tuple[bytes, bytes] | None:
    """What is written where, so that the next exec gives a process's label."""
    return _label(confinement.label)


def _label(label: bytes) -> tuple[bytes, bytes] | None:
    """What is written for the next exec to get a label (apparmor(7), attr/exec of SELinux)."""
    if not label or label in {b"unconfined", b"kernel"}:
        return None
    profile, mode, rest = label.partition(b" (")
    if mode and rest.endswith(b")"):
        return b"/proc/self/attr/exec", b"exec " + profile
    return b"/proc/self/attr/exec", label
