"""`nsctl uts [TARGET]`: host and domain name of each UTS namespace, and who shares the host's."""

from __future__ import annotations

import sys
from typing import Any

from nsctl.cli import common
from nsctl.model.namespace import NamespaceType
from nsctl.model.part import Part
from nsctl.relate.contents import Row, rows
from nsctl.report.escape import escape_bytes
from nsctl.report.jsonout import document, envelope, put_text, whose
from nsctl.report.note import note, wrap
from nsctl.report.style import Role
from nsctl.report.table import Column, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

PARTS = (
    *(Part.TASKS, Part.CGROUPS, Part.NAMESPACES, Part.RELATIONS, Part.CHILDREN, Part.THREADS),
    *(Part.NSFS_PATHS, Part.MOUNTED, Part.DESCRIPTORS, Part.CONTAINERS, Part.UTS_NAMES),
)
_UNSET = b"(none)"
_ROLES: dict[str, Role] = {"own": "own", "host": "host", "shared": "shared"}
_WORDS = {"own": "own", "host": "the HOST's", "shared": "shared", "empty": "no process"}


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "uts", "Show host and domain name of each UTS namespace, and who shares the host's."
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
    snapshot, wanted = common.found_in(snapshot, target, NamespaceType.UTS)
    found = rows(snapshot, NamespaceType.UTS, wanted)
    if args.json:
        sys.stdout.write(document("uts", [_json(row) for row in found], envelope(snapshot)))
    else:
        style = common.style(args.color)
        columns = [
            Column("WHOSE", shrink=True),
            Column("HOST NAME", shrink=True),
            Column("DOMAIN", shrink=True),
            Column("IS"),
            Column("NS", right=True),
        ]
        roles = {3: [_ROLES.get(row.standing) for row in found]}
        common.put(table(columns, [_cells(row) for row in found], style, roles=roles))
        guests = [owner for row in found for owner in row.guests]
        if guests:
            names = ", ".join(map(common.owner_text, guests))
            common.put(wrap(style.text(f"Has the host's name too: {names}."), style.width))
        common.put(note(snapshot, len(found), style, parts=PARTS))
    return common.status(snapshot, strict=args.strict, parts=PARTS)


def _cells(row: Row) -> list[str]:
    names = row.member.namespace.names
    host, domain = (
        ("?", "?") if names is None else (escape_bytes(names.host), _domain(names.domain))
    )
    return [
        common.member_text(row.member),
        host,
        domain,
        _WORDS[row.standing],
        str(row.member.namespace.id.ino),
    ]


def _domain(raw: bytes) -> str:
    return "-" if raw in {_UNSET, b""} else escape_bytes(raw)


def _json(row: Row) -> dict[str, Any]:
    namespace = row.member.namespace
    made: dict[str, Any] = {
        "ns": namespace.id.ino,
        "whose": common.whose_row(row.member),
        "members": [whose(owner) for owner in row.member.owners],
        "is": row.standing,
    }
    names = namespace.names
    put_text(made, "host", None if names is None else names.host)
    put_text(made, "domain", None if names is None or names.domain == _UNSET else names.domain)
    made["guests"] = [whose(owner) for owner in row.guests]
    return made
