"""`nsctl netns [expose TARGET [NAME] | hide NAME]`: containers' network namespaces for `ip netns`.

Without an action it lists both worlds: the names of ip-netns(8), and the network namespaces of
containers that it does not see.
"""

from __future__ import annotations

import sys
from typing import Any

from nsctl.cli import common
from nsctl.errors import UsageError
from nsctl.expose import act
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.relate.members import Membership, memberships
from nsctl.report.escape import escape, escape_bytes
from nsctl.report.jsonout import document, envelope, put_texts
from nsctl.report.note import note
from nsctl.report.table import Column, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_NEEDS = (
    Part.TASKS,
    Part.NAMESPACES,
    Part.CGROUPS,
    Part.COMMANDS,
    Part.CONTAINERS,
    Part.NSFS_PATHS,
    Part.MOUNTED,
)
_PLACES = (b"/run/netns/", b"/var/run/netns/")


def arguments() -> argparse.ArgumentParser:
    """Make the command's parser."""
    parser = common.parser(
        "netns",
        "Make network namespaces of containers visible to `ip netns`, and take the names away "
        "again. Without an action: list both worlds.",
        "A name goes away with its container. A name that exists is never touched.",
    )
    parser.add_argument(
        "action", nargs="?", choices=("expose", "hide"), help="what to do; by default: list"
    )
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="a container, or for hide also a name"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="by default the container's own")
    parser.add_argument(
        "--gone", action="store_true", help="hide the names whose containers have ended"
    )
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    if args.action == "expose":
        return _expose(args)
    if args.action == "hide":
        return _hide(args)
    if args.gone:
        raise UsageError("--gone belongs to `nsctl netns hide`")
    return _list(args)


def _expose(args: argparse.Namespace) -> int:
    if args.target is None or args.gone:
        raise UsageError("expose takes a TARGET, and a NAME if another than its own is wanted")
    made = act.expose(args.target, args.name or "")
    common.put([escape(made.name)])
    if made.is_hosts:
        _remark(f"{escape(args.target)} is in the network namespace that nsctl is in too")
    if not made.waits:
        _remark("no process belongs to it: the name stays until `nsctl netns hide`")
    return 0


def _remark(words: str) -> None:
    sys.stderr.write(f"nsctl: {words}\n")


def _hide(args: argparse.Namespace) -> int:
    if args.name is not None or (args.target is None) != args.gone:
        raise UsageError("hide takes a name or a TARGET, or --gone alone")
    hidden = act.hide_gone() if args.gone else act.hide(args.target)
    common.put([escape(name) for name in hidden])
    return 0


# --- The list ------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    ours = set(act.exposed()) if args.file is None and args.host_proc == "/proc" else set()
    snapshot = common.snapshot_of(args.file, args.host_proc, _NEEDS)
    rows = [row for row in memberships(snapshot) if row.namespace.id.type is NamespaceType.NET]
    host = snapshot.host.ns[TYPES.index(NamespaceType.NET)]
    rows.sort(key=lambda row: (row.namespace.id.ino != host, not _names(row), _names(row)))
    if args.json:
        made = [_json(row, ours) for row in rows]
        sys.stdout.write(document("netns", made, envelope(snapshot)))
    else:
        _print(snapshot, rows, ours, args.color)
    return common.status(snapshot, strict=args.strict)


def _names(row: Membership) -> list[bytes]:
    """The names that ip-netns(8) has for a namespace."""
    found = set()
    for path in row.namespace.nsfs_paths:
        for place in _PLACES:
            if path.startswith(place) and b"/" not in path.removeprefix(place):
                found.add(path.removeprefix(place))
    return sorted(found)


def _print(snapshot: Snapshot, rows: list[Membership], ours: set[str], colour: str) -> None:
    style = common.style(colour)
    columns = [
        Column("NAME"),
        Column("BY"),
        Column("NS", right=True),
        Column("NPROCS", right=True),
        Column("PID", right=True),
        Column("WHOSE", shrink=True),
    ]
    cells = []
    for row in rows:
        for name in _names(row) or [b""]:
            by = "nsctl" if name.decode("utf-8", "surrogateescape") in ours else "ip netns"
            cells.append(
                [
                    escape_bytes(name) if name else "-",
                    by if name else "-",
                    str(row.namespace.id.ino),
                    str(len(row.tasks)),
                    str(row.tasks[0].pid) if row.tasks else "-",
                    common.member_text(row),
                ]
            )
    common.put(table(columns, cells, style))
    if any(not _names(row) for row in rows):
        common.put(["", "- no name for `ip netns`: nsctl netns expose TARGET gives one"])
    common.put(note(snapshot, len(rows), style))


def _json(row: Membership, ours: set[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"ns": row.namespace.id.ino, "whose": common.whose_row(row)}
    names = _names(row)
    put_texts(made, "names", names)
    made["exposed"] = [
        name for raw in names if (name := raw.decode("utf-8", "surrogateescape")) in ours
    ]
    made["processes"] = [task.pid for task in row.tasks]
    put_texts(made, "nsfs_paths", row.namespace.nsfs_paths)
    return made
