"""`nsctl matrix`, and `nsctl` alone: groups by the eight namespaces, in meaning."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from nsctl.cli import common
from nsctl.model.namespace import TYPES
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.relate.matrix import Cell, Matrix, Row, matrix
from nsctl.report.escape import command_line, escape, escape_bytes
from nsctl.report.jsonout import document, envelope, whose
from nsctl.report.note import note, wrap
from nsctl.report.style import Role, Style
from nsctl.report.table import Column, table
from nsctl.report.units import counted, duration, shift

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

PARTS = (
    Part.TASKS,
    Part.CGROUPS,
    Part.COMMANDS,
    Part.NAMESPACES,
    Part.TIME_OFFSETS,
    Part.CONTAINERS,
)

_SIGNS = {"own": ".", "host": "H", "unreadable": "?", "absent": "-"}
_ROLES: dict[str, Role] = {
    "own": "own",
    "host": "host",
    "shared": "shared",
    "unreadable": "unknown",
    "absent": "note",
}


def arguments(name: str = "matrix") -> argparse.ArgumentParser:
    """Make the parser of the options that both take.

    Args:
        name: the command's name, "" for nsctl without a command.
    """
    parser = common.parser(
        name, "Show which of the eight namespaces each container or group has of its own."
    )
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run `nsctl matrix`.

    Returns:
        The exit status.
    """
    return _run(words, "matrix", head=False)


def glance(words: list[str]) -> int:
    """Run `nsctl` without a command: the same under a line about the host.

    Returns:
        The exit status.
    """
    return _run(words, "", head=True)


def _run(words: list[str], name: str, *, head: bool) -> int:
    args = arguments(name).parse_args(words)
    snapshot = common.snapshot_of(args.file, args.host_proc, PARTS)
    found = matrix(snapshot)
    if args.json:
        sys.stdout.write(_json(snapshot, found))
    else:
        style = common.style(args.color)
        if head:
            common.put(_head(snapshot, style))
        common.put(_text(snapshot, found, style))
    return common.status(snapshot, strict=args.strict)


def _head(snapshot: Snapshot, style: Style) -> Iterator[str]:
    name = style.text(escape_bytes(snapshot.host_name))
    running = sum(1 for container in snapshot.containers if container.pid)
    line = (
        f"{name}  Linux {escape(snapshot.kernel)}  up {duration(int(snapshot.uptime))}  "
        f"{counted(len(snapshot.tasks), 'process', 'processes')}  "
        f"{counted(len(snapshot.namespaces), 'namespace')}  "
        f"{counted(running, 'container')}"
    )
    first, *others = wrap(line, style.width)
    if first.startswith(name):
        first = style.paint(name, "heading") + first[len(name) :]
    yield from (first, *others, "")


def _text(snapshot: Snapshot, found: Matrix, style: Style) -> Iterator[str]:
    if found.rows:
        yield from _table(snapshot, found.rows, style)
        yield ""
        yield from _legend(found.rows, style)
    else:
        yield "Every process that could be read is in the host's own eight namespaces."
    if found.host is not None:
        count = counted(len(found.host.pids), "process", "processes")
        text = f"{count} of the host in all eight of the host's own namespaces, not listed."
        yield from wrap(text, style.width)
    yield from note(snapshot, style=style)


def _table(snapshot: Snapshot, rows: tuple[Row, ...], style: Style) -> list[str]:
    tasks = {task.pid: task for task in snapshot.tasks}
    columns = [
        Column("WHOSE", shrink=True),
        *(Column(str(kind)) for kind in TYPES),
        Column("NPROCS", right=True),
        Column("PID", right=True),
        Column("COMMAND", shrink=True),
    ]
    lines, roles = [], []
    for row in rows:
        leader = tasks[row.group.leader]
        command = command_line(leader.command or b"") or escape_bytes(leader.comm)
        lines.append(
            [
                common.owner_text(row.group.owner),
                *map(_sign, row.cells),
                str(len(row.group.pids)),
                str(leader.pid),
                command,
            ]
        )
        roles.append([_ROLES[cell.meaning] for cell in row.cells])
    by_column = {index + 1: column for index, column in enumerate(zip(*roles, strict=True))}
    return table(columns, lines, style, roles=by_column)


def _sign(cell: Cell) -> str:
    sign = "p" if cell.in_pod else cell.letter or _SIGNS[cell.meaning]
    if cell.offsets is None:
        return sign
    moved = shift(cell.offsets.boottime or cell.offsets.monotonic).replace(" ", "")
    return moved if sign == "." else sign + moved


def _legend(rows: tuple[Row, ...], style: Style) -> Iterator[str]:
    cells = [cell for row in rows for cell in row.cells]
    meanings = {cell.meaning for cell in cells}
    signs: list[tuple[str, Role | None, str]] = [
        (".", "own", "own"),
        ("H", "host", "the host's"),
    ]
    if any(cell.letter for cell in cells):
        signs.append(("a", "shared", "shared: the same letter, the same namespace"))
    if any(cell.in_pod for cell in cells):
        signs.append(("p", "shared", "shared within its pod alone"))
    if "unreadable" in meanings:
        signs.append(("?", "unknown", "not readable"))
    if "absent" in meanings:
        signs.append(("-", None, "this kernel has none"))
    if any(cell.offsets for cell in cells):
        signs.append(("+2d", None, "own, clocks set off by that"))
    # A sign and what it means stay on one line, where one is wide enough.
    line, taken = "", 0
    for sign, role, text in signs:
        first, *others = wrap(f"{sign} {text}", style.width)
        if line and (others or _too_wide(taken + 2 + len(first), style)):
            yield line
            line, taken = "", 0
        gap = "  " if line else ""
        line += gap + style.paint(sign, role) + first[len(sign) :]
        taken += len(gap) + len(first)
        for each in others:
            yield line
            line, taken = each, len(each)
    yield line


def _too_wide(cells: int, style: Style) -> bool:
    return style.width is not None and cells > style.width


def _json(snapshot: Snapshot, found: Matrix) -> str:
    rows = [_json_row(row) for row in found.rows]
    host = found.host.pids if found.host else ()
    extra = {
        "host": {
            "basis": snapshot.host.basis,
            "pid": snapshot.host.pid,
            "pids": list(host),
            "ns": {
                str(kind): ino if ino > 0 else None
                for kind, ino in zip(TYPES, snapshot.host.ns, strict=False)
            },
        },
        "unreadable": list(found.unreadable),
    }
    return document("groups", rows, {**extra, **envelope(snapshot)})


def _json_row(row: Row) -> dict[str, Any]:
    cells = {}
    for kind, cell in zip(TYPES, row.cells, strict=True):
        offsets = cell.offsets
        cells[str(kind)] = {
            "is": cell.meaning,
            "ns": cell.ino if cell.ino > 0 else None,
            "with": [whose(owner) for owner in cell.shared_with],
            "group": cell.letter or None,
            "in_pod": cell.in_pod,
            "offset": offsets._asdict() if offsets else None,
        }
    return {
        "whose": whose(row.group.owner),
        "leader": row.group.leader,
        "pids": list(row.group.pids),
        "cells": cells,
    }
