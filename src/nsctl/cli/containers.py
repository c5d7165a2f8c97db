"""`nsctl containers`: every engine's containers."""

from __future__ import annotations

import sys

from nsctl.cli import common
from nsctl.errors import NsctlError
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES, UNREADABLE
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.relate.find import unnamed
from nsctl.relate.matrix import Cell, matrix
from nsctl.report.escape import escape
from nsctl.report.jsonout import document, envelope, put_text
from nsctl.report.note import note
from nsctl.report.table import Column, table
from nsctl.report.units import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

PARTS = (
    Part.TASKS,
    Part.CGROUPS,
    Part.NAMESPACES,
    Part.TIME_OFFSETS,
    Part.CONTAINERS,
)
_OWN = "nsctl"
_WHOLE_ID = 64
_UNKNOWN = tuple(Cell("unreadable", UNREADABLE) for _ in TYPES)


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser("containers", "List the containers of every engine that is known.")
    parser.add_argument("--own", action="store_true", help="only those that nsctl made")
    parser.add_argument("-q", "--quiet", action="store_true", help="print names only")
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    if args.file is None and args.host_proc == "/proc":
        _collect()
    snapshot = common.snapshot_of(args.file, args.host_proc, PARTS, ask_daemons=not args.own)
    shown = [c for c in snapshot.containers if not args.own or c.engine == _OWN]
    if gap := unnamed(shown, snapshot.reader.uid):
        snapshot = snapshot._replace(gaps=(*snapshot.gaps, gap))
    if args.json:
        by_pid = {pid: row.cells for row in matrix(snapshot).rows for pid in row.group.pids}
        rows = [_json(each, by_pid.get(each.pid, _UNKNOWN)) for each in shown]
        sys.stdout.write(document("containers", rows, envelope(snapshot)))
    elif args.quiet:
        common.put(escape(container.name) for container in shown)
    else:
        style = common.style(args.color)
        columns = [
            Column("NAME", shrink=True),
            Column("ENGINE"),
            Column("ID"),
            Column("STATE"),
            Column("PID", right=True),
            Column("UP"),
            Column("POD", shrink=True),
            Column("IMAGE", shrink=True),
        ]
        cells = [_cells(snapshot, container) for container in shown]
        if not any(container.pod for container in shown):
            columns = [column for column in columns if column.name != "POD"]
            cells = [[*row[:-2], row[-1]] for row in cells]
        common.put(table(columns, cells, style))
        common.put(note(snapshot, len(shown), style))
    return common.status(snapshot, strict=args.strict)


def _collect() -> None:
    """Remove what killed commands left; what cannot be removed is told and listed as it is."""
    from nsctl.run import garbage, store

    try:
        garbage.collect(store.default_store())
    except NsctlError as error:
        common.say(error)


def _cells(snapshot: Snapshot, container: Container) -> list[str]:
    up = snapshot.uptime - container.start / 100
    return [
        escape(container.name),
        escape(container.engine) or "-",
        escape(container.id[:12]),
        escape(container.state) or "-",
        str(container.pid or "-"),
        duration(max(int(up), 0)) if container.pid else "-",
        _pod(container.pod),
        escape(container.image) or "-",
    ]


def _pod(name: str) -> str:
    """The name of a pod; where only its id is known, the beginning of that."""
    is_id = len(name) == _WHOLE_ID and not name.strip("0123456789abcdef")
    return escape(name[:12] if is_id else name) or "-"


def _json(container: Container, cells: tuple[Cell, ...]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    put_text(row, "name", container.name.encode("utf-8", "surrogateescape"))
    row.update(
        engine=container.engine,
        id=container.id,
        image=container.image or None,
        pid=container.pid or None,
        pod=container.pod or None,
        scope=container.scope or None,
        user=container.user or None,
        vouched_by=container.vouched_by or None,
        state=container.state,
        created=container.created or None,
        labels=dict(container.labels),
        declared=dict(container.declared),
        namespaces={},
    )
    if container.pid:
        row["namespaces"] = {
            str(kind): {
                "ns": cell.ino if cell.ino > 0 else None,
                "is": cell.meaning if cell.meaning in {"own", "host", "shared"} else "unknown",
                "with": [owner.name for owner in cell.shared_with],
                "in_pod": cell.in_pod,
            }
            for kind, cell in zip(TYPES, cells, strict=True)
        }
    return row
