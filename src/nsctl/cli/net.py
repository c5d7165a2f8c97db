"""`nsctl net [TARGET]`: interfaces, routes and sockets of every network namespace, and whose."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from nsctl.cli import common
from nsctl.cli.net_columns import DEFAULT, KEYS, OUTPUTS, Line
from nsctl.cli.net_json import Writer
from nsctl.cli.net_picture import Picture, Wanted
from nsctl.errors import UsageError
from nsctl.model.namespace import NamespaceType
from nsctl.model.network import Neighbour, Route, Socket
from nsctl.model.snapshot import Snapshot
from nsctl.relate.find import Found
from nsctl.relate.network import NEEDS, Net, Networks
from nsctl.report.jsonout import document, envelope, ndjson
from nsctl.report.note import note
from nsctl.report.style import Style
from nsctl.report.table import Column, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

FAMILIES = ("inet", "inet6", "unix", "packet", "netlink", "vsock")
_INTERNET = frozenset({"inet", "inet6", "packet", "vsock", "xdp"})
_NUD_HIDDEN = frozenset({"NOARP"})


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    columns = "\n".join(f"  {name:<8} {output.help}" for name, output in OUTPUTS.items())
    parser = common.parser(
        "net",
        "Show each network namespace: whose it is, interfaces and where they lead, routes, what "
        "listens, and every socket with its processes and their containers.",
        f"columns of --sockets:\n{columns}",
    )
    parser.add_argument("target", metavar="TARGET", nargs="?", help="only what this leads to")
    chosen = parser.add_argument_group("what is shown")
    chosen.add_argument(
        "-a", "--all", action="store_true", help="fold nothing: all sockets, routes, neighbours"
    )
    chosen.add_argument("-l", "--listening", action="store_true", help="only what listens")
    chosen.add_argument("-s", "--sockets", action="store_true", help="a table of sockets")
    chosen.add_argument("-4", "--ipv4", action="store_true", help="only IPv4")
    chosen.add_argument("-6", "--ipv6", action="store_true", help="only IPv6")
    chosen.add_argument(
        "-f", "--family", action="append", choices=FAMILIES, help="only sockets of this family"
    )
    chosen.add_argument(
        "-t", "--table", metavar="TABLE", help="routes of this table: all, main, local, a number"
    )
    chosen.add_argument(
        "-o", "--output", metavar="COLS", help="columns of the table of sockets; +COL adds one"
    )
    chosen.add_argument("-n", "--noheadings", action="store_true", help="no headings")
    chosen.add_argument("-r", "--raw", action="store_true", help="the table for programs")
    chosen.add_argument("--ndjson", action="store_true", help="print one JSON object a line")
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    columns = _columns(args.output)
    target = None if args.target is None else common.target_of(args.target, args.file)
    snapshot = common.snapshot_of(args.file, args.host_proc, NEEDS)
    snapshot, found = common.found_in(snapshot, target, NamespaceType.NET)
    networks = Networks(snapshot)
    choice = _Choice(args)
    nets = [choice.net(net) for net in networks.nets(found)]
    flat = args.sockets or args.output is not None
    if args.json or args.ndjson:
        keys = _keys(columns) if args.output is not None else None
        writer = Writer(snapshot, networks)
        rows = [
            writer.net(
                net,
                None if net.sockets is None else choice.sockets(net),
                choice.routes(net),
                choice.neighbours(net),
                keys,
                only_sockets=flat,
            )
            for net in nets
        ]
        out = ndjson(rows) if args.ndjson else document("net", rows, envelope(snapshot))
        sys.stdout.write(out)
        return common.status(snapshot, strict=args.strict, parts=NEEDS)
    style = common.style(args.color)
    if flat:
        lines = [
            Line(snapshot, networks, net, socket, networks.holdings(net.ino, socket))
            for net in nets
            for socket in choice.shown(net)
        ]
        common.put(_table(lines, columns, style, headings=not args.noheadings, raw=args.raw))
        shown = len(lines)
    else:
        common.put(_pictures(Picture(snapshot, networks, style), nets, choice))
        shown = len(nets)
    if args.raw:
        return common.status(snapshot, strict=args.strict, parts=NEEDS)
    common.put(_remarks(snapshot, nets, found, shown, style))
    return common.status(snapshot, strict=args.strict, parts=NEEDS)


def _columns(text: str | None) -> list[str]:
    """The columns that were asked for, in upper case."""
    if text is None:
        return list(DEFAULT)
    add = text.startswith("+")
    names = [name.strip().upper() for name in text.removeprefix("+").split(",") if name.strip()]
    for name in names:
        if name not in OUTPUTS:
            raise UsageError(f"unknown column: {name}", f"the columns are {', '.join(OUTPUTS)}")
    if not names:
        raise UsageError("no column was named", f"the columns are {', '.join(OUTPUTS)}")
    return [*DEFAULT, *names] if add else names


def _keys(columns: list[str]) -> list[str]:
    """The keys of JSON that columns stand for."""
    return list(dict.fromkeys(key for name in columns for key in KEYS[name]))


class _Choice:
    """What the options leave.

    Args:
        args: the options.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._listening: bool = args.listening
        self._all: bool = args.all
        self._table: str | None = args.table
        chosen = (("inet", args.ipv4), ("inet6", args.ipv6))
        self._inet = {family for family, wanted in chosen if wanted}
        self._families = set(args.family or ()) | self._inet

    def net(self, net: Net) -> Net:
        """A namespace with those addresses alone that were asked for."""
        if not self._inet or net.network is None:
            return net
        links = tuple(
            link._replace(
                addresses=tuple(each for each in link.addresses if each.family in self._inet)
            )
            for link in net.network.interfaces
        )
        return net._replace(network=net.network._replace(interfaces=links))

    def sockets(self, net: Net) -> list[Socket]:
        """The sockets of a namespace that were asked for."""
        return [
            socket
            for socket in net.sockets or ()
            if (not self._families or socket.family in self._families)
            and (not self._listening or socket.listening)
        ]

    def shown(self, net: Net) -> list[Socket]:
        """Those of them that the table shows: not what is the namespace's own affair."""
        rows = self.sockets(net)
        if self._all or self._families:
            return rows
        return [row for row in rows if row.family in _INTERNET or row.family not in FAMILIES]

    def routes(self, net: Net) -> list[Route]:
        """Routes: of all tables but that of the kernel's own addresses, or of one."""
        if net.network is None:
            return []
        wanted = self._table
        return [
            route
            for route in net.network.routes
            if (not self._inet or route.family in self._inet)
            and (wanted in {"all", route.table} or (not wanted and route.table != "local"))
        ]

    def neighbours(self, net: Net) -> list[Neighbour]:
        """Neighbours as `ip neigh` lists them: not those that need no resolution."""
        if net.network is None:
            return []
        return [
            each
            for each in net.network.neighbours
            if (not self._inet or each.family in self._inet)
            and not _NUD_HIDDEN.issuperset(each.state)
        ]

    def wanted(self, net: Net) -> Wanted:
        """What the picture shows."""
        return Wanted(
            tuple(self.sockets(net)),
            tuple(self.routes(net)),
            tuple(self.neighbours(net)),
            self._all or bool(self._table),
        )


def _table(
    lines: list[Line], names: list[str], style: Style, *, headings: bool, raw: bool
) -> list[str]:
    outputs = [OUTPUTS[name] for name in names]
    columns = [
        Column(name, right=output.right, shrink=output.shrink)
        for name, output in zip(names, outputs, strict=True)
    ]
    rows = [[output.cell(line) for output in outputs] for line in lines]
    return table(columns, rows, style, headings=headings, raw=raw)


def _pictures(picture: Picture, nets: list[Net], choice: _Choice) -> Iterator[str]:
    for place, net in enumerate(nets):
        if place:
            yield ""
        yield from picture.draw(net, choice.wanted(net))


def _remarks(
    snapshot: Snapshot, nets: list[Net], found: Found | None, shown: int, style: Style
) -> Iterator[str]:
    if nets:
        yield ""
    elif found is not None and found.container is not None and not found.container.pid:
        yield style.text("It does not run: it has no network now.")
    yield from note(snapshot, shown, style, parts=NEEDS)
