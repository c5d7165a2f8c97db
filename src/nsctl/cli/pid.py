"""`nsctl pid N [--in TARGET]`: one process's numbers at every level, and whose it is."""

from __future__ import annotations

import sys

from nsctl.cli import common
from nsctl.errors import KernelRefusal, UnknownTarget, UsageError
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.snapshot import Snapshot
from nsctl.model.target import Target
from nsctl.model.task import Task
from nsctl.relate.find import Found, find
from nsctl.relate.members import memberships
from nsctl.relate.of_target import unread
from nsctl.relate.processes import NEEDS, Process, levels, numbered, processes
from nsctl.report.escape import escape, escape_bytes
from nsctl.report.jsonout import document, envelope, put_text, whose
from nsctl.report.note import note
from nsctl.report.table import Column, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

_PID = TYPES.index(NamespaceType.PID)


def arguments() -> argparse.ArgumentParser:
    """Make the command's parser."""
    parser = common.parser(
        "pid",
        "Translate a PID between a container and the host, through every level, and say whose "
        "process it is.",
    )
    parser.add_argument("number", metavar="N", help="a PID, or PID:INODE to be sure which it is")
    parser.add_argument(
        "--in", dest="target", metavar="TARGET", help="N is a number inside this container"
    )
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    target = None if args.target is None else common.target_of(args.target, args.file)
    number = _number(args.number, args.file, pinned=target is None)
    snapshot = common.snapshot_of(args.file, args.host_proc, NEEDS)
    if target is None:
        task = _outside(snapshot, number, args.host_proc if args.file is None else None)
    else:
        task = _inside(snapshot, number.pid, target)
    row = next(row for row in processes(snapshot) if row.task.pid == task.pid)
    if args.json:
        sys.stdout.write(document("processes", [_json(snapshot, row)], envelope(snapshot)))
    else:
        style = common.style(args.color)
        owner = common.owner_text(row.owner) if row.owner else "nobody's that could be read"
        uid = "?" if row.uid is None else snapshot.users.get(row.uid, str(row.uid))
        inside = "" if row.uid_inside is None else f", uid {row.uid_inside} inside"
        name = style.paint(f"{escape_bytes(task.comm)}[{task.pid}]", "heading")
        columns = [Column("PID", right=True), Column("PID NAMESPACE", right=True), Column("WHOSE")]
        common.put([f"{name}  {owner}  user {escape(uid)} outside{inside}"])
        common.put(table(columns, _cells(snapshot, task), style))
        common.put(note(snapshot, style=style))
    return common.status(snapshot, strict=args.strict)


def _number(text: str, file: str | None, *, pinned: bool) -> Target:
    """Read N, which may be pinned as a TARGET is where it is the reader's own number."""
    number, colon, _ = text.partition(":")
    if not (number.isascii() and number.isdecimal() and 0 < int(number[:12]) < 1 << 31):
        raise UsageError(f"invalid PID argument: {text!r}")
    if not colon:
        return Target("pid", text, pid=int(number))
    if not pinned:
        raise UsageError(f"invalid PID argument: {text!r}", "with --in, N is a number alone")
    return common.target_of(text, file)


def _outside(snapshot: Snapshot, number: Target, proc_root: str | None) -> Task:
    """The process that has a number where the reader is."""
    try:
        found = find(snapshot, number)
    except UnknownTarget as error:
        leader = 0 if proc_root is None else _leader(number.pid, proc_root)
        if leader in {0, number.pid}:
            raise
        cause = f"it is a thread of process {leader}"
        raise UnknownTarget("find", f"process {number.text}", cause, f"name {leader}") from error
    assert found.task is not None  # noqa: S101  (of a PID it is always there)
    return found.task


def _leader(number: int, proc_root: str) -> int:
    """The process of a thread, 0 where there is none such."""
    from nsctl.targets import live

    try:
        return live.leader_of(number, proc_root)
    except OSError:
        return 0  # what the snapshot says stands


def _inside(snapshot: Snapshot, number: int, target: Target) -> Task:
    """The process that has a number in the PID namespace of a TARGET."""
    found = find(snapshot, target)
    if unread(found, NamespaceType.PID, target.text) is not None:
        raise KernelRefusal(
            "find",
            f"process {number} in {target.text}",
            "the kernel does not tell which PID namespace that is",
            "CAP_SYS_PTRACE would help",
        )
    task = numbered(snapshot, _pid_namespace(found), number)
    if task is None:
        where = f"process {number} in {target.text}"
        raise UnknownTarget("find", where, "nobody has this number there")
    return task


def _pid_namespace(found: Found) -> int:
    if found.namespace is not None:
        if found.namespace.namespace.id.type is not NamespaceType.PID:
            raise UsageError("--in takes a PID namespace, not one of another type")
        return found.namespace.namespace.id.ino
    if found.group is None and found.pod:
        names = ", ".join(f"pod/{each.pod}/{each.name}" for each in found.pod)
        raise UsageError(f"--in takes one PID namespace, not a pod's: one of {names}")
    if found.group is None:
        raise UnknownTarget("look into", "TARGET", "no process runs in it")
    return found.group.isolation[_PID]


def _cells(snapshot: Snapshot, task: Task) -> list[list[str]]:
    owners = {
        row.namespace.id.ino: common.owners_text(row.owners)
        for row in memberships(snapshot)
        if row.namespace.id.type is NamespaceType.PID
    }
    return [
        [str(level.pid), str(level.ino or "?"), owners.get(level.ino, "-")]
        for level in levels(snapshot, task)
    ]


def _json(snapshot: Snapshot, row: Process) -> dict[str, Any]:
    made: dict[str, Any] = {
        "pid": row.task.pid,
        "pids": [level.pid for level in levels(snapshot, row.task)],
        "namespaces": [level.ino or None for level in levels(snapshot, row.task)],
        "uid": row.uid,
        "uid_inside": row.uid_inside,
        "whose": whose(row.owner),
        "state": row.task.state,
    }
    put_text(made, "comm", row.task.comm)
    return made
