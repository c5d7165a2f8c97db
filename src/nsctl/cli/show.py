"""`nsctl show TARGET`: the isolation card of one container, group, process or namespace."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from nsctl.cli import common
from nsctl.errors import UsageError
from nsctl.model import capabilities as capability
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES, Namespace, NamespaceType
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Credentials
from nsctl.relate.find import Found, find
from nsctl.relate.groups import Group
from nsctl.relate.host_files import HostFiles, host_files
from nsctl.relate.matrix import Cell, cells_of
from nsctl.relate.members import Membership
from nsctl.relate.sees import Sight, sees
from nsctl.report.escape import command_line, escape, escape_bytes
from nsctl.report.jsonout import document, envelope, put_text, whose
from nsctl.report.note import note
from nsctl.report.style import Role, Style
from nsctl.report.units import counted, duration, extents, shift

PARTS = tuple(part for part in Part if part is not Part.NETNSIDS)

_SECCOMP = {0: "no seccomp filter", 1: "seccomp strict", 2: "seccomp filter"}
_ROLES: dict[str, Role] = {"own": "own", "host": "host", "shared": "shared"}
_LABEL = 8


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    parser = common.parser(
        "show",
        "Show how isolated one container, process or group is, or who is in one namespace.",
        "TARGET: a name or id, a PID, PID:INODE, net:[INODE], the path of a namespace, @host.",
    )
    parser.add_argument("target", metavar="TARGET", nargs="?")
    common.add_view_options(parser)
    args = parser.parse_args(words)
    if args.target is None:
        raise UsageError("show what? a TARGET is missing", "`nsctl` lists what there is")
    target = common.target_of(args.target, args.file)
    snapshot = common.snapshot_of(args.file, args.host_proc, PARTS)
    found = find(snapshot, target)
    if args.json:
        sys.stdout.write(document("targets", [_json(snapshot, found)], envelope(snapshot)))
    else:
        style = common.style(args.color)
        common.put(_text(snapshot, found, style))
        common.put(note(snapshot, style=style))
    return common.status(snapshot, strict=args.strict)


def _text(snapshot: Snapshot, found: Found, style: Style) -> Iterator[str]:
    if found.namespace is not None:
        return _namespace(snapshot, found.namespace, style)
    if found.group is None:
        return _without_group(found, style)
    return _group(snapshot, found, found.group, style)


def _line(label: str, text: str) -> str:
    return f" {label.ljust(_LABEL)}{text}"


def _without_group(found: Found, style: Style) -> Iterator[str]:
    if found.container is not None:
        container = found.container
        yield _title(container, style)
        yield _line("state", f"{escape(container.state)}: no process runs in it")
        return
    task = found.task
    if task is not None:
        yield style.paint(f"{escape_bytes(task.comm)}[{task.pid}]", "heading")
        yield _line("state", "a zombie: it has ended and holds nothing but its number")


def _title(container: Container, style: Style) -> str:
    name = style.paint(escape(container.name), "heading")
    image = f"  {escape(container.image)}" if container.image else ""
    return f"{name}  {container.engine}://{escape(container.id[:12])}{image}"


def _group(snapshot: Snapshot, found: Found, group: Group, style: Style) -> Iterator[str]:
    tasks = {task.pid: task for task in snapshot.tasks}
    leader = found.task or tasks[group.leader]
    age = duration(max(int(snapshot.uptime - leader.start / 100), 0))
    process = f"pid {leader.pid}  {counted(len(group.pids), 'process', 'processes')}  up {age}"
    if found.container is not None:
        yield f"{_title(found.container, style)}  {process}"
    else:
        yield f"{style.paint(common.owner_text(group.owner), 'heading')}  {process}"
    command = command_line(leader.command or b"") or escape_bytes(leader.comm)
    yield _line("command", style.text(command))
    declared = dict(found.container.declared) if found.container else {}
    by_inode = {(ns.id.type, ns.id.ino): ns for ns in snapshot.namespaces}
    for kind, cell in zip(TYPES, cells_of(snapshot, group), strict=True):
        text = _meaning(cell, style)
        detail = _detail(by_inode.get((kind, cell.ino)), cell)
        said = declared.get(kind)
        told = f"declared {escape(said)}" if said else ""
        yield _line(kind, ", ".join(filter(None, (text, detail, told))))
    if leader.credentials is not None:
        yield _line("powers", _powers(leader.credentials))
    if group.owner.kind != "host":
        yield _line("sees", _sight(sees(snapshot, group), host_files(snapshot, group)))
    yield _line("next", f"nsctl ls -p {leader.pid} | nsctl tree -t user | nsctl matrix")


def _meaning(cell: Cell, style: Style) -> str:
    if cell.meaning == "shared":
        others = ", ".join(map(common.owner_text, cell.shared_with))
        return f"{style.paint('shared', 'shared')} with {others}"
    words = {"own": "own", "host": "the HOST's", "unreadable": "not readable", "absent": "none"}
    return style.paint(words[cell.meaning], _ROLES.get(cell.meaning))


def _detail(namespace: Namespace | None, cell: Cell) -> str:
    """What a namespace adds to "own" or "shared": its map or its clocks."""
    if namespace is None or cell.meaning == "host":
        return ""
    if namespace.maps is not None:
        root = next((e.outside for e in namespace.maps.uids if e.inside == 0), None)
        inside = "root inside is nobody outside" if root is None else f"root inside is uid {root}"
        return f"{inside} (uids {extents(namespace.maps.uids)})"
    if cell.offsets is not None:
        boot, mono = shift(cell.offsets.boottime), shift(cell.offsets.monotonic)
        return f"boot time {boot}, monotonic {mono}"
    return ""


def _powers(credentials: Credentials) -> str:
    nnp = {None: "no_new_privs unknown", False: "no_new_privs off", True: "no_new_privs on"}
    seccomp = credentials.seccomp
    filters = credentials.seccomp_filters
    said = "seccomp unknown" if seccomp is None else _SECCOMP.get(seccomp, f"seccomp {seccomp}")
    if seccomp == 2 and filters is not None:
        said = counted(filters, "seccomp filter")
    uid = f"uid {credentials.uids[1]} outside"
    caps = f"{capability.describe(credentials.caps.effective)} (effective)"
    if credentials.caps.bounding != credentials.caps.effective:
        caps += f", {capability.describe(credentials.caps.bounding)} (bounding)"
    return "; ".join((uid, caps, nnp[credentials.no_new_privs], said))


_SEEN = {
    NamespaceType.MNT: "all of the host's mounts",
    NamespaceType.NET: "the host's interfaces and sockets",
    NamespaceType.IPC: "the host's System V and POSIX queues",
    NamespaceType.UTS: "the host's name",
    NamespaceType.CGROUP: "the host's cgroup tree",
    NamespaceType.TIME: "the host's clocks",
}


def _sight(sight: Sight, files: tuple[HostFiles, ...] | None) -> str:
    if sight.host_processes is None:
        return "unknown: its namespaces are not readable"
    words = [counted(sight.host_processes, "host process", "host processes")]
    if sight.other_processes:
        words.append(f"{sight.other_processes} of others")
    if NamespaceType.MNT not in sight.host_parts:
        words.append(_files(files))
    words += [_SEEN[kind] for kind in sight.host_parts if kind in _SEEN]
    return ", ".join(words)


def _files(files: tuple[HostFiles, ...] | None) -> str:
    """Say which of the host's directories are seen, the first few by name."""
    if files is None:
        return "unknown files of the host"
    if not files:
        return "no files of the host"
    if any(seen.path == b"/" for seen in files):
        return "the host's root file system"
    named = [f"{escape_bytes(f.path)} {'ro' if f.read_only else 'rw'}" for f in files[:3]]
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    count = counted(len(files), "host directory", "host directories")
    return f"{count} ({', '.join(named)}{more})"


def _namespace(snapshot: Snapshot, row: Membership, style: Style) -> Iterator[str]:
    namespace = row.namespace
    identity = namespace.id
    yield style.paint(f"{identity.type}:[{identity.ino}]", "heading") + (
        f"  {identity.type.word} namespace"
    )
    yield _line("whose", ", ".join(map(common.owner_text, row.owners)) or "no process is in it")
    pids = " ".join(str(task.pid) for task in row.tasks[:20])
    more = f" and {len(row.tasks) - 20} more" if len(row.tasks) > 20 else ""
    yield _line("nprocs", f"{len(row.tasks)}  {pids}{more}".rstrip())
    for holder in row.holders:
        where = {
            "bind": f"bind mount {escape_bytes(holder.path)}",
            "fd": f"descriptor {holder.fd} of process {holder.pid}",
            "child": f"waits for the next child of process {holder.pid}",
        }[holder.kind]
        yield _line("held", where)
    if namespace.parent:
        yield _line("parent", f"{identity.type}:[{namespace.parent}]")
    if namespace.owner:
        yield _line("owner", f"user:[{namespace.owner}]")
    if namespace.owner_uid is not None:
        name = snapshot.users.get(namespace.owner_uid, "")
        known = f" ({escape(name)})" if name else ""
        yield _line("creator", f"uid {namespace.owner_uid}{known}")
    if namespace.maps is not None:
        yield _line("uids", extents(namespace.maps.uids))
        yield _line("gids", extents(namespace.maps.gids))
    if namespace.offsets is not None:
        boot, mono = shift(namespace.offsets.boottime), shift(namespace.offsets.monotonic)
        yield _line("clocks", f"boot time {boot}, monotonic {mono}")
    if namespace.ns_id is not None:
        yield _line("id", f"{namespace.ns_id}, never used again in this boot")


def _json(snapshot: Snapshot, found: Found) -> dict[str, Any]:
    if found.namespace is not None:
        return _json_namespace(found.namespace)
    row: dict[str, Any] = {}
    group = found.group
    if group is None:
        container = found.container
        row["whose"] = None
        row["name"] = container.name if container else None
        row["state"] = container.state if container else "zombie"
        return row
    tasks = {task.pid: task for task in snapshot.tasks}
    leader = found.task or tasks[group.leader]
    row.update(whose=whose(group.owner), pid=leader.pid, pids=list(group.pids))
    put_text(row, "comm", leader.comm)
    row["cells"] = {
        str(kind): {
            "is": cell.meaning,
            "ns": cell.ino if cell.ino > 0 else None,
            "with": [whose(owner) for owner in cell.shared_with],
        }
        for kind, cell in zip(TYPES, cells_of(snapshot, group), strict=True)
    }
    if leader.credentials is not None:
        credentials = leader.credentials
        row["powers"] = {
            "uids": list(credentials.uids),
            "gids": list(credentials.gids),
            "groups": list(credentials.groups),
            **{
                name: capability.names(mask)
                for name, mask in zip(credentials.caps._fields, credentials.caps, strict=True)
            },
            "no_new_privs": credentials.no_new_privs,
            "seccomp": credentials.seccomp,
            "seccomp_filters": credentials.seccomp_filters,
        }
    sight = sees(snapshot, group)
    row["sees"] = {
        "host_processes": sight.host_processes,
        "other_processes": sight.other_processes,
        "host_namespaces": [str(kind) for kind in sight.host_parts],
        "host_files": _json_files(host_files(snapshot, group)),
    }
    return row


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
        "whose": whose(row.owners[0]) if row.owners else None,
        "members": [whose(owner) for owner in row.owners],
        "processes": [task.pid for task in row.tasks],
        "pns": namespace.parent,
        "ons": namespace.owner,
        "owner_uid": namespace.owner_uid,
        "uids": [list(extent) for extent in maps.uids] if maps else None,
        "gids": [list(extent) for extent in maps.gids] if maps else None,
        "offsets": offsets._asdict() if offsets else None,
    }
