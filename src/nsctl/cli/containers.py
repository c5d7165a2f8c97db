"""`nsctl containers`: every engine's containers."""

from __future__ import annotations

import sys
from typing import Any

from nsctl.cli import common
from nsctl.errors import NsctlError
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import Group, groups, owner_of
from nsctl.relate.matrix import cells_of
from nsctl.report.escape import escape
from nsctl.report.jsonout import document, envelope, put_text
from nsctl.report.note import note
from nsctl.report.table import Column, table
from nsctl.report.units import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

PARTS = (
    Part.TASKS,
    Part.CGROUPS,
    Part.NAMESPACES,
    Part.TIME_OFFSETS,
    Part.CONTAINERS,
)
_OWN = "nsctl"


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
    if args.json:
        by_owner = {group.owner: group for group in reversed(groups(snapshot))}
        rows = [_json(snapshot, each, by_owner.get(owner_of(each))) for each in shown]
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
            Column("IMAGE", shrink=True),
        ]
        common.put(table(columns, [_cells(snapshot, container) for container in shown], style))
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
        escape(container.engine),
        escape(container.id[:12]),
        escape(container.state),
        str(container.pid or "-"),
        duration(max(int(up), 0)) if container.pid else "-",
        escape(container.image),
    ]


def _json(snapshot: Snapshot, container: Container, group: Group | None) -> dict[str, Any]:
    row: dict[str, Any] = {}
    put_text(row, "name", container.name.encode("utf-8", "surrogateescape"))
    row.update(
        engine=container.engine,
        id=container.id,
        image=container.image or None,
        pid=container.pid or None,
        pod=container.pod or None,
        state=container.state,
        created=container.created or None,
        labels=dict(container.labels),
        declared=dict(container.declared),
        namespaces={},
    )
    if group is not None:
        cells = zip(TYPES, cells_of(snapshot, group), strict=True)
        row["namespaces"] = {
            str(kind): {
                "ns": cell.ino if cell.ino > 0 else None,
                "is": cell.meaning if cell.meaning in {"own", "host", "shared"} else "unknown",
                "with": [owner.name for owner in cell.shared_with],
            }
            for kind, cell in cells
        }
    return row
