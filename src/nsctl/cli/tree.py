"""`nsctl tree`: namespaces by parent or owner."""

from __future__ import annotations

import sys

from nsctl.cli import common
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import CONTENTS, Part
from nsctl.relate.hierarchy import By, Node, hierarchy
from nsctl.relate.members import Membership
from nsctl.report import tree
from nsctl.report.escape import clip, width
from nsctl.report.jsonout import document, envelope, whose
from nsctl.report.note import note
from nsctl.report.style import Style
from nsctl.report.units import counted, extents, shift

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

_OTHER_MATTERS = {Part.NETNSIDS, Part.COMMANDS, Part.LEADERS, Part.CREDENTIALS, *CONTENTS}
PARTS = tuple(part for part in Part if part not in _OTHER_MATTERS)


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "tree",
        "Show namespaces as a hierarchy: user and PID namespaces by parent, all types by owner.",
        "Without options: the user namespaces, each below its parent.",
    )
    parser.add_argument(
        "-t",
        "--type",
        action="append",
        choices=[str(kind) for kind in TYPES],
        metavar="TYPE",
        help="only these; may be given more than once",
    )
    parser.add_argument("--by", choices=("parent", "owner"), help="what a namespace hangs on")
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    by: By = "owner" if args.by == "owner" else "parent"
    default = TYPES if by == "owner" else (NamespaceType.USER,)
    kinds = frozenset(NamespaceType(word) for word in args.type or default)
    snapshot = common.snapshot_of(args.file, args.host_proc, PARTS)
    roots = hierarchy(snapshot, kinds, by)
    if args.json:
        rows = [_json(node) for node in roots]
        sys.stdout.write(document("namespaces", rows, envelope(snapshot)))
    else:
        style = common.style(args.color)
        drawn = [_node(node) for node in roots]
        common.put(_fitted(line, style) for line in tree.tree(drawn, style))
        common.put(note(snapshot, style=style))
    return common.status(snapshot, strict=args.strict)


def _fitted(line: str, style: Style) -> str:
    """Cut a line at the end of the terminal's."""
    text = style.text(line)
    if style.width is None or width(text) <= style.width:
        return text
    return clip(text, style.width - 1) + ("…" if style.unicode else ">")


def _node(node: Node) -> tree.Node:
    return tree.Node(_label(node.row), tuple(_node(child) for child in node.children))


def _label(row: Membership) -> str:
    namespace = row.namespace
    kind = namespace.id.type
    owners = common.owners_text(row.owners) if row.owners else _held(row)
    words = [str(kind), owners]
    if namespace.maps is not None:
        words.append(extents(namespace.maps.uids))
    if namespace.offsets is not None and any(namespace.offsets):
        words.append(f"boot time {shift(namespace.offsets.boottime)}")
    words.append(f"[{counted(len(row.tasks), 'process', 'processes')}, {namespace.id.ino}]")
    return "  ".join(words)


def _held(row: Membership) -> str:
    kinds = sorted({holder.kind for holder in row.holders if holder.kind != "kernel"})
    return f"- held by {', '.join(kinds)}" if kinds else "- kept by namespaces that it owns"


def _json(node: Node) -> dict[str, Any]:
    namespace = node.row.namespace
    maps = namespace.maps
    return {
        "ns": namespace.id.ino,
        "type": str(namespace.id.type),
        "nprocs": len(node.row.tasks),
        "whose": common.whose_row(node.row),
        "members": [whose(owner) for owner in node.row.owners],
        "pns": namespace.parent,
        "ons": namespace.owner,
        "uid_map": common.map_rows(maps.uids) if maps else None,
        "gid_map": common.map_rows(maps.gids) if maps else None,
        "offsets": namespace.offsets._asdict() if namespace.offsets else None,
        "children": [_json(child) for child in node.children],
    }
