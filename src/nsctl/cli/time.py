"""`nsctl time [TARGET]`: the clocks of each time namespace, and uptime as seen inside."""

from __future__ import annotations

import sys
from typing import Any

from nsctl.cli import common
from nsctl.model.namespace import NamespaceType
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.relate.contents import Row, rows
from nsctl.report.jsonout import document, envelope, whose
from nsctl.report.note import note
from nsctl.report.style import Role
from nsctl.report.table import Column, table
from nsctl.report.units import duration, exact_shift

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

PARTS = (
    *(Part.TASKS, Part.CGROUPS, Part.NAMESPACES, Part.RELATIONS, Part.CHILDREN, Part.THREADS),
    *(Part.NSFS_PATHS, Part.MOUNTED, Part.DESCRIPTORS, Part.CONTAINERS, Part.TIME_OFFSETS),
)
_ROLES: dict[str, Role] = {"own": "own", "host": "host", "shared": "shared"}
_WORDS = {"own": "own", "host": "the HOST's", "shared": "shared", "empty": "no process"}


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "time",
        "Show how far the clocks of each time namespace are set off, and uptime as seen inside.",
        "Offsets are against the host's clocks, however the namespaces nest.",
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
    snapshot, wanted = common.found_in(snapshot, target, NamespaceType.TIME)
    found = rows(snapshot, NamespaceType.TIME, wanted)
    if args.json:
        made = [_json(snapshot, row) for row in found]
        sys.stdout.write(document("time", made, envelope(snapshot)))
    else:
        style = common.style(args.color)
        columns = [
            Column("WHOSE", shrink=True),
            Column("BOOT TIME", right=True),
            Column("MONOTONIC", right=True),
            Column("UPTIME INSIDE", right=True),
            Column("IS"),
            Column("NS", right=True),
        ]
        roles = {4: [_ROLES.get(row.standing) for row in found]}
        cells = [_cells(snapshot, row) for row in found]
        common.put(table(columns, cells, style, roles=roles))
        common.put(note(snapshot, len(found), style, parts=PARTS))
    return common.status(snapshot, strict=args.strict, parts=PARTS)


def _cells(snapshot: Snapshot, row: Row) -> list[str]:
    offsets = row.member.namespace.offsets
    clocks = ["?", "?", "?"]
    if offsets is not None:
        uptime = max(int(snapshot.uptime + offsets.boottime / 1e9), 0)
        clocks = [exact_shift(offsets.boottime), exact_shift(offsets.monotonic), duration(uptime)]
    return [
        common.member_text(row.member),
        *clocks,
        _WORDS[row.standing],
        str(row.member.namespace.id.ino),
    ]


def _json(snapshot: Snapshot, row: Row) -> dict[str, Any]:
    namespace = row.member.namespace
    offsets = namespace.offsets
    uptime = monotonic = None
    if offsets is not None:
        uptime = round(snapshot.uptime + offsets.boottime / 1e9, 9)
        if snapshot.monotonic is not None:
            monotonic = round(snapshot.monotonic + offsets.monotonic / 1e9, 9)
    return {
        "ns": namespace.id.ino,
        "whose": common.whose_row(row.member),
        "members": [whose(owner) for owner in row.member.owners],
        "is": row.standing,
        "monotonic": offsets.monotonic if offsets else None,
        "boottime": offsets.boottime if offsets else None,
        "uptime": uptime,
        "monotonic_now": monotonic,
        "for_children_of": [each.pid for each in row.member.holders if each.kind == "child"],
    }
