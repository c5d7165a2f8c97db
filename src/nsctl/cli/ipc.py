"""`nsctl ipc [TARGET]`: System V and POSIX objects of each IPC namespace, and who uses them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from nsctl.cli import common
from nsctl.model.contents import IpcRights, MessageQueue, PosixQueue, Semaphores, SharedMemory
from nsctl.model.namespace import NamespaceType
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.relate.ipc import Holding, holdings
from nsctl.report.escape import escape, escape_bytes
from nsctl.report.jsonout import Row, document, envelope, put_text, whose
from nsctl.report.note import note
from nsctl.report.style import Role, Style
from nsctl.report.table import Column, table
from nsctl.report.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

PARTS = (
    *(Part.TASKS, Part.CGROUPS, Part.NAMESPACES, Part.RELATIONS, Part.ID_MAPS, Part.CHILDREN),
    *(Part.THREADS, Part.NSFS_PATHS, Part.MOUNTED, Part.DESCRIPTORS, Part.CONTAINERS),
    Part.IPC_OBJECTS,
)
_ROLES: dict[str, Role] = {"own": "own", "host": "host", "shared": "shared"}
_WORDS = {"own": "own", "host": "the HOST's", "shared": "shared", "empty": "no process"}
# What the kernel adds to the permission bits of shared memory.
_DEST = 0o1000
_LOCKED = 0o2000
_SHOWN = 4

_COMMON = (
    Column("WHOSE", shrink=True),
    Column("KEY"),
    Column("ID", right=True),
    Column("OWNER", shrink=True),
    Column("INSIDE", right=True),
    Column("PERMS", right=True),
)


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "ipc",
        "Show the System V and POSIX objects of each IPC namespace, and who uses them.",
        "Nothing is received, attached or changed.",
    )
    parser.add_argument("target", metavar="TARGET", nargs="?", help="only what this leads to")
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    target = None if args.target is None else common.target_of(args.target, args.file)
    snapshot = common.snapshot_of(args.file, args.host_proc, PARTS)
    snapshot, wanted = common.found_in(snapshot, target, NamespaceType.IPC)
    found = holdings(snapshot, wanted)
    if args.json:
        sys.stdout.write(document("ipc", [_json(each) for each in found], envelope(snapshot)))
    else:
        style = common.style(args.color)
        common.put(_overview(found, style))
        for lines in (_memory, _semaphores, _queues, _posix):
            common.put(lines(snapshot, found, style))
        common.put(note(snapshot, len(found), style, parts=PARTS))
    return common.status(snapshot, strict=args.strict, parts=PARTS)


def _overview(found: Sequence[Holding], style: Style) -> list[str]:
    columns = [
        Column("WHOSE", shrink=True),
        Column("IS"),
        Column("SHM", right=True),
        Column("BYTES", right=True),
        Column("SEM", right=True),
        Column("MSG", right=True),
        Column("POSIX", right=True),
        Column("NS", right=True),
    ]
    roles = {1: [_ROLES.get(each.row.standing) for each in found]}
    return table(columns, [_counts(each) for each in found], style, roles=roles)


def _counts(each: Holding) -> list[str]:
    objects = each.objects
    counts = ["?"] * 5
    if objects is not None:
        counts = [
            str(len(objects.memory)),
            size(sum(segment.size for segment in objects.memory)),
            str(len(objects.semaphores)),
            str(len(objects.queues)),
            "?" if objects.posix is None else str(len(objects.posix)),
        ]
    member = each.row.member
    return [
        common.member_text(member),
        _WORDS[each.row.standing],
        *counts,
        str(member.namespace.id.ino),
    ]


def _section(
    title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], style: Style
) -> Iterator[str]:
    if rows:
        yield ""
        yield style.paint(title, "heading")
        yield from table(columns, rows, style)


def _first(
    snapshot: Snapshot, each: Holding, key: int, number: int, rights: IpcRights
) -> list[str]:
    return [
        common.member_text(each.row.member),
        f"0x{key:08x}" if key else "private",
        str(number),
        _user(snapshot, rights.uid),
        _inside(each, rights.uid),
        f"{rights.mode & 0o777:o}",
    ]


def _user(snapshot: Snapshot, uid: int) -> str:
    return escape(snapshot.users.get(uid, str(uid)))


def _inside(each: Holding, uid: int) -> str:
    """The owner's number inside, "-" where it is the same."""
    if not each.inside.other:
        return "-"
    number = each.inside.uid(uid)
    return "?" if number is None else str(number)


def _memory(snapshot: Snapshot, found: Sequence[Holding], style: Style) -> Iterator[str]:
    columns = (
        *_COMMON,
        Column("BYTES", right=True),
        Column("NATTCH", right=True),
        Column("ATTACHED", shrink=True),
        Column("CREATOR", right=True),
        Column("LAST", right=True),
    )
    comms = {task.pid: escape_bytes(task.comm) for task in snapshot.tasks}
    rows = [
        [
            *_first(snapshot, each, segment.key, segment.id, segment.rights),
            str(segment.size),
            str(segment.attaches),
            _attached(segment, comms),
            _pid(segment.creator),
            _pid(segment.last),
        ]
        for each in found
        for segment in (each.objects.memory if each.objects else ())
    ]
    return _section("Shared memory", columns, rows, style)


def _attached(segment: SharedMemory, comms: dict[int, str]) -> str:
    words = [f"{comms.get(each.pid, '?')}[{each.pid}]" for each in segment.by[:_SHOWN]]
    if len(segment.by) > _SHOWN:
        words.append(f"and {len(segment.by) - _SHOWN} more")
    if segment.attaches > sum(each.mappings for each in segment.by):
        words.append("others" if words else "by others")
    if segment.rights.mode & _DEST:
        words.append("(to be removed)")
    if segment.rights.mode & _LOCKED:
        words.append("(locked)")
    return " ".join(words) or "-"


def _pid(pid: int) -> str:
    return str(pid) if pid else "-"


def _semaphores(snapshot: Snapshot, found: Sequence[Holding], style: Style) -> Iterator[str]:
    rows = [
        [*_first(snapshot, each, one.key, one.id, one.rights), str(one.members)]
        for each in found
        for one in (each.objects.semaphores if each.objects else ())
    ]
    return _section("Semaphores", (*_COMMON, Column("NSEMS", right=True)), rows, style)


def _queues(snapshot: Snapshot, found: Sequence[Holding], style: Style) -> Iterator[str]:
    columns = (
        *_COMMON,
        Column("BYTES", right=True),
        Column("MESSAGES", right=True),
        Column("SENDER", right=True),
        Column("RECEIVER", right=True),
    )
    rows = [
        [
            *_first(snapshot, each, queue.key, queue.id, queue.rights),
            str(queue.size),
            str(queue.messages),
            _pid(queue.sender),
            _pid(queue.receiver),
        ]
        for each in found
        for queue in (each.objects.queues if each.objects else ())
    ]
    return _section("Message queues", columns, rows, style)


def _posix(snapshot: Snapshot, found: Sequence[Holding], style: Style) -> Iterator[str]:
    columns = (
        Column("WHOSE", shrink=True),
        Column("NAME", shrink=True),
        Column("OWNER", shrink=True),
        Column("INSIDE", right=True),
        Column("PERMS", right=True),
        Column("MESSAGES", right=True),
        Column("MOST", right=True),
        Column("LARGEST", right=True),
    )
    rows = [
        [
            common.member_text(each.row.member),
            f"/{escape_bytes(queue.name)}",
            _user(snapshot, queue.uid),
            _inside(each, queue.uid),
            f"{queue.mode & 0o777:o}",
            *("?" if n is None else str(n) for n in (queue.messages, queue.most, queue.largest)),
        ]
        for each in found
        for queue in (each.objects.posix or () if each.objects else ())
    ]
    return _section("POSIX message queues", columns, rows, style)


def _json(each: Holding) -> dict[str, Any]:
    member = each.row.member
    objects = each.objects
    made: dict[str, Any] = {
        "ns": member.namespace.id.ino,
        "whose": common.whose_row(member),
        "members": [whose(owner) for owner in member.owners],
        "is": each.row.standing,
        "shm": None,
        "sem": None,
        "msg": None,
        "posix": None,
        "limits": None,
    }
    if objects is not None:
        made["shm"] = [_json_memory(each, one) for one in objects.memory]
        made["sem"] = [_json_semaphores(each, one) for one in objects.semaphores]
        made["msg"] = [_json_queue(each, one) for one in objects.queues]
        if objects.posix is not None:
            made["posix"] = [_json_posix(each, one) for one in objects.posix]
        made["limits"] = dict(objects.limits)
    return made


def _json_rights(each: Holding, key: int, number: int, rights: IpcRights) -> Row:
    inside = each.inside
    return {
        "key": key,
        "id": number,
        "perms": f"{rights.mode & 0o777:04o}",
        "uid": rights.uid,
        "gid": rights.gid,
        "cuid": rights.cuid,
        "cgid": rights.cgid,
        "uid_inside": inside.uid(rights.uid) if inside.other else rights.uid,
        "gid_inside": inside.gid(rights.gid) if inside.other else rights.gid,
    }


def _json_memory(each: Holding, one: SharedMemory) -> Row:
    return {
        **_json_rights(each, one.key, one.id, one.rights),
        "size": one.size,
        "resident": one.resident,
        "nattch": one.attaches,
        "attached": [{"pid": by.pid, "mappings": by.mappings} for by in one.by],
        "cpid": one.creator or None,
        "lpid": one.last or None,
        "atime": one.attached or None,
        "dtime": one.detached or None,
        "ctime": one.changed or None,
        "to_be_removed": bool(one.rights.mode & _DEST),
        "locked": bool(one.rights.mode & _LOCKED),
    }


def _json_semaphores(each: Holding, one: Semaphores) -> Row:
    return {
        **_json_rights(each, one.key, one.id, one.rights),
        "nsems": one.members,
        "otime": one.operated or None,
        "ctime": one.changed or None,
    }


def _json_queue(each: Holding, one: MessageQueue) -> Row:
    return {
        **_json_rights(each, one.key, one.id, one.rights),
        "bytes": one.size,
        "messages": one.messages,
        "lspid": one.sender or None,
        "lrpid": one.receiver or None,
        "stime": one.sent or None,
        "rtime": one.received or None,
        "ctime": one.changed or None,
    }


def _json_posix(each: Holding, one: PosixQueue) -> Row:
    inside = each.inside
    made: Row = {}
    put_text(made, "name", b"/" + one.name)
    made.update(
        perms=f"{one.mode & 0o777:04o}",
        uid=one.uid,
        gid=one.gid,
        uid_inside=inside.uid(one.uid) if inside.other else one.uid,
        gid_inside=inside.gid(one.gid) if inside.other else one.gid,
        messages=one.messages,
        max_messages=one.most,
        max_size=one.largest,
    )
    return made
