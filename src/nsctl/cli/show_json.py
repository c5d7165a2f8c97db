"""The card of `nsctl show` as JSON: of a group or process, what does not run, or a namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsctl.cli import common, show_pod
from nsctl.model import capabilities as capability
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Credentials
from nsctl.relate.find import Found
from nsctl.relate.groups import owner_of
from nsctl.relate.host_files import HostFiles, host_files
from nsctl.relate.matrix import cells_of
from nsctl.relate.members import Membership
from nsctl.relate.pods import pod_of
from nsctl.relate.sees import sees
from nsctl.report.escape import command_bytes
from nsctl.report.jsonout import put_text, whose

_SECCOMP_WORDS = {0: "off", 1: "strict", 2: "filter"}


def row(snapshot: Snapshot, found: Found) -> dict[str, Any]:
    """The row of what a TARGET leads to.

    Args:
        snapshot: with everything that the card reads.
        found: what it is.

    Returns:
        Plain values, as the schema of "show" has them.
    """
    if found.namespace is not None:
        return _json_namespace(found.namespace)
    group = found.group
    pod = {"pod": show_pod.as_json(pod_of(snapshot, found.pod))} if found.pod else {}
    if group is None:
        return {**_json_without_group(found), **pod}
    tasks = {task.pid: task for task in snapshot.tasks}
    leader = found.task or tasks[group.leader]
    row: dict[str, Any] = {
        "whose": whose(group.owner),
        "pid": leader.pid,
        "pids": list(group.pids),
    }
    put_text(row, "comm", leader.comm)
    command = leader.command
    put_text(row, "command", None if command is None else command_bytes(command))
    put_text(row, "cgroup", leader.cgroup)
    cells = dict(zip(TYPES, cells_of(snapshot, group), strict=True))
    row["cells"] = {
        str(kind): {
            "is": cell.meaning,
            "ns": cell.ino if cell.ino > 0 else None,
            "with": [whose(owner) for owner in cell.shared_with],
            "group": None,
            "in_pod": cell.in_pod,
            "offset": cell.offsets._asdict() if cell.offsets else None,
        }
        for kind, cell in cells.items()
    }
    if leader.credentials is not None:
        row.update(_json_powers(leader.credentials, snapshot.users))
    inside = cells[NamespaceType.USER].ino
    maps = next((ns.maps for ns in snapshot.namespaces if ns.id.ino == inside), None)
    row["uid_map"] = common.map_rows(maps.uids) if maps else None
    row["gid_map"] = common.map_rows(maps.gids) if maps else None
    sight = sees(snapshot, group)
    row["sees"] = {
        "host_processes": sight.host_processes,
        "other_processes": sight.other_processes,
        "host_namespaces": [str(kind) for kind in sight.host_parts],
        "host_files": _json_files(host_files(snapshot, group)),
    }
    return {**row, **pod}


def _json_without_group(found: Found) -> dict[str, Any]:
    container, task = found.container, found.task
    row: dict[str, Any] = {
        "whose": whose(owner_of(container), was=True) if container else None,
        "pid": task.pid if task else None,
        "pids": [],
    }
    if task is not None:
        put_text(row, "comm", task.comm)
    row["state"] = container.state if container else "" if found.pod else "zombie"
    return row


def _json_powers(credentials: Credentials, users: Mapping[int, str]) -> dict[str, Any]:
    uid = credentials.uids[1]
    seccomp = credentials.seccomp
    return {
        "uid": uid,
        "user": users.get(uid),
        "uids": list(credentials.uids),
        "gids": list(credentials.gids),
        "groups": list(credentials.groups),
        "capabilities": {
            name: capability.names(mask)
            for name, mask in zip(credentials.caps._fields, credentials.caps, strict=True)
        },
        "no_new_privs": credentials.no_new_privs,
        "seccomp": None if seccomp is None else _SECCOMP_WORDS.get(seccomp, str(seccomp)),
        "seccomp_filters": credentials.seccomp_filters,
    }


def _json_files(files: tuple[HostFiles, ...] | None) -> list[dict[str, Any]] | None:
    if files is None:
        return None
    rows = []
    for seen in files:
        row: dict[str, Any] = {}
        put_text(row, "path", seen.path)
        put_text(row, "point", seen.point)
        row["read_only"] = seen.read_only
        rows.append(row)
    return rows


def _json_namespace(row: Membership) -> dict[str, Any]:
    namespace = row.namespace
    maps = namespace.maps
    offsets = namespace.offsets
    return {
        "ns": namespace.id.ino,
        "type": str(namespace.id.type),
        "ns_id": namespace.ns_id,
        "whose": common.whose_row(row),
        "members": [whose(owner) for owner in row.owners],
        "processes": [task.pid for task in row.tasks],
        "holders": common.holder_rows(row.holders),
        "pns": namespace.parent,
        "ons": namespace.owner,
        "owner_uid": namespace.owner_uid,
        "uid_map": common.map_rows(maps.uids) if maps else None,
        "gid_map": common.map_rows(maps.gids) if maps else None,
        "offsets": offsets._asdict() if offsets else None,
    }
