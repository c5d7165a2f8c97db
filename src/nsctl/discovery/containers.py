"""What the engines say of their containers; which engines there are is handed in."""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.errors import NsctlError, translate
from nsctl.model.container import Container
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.task import Task

# A shorter id is a name that a person chose: two engines may have the same one.
_UNIQUE_ID = 32
_Key = str | tuple[str, str, str]


def run(draft: Draft) -> None:
    """Ask every engine."""
    rows: list[Container] = []
    for name, source in draft.sources.items():
        try:
            rows.extend(_as_heard_by(draft.reader.uid, row) for row in source(draft))
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
    draft.containers.extend(_qualified(_once(rows), draft))


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
