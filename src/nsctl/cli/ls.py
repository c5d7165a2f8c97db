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
from nsctl.report.escape import command_bytes, escape, escape_bytes, width
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

# What finds namespaces: which rows there are must not depend on the columns that are asked for.
_BASE = (Part.TASKS, Part.NAMESPACES, Part.RELATIONS, Part.NSFS_PATHS, Part.DESCRIPTORS)


class Row(NamedTuple):
    """One line: a namespace, and the process that stands for it.

    Attributes:
        member: the namespace.
        task: the process; None where no process is in it, and where it only stands in the tree.
        nprocs: how many processes are in it; 0 where it only stands in the tree.
    """

    member: Membership
    task: Task | None
    nprocs: int

    @classmethod
    def of(cls, member: Membership) -> Row:
        """The row of a namespace that was asked for."""
        return cls(member, member.tasks[0] if member.tasks else None, len(member.tasks))


class Output(NamedTuple):
    """One column that can be asked for.

    Attributes:
        column: how it is laid out.
        help: one line.
        value: its JSON value, as lsns writes it; text rows print it, None as nothing.
        parts: what it needs besides what finds namespaces.
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
        lambda _, row: row.nprocs,
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
    "UID": Output(Column("UID", right=True), "UID of the PID", _uid),
    "USER": Output(Column("USER"), "username of the PID", _user),
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
    ),
    "PNS": Output(
        Column("PNS", right=True, hint=10),
        "parent namespace identifier (inode number)",
        lambda _, row: row.member.namespace.parent,
    ),
    "ONS": Output(
        Column("ONS", right=True, hint=10),
        "owner namespace identifier (inode number)",
        lambda _, row: row.member.namespace.owner,
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
    "HELD": Output(Column("HELD", shrink=True), "what keeps the namespace alive", _held),
    "DEV": Output(Column("DEV"), "device of nsfs, major:minor", _dev),
    "NS_ID": Output(
        Column("NS_ID", right=True),
        "64-bit id of the namespace, never used again in a boot",
        lambda _, row: row.member.namespace.ns_id,
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
    ),
    "PROCESSES": Output(
        Column("PROCESSES"), "", lambda _, row: [task.pid for task in row.member.tasks]
    ),
    "HOLDERS": Output(Column("HOLDERS"), "", lambda _, row: _holders(row)),
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
    snapshot = common.snapshot_of(
        given.last("from"), given.last("host-proc") or "/proc", sorted(parts)
    )
    rows, parents = _rows(snapshot, given, kinds, inode, relation)
    # The tree hangs on the command, or where namespaces are the nodes, on their number.
    stem = {"": "", "process": "COMMAND"}.get(relation, "NS")
    if stem not in names:
        parents = [-1] * len(rows)
    if as_json:
        _print_json(snapshot, given, names, rows, parents)
    else:
        style = common.style(given.last("color") or "auto")
        _print_text(snapshot, given, names, rows, parents, stem, style)
        sys.stdout.flush()
        remarks = note(snapshot, style=style)
        sys.stderr.write("".join(f"{line}\n" for line in remarks))
    return common.status(snapshot, strict=given.has("strict"))


def _wanted(given: Parsed) -> tuple[frozenset[NamespaceType], int]:
    """Which types, and which one namespace (0 for all)."""
    for one, other in (("json", "raw"), ("from", "host-proc")):
        if given.has(one) and given.has(other):
            raise UsageError(f"mutually exclusive arguments: --{one} --{other}")
    kinds = [_kind(word) for word in given.all("type")]
    inode = 0
    for word in given.operands:
        if word.isascii() and word.isdecimal():
            if given.has("task"):
                raise UsageError("mutually exclusive arguments: --task NAMESPACE")
            if inode:
                raise UsageError("one NAMESPACE only")
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
    words = wanted.removeprefix("+").split(",")
    asked = [word.upper() for word in words]
    for word, name in zip(words, asked, strict=True):
        if name not in known:
            raise UsageError(
                f"unknown column: {word or repr(word)}", "`nsctl ls --help` lists them"
            )
    if wanted.startswith("+"):
        return [*names, *(name for name in asked if name not in names)]
    return asked


def _relation(given: Parsed, inode: int) -> str:
    """Which tree is wanted: "process", "parent", "owner", or "" for a list.

    As the original, from whose options these rules are (lsns(8)): --tree wins over --list and
    means the owner when it does not say which, and the processes of one namespace have neither
    parent nor owner to stand below.
    """
    if given.has("tree"):
        # "-T=owner" is taken as "-Towner".
        text = given.last("tree")
        relation = "owner" if text is None else text.removeprefix("=")
        if relation not in {"process", "parent", "owner"}:
            raise UsageError(f"unknown tree type: {relation}", "it is process, parent or owner")
        return "" if inode and relation != "process" else relation
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
            raise NsctlError("list", f"namespace {inode}", "no such namespace was found")
        rows = [Row(member, task, len(member.tasks)) for task in member.tasks]
        place = {task.pid: index for index, task in enumerate(member.tasks)}
        return rows, [place.get(task.ppid, -1) for task in member.tasks]
    pid = _pid(given.last("task"))
    wanted = [
        member
        for member in members
        if member.namespace.id.type in kinds
        and (not pid or any(task.pid == pid for task in member.tasks))
    ]
    if relation in {"parent", "owner"}:
        shown = wanted if pid else _with_related(members, wanted)
        return _by_relation(members, shown, kinds, relation)
    rows = [Row.of(member) for member in wanted]
    return rows, _by_process(rows)


def _pid(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 1 << 31):
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


_Key = tuple[NamespaceType, int]


def _key(member: Membership) -> _Key:
    return member.namespace.id.type, member.namespace.id.ino


def _parent(member: Membership) -> _Key:
    return member.namespace.id.type, member.namespace.parent


def _owner(member: Membership) -> _Key:
    return NamespaceType.USER, member.namespace.owner


def _with_related(members: list[Membership], wanted: list[Membership]) -> list[Membership]:
    """Add all parents and owners, of whatever type, that the wanted namespaces lead to."""
    known = {_key(member): member for member in members}
    kept = {_key(member) for member in wanted}
    queue = list(wanted)
    while queue:
        member = queue.pop()
        for key in (_parent(member), _owner(member)):
            if key in known and key not in kept:
                kept.add(key)
                queue.append(known[key])
    return [member for member in members if _key(member) in kept]


def _by_relation(
    members: list[Membership],
    shown: list[Membership],
    kinds: frozenset[NamespaceType],
    relation: str,
) -> tuple[list[Row], list[int]]:
    """Hang namespaces on their parents or owners, in the original's order.

    What a namespace hangs on is brought in before it, and in a tree of parents the owner stands
    before whatever has no parent. A namespace of a type that was not asked for only stands in
    the tree: as in the original it is shown without processes.
    """
    known = {_key(member): member for member in members}
    place: dict[_Key, int] = {}
    rows: list[Row] = []
    parents: list[int] = []
    for member in shown:
        chain: dict[_Key, Membership] = {}
        above: Membership | None = member
        while above is not None and _key(above) not in place and _key(above) not in chain:
            chain[_key(above)] = above
            by_owner = known.get(_owner(above))
            above = by_owner if relation == "owner" else known.get(_parent(above), by_owner)
        for key, each in reversed(chain.items()):
            place[key] = len(rows)
            rows.append(Row.of(each) if key[0] in kinds else Row(each, None, 0))
            parents.append(place.get(_owner(each) if relation == "owner" else _parent(each), -1))
    return rows, parents


def _print_text(
    snapshot: Snapshot,
    given: Parsed,
    names: list[str],
    rows: list[Row],
    parents: list[int],
    stem: str,
    style: Style,
) -> None:
    columns = [OUTPUTS[name].column for name in names]
    if stem == "NS":
        columns = [c._replace(right=False) if c.name == stem else c for c in columns]
    lines = []
    for index, prefix in grow(parents, style):
        cells = [_cell(snapshot, name, rows[index]) for name in names]
        if prefix:
            place = names.index(stem)
            cells[place] = prefix + cells[place]
        lines.append(cells)
    if given.has("notruncate"):
        style = style._replace(width=None)
    elif style.width is not None:
        # As in the original, a terminal that is too narrow for the columns breaks their lines.
        style = style._replace(width=max(style.width, _least_width(columns, lines)))
    headings = not given.has("noheadings")
    common.put(table(columns, lines, style, headings=headings, raw=given.has("raw")))


def _least_width(columns: list[Column], lines: list[list[str]]) -> int:
    """How wide a table is once everything that may be cut is cut down to its heading."""
    total = len(columns) - 1
    for column, cells in zip(columns, zip(*lines, strict=True), strict=False):
        taken = len(column.name)
        if not column.shrink:
            widest = max(map(width, cells))
            taken = max(widest, column.hint) if widest >= taken else taken
        total += taken
    return total


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
