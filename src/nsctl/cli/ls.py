"""`nsctl ls`: lsns's options, columns and order, and whose each namespace is.

The options are util-linux's letter by letter (lsns(8)); our own have long names only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from nsctl import __version__
from nsctl.cli import common
from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.errors import NsctlError, UsageError
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.relate.members import Membership, memberships
from nsctl.report.escape import command_bytes, escape, escape_bytes
from nsctl.report.jsonout import document, envelope, ndjson, put_text, whose
from nsctl.report.note import note
from nsctl.report.style import Style
from nsctl.report.table import Column, table
from nsctl.report.tree import grow

OPTIONS = (
    Option("json", "J", "no", "", "use JSON output format"),
    Option("list", "l", "no", "", "use list format output"),
    Option("noheadings", "n", "no", "", "don't print headings"),
    Option("output", "o", "required", "list", "define which output columns to use"),
    Option("output-all", "", "no", "", "output all columns"),
    Option("task", "p", "required", "pid", "print process namespaces"),
    Option("raw", "r", "no", "", "use the raw output format"),
    Option("notruncate", "u", "no", "", "don't truncate text in columns"),
    Option("nowrap", "W", "no", "", "don't use multi-line representation"),
    Option("type", "t", "required", "name", "namespace type; may be given more than once"),
    Option("tree", "T", "optional", "rel", "use tree format (parent, owner, or process)"),
    Option("ndjson", "", "no", "", "print one JSON object a line"),
    Option("from", "", "required", "file", "a saved snapshot in place of the live host"),
    Option("host-proc", "", "required", "dir", "the host's procfs, mounted here"),
    Option("strict", "", "no", "", "exit with 3 when something could not be read"),
    Option("color", "", "required", "when", "auto, always or never"),
    Option("help", "h", "no", "", "display this help"),
    Option("version", "V", "no", "", "display version"),
)

_USAGE = """\
Usage:
 nsctl ls [options] [TYPE.. | NAMESPACE]

List namespaces, whose they are and what keeps them alive. TYPE is one of
{types}; NAMESPACE is an inode, and lists its processes.

Options:
{options}

Available output columns:
{columns}
"""

_BASE = (Part.TASKS, Part.NAMESPACES)


class Row(NamedTuple):
    """One line: a namespace, and the process that stands for it."""

    member: Membership
    task: Task | None


class Output(NamedTuple):
    """One column that can be asked for.

    Attributes:
        column: how it is laid out.
        help: one line.
        value: its JSON value, as lsns writes it; text rows print it, None as nothing.
        parts: what it needs besides tasks and namespaces.
    """

    column: Column
    help: str
    value: Callable[[Snapshot, Row], object]
    parts: tuple[Part, ...] = ()


def _command(_: Snapshot, row: Row) -> bytes | None:
    if row.task is None:
        return None
    return command_bytes(row.task.command or b"") or row.task.comm


def _uid(snapshot: Snapshot, row: Row) -> int | None:
    if row.task is not None:
        return row.task.owner
    namespace = row.member.namespace
    if namespace.owner_uid is not None:
        return namespace.owner_uid
    owner = (other for other in snapshot.namespaces if other.id.ino == namespace.owner)
    return next((other.owner_uid for other in owner), None)


def _user(snapshot: Snapshot, row: Row) -> str | None:
    uid = _uid(snapshot, row)
    return None if uid is None else snapshot.users.get(uid, str(uid))


def _path(_: Snapshot, row: Row) -> str | None:
    return row.task and f"/proc/{row.task.pid}/ns/{row.member.namespace.id.type}"


def _netnsid(_: Snapshot, row: Row) -> str | None:
    number = row.member.namespace.netnsid
    if number is None:
        return None
    return str(number) if number >= 0 else "unassigned"


def _nsfs(_: Snapshot, row: Row) -> bytes | None:
    return b",".join(row.member.namespace.nsfs_paths) or None


def _held(snapshot: Snapshot, row: Row) -> bytes:
    """Say where to go and look: "proc", and without a process the holder itself."""
    holders = row.member.holders
    if row.member.tasks or not holders:
        kinds = dict.fromkeys(["proc"] * bool(row.member.tasks) + [h.kind for h in holders])
        return ",".join(kinds).encode()
    first = holders[0]
    more = b" +%d" % (len(holders) - 1) if len(holders) > 1 else b""
    if first.kind == "bind":
        return b"bind " + first.path + more
    comm = next((task.comm for task in snapshot.tasks if task.pid == first.pid), b"?")
    place = b"/%d" % first.fd if first.kind == "fd" else b""
    return b"%s %s[%d]%s" % (first.kind.encode(), comm, first.pid, place) + more


def _dev(_: Snapshot, row: Row) -> str:
    dev = row.member.namespace.id.dev
    return f"{os.major(dev)}:{os.minor(dev)}"


_OWNERS = (Part.CGROUPS, Part.CONTAINERS)
_HOLDERS = (Part.NSFS_PATHS, Part.DESCRIPTORS)

OUTPUTS: dict[str, Output] = {
    "NS": Output(
        Column("NS", right=True, hint=10),
        "namespace identifier (inode number)",
        lambda _, row: row.member.namespace.id.ino,
    ),
    "TYPE": Output(
        Column("TYPE", hint=5),
        "kind of namespace",
        lambda _, row: str(row.member.namespace.id.type),
    ),
    "PATH": Output(Column("PATH"), "path to the namespace", _path),
    "NPROCS": Output(
        Column("NPROCS", right=True, hint=5),
        "number of processes in the namespace",
        lambda _, row: len(row.member.tasks),
    ),
    "PID": Output(
        Column("PID", right=True, hint=5),
        "lowest PID in the namespace",
        lambda _, row: row.task and row.task.pid,
    ),
    "PPID": Output(
        Column("PPID", right=True, hint=5),
        "PPID of the PID",
        lambda _, row: row.task and row.task.ppid,
    ),
    "COMMAND": Output(
        Column("COMMAND", shrink=True), "command line of the PID", _command, (Part.COMMANDS,)
    ),
    "UID": Output(Column("UID", right=True), "UID of the PID", _uid, (Part.RELATIONS,)),
    "USER": Output(Column("USER"), "username of the PID", _user, (Part.RELATIONS,)),
    "NETNSID": Output(
        Column("NETNSID", right=True),
        "namespace ID as used by network subsystem",
        _netnsid,
        (Part.NETNSIDS,),
    ),
    "NSFS": Output(
        Column("NSFS"),
        "nsfs mountpoint (usually used network subsystem)",
        _nsfs,
        (Part.NSFS_PATHS,),
    ),
    "PNS": Output(
        Column("PNS", right=True, hint=10),
        "parent namespace identifier (inode number)",
        lambda _, row: row.member.namespace.parent,
        (Part.RELATIONS,),
    ),
    "ONS": Output(
        Column("ONS", right=True, hint=10),
        "owner namespace identifier (inode number)",
        lambda _, row: row.member.namespace.owner,
        (Part.RELATIONS,),
    ),
    "WHOSE": Output(
        Column("WHOSE", shrink=True),
        "container, service or process that the namespace belongs to",
        lambda _, row: whose(row.member.owners[0]) if row.member.owners else None,
        _OWNERS,
    ),
    "MEMBERS": Output(
        Column("MEMBERS", shrink=True),
        "everyone in the namespace",
        lambda _, row: [whose(owner) for owner in row.member.owners],
        _OWNERS,
    ),
    "HELD": Output(Column("HELD"), "what keeps the namespace alive", _held, _HOLDERS),
    "DEV": Output(Column("DEV"), "device of nsfs, major:minor", _dev),
    "NS_ID": Output(
        Column("NS_ID", right=True),
        "64-bit id of the namespace, never used again in a boot",
        lambda _, row: row.member.namespace.ns_id,
        (Part.RELATIONS,),
    ),
}
_TEXT: dict[str, Callable[[Row], str]] = {
    "WHOSE": lambda row: common.owners_text(row.member.owners),
    "MEMBERS": lambda row: ",".join(map(common.owner_text, row.member.owners)),
}
_LSNS = tuple(OUTPUTS)[: tuple(OUTPUTS).index("WHOSE")]
_JSON_ONLY: dict[str, Output] = {
    "NETNSID_NUM": Output(
        Column("NETNSID_NUM"), "", lambda _, row: row.member.namespace.netnsid, (Part.NETNSIDS,)
    ),
    "NSFS_PATHS": Output(
        Column("NSFS_PATHS"),
        "",
        lambda _, row: [
            path.decode("utf-8", "surrogateescape") for path in row.member.namespace.nsfs_paths
        ],
        (Part.NSFS_PATHS,),
    ),
    "PROCESSES": Output(
        Column("PROCESSES"), "", lambda _, row: [task.pid for task in row.member.tasks]
    ),
    "HOLDERS": Output(Column("HOLDERS"), "", lambda _, row: _holders(row), _HOLDERS),
}


def _holders(row: Row) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for holder in row.member.holders:
        entry: dict[str, Any] = {"kind": holder.kind}
        if holder.pid:
            entry["pid"] = holder.pid
        if holder.fd >= 0:
            entry["fd"] = holder.fd
        if holder.path:
            put_text(entry, "path", holder.path)
        if holder.mntns > 0:
            entry["mntns"] = holder.mntns
        found.append(entry)
    return found


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    given = parse(OPTIONS, words)
    if given.has("help"):
        sys.stdout.write(_help())
        return 0
    if given.has("version"):
        sys.stdout.write(f"nsctl {__version__}\n")
        return 0
    return _run(given)


def _help() -> str:
    columns = [f" {name:>11}  {output.help}" for name, output in OUTPUTS.items()]
    return _USAGE.format(
        types=", ".join(TYPES), options="\n".join(describe(OPTIONS)), columns="\n".join(columns)
    )


def _run(given: Parsed) -> int:
    kinds, inode = _wanted(given)
    as_json = given.has("json") or given.has("ndjson")
    names = _columns(given, kinds, inode, as_json=as_json)
    known = OUTPUTS | _JSON_ONLY
    parts = {*_BASE, *(part for name in names for part in known[name].parts)}
    relation = _relation(given, inode)
    if relation in {"parent", "owner"}:
        parts.add(Part.RELATIONS)
    snapshot = common.snapshot_of(
        given.last("from"), given.last("host-proc") or "/proc", sorted(parts)
    )
    rows, parents = _rows(snapshot, given, kinds, inode, relation)
    if as_json:
        _print_json(snapshot, given, names, rows, parents)
    else:
        style = common.style(given.last("color") or "auto")
        _print_text(snapshot, given, names, rows, parents, style)
        sys.stdout.flush()
        remarks = note(snapshot, style=style)
        sys.stderr.write("".join(f"{line}\n" for line in remarks))
    return common.status(snapshot, strict=given.has("strict"))


def _wanted(given: Parsed) -> tuple[frozenset[NamespaceType], int]:
    """Which types, and which one namespace (0 for all)."""
    for one, other in (("json", "raw"), ("list", "tree"), ("from", "host-proc")):
        if given.has(one) and given.has(other):
            raise UsageError(f"mutually exclusive arguments: --{one} --{other}")
    kinds = [_kind(word) for word in given.all("type")]
    inode = 0
    for word in given.operands:
        if word.isascii() and word.isdecimal():
            if given.has("task") or inode:
                raise UsageError("one NAMESPACE only, and not with --task")
            inode = int(word)
        else:
            kinds.append(_kind(word))
    return frozenset(kinds or TYPES), inode


def _kind(word: str) -> NamespaceType:
    try:
        return NamespaceType(word)
    except ValueError:
        raise UsageError(
            f"unknown namespace type: {word}", f"the types are {', '.join(TYPES)}"
        ) from None


def _columns(
    given: Parsed, kinds: frozenset[NamespaceType], inode: int, *, as_json: bool
) -> list[str]:
    """Names of the columns that are wanted, in order."""
    names = [*OUTPUTS] if given.has("output-all") else []
    if inode and not names:
        names = ["PID", "PPID", "USER", "COMMAND"]
    if not names:
        net = NamespaceType.NET in kinds and len(kinds) < len(TYPES)
        network = ["NETNSID", "NSFS"] if net else []
        names = ["NS", "TYPE", "NPROCS", "PID", "USER", *network, "WHOSE", "HELD", "COMMAND"]
        if as_json:
            names += [name for name in (*_LSNS, *OUTPUTS, *_JSON_ONLY) if name not in names]
            names = list(dict.fromkeys(names))
    wanted = given.last("output")
    if wanted is None:
        return names
    known = OUTPUTS | (_JSON_ONLY if as_json else {})
    asked = [word.upper() for word in wanted.removeprefix("+").split(",") if word]
    for name in asked:
        if name not in known:
            raise UsageError(f"unknown column: {name.lower()}", "`nsctl ls --help` lists them")
    if wanted.startswith("+"):
        return [*names, *(name for name in asked if name not in names)]
    return asked


def _relation(given: Parsed, inode: int) -> str:
    """Which tree is wanted: "process", "parent", "owner", or "" for a list."""
    if given.has("tree"):
        relation = given.last("tree") or "process"
        if relation not in {"process", "parent", "owner"}:
            raise UsageError(f"unknown tree relation: {relation}", "process, parent or owner")
        return relation
    if given.has("list"):
        return ""
    # As the original: a tree by default, a list when every column was asked for.
    return "process" if inode or not given.has("output-all") else ""


def _rows(
    snapshot: Snapshot,
    given: Parsed,
    kinds: frozenset[NamespaceType],
    inode: int,
    relation: str,
) -> tuple[list[Row], list[int]]:
    """The rows, and for each the index of its parent's row or -1."""
    members = memberships(snapshot)
    if inode:
        member = next((m for m in members if m.namespace.id.ino == inode), None)
        if member is None:
            raise NsctlError("list", "", f"not found namespace: {inode}")
        rows = [Row(member, task) for task in member.tasks]
        place = {task.pid: index for index, task in enumerate(member.tasks)}
        parents = [place.get(task.ppid, -1) if relation else -1 for task in member.tasks]
        return rows, parents
    pid = _pid(given.last("task"))
    rows = [
        Row(member, member.tasks[0] if member.tasks else None)
        for member in members
        if member.namespace.id.type in kinds
        and (not pid or any(task.pid == pid for task in member.tasks))
    ]
    if relation == "process":
        return rows, _by_process(rows)
    if relation:
        return rows, _by_relation(rows, relation)
    return rows, [-1] * len(rows)


def _pid(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"invalid PID argument: {text!r}")
    return int(text)


def _by_process(rows: list[Row]) -> list[int]:
    """Hang each row below the last one before it that its process's parent stands for."""
    latest: dict[int, int] = {}
    parents = []
    for index, row in enumerate(rows):
        parents.append(latest.get(row.task.ppid, -1) if row.task else -1)
        if row.task:
            latest[row.task.pid] = index
    return parents


def _by_relation(rows: list[Row], relation: str) -> list[int]:
    place = {(r.member.namespace.id.type, r.member.namespace.id.ino): i for i, r in enumerate(rows)}
    parents = []
    for row in rows:
        namespace = row.member.namespace
        parent = -1
        if relation == "parent" and namespace.parent:
            parent = place.get((namespace.id.type, namespace.parent), -1)
        elif relation == "owner":
            parent = place.get((NamespaceType.USER, namespace.owner), -1)
        parents.append(parent)
    return parents


def _print_text(
    snapshot: Snapshot,
    given: Parsed,
    names: list[str],
    rows: list[Row],
    parents: list[int],
    style: Style,
) -> None:
    raw = given.has("raw")
    grown = grow(parents, style)
    # The tree hangs on the command, or where namespaces are the nodes, on their number.
    by_process = not given.has("tree") or given.last("tree") in {None, "process"}
    stem = "COMMAND" if by_process else "NS"
    columns = []
    for name in names:
        column = OUTPUTS[name].column
        if given.has("notruncate"):
            column = column._replace(shrink=False)
        if name == stem == "NS" and any(parent >= 0 for parent in parents):
            column = column._replace(right=False)
        columns.append(column)
    lines = []
    for index, prefix in grown:
        cells = [_cell(snapshot, name, rows[index]) for name in names]
        if prefix and stem in names and not raw:
            place = names.index(stem)
            cells[place] = prefix + cells[place]
        lines.append(cells)
    if lines or not given.has("noheadings"):
        common.put(table(columns, lines, style, headings=not given.has("noheadings"), raw=raw))


def _cell(snapshot: Snapshot, name: str, row: Row) -> str:
    if name in _TEXT:
        return _TEXT[name](row)
    value = OUTPUTS[name].value(snapshot, row)
    if value is None:
        return ""
    return escape_bytes(value) if isinstance(value, bytes) else escape(str(value))


def _print_json(
    snapshot: Snapshot,
    given: Parsed,
    names: list[str],
    rows: list[Row],
    parents: list[int],
) -> None:
    known = OUTPUTS | _JSON_ONLY
    made: list[dict[str, Any]] = []
    for row in rows:
        entry: dict[str, Any] = {}
        for name in names:
            value = known[name].value(snapshot, row)
            if isinstance(value, bytes):
                put_text(entry, name.lower(), value)
            else:
                entry[name.lower()] = value
        made.append(entry)
    if given.has("ndjson"):
        sys.stdout.write(ndjson(made))
        return
    roots = []
    for entry, parent in zip(made, parents, strict=True):
        if parent < 0:
            roots.append(entry)
        else:
            made[parent].setdefault("children", []).append(entry)
    sys.stdout.write(document("namespaces", roots, envelope(snapshot)))
