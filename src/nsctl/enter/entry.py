"""From a request to a command that runs: what is planned, what is said beforehand, what is refused."""

from __future__ import annotations

import os

from nsctl.child.plan import Plan
from nsctl.child.stage2 import object_path, open_stage2
from nsctl.confine import apply, confinement, filters
from nsctl.confine.confinement import Confinement
from nsctl.enter import session, surroundings
from nsctl.enter.joining import Joining, joining_of
from nsctl.enter.request import CALLER, FOLLOW, TARGET, Request
from nsctl.errors import KernelRefusal, NsctlError, refused
from nsctl.kernel import cgroup, procfs
from nsctl.kernel.signals import signal
from nsctl.model.execution import Execution
from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.targets.execution import execution_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Say = Callable[[str], None]
    """Called with a sentence for whoever asked."""

_STREAMS = (0, 1, 2)


class Prepared(NamedTuple):
    """What is about to be done.

    Attributes:
        request: what was asked for.
        joining: what is joined.
        plan: of the last stage.
        confinement: of the target, where its powers or groups are taken over.
        lacks: what confines the target and cannot be taken over, each in words.
        remarks: what else there is to be said.
        owner: user and group, outside, of the pipes between.
        groups: the command is moved into the target's control groups.
    """

    request: Request
    joining: Joining
    plan: Plan
    confinement: Confinement | None
    lacks: tuple[str, ...]
    remarks: tuple[str, ...]
    owner: tuple[int, int]
    groups: tuple[cgroup.Place, ...]


def enter(request: Request, say: Say, fds: Sequence[int] = _STREAMS) -> int:
    """Run a command in somebody else's namespaces.

    Args:
        request: what is asked for.
        say: told what could not be taken over, and what else there is to know, before the
            command runs.
        fds: the standard streams of the command.

    Returns:
        Its exit status, 128 and the signal's number for one that was killed.

    Raises:
        NsctlError: it could not be started, in words; `nsctl.child.report.Failure` has the exit
            status that a shell would give.
    """
    if not object_path():
        raise NsctlError(
            "enter",
            "anything",
            f"there is no last stage for {os.uname().machine}",
            "on this machine use nsenter",
        )
    program = open_stage2()
    try:
        prepared = prepare(program, request, terminal=os.isatty(fds[0]) and os.isatty(fds[1]))
        for remark in prepared.remarks:
            say(remark)
        if prepared.lacks:
            lacking = f"not taken over: {'; '.join(prepared.lacks)}"
            if request.strict:
                raise KernelRefusal("enter", _name(request), lacking, "leave out --strict")
            say(lacking)
        try:
            return session.run(program, prepared.plan, fds, _mover(prepared, say), prepared.owner)
        except NsctlError as error:
            from nsctl.enter import refusals

            raise refusals.explained(error, prepared) from error
    finally:
        os.close(program)


def _name(request: Request) -> str:
    return "the namespaces" if request.target is None else request.target.text


def prepare(program: int, request: Request, *, terminal: bool) -> Prepared:
    """Find out everything that entering takes, without doing anything yet.

    Args:
        program: from `nsctl.child.stage2.open_stage2`.
        request: what is asked for.
        terminal: the command will have a terminal.

    Returns:
        What is about to be done. The target's filters have been read, for which it was stopped.

    Raises:
        NsctlError: it cannot be done.
    """
    joining = joining_of(request)
    has_root = joining.has(NamespaceType.MNT)
    powers = request.powers or (TARGET if has_root and request.process else CALLER)
    execution = None
    held: Confinement | None = None
    process = request.process
    if process is not None and (powers == TARGET or request.join_cgroup or request.label):
        held = confinement.read(process.pid, process.proc, process.pidfd)
        _check_alive(held, _name(request))
    if process is not None and has_root:
        execution = execution_of(process)
    plan = Plan(
        (b"",),
        mode="enter" if request.fork else "exec",
        namespaces=joining.calls,
        # Of namespaces that were named one by one, none of which may need the rights of another.
        two_passes=len(joining.calls) > 1,
        setsid=True,
        keyring=b"",
        death_signal=signal.SIGKILL,
    )
    prepared = Prepared(request, joining, plan, held, (), (), (os.geteuid(), os.getegid()), ())
    prepared = _with_powers(program, prepared, execution, powers)
    return _with_surroundings(program, prepared, execution, terminal=terminal)


def _check_alive(held: Confinement, name: str) -> None:
    if held.frozen:
        raise KernelRefusal(
            "enter",
            name,
            "it is paused: what enters it would be stopped too",
            "let it go on first (docker unpause, podman unpause, lxc-unfreeze)",
        )
    if held.extra.state in {"Z", "X"}:
        raise KernelRefusal("enter", name, f"process {held.pid} has ended")


# --- Who the command is, and what it may do -----------------------------------------------------


def _with_powers(
    program: int, prepared: Prepared, execution: Execution | None, powers: str
) -> Prepared:
    request, held, process = prepared.request, prepared.confinement, prepared.request.process
    new_user = NamespaceType.USER in prepared.joining.kinds
    if powers == CALLER or process is None:
        return _with_callers_powers(prepared, new_user=new_user)
    if held is None:
        raise AssertionError("the target's powers were not read")
    # Powers mean something in the user namespace of the target, whether it is entered or not.
    inside = prepared.joining.has(NamespaceType.USER) or _shares_user_namespace(held)
    user = _chosen(request, held, execution, inside=inside)
    applied = apply.confined(
        prepared.plan, held, execution, user, inside=inside, new_user_namespace=new_user
    )
    found = filters.find(
        program,
        held,
        process.proc,
        process.pidfd,
        request.filters,
        execution.seccomp if execution is not None else None,
    )
    return prepared._replace(
        plan=applied.plan._replace(filters=found.filters),
        lacks=(*applied.lacks, *found.lacks),
        remarks=found.remarks,
        owner=_outside(held, user, inside=inside),
        groups=_groups_to_join(held),
    )


def _shares_user_namespace(held: Confinement) -> bool:
    """Whether the target's user namespace is the caller's, told by the maps of both."""
    own = os.stat("/proc/self/ns/user")
    theirs = os.stat(f"/proc/{held.pid}/ns/user")
    return (own.st_dev, own.st_ino) == (theirs.st_dev, theirs.st_ino)


def _chosen(
    request: Request, held: Confinement, execution: Execution | None, *, inside: bool
) -> apply.User:
    """The user that was asked for wins; groups besides the first go with the user."""
    if request.uid is None and request.gid is None:
        return apply.user_of(held, execution, inside=inside)
    uid, gid = request.uid, request.gid
    ids = held.credentials.uids[1], held.credentials.gids[1]
    theirs = (held.uid_inside(ids[0]), held.gid_inside(ids[1])) if inside else ids
    if uid is None:
        uid = apply.user_of(held, execution, inside=inside).uid
    if gid is None:
        gid = execution.gid if execution is not None and inside else theirs[1]
    uid, gid = (theirs[0] if uid == FOLLOW else uid), (theirs[1] if gid == FOLLOW else gid)
    if uid is None or gid is None:
        raise KernelRefusal(
            "enter",
            _name(request),
            "the target's own user is not mapped in its user namespace",
            "name one that is: -S UID -G GID",
        )
    return apply.User(uid, gid, () if held.maps.setgroups != "deny" else None)


def _with_callers_powers(prepared: Prepared, *, new_user: bool) -> Prepared:
    """Keep everything, as nsenter(1) does; in another user namespace one is its root."""
    request = prepared.request
    remarks: tuple[str, ...] = ()
    if request.powers == CALLER:
        remarks = ("the command keeps your own powers, as with nsenter: the target's do not apply",)
    plan = prepared.plan._replace(keep_caps=request.keep_caps)
    uid, gid = request.uid, request.gid
    if new_user and not request.preserve_credentials:
        uid, gid = uid or 0, gid or 0
    if uid is not None or gid is not None:
        groups = () if gid is not None else None
        plan = plan._replace(uid=uid, gid=gid, groups=groups, lenient_groups=new_user)
    groups_to_join: tuple[cgroup.Place, ...] = ()
    if request.join_cgroup and prepared.confinement is not None:
        groups_to_join = _groups_to_join(prepared.confinement)
    if request.label and prepared.confinement is not None:
        plan = plan._replace(label=apply.label_of(prepared.confinement))
    return prepared._replace(plan=plan, remarks=remarks, groups=groups_to_join)


def _outside(held: Confinement, user: apply.User, *, inside: bool) -> tuple[int, int]:
    """The numbers that a user of the container has outside."""
    if not inside:
        return user.uid, user.gid
    uid, gid = held.uid_outside(user.uid), held.gid_outside(user.gid)
    return (os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid)


def _groups_to_join(held: Confinement) -> tuple[cgroup.Place, ...]:
    """Leave out the hierarchies in which the caller is in the same group already."""
    own = {row.controllers: row.path for row in cgroup.parse(procfs.read_file("/proc/self/cgroup"))}
    theirs = {row.controllers: row.path for row in held.memberships}
    return tuple(
        place
        for place in held.places
        if own.get(place.controllers) != theirs.get(place.controllers)
    )


def _mover(prepared: Prepared, say: Say) -> session.Move:
    def move(pid: int) -> None:
        try:
            cgroup.attach(prepared.groups, pid)
        except KernelRefusal as error:
            # An ordinary user's control groups are not his to join: the engine's exec stays
            # outside too.
            if not refused(OSError(error.errno, "")) or os.geteuid() == 0:
                raise
            lacking = "not taken over: its control group, which is not yours to join"
            if prepared.request.strict:
                raise KernelRefusal(
                    "enter", _name(prepared.request), lacking, "leave out --strict"
                ) from error
            say(lacking)

    return move


# --- What surrounds it ---------------------------------------------------------------------------


def _with_surroundings(
    program: int, prepared: Prepared, execution: Execution | None, *, terminal: bool
) -> Prepared:
    request, process, joining = prepared.request, prepared.request.process, prepared.joining
    plan = prepared.plan
    account = surroundings.Account()
    if process is None or not joining.has(NamespaceType.MNT):
        env = surroundings.own_environment()
        shell = surroundings.own_shell() if not joining.has(NamespaceType.MNT) else b"/bin/sh"
        if NamespaceType.MNT in joining.kinds:
            plan = plan._replace(cwd=b"/")
        elif NamespaceType.NET in joining.kinds:
            plan = plan._replace(view=_view(program, request))
    else:
        uid = plan.uid if plan.uid is not None else os.geteuid()
        account = surroundings.account_of(program, process, uid)
        env = surroundings.inside(process, execution, account, terminal=terminal)
        shell = surroundings.shell_of(account)
        plan = plan._replace(cwd=os.fsencode((execution and execution.cwd) or "/"))
    if process is not None and request.environment_of_target:
        env = surroundings.environment_of(process)
    plan = plan._replace(
        argv=tuple(os.fsencode(word) for word in request.argv) or (shell,),
        env=env,
        root=request.root,
        directory=request.directory,
    )
    if request.cwd:
        plan = plan._replace(cwd=os.fsencode(request.cwd))
    elif request.directory is not None:
        plan = plan._replace(cwd=None)
    return prepared._replace(plan=plan)


def _view(program: int, request: Request) -> tuple[tuple[bytes, bytes], ...]:
    if request.process is not None:
        return surroundings.network_view(program, request.process)
    if request.target is not None and "/" in request.target.text:
        return surroundings.named_view(request.target.text)
    return ()
