"""Where engines keep containers' files, who may reach them, who has them open, who is told of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import cast

from nsctl.errors import vanished
from nsctl.kernel import audit, below
from nsctl.kernel.netlink import NetlinkError
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.owner import Owner
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.model.storage import AuditRule, DataRoot
from nsctl.model.task import Task
from nsctl.paths.ask import Answer, ask
from nsctl.paths.surroundings import image_of, surroundings
from nsctl.relate.storage import Layer, Opened, Step

SECONDS = 20.0

_GRACE = 5.0
_PID = TYPES.index(NamespaceType.PID)
_CAP_SYS_PTRACE = 19
_RULES_LIMIT = 1 << 20
_FILES_LIMIT = 1000


class Root(NamedTuple):
    """A data root that is there.

    Attributes:
        root: it; its ``pid`` is 0 also where the caller's own view has it at the same path.
        steps: each directory from "/" to it, links in their place.
        inner: what leads from it to layers of containers.
        holds: indexes of the containers whose layers it has.
    """

    root: DataRoot
    steps: tuple[Step, ...]
    inner: tuple[Step, ...]
    holds: tuple[int, ...]


class Audit(NamedTuple):
    """What the audit system watches.

    Attributes:
        rules: that watch paths, the kernel's and those of files.
        cause: why there are none, or what is to be known of them; "" for nothing.
        is_known: the kernel's own were read.
    """

    rules: tuple[AuditRule, ...]
    cause: str
    is_known: bool = True


class Storage(NamedTuple):
    """What was found.

    Attributes:
        roots: those that are there.
        layers: of running containers, by their index in ``containers``.
        containers: those that run, of which it was asked.
        owners: whose each of them is.
        kinds: by index the type of the root's file system, of those without layers.
        closed: by index why the root may not be looked at.
        opened: who has a container's files open from outside, engines' processes left out.
        engines: how many of the engines' own processes have.
        audit: what is watched.
        gaps: what could not be read, or was cut.
    """

    roots: tuple[Root, ...]
    layers: tuple[Layer, ...]
    containers: tuple[Container, ...]
    owners: tuple[Owner, ...]
    kinds: dict[int, str]
    closed: dict[int, str]
    opened: tuple[Opened, ...]
    engines: tuple[Opened, ...]
    audit: Audit
    gaps: tuple[Gap, ...]


def look(
    snapshot: Snapshot,
    roots: Sequence[DataRoot],
    containers: Sequence[Container],
    owners: Sequence[Owner],
    seconds: float = SECONDS,
) -> Storage:
    """Look at data roots and at the files of containers.

    Args:
        snapshot: of this host just now, with tasks and control groups.
        roots: where engines say that they keep what containers are made of.
        containers: running ones.
        owners: whose each is.
        seconds: how long looking for who has files open may take.

    Returns:
        What was found; what was cut is in ``gaps``.
    """
    near = surroundings(snapshot)
    rows = {task.pid: task for task in snapshot.tasks}
    processes = [
        task.pid
        for task in snapshot.tasks
        if not task.kernel and task.state not in "ZX" and task.pid != snapshot.reader.pid
    ]
    arguments: dict[str, object] = {
        "views": near.views,
        "roots": [(root.pid, os.fsencode(root.path)) for root in roots],
        "containers": [
            (each.pid, surroundings(snapshot, each.pid).parents, image_of(each))
            for each in containers
        ],
        "processes": processes,
        "seconds": seconds,
    }
    sorted_ = _sort(ask("storage", arguments, (), seconds + _GRACE), _cure(snapshot))
    there = _there(roots, sorted_)
    outside = [each for each in sorted_.opened if not _is_inside(each, containers, rows, snapshot)]
    engines = _engines(roots, containers, rows)
    return Storage(
        roots=tuple(there),
        layers=tuple(sorted_.layers),
        containers=tuple(containers),
        owners=tuple(owners),
        kinds=sorted_.kinds,
        closed=sorted_.closed,
        opened=tuple(each for each in outside if each.pid not in engines),
        engines=tuple(each for each in outside if each.pid in engines),
        audit=_audit(sorted_.gaps),
        gaps=tuple(sorted_.gaps),
    )


def _cure(snapshot: Snapshot) -> tuple[str, str]:
    """Why a process may not be looked into, and the capability that would mend it."""
    if snapshot.reader.caps >> _CAP_SYS_PTRACE & 1:
        return "the kernel refuses although CAP_SYS_PTRACE is held", ""
    return "they may not be looked into", "CAP_SYS_PTRACE"


def _there(roots: Sequence[DataRoot], found: _Sorted) -> list[Root]:
    """The data roots that exist, each directory once: as the host has it, by its daemon."""
    made: dict[tuple[int, int], Root] = {}
    for number, root in enumerate(roots):
        if number in found.lost and not vanished(OSError(found.lost[number], "")):
            found.gaps.append(_gap(root.path, os.strerror(found.lost[number])))
        if number not in found.ends:
            continue
        dev, ino, pid = found.ends[number]
        inner = dict.fromkeys(found.inner.get(number, ()))
        holds = tuple(sorted(found.holds.get(number, ())))
        row = Root(root._replace(pid=pid), tuple(found.steps.get(number, ())), tuple(inner), holds)
        other = made.get((dev, ino))
        if other is None or (not pid and other.root.pid):
            daemon = root.daemon or (other.root.daemon if other is not None else 0)
            row = row._replace(root=row.root._replace(daemon=daemon))
            made[dev, ino] = row
        elif not other.root.daemon and root.daemon:
            made[dev, ino] = other._replace(root=other.root._replace(daemon=root.daemon))
    return list(made.values())


class _Sorted(NamedTuple):
    """The helper's pieces, by what they say."""

    steps: dict[int, list[Step]]
    inner: dict[int, list[Step]]
    ends: dict[int, tuple[int, int, int]]
    holds: dict[int, set[int]]
    lost: dict[int, int]
    layers: list[Layer]
    kinds: dict[int, str]
    closed: dict[int, str]
    opened: list[Opened]
    gaps: list[Gap]


def _sort(answer: Answer, cause: tuple[str, str]) -> _Sorted:
    made = _Sorted({}, {}, {}, {}, {}, [], {}, {}, [], [])
    unread = 0
    for kind, *rest in answer.pieces:
        if kind in {"step", "inner", "end", "holds", "gone"}:
            _sort_root(made, kind, cast("int", rest[0]), rest[1:])
        elif kind == "layer":
            made.layers.append(Layer(*rest))  # type: ignore[arg-type]
        elif kind == "no-layers":
            made.kinds[cast("int", rest[0])] = cast("bytes", rest[1]).decode("utf-8", "replace")
        elif kind == "closed":
            made.closed[cast("int", rest[0])] = os.strerror(cast("int", rest[1]))
        elif kind == "open":
            made.opened.append(Opened(*rest))  # type: ignore[arg-type]
        elif kind == "unread":
            unread += 1
        else:
            what = str(rest[0]) if kind == "cut" else os.strerror(cast("int", rest[0]))
            made.gaps.append(_gap("who has files open", what))
    if answer.silent:
        made.gaps.append(_gap("what is behind", "a file system did not answer in time"))
    if unread:
        what = f"open files of {unread} process{'es' if unread > 1 else ''}"
        made.gaps.append(_gap(what, *cause))
    return made


def _sort_root(made: _Sorted, kind: object, number: int, rest: list[object]) -> None:
    if kind == "step":
        made.steps.setdefault(number, []).append(Step(*rest))  # type: ignore[arg-type]
    elif kind == "inner":
        made.inner.setdefault(number, []).append(Step(*rest))  # type: ignore[arg-type]
    elif kind == "end":
        made.ends[number] = cast("tuple[int, int, int]", tuple(rest))
    elif kind == "holds":
        made.holds.setdefault(number, set()).add(cast("int", rest[0]))
    else:
        made.lost[number] = cast("int", rest[0])


def _gap(what: str, cause: str, needs: str = "") -> Gap:
    return Gap(Part.MOUNTS, "storage", what, PartState.PARTIAL, cause, needs)


# --- Who is inside -------------------------------------------------------------------------------


def _is_inside(
    opened: Opened, containers: Sequence[Container], rows: dict[int, Task], snapshot: Snapshot
) -> bool:
    """Tell whether a process is the container's own: by PID namespace, group or descent."""
    container = containers[opened.container]
    task, first = rows.get(opened.pid), rows.get(container.pid)
    if task is None or first is None:
        return True  # it has ended
    if first.ns[_PID] != snapshot.host.ns[_PID] and task.ns[_PID] == first.ns[_PID]:
        return True
    groups = [
        line.partition(b":")[2].partition(b":")[2] for line in (task.cgroup or b"").split(b"\n")
    ]
    own = [os.fsencode(group) for group in container.cgroups]
    if any(group == path or group.startswith(path + b"/") for path in own for group in groups):
        return True
    return container.pid in _family(task, rows)


def _family(task: Task, rows: dict[int, Task]) -> list[int]:
    """A process and those that it descends from."""
    family: list[int] = []
    above: Task | None = task
    # Rows are not read at one moment: parents may run in a circle.
    while above is not None and above.pid not in family:
        family.append(above.pid)
        above = rows.get(above.ppid)
    return family


def _engines(
    roots: Sequence[DataRoot], containers: Sequence[Container], rows: dict[int, Task]
) -> set[int]:
    """The engines' own processes: daemons with what they started, and monitors of containers."""
    daemons = {root.daemon for root in roots if root.daemon}
    monitors = {rows[each.pid].ppid for each in containers if each.pid in rows}
    firsts = {each.pid for each in containers}
    found = {pid for pid in monitors if pid > 1 and _is_monitor(rows.get(pid))}
    for task in rows.values():
        family = _family(task, rows)
        if daemons.intersection(family) and not firsts.intersection(family):
            found.add(task.pid)
    return found


def _is_monitor(task: Task | None) -> bool:
    # Whoever starts a runtime by hand from a shell is no engine.
    names = (
        b"containerd-shim",
        b"conmon",
        b"lxc-start",
        b"lxc-execute",
        b"systemd-nspawn",
        b"nsctl",
    )
    return task is not None and task.comm.startswith(names)


# --- Audit ---------------------------------------------------------------------------------------


def _audit(gaps: list[Gap]) -> Audit:
    files, read = _files_of_rules()
    try:
        state = audit.status()
        found = audit.rules()
    except (OSError, NetlinkError) as error:
        number = error.errno if isinstance(error, OSError) else 0
        if number in audit.NONE:
            return Audit((), "this kernel has no audit")
        needs = "CAP_AUDIT_CONTROL" if number in audit.REFUSED else ""
        gaps.append(_gap("audit rules of the kernel", str(error), needs))
        cause = "these stand in files" if files else _without_files(read)
        return Audit(tuple(files), f"the kernel's could not be read; {cause}", is_known=False)
    if found:
        return Audit(tuple(found), "" if state.enabled else "audit is switched off")
    cause = "the kernel has none that watches a path"
    if not state.enabled:
        cause += ", and audit is switched off"
    if not state.daemon:
        cause += ", and no auditd takes its records"
    if files:
        cause += f"; {len(files)} stand in files and are not loaded"
    return Audit(tuple(files), cause)


def _without_files(read: bool) -> str:
    return "no file of rules watches a path" if read else "there are no files of rules either"


def _files_of_rules() -> tuple[list[AuditRule], bool]:
    """The rules in audit's files, and whether there is any file."""
    names = ["/etc/audit/audit.rules"]
    try:
        listed = below.list_directory("/", "/etc/audit/rules.d", _FILES_LIMIT)
        names += [
            f"/etc/audit/rules.d/{name}" for name in sorted(listed) if name.endswith(".rules")
        ]
    except OSError as error:
        if not vanished(error):
            return [], False
    found: list[AuditRule] = []
    read = False
    for name in names:
        try:
            content = below.read_file("/", name, _RULES_LIMIT)
        except OSError:
            continue
        read = True
        found += audit.parse_rules(content.data, name)
    return found, read
