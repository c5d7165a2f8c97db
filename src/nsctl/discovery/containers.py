"""What the engines say of their containers; which engines there are is handed in."""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.errors import NsctlError, translate
from nsctl.model.container import Container
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.discovery.draft import ContainerSource

# A shorter id is a name that a person chose: two engines may have the same one.
_UNIQUE_ID = 32
_Key = str | tuple[str, str, str]


def run(draft: Draft, *, names_only: bool = False) -> None:
    """Ask every engine; its daemon first, so that what state says of a container is the newer.

    Args:
        draft: with the processes.
        names_only: nobody wants to know which are frozen, or whose namespaces they were brought
            into.
    """
    answers = _asked(draft, "daemons", draft.answers) if draft.answers is not None else []
    rows: list[Container] = []
    for name, source in draft.sources.items():
        rows += _asked(draft, name, source)
    known = _completed(_once(rows), answers)
    if known and not names_only:
        from nsctl.discovery import frozen, joined

        known = frozen.told(draft, joined.told(draft, known))
    draft.containers.extend(_qualified(known, draft))


def _asked(draft: Draft, name: str, source: ContainerSource) -> list[Container]:
    """What a source tells; where it fails, that is noted."""
    try:
        return [_as_heard_by(draft.reader.uid, row) for row in source(draft)]
    except (NsctlError, OSError) as error:
        told = translate(error, "list", name) if isinstance(error, OSError) else error
        draft.gaps.append(
            Gap(
                Part.CONTAINERS,
                name,
                f"containers of {name}",
                PartState.UNREADABLE,
                told.sentence,
            )
        )
        return []


# States of a process that lives, and of one that does not, which only the engine can tell apart.
_FINER = {
    "running": frozenset({"paused", "restarting"}),
    "stopped": frozenset({"created", "exited", "dead", "removing"}),
}


def _completed(rows: list[Container], answers: list[Container]) -> list[Container]:
    """Add what daemons say to what was told without them, by id.

    Only what is not known yet is taken; whether a container runs, and as which process, is never
    taken from a daemon.
    """
    if not answers:
        return rows
    by_id: dict[str, Container] = {}
    for answer in answers:
        by_id.setdefault(answer.id, answer)
    whole = [_complete(row, by_id.pop(row.id)) if row.id in by_id else row for row in rows]
    return [*whole, *by_id.values()]


def _complete(row: Container, answer: Container) -> Container:
    """Fill what one row lacks, if the daemon is the one of that container's engine and owner."""
    if row.vouched_by or (row.engine, row.user) != (answer.engine, answer.user):
        return row
    is_unnamed = not row.name or row.id.startswith(row.name)
    is_finer = not row.state or answer.state in _FINER.get(row.state, ())
    return row._replace(
        name=answer.name if is_unnamed else row.name,
        image=row.image or answer.image,
        state=answer.state if is_finer else row.state,
        created=row.created or answer.created,
        labels=row.labels or answer.labels,
    )


def _as_heard_by(uid: int, row: Container) -> Container:
    """What the reader's own engine says counts for the reader as the host's word does."""
    return row._replace(vouched_by=0) if row.user and row.user == uid else row


def _once(rows: list[Container]) -> list[Container]:
    """Leave out what was told of before: by the host's own engines, or by an earlier source.

    What control groups alone tell of is no more than an id: an engine in a container or of a user
    may say the rest, where its container's processes are in those very groups.
    """
    kept: dict[_Key, Container] = {}
    of_pid: dict[int, _Key] = {}
    for row in sorted(rows, key=lambda row: bool(row.vouched_by)):
        key: _Key = row.id if len(row.id) >= _UNIQUE_ID else (row.engine, row.scope, row.id)
        if key not in kept and row.pid:
            key = of_pid.setdefault(row.pid, key)
        before = kept.get(key)
        if before is None or (row.vouched_by and _says_more(row, before)):
            kept[key] = row
    return list(kept.values())


def _says_more(row: Container, before: Container) -> bool:
    """Tell whether no engine said anything of a container until now, and these are its groups."""
    said = before.image or before.created or before.labels or before.declared or before.vouched_by
    return not said and not set(before.cgroups).isdisjoint(row.cgroups)


def _qualified(rows: list[Container], draft: Draft) -> list[Container]:
    """Name containers of other users' engines, and of engines in containers, as such."""
    if not any(row.vouched_by or row.user for row in rows):
        return rows
    by_pid = {task.pid: task for task in draft.tasks}
    hosts = [row for row in rows if not row.vouched_by]
    named = []
    for row in rows:
        if (row.vouched_by or row.user) and (not row.user or row.user != draft.reader.uid):
            whose = _whose(row, by_pid, hosts)
            pod = f"{row.pod}@{whose}" if row.pod else ""
            named.append(row._replace(name=f"{row.name}@{whose}", pod=pod))
        else:
            named.append(row)
    return named


def _whose(row: Container, by_pid: dict[int, Task], hosts: list[Container]) -> str:
    """Name the user whose engine tells of a container, or the container that the engine is in."""
    if row.user:
        return str(row.user)
    names = {each.pid: each.name for each in hosts if each.pid}
    seen: set[int] = set()
    pid = row.vouched_by
    while pid in by_pid and pid not in seen:
        if pid in names:
            return names[pid]
        seen.add(pid)
        pid = by_pid[pid].ppid
    groups = b"\n" + (by_pid[row.vouched_by].cgroup or b"") if row.vouched_by in by_pid else b""
    for each in hosts:
        if any(os_path in groups for os_path in _lines(each)):
            return each.name
    return str(row.vouched_by)


def _lines(row: Container) -> list[bytes]:
    """What the end of a line of /proc/PID/cgroup holds for what is in or below its groups."""
    paths = [path.encode("utf-8", "surrogateescape") for path in row.cgroups]
    return [b":" + path + end for path in paths for end in (b"\n", b"/")]
