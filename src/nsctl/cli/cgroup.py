"""`nsctl cgroup [TARGET]`: what containers see of the tree of control groups; limits and use."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from nsctl.cli import common
from nsctl.model.namespace import NamespaceType
from nsctl.model.owner import Owner
from nsctl.relate.cgroup_usage import Usage
from nsctl.relate.cgroups import NEEDS, Seen, View, views, without_process
from nsctl.relate.members import Membership
from nsctl.report.escape import escape, escape_bytes
from nsctl.report.jsonout import Row, document, envelope, put_text, put_texts, whose
from nsctl.report.note import note, wrap
from nsctl.report.style import Role, Style
from nsctl.report.table import Column, table
from nsctl.report.units import counted, duration, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from nsctl.model.snapshot import Snapshot

_LABEL = 11
_LEAST_ROOM = 24
_NAMED = 12


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "cgroup",
        "Show what containers see of the tree of control groups, which services' names leak to "
        "them, and what their own group limits and uses.",
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
    snapshot, found = common.found_in(snapshot, target, NamespaceType.CGROUP)
    rows = views(snapshot, found)
    empty = without_process(snapshot, found)
    if args.json:
        made = [_json(row) for row in rows] + [_json_empty(row) for row in empty]
        sys.stdout.write(document("cgroup", made, envelope(snapshot)))
    else:
        style = common.style(args.color)
        if target is None:
            common.put(_overview(rows, empty, style))
        else:
            for row in rows:
                common.put(_card(row, style))
            for each in empty:
                common.put(_empty_card(snapshot, each, style))
        common.put(note(snapshot, len(rows) + len(empty), style, parts=NEEDS))
    return common.status(snapshot, strict=args.strict, parts=NEEDS)


def _overview(rows: Sequence[View], empty: Sequence[Membership], style: Style) -> Iterator[str]:
    columns = [
        Column("WHOSE", shrink=True),
        Column("BEGINS AT", shrink=True),
        Column("SEES"),
        Column("LEAKS", right=True),
        Column("TREE"),
        Column("MEMORY", right=True),
        Column("CPUS", right=True),
        Column("PIDS", right=True),
    ]
    cells = [_cells(row) for row in rows]
    cells += [
        [common.member_text(row), _begins_of(row), "-", "-", "-", "-", "-", "-"] for row in empty
    ]
    none: list[Role | None] = [None] * len(empty)
    begins: list[Role | None] = ["host" if row.hosts else "own" for row in rows]
    leaks: list[Role | None] = ["bad" if row.leaks else None for row in rows]
    tree: list[Role | None] = [_role_of_tree(row) for row in rows]
    roles = {1: begins + none, 3: leaks + none, 4: tree + none}
    yield from table(columns, cells, style, roles=roles)


def _role_of_tree(row: View) -> Role | None:
    return "bad" if row.writable and row.owner.kind != "host" else None


def _cells(row: View) -> list[str]:
    return [
        common.owner_text(row.owner),
        _begins(row),
        f"{row.number} of {row.of}" if row.of else "?",
        "-" if row.owner.kind == "host" else str(len(row.leaks)),
        _tree(row),
        _of(_bytes(row.used.memory), _bytes(row.limits.memory_max)),
        "-" if row.limits.cpus is None else f"{row.limits.cpus:g}",
        _of(_text(row.used.pids), _text(row.limits.pids_max)),
    ]


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _bytes(number: int | None) -> str:
    return "" if number is None else size(number)


def _of(used: str, most: str) -> str:
    """Say what is used and what is allowed: "12M of 64M", "12M", "? of 64M", "-"."""
    if most:
        return f"{used or '?'} of {most}"
    return used or "-"


def _tree(row: View) -> str:
    """Whether the tree is mounted, and how."""
    if not any(each.points for each in row.seen):
        return "-"
    return "rw" if row.writable else "ro"


def _begins(row: View) -> str:
    if row.hosts:
        return "the HOST's"
    roots = list(dict.fromkeys(each.begins for each in row.seen))
    known = [root for root in roots if root is not None]
    if not known:
        return "?"
    deepest = max(known, key=len)
    if all(each.begins == each.own for each in row.seen if each.begins and each.own):
        return f"its own {escape_bytes(deepest)}"
    return escape_bytes(deepest)


def _begins_of(row: Membership) -> str:
    known = [root.path for root in row.namespace.cgroup_roots or () if root.path is not None]
    return escape_bytes(max(known, key=len)) if known else "?"


def _said(label: str, text: str, style: Style, role: Role | None = None) -> Iterator[str]:
    """A line under a label, wrapped below itself."""
    room = None if style.width is None else max(style.width - _LABEL, _LEAST_ROOM)
    first, *others = wrap(style.text(text), room)
    yield " " + style.paint(label, role) + " " * (_LABEL - 1 - len(label)) + first
    yield from (" " * _LABEL + line for line in others)


def _card(row: View, style: Style) -> Iterator[str]:
    name = style.text(common.owner_text(row.owner))
    yield style.paint(name, "heading") + f"  pid {row.leader}  cgroup:[{row.ino}]"
    if row.hosts:
        yield from _said("begins", "the HOST's tree", style, "host")
    else:
        yield from _by_path("begins", [(each, each.begins) for each in row.seen], style)
    yield from _by_path("own group", [(each, each.own) for each in row.seen], style)
    yield from _mounts(row, style)
    if row.of:
        others = row.number - row.mine
        text = f"{row.number} of {counted(row.of, 'group')}: {row.mine} own, {others} of others"
        yield from _said("sees", text, style)
    if row.owner.kind != "host":
        yield from _leaks(row, style)
    yield from _used(row, style)
    yield ""


def _by_path(label: str, pairs: Sequence[tuple[Seen, bytes | None]], style: Style) -> Iterator[str]:
    """Say a path for each hierarchy, those with the same together."""
    together: dict[bytes | None, list[str]] = {}
    for each, path in pairs:
        together.setdefault(path, []).append(_name(each))
    for path, names in together.items():
        where = "unknown" if path is None else escape_bytes(path)
        of = "" if len(together) == 1 else f" in {', '.join(names)}"
        yield from _said(label, where + of, style)
        label = ""


def _name(each: Seen) -> str:
    if each.hierarchy.version == 2:
        return "v2"
    return escape(each.hierarchy.controllers).removeprefix("name=")


def _mounts(row: View, style: Style) -> Iterator[str]:
    together: dict[str, list[str]] = {}
    for each in row.seen:
        for (point, is_writable), root in zip(each.points, each.roots, strict=True):
            what = f"shows {escape_bytes(root)}, {'WRITABLE' if is_writable else 'read-only'}"
            together.setdefault(what, []).append(escape_bytes(point))
    if not together:
        yield from _said("mounted", "nowhere: only paths of processes tell of the tree", style)
    label = "mounted"
    for what, points in together.items():
        bad = "WRITABLE" in what and row.owner.kind != "host"
        yield from _said(label, f"{', '.join(points)} {what}", style, "bad" if bad else None)
        label = "mounted" if bad else ""


def _leaks(row: View, style: Style) -> Iterator[str]:
    if not row.leaks and not row.containers:
        yield from _said("leaks", "no name of another's", style)
        return
    ways = {"mount": "by the mounted tree", "proc": "by paths of processes"}
    for way, words in ways.items():
        names = [escape(leak.name) for leak in row.leaks if leak.way == way]
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            text = f"{counted(len(names), 'unit')} {words}: {', '.join(names[:_NAMED])}{more}"
            yield from _said("leaks", text, style, "bad")
    if row.containers:
        names = [common.owner_text(owner) for owner in row.containers]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        text = f"groups of {', '.join(names[:_NAMED])}{more}"
        yield from _said("leaks", text, style, "bad")


def _used(row: View, style: Style) -> Iterator[str]:
    used, limits = row.used, row.limits
    memory = [_of(_bytes(used.memory), _bytes(limits.memory_max))]
    if limits.memory_high is not None:
        memory.append(f"slowed above {size(limits.memory_high)}")
    if used.swap is not None or limits.swap_max is not None:
        memory.append(f"swap {_of(_bytes(used.swap), _bytes(limits.swap_max))}")
    if used.oom_kills:
        memory.append(f"{used.oom_kills} killed for want of memory")
    yield from _said("memory", _limited(memory, limits.memory_max), style)
    cpu = []
    if used.cpu_seconds is not None:
        cpu.append(f"{duration(round(used.cpu_seconds, 3))} used")
    if limits.cpus is not None:
        cpu.append(f"at most {limits.cpus:g} processors")
    if used.cpu_weight is not None:
        cpu.append(f"weight {used.cpu_weight}")
    if used.cpuset:
        cpu.append(f"on processors {escape(used.cpuset)}")
    if used.throttled:
        cpu.append(f"throttled {used.throttled} times")
    yield from _said("cpu", ", ".join(cpu) or "-", style)
    pids = [_of(_text(used.pids), _text(limits.pids_max))]
    yield from _said("pids", _limited(pids, limits.pids_max), style)
    if used.io_read is not None or used.io_max:
        io = [f"{_bytes(used.io_read)} read", f"{_bytes(used.io_written)} written"]
        yield from _said("io", ", ".join([*io, *map(escape, used.io_max)]), style)


def _limited(words: Sequence[str], most: int | None) -> str:
    if most is None and words[0] != "-":
        words = [f"{words[0]}, no limit", *words[1:]]
    return ", ".join(words)


def _empty_card(snapshot: Snapshot, row: Membership, style: Style) -> Iterator[str]:
    name = style.text(common.member_text(row))
    yield style.paint(name, "heading") + f"  cgroup:[{row.namespace.id.ino}]"
    names = {each.dev: Seen(each, None, None, frozenset(), 0, ()) for each in snapshot.cgroups}
    roots = row.namespace.cgroup_roots or ()
    pairs = [(names[root.dev], root.path) for root in roots if root.dev in names]
    yield from _by_path("begins", pairs, style)
    yield ""


def _json(row: View) -> dict[str, Any]:
    return {
        "ns": row.ino,
        "whose": whose(row.owner),
        "pid": row.leader,
        "is": "host" if row.hosts else "own",
        "sees": {"groups": row.number, "own": row.mine, "of": row.of},
        "hierarchies": [_json_seen(each) for each in row.seen],
        "writable": _texts(row.writable),
        "leaks": [{"name": leak.name, "by": leak.way} for leak in row.leaks],
        "containers": [_owner(owner) for owner in row.containers],
        "usage": _json_usage(row.used, row.limits),
    }


def _owner(owner: Owner) -> Row | None:
    return whose(owner)


def _texts(raws: Sequence[bytes]) -> list[str]:
    row: Row = {}
    put_texts(row, "texts", raws)
    texts = row["texts"]
    assert isinstance(texts, list)  # noqa: S101  (put_texts makes one)
    return texts


def _json_seen(each: Seen) -> Row:
    made: Row = {"version": each.hierarchy.version, "controllers": each.hierarchy.controllers}
    put_text(made, "begins", each.begins)
    put_text(made, "own", each.own)
    made["sees"] = {
        "groups": len(each.groups),
        "own": each.mine,
        "of": len(each.hierarchy.groups),
    }
    mounts = []
    for (point, is_writable), root in zip(each.points, each.roots, strict=True):
        row: Row = {}
        put_text(row, "point", point)
        put_text(row, "root", root)
        row["writable"] = is_writable
        mounts.append(row)
    made["mounts"] = mounts
    return made


def _json_usage(used: Usage, limits: Usage) -> Row:
    made: Row = {**used._asdict(), "io_max": list(used.io_max)}
    for name in ("memory_max", "memory_high", "swap_max", "cpus", "pids_max"):
        made[f"{name}_effective"] = getattr(limits, name)
    return made


def _json_empty(row: Membership) -> dict[str, Any]:
    roots = []
    for each in row.namespace.cgroup_roots or ():
        made: Row = {}
        put_text(made, "begins", each.path)
        roots.append(made)
    return {
        "ns": row.namespace.id.ino,
        "whose": common.whose_row(row),
        "pid": None,
        "is": "empty",
        "sees": None,
        "hierarchies": roots,
        "writable": [],
        "leaks": [],
        "containers": [],
        "usage": None,
    }
