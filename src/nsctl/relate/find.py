"""Finding a TARGET in a snapshot: no file or process is touched."""

from __future__ import annotations

from collections.abc import Iterable

from nsctl.errors import AmbiguousTarget, TargetError, UnknownTarget
from nsctl.model.container import Container
from nsctl.model.namespace import UNREADABLE
from nsctl.model.owner import Owner
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.model.target import Target
from nsctl.model.task import Task
from nsctl.relate.choose import by_image, choose, in_pod
from nsctl.relate.groups import Group, groups, owner_of
from nsctl.relate.members import Membership, memberships

_NEAREST = 3


class Found(NamedTuple):
    """What a TARGET leads to: a group (and for a PID the process in it), or a namespace.

    Attributes:
        group: the group; None for a namespace, a zombie, a container that does not run, and a
            pod without a sandbox.
        task: the process, for a PID.
        namespace: the namespace, for ``type:[INODE]`` and paths.
        container: the container, for its name, id or image; for a pod its sandbox.
        pod: all containers of the pod, where a pod was named and no container in it.
    """

    group: Group | None = None
    task: Task | None = None
    namespace: Membership | None = None
    container: Container | None = None
    pod: tuple[Container, ...] = ()


def find(snapshot: Snapshot, target: Target) -> Found:
    """Find what a TARGET leads to.

    Args:
        snapshot: with tasks; for namespaces, with those too; for containers, with those.
        target: of any kind but "path", which must have been resolved to a namespace.

    Returns:
        Exactly one thing.

    Raises:
        UnknownTarget: nothing has this name; the hint has the nearest ones.
        AmbiguousTarget: more than one thing has it; the cause lists them.
        TargetError: a pinned PID is another process by now.
    """
    if target.kind == "namespace":
        return _namespace(snapshot, target)
    if target.kind == "pid":
        return _process(snapshot, target)
    found = groups(snapshot)
    if target.kind == "host":
        for group in found:
            if group.owner.kind == "host":
                return Found(group)
        raise UnknownTarget("find", "@host", "no process of the host could be read")
    return _name(snapshot, found, target)


def alone(snapshot: Snapshot, found: Found) -> Found:
    """Take a process that may not be looked into out of the group of all that may not.

    What they have in common is that nothing is known of them.

    Args:
        snapshot: where it was found.
        found: what a TARGET leads to.

    Returns:
        The same with a group of that process alone, or as it was.
    """
    group = found.group
    if group is None or group.owner.kind != "process" or UNREADABLE not in group.isolation:
        return found
    task = found.task or next(task for task in snapshot.tasks if task.pid == group.leader)
    owner = Owner("process", task.comm.decode("utf-8", "surrogateescape"), pid=task.pid)
    return found._replace(group=group._replace(owner=owner, pids=(task.pid,), leader=task.pid))


def unnamed(containers: Iterable[Container], uid: int) -> Gap | None:
    """Say that of some containers no more than the id is known, from their control groups.

    Args:
        containers: which ones.
        uid: the reader's user id.

    Returns:
        What is lacking; None where nothing is.
    """
    count = sum(_is_unnamed(each) for each in containers)
    if not count:
        return None
    what = f"name and image of {count} container{'s' * (count > 1)}"
    needs = "CAP_DAC_READ_SEARCH" if uid else ""
    cause = "no state of their engines may be read" if uid else "no state of their engines is seen"
    return Gap(Part.CONTAINERS, "cgroup", what, PartState.PARTIAL, cause, needs)


def _is_unnamed(row: Container) -> bool:
    told = row.image or row.created or row.labels or row.declared
    return not told and len(row.id) > len(row.name) and row.id.startswith(row.name)


def _namespace(snapshot: Snapshot, target: Target) -> Found:
    for row in memberships(snapshot):
        identity = row.namespace.id
        if identity.ino == target.ino and identity.type is target.type:
            return Found(namespace=row)
    raise UnknownTarget("find", f"namespace {target.text}", "nothing seen here leads to it")


def _process(snapshot: Snapshot, target: Target) -> Found:
    for task in snapshot.tasks:
        if task.pid == target.pid:
            break
    else:
        raise UnknownTarget("find", f"process {target.pid}", "there is no such process")
    if target.ino and target.ino not in task.ns:
        raise TargetError(
            "use",
            f"process {target.text}",
            "it has no such namespace: the PID may be another process's by now",
        )
    for group in groups(snapshot):
        if target.pid in group.pids:
            return Found(group, task)
    return Found(task=task)


def _pod(snapshot: Snapshot, found: list[Group], target: Target) -> Found | None:
    """What the name of a pod alone leads to; None where there is no such pod."""
    members = in_pod(snapshot.containers, target)
    pods = sorted({row.pod for row in members})
    if len(pods) > 1:
        full = ", ".join(f"pod/{pod}" for pod in pods)
        raise AmbiguousTarget(
            "choose", f"TARGET {target.text}", f"it may be any of {full}", "write one of these"
        )
    if not members:
        return None
    # An engine that can do without sandboxes has several to choose from; the pod is one thing.
    try:
        container = choose(members, target)
    except AmbiguousTarget:
        container = None
    whole = _found(found, container) if container is not None else Found()
    return whole._replace(pod=tuple(members))


def _name(snapshot: Snapshot, found: list[Group], target: Target) -> Found:
    pod = _pod(snapshot, found, target) if target.kind == "pod" and not target.name else None
    if pod is not None:
        return pod
    container = choose(snapshot.containers, target)
    if container is not None:
        return _found(found, container)
    named = [
        group
        for group in found
        if group.owner.kind != "host"
        and group.owner.name == target.name
        and target.engine in {"", group.owner.engine}
    ]
    if len(named) == 1:
        return Found(named[0])
    if named:
        full = ", ".join(f"{group.owner.name}[{group.leader}]" for group in named)
        raise AmbiguousTarget(
            "choose", f"TARGET {target.text}", f"it may be any of {full}", "write the PID"
        )
    container = by_image(snapshot.containers, target) if target.kind == "name" else None
    if container is not None:
        return _found(found, container)
    raise UnknownTarget(
        "find", f"TARGET {target.text}", "nothing has this name", _hint(snapshot, found, target)
    )


def _found(found: list[Group], container: Container) -> Found:
    owner = owner_of(container)
    own = [group for group in found if group.owner == owner]
    first = [group for group in own if container.pid in group.pids]
    return Found(next(iter(first or own), None), container=container)


def _hint(snapshot: Snapshot, found: list[Group], target: Target) -> str:
    import difflib

    names = {c.name for c in snapshot.containers}
    names |= {group.owner.name for group in found if group.owner.kind != "host"}
    wanted = target.name
    if target.kind == "pod":
        names = {f"pod/{c.pod}" for c in snapshot.containers if c.pod}
        names |= {f"pod/{c.pod}/{c.name}" for c in snapshot.containers if c.pod and target.name}
        wanted = target.text
    near = difflib.get_close_matches(wanted, sorted(names), _NEAREST, 0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    count = sum(_is_unnamed(each) for each in snapshot.containers)
    if count:
        several = "one container has" if count == 1 else f"{count} containers have"
        return f"{several} no name that may be read here: `nsctl containers` has the ids"
    return "`nsctl` lists what there is"
