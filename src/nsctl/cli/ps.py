"""`nsctl ps [TARGET]`: processes with their numbers and users, inside and outside."""

from __future__ import annotations

import sys

from nsctl.cli import common
from nsctl.model.namespace import UNREADABLE
from nsctl.model.snapshot import Snapshot
from nsctl.relate.find import find
from nsctl.relate.processes import NEEDS, Process, processes
from nsctl.report.escape import command_bytes, command_line, escape, escape_bytes
from nsctl.report.jsonout import document, envelope, put_text, whose
from nsctl.report.note import note
from nsctl.report.table import Column, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any


def arguments() -> argparse.ArgumentParser:
    """Make the command's parser."""
    parser = common.parser(
        "ps",
        "Show processes with their PID and user inside and outside, from the host: the "
        "container's image needs nothing.",
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
    snapshot = common.snapshot_of(args.file, args.host_proc, NEEDS)
    rows = processes(snapshot, None if target is None else find(snapshot, target))
    if args.json:
        made = [_json(row) for row in rows]
        sys.stdout.write(document("processes", made, envelope(snapshot)))
    else:
        style = common.style(args.color)
        columns = [
            Column("PID", right=True),
            Column("INSIDE", right=True),
            Column("USER"),
            Column("UID INSIDE", right=True),
            Column("S"),
            Column("THREADS", right=True),
            Column("WHOSE", shrink=True),
            Column("COMMAND", shrink=True),
        ]
        common.put(table(columns, [_cells(snapshot, row) for row in rows], style))
        common.put(note(snapshot, len(rows), style))
    return common.status(snapshot, strict=args.strict)


def _cells(snapshot: Snapshot, row: Process) -> list[str]:
    task = row.task
    command = command_line(task.command or b"") or escape_bytes(task.comm)
    # A number inside that is the one outside says nothing.
    inside = str(task.nspids[-1]) if len(task.nspids) > 1 else "-"
    return [
        str(task.pid),
        inside,
        "?" if row.uid is None else escape(snapshot.users.get(row.uid, str(row.uid))),
        "-" if row.uid_inside is None else str(row.uid_inside),
        f"{task.state} (threads live)" if row.dead_leader else task.state,
        str(task.threads),
        _whose(row),
        command,
    ]


def _whose(row: Process) -> str:
    if row.owner is not None:
        return common.owner_text(row.owner)
    return "?" if UNREADABLE in row.task.ns else "-"


def _json(row: Process) -> dict[str, Any]:
    task = row.task
    made: dict[str, Any] = {
        "pid": task.pid,
        "pids": list(task.nspids) or [task.pid],
        "ppid": task.ppid,
        "uid": row.uid,
        "uid_inside": row.uid_inside,
    }
    put_text(made, "comm", task.comm)
    put_text(made, "command", command_bytes(task.command or b"") or task.comm)
    made.update(
        whose=whose(row.owner),
        state=task.state,
        dead_leader=row.dead_leader,
        threads=task.threads,
    )
    return made
