"""`nsctl ls`: lsns's options, columns and order, and whose each namespace is.

The options are util-linux's letter by letter (lsns(8) of 2.42); our own have long names only.
Called by the name of lsns it is lsns: the options, columns and rows of the original alone.
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
from nsctl.report.table import Column, Stems, table
from nsctl.report.tree import grow, run_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.report.filter import Filter, Kind, Value

_LSNS_OPTIONS = (
    Option("json", "J", "no", "", "use JSON output format"),
    Option("list", "l", "no", "", "use list format output"),
    Option("noheadings", "n", "no", "", "don't print headings"),
    Option("output", "o", "required", "list", "define which output columns to use"),
    Option("output-all", "", "no", "", "output all columns"),
    Option("persistent", "P", "no", "", "only namespaces without processes"),
    Option("task", "p", "required", "pid", "print process namespaces"),
    Option("filter", "Q", "required", "expr", "only rows that it chooses, see scols-filter(5)"),
    Option("raw", "r", "no", "", "use the raw output format"),
    Option("notruncate", "u", "no", "", "don't truncate text in columns"),
    Option("nowrap", "W", "no", "", "don't use multi-line representation"),
    Option("type", "t", "required", "name", "namespace type; may be given more than once"),
    Option("tree", "T", "optional", "rel", "use tree format (parent, owner, or process)"),
)
_OWN_OPTIONS = (
    Option("ndjson", "", "no", "", "print one JSON object a line"),
    Option("from", "", "required", "file", "a saved snapshot in place of the live host"),
    Option("host-proc", "", "required", "dir", "the host's procfs, mounted here"),
    Option("strict", "", "no", "", "exit with 3 when something could not be read"),
    Option("color", "", "required", "when", "auto, always or never"),
)
_ABOUT_OPTIONS = (
    Option("list-columns", "H", "no", "", "list the available columns and their types"),
    Option("help", "h", "no", "", "display this help"),
    Option("version", "V", "no", "", "display version"),
)
OPTIONS = (*_LSNS_OPTIONS, *_OWN_OPTIONS, *_ABOUT_OPTIONS)

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
_LSNS_USAGE = """\
Usage:
 lsns [options] [<namespace>]

List system namespaces, as `nsctl ls` does with more to tell of each.

Options:
{options}

Available output columns:
{columns}
"""

# What finds namespaces: which rows there are must not depend on the columns that are asked for.
_BASE = (
    Part.TASKS,
    Part.NAMESPACES,
    Part.RELATIONS,
    Part.THREADS,
    Part.CHILDREN,
    Part.NSFS_PATHS,
    Part.MOUNTED,
    Part.DESCRIPTORS,
    Part.RINGS,
    Part.SOCKETS,
    Part.INFLIGHT,
)


# Where the original looks for namespaces.
_LSNS_BASE = (
    Part.TASKS,
    Part.NAMESPACES,
    Part.RELATIONS,
    Part.NSFS_PATHS,
    Part.DESCRIPTORS,
    Part.SOCKETS,
)


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
        value: its JSON value, as lsns writes it; text rows print it, None as nothing. A tuple
            has a text for each line of a cell.
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


def _nsfs(_: Snapshot, row: Row) -> tuple[bytes, ...] | None:
    return row.member.namespace.nsfs_paths or None


def _held(snapshot: Snapshot, row: Row) -> bytes:
    """Say where to go and look: "proc", and without a process the holder itself."""
    holders = [holder for holder in row.member.holders if holder.kind != "kernel"]
    if row.member.tasks:
        return ",".join(dict.fromkeys(["proc", *(holder.kind for holder in holders)])).encode()
    if not holders:
        ino = row.member.namespace.id.ino
        needed = any(ino in {other.parent, other.owner} for other in snapshot.namespaces)
        return b"namespaces" if needed else b"?"
    first = holders[0]
    more = b" +%d" % (len(holders) - 1) if len(holders) > 1 else b""
    if first.kind == "bind":
        return b"bind " + first.path + more
    comm = next((task.comm for task in snapshot.tasks if task.pid == first.pid), b"?")
    place = b"/%d" % first.fd if first.fd >= 0 else b""
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
        Column("NSFS", wrap=True),
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
        lambda _, row: common.whose_row(row.member),
        _OWNERS,
    ),
    "MEMBERS": Output(
        Column("MEMBERS", shrink=True),
        "everyone in the namespace",
        lambda _, row: [whose(owner) for owner in row.member.owners],
        _OWNERS,
    ),
    "HELD": Output(
        Column("HELD", shrink=True), "what keeps the namespace alive (? unknown)", _held
    ),
    "DEV": Output(Column("DEV"), "device of nsfs, major:minor", _dev),
    "NS_ID": Output(
        Column("NS_ID", right=True),
        "64-bit id of the namespace, never used again in a boot",
        lambda _, row: row.member.namespace.ns_id,
    ),
}
_TEXT: dict[str, Callable[[Row], str]] = {
    "WHOSE": lambda row: (
        common.owners_text(row.member.owners)
        if row.member.owners or row.member.was is None
        else f"- was {common.owner_text(row.member.was)}"
    ),
    "MEMBERS": lambda row: ",".join(map(common.owner_text, row.member.owners)),
}
_INTEGERS = frozenset({"NS", "NPROCS", "PID", "PPID", "UID", "PNS", "ONS", "NS_ID"})
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
    "HOLDERS": Output(Column("HOLDERS"), "", lambda _, row: common.holder_rows(row.member.holders)),
}


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    return _serve(parse(OPTIONS, words), original=False)


def drop_in(words: list[str]) -> int:
    """Be lsns.

    Args:
        words: its command line.

    Returns:
        The exit status.
    """
    return _serve(parse((*_LSNS_OPTIONS, *_ABOUT_OPTIONS), words), original=True)


def _serve(given: Parsed, *, original: bool) -> int:
    """Do what was asked for, as the original alone would or with all that we know."""
    for one, other in (("json", "raw"), ("persistent", "task"), ("from", "host-proc")):
        if given.has(one) and given.has(other):
            raise UsageError(f"mutually exclusive arguments: --{one} --{other}")
    if given.has("help"):
        sys.stdout.write(_help(original=original))
    elif given.has("version"):
        version = f"nsctl {__version__}"
        sys.stdout.write(
            f"lsns from {version} (util-linux 2.42 compatible)\n" if original else f"{version}\n"
        )
    elif given.has("list-columns"):
        _list_columns(given, original=original)
    else:
        return _run(given, original=original)
    return 0


def _known(*, original: bool) -> dict[str, Output]:
    """The columns that can be asked for."""
    return {name: OUTPUTS[name] for name in _LSNS} if original else OUTPUTS


def _help(*, original: bool) -> str:
    known = _known(original=original)
    columns = "\n".join(f" {name:>11}  {output.help}" for name, output in known.items())
    if original:
        options = "\n".join(describe((*_LSNS_OPTIONS, *_ABOUT_OPTIONS)))
        return _LSNS_USAGE.format(options=options, columns=columns)
    return _USAGE.format(
        types=", ".join(TYPES), options="\n".join(describe(OPTIONS)), columns=columns
    )


def _list_columns(given: Parsed, *, original: bool) -> None:
    """Print the columns and their types, as all of util-linux does it since 2.40."""
    rows = [
        (name, "<integer>" if name in _INTEGERS else "<string>", output.help)
        for name, output in _known(original=original).items()
    ]
    columns = [Column("HOLDER", right=True), Column("TYPE"), Column("DESCRIPTION")]
    if given.has("json"):
        keys = [column.name.lower() for column in columns]
        listed: list[dict[str, object]] = [dict(zip(keys, row, strict=True)) for row in rows]
        sys.stdout.write(document("lsns-columns", listed, {}))
    else:
        common.put(table(columns, rows, headings=False, raw=given.has("raw")))


def _run(given: Parsed, *, original: bool) -> int:
    kinds, inode = _wanted(given, original=original)
    pid = _pid(given.last("task"))
    as_json = given.has("json") or given.has("ndjson")
    names = _columns(given, kinds, inode, as_json=as_json, original=original)
    chosen = _filter(given, original=original)
    known = OUTPUTS | _JSON_ONLY
    needed = {*names, *(chosen.columns if chosen else ())}
    base = _LSNS_BASE if original else _BASE
    parts = {*base, *(part for name in needed for part in known[name].parts)}
    relation = _relation(given, inode)
    snapshot = common.snapshot_of(
        given.last("from"), given.last("host-proc") or "/proc", sorted(parts)
    )
    members = memberships(snapshot)
    if original:
        members = _found_by_lsns(members, kinds, relation)
    keep = _keeper(snapshot, given, chosen)
    rows, parents = _rows(members, given, kinds, inode, relation, keep)
    # The tree hangs on the command, or where namespaces are the nodes, on their number.
    stem = {"": "", "process": "COMMAND"}.get(relation, "NS")
    if stem not in names:
        parents = [-1] * len(rows)
    if as_json:
        about = {} if original else envelope(snapshot)
        _print_json(snapshot, given, names, rows, parents, about)
    else:
        style = common.style("never" if original else given.last("color") or "auto")
        _print_text(snapshot, given, names, rows, parents, stem, style)
    if original:
        return 0
    if not as_json:
        sys.stdout.flush()
        remarks = note(snapshot, style=style)
        if pid and all(task.pid != pid for task in snapshot.tasks):
            remarks.append(f"There is no process {pid}.")
        sys.stderr.write("".join(f"{line}\n" for line in remarks))
    return common.status(snapshot, strict=given.has("strict"))


def _filter(given: Parsed, *, original: bool) -> Filter | None:
    """The filter expression, where one was given."""
    text = given.last("filter")
    if text is None:
        return None
    from nsctl.report import filter as filters

    kinds: dict[str, Kind] = {
        name: "integer" if name in _INTEGERS else "string" for name in _known(original=original)
    }
    return filters.parse(text, kinds)


def _keeper(
    snapshot: Snapshot, given: Parsed, chosen: Filter | None
) -> Callable[[Row], bool] | None:
    """What tells which rows the filter chooses; None for all."""
    if chosen is None:
        return None
    separator = _separator(given).encode()

    def fetch(name: str, row: Row) -> Value:
        if name in _TEXT:
            return _TEXT[name](row)
        value = OUTPUTS[name].value(snapshot, row)
        if isinstance(value, tuple):
            value = separator.join(value)
        if isinstance(value, bytes):
            return value.decode("utf-8", "surrogateescape")
        return value if value is None or isinstance(value, int) else str(value)

    return lambda row: chosen.matches(lambda name: fetch(name, row))


def _separator(given: Parsed) -> str:
    """What stands between the lines of a cell."""
    return "," if given.has("nowrap") or given.has("raw") else "\n"


def _wanted(given: Parsed, *, original: bool) -> tuple[frozenset[NamespaceType], int]:
    """Which types, and which one namespace (0 for all)."""
    kinds = [_kind(word) for word in given.all("type")]
    inode = 0
    # The original reads no further than its first operand.
    for word in given.operands[:1] if original else given.operands:
        if word.isascii() and word.isdecimal():
            if given.has("task"):
                raise UsageError("mutually exclusive arguments: --task NAMESPACE")
            if inode:
                raise UsageError("one NAMESPACE only")
            inode = int(word)
        elif original:
            raise UsageError(f"invalid namespace argument: {word!r}")
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
    given: Parsed, kinds: frozenset[NamespaceType], inode: int, *, as_json: bool, original: bool
) -> list[str]:
    """Names of the columns that are wanted, in order."""
    known = _known(original=original)
    names = [*known] if given.has("output-all") else []
    if inode and not names:
        names = ["PID", "PPID", "USER", "COMMAND"]
    if not names:
        net = NamespaceType.NET in kinds and len(kinds) < len(TYPES)
        network = ["NETNSID", "NSFS"] if net else []
        ours = [] if original else ["WHOSE", "HELD"]
        names = ["NS", "TYPE", "NPROCS", "PID", "USER", *network, *ours, "COMMAND"]
        if as_json and not original:
            names += [name for name in (*_LSNS, *OUTPUTS, *_JSON_ONLY) if name not in names]
            names = list(dict.fromkeys(names))
    wanted = given.last("output")
    if wanted is None:
        return names
    if as_json and not original:
        known = OUTPUTS | _JSON_ONLY
    words = wanted.removeprefix("+").split(",")
    asked = [word.upper() for word in words]
    for word, name in zip(words, asked, strict=True):
        if name not in known:
            raise UsageError(
                f"unknown column: {word or repr(word)}", "`nsctl ls --help` lists them"
            )
    if wanted.startswith("+"):
        # The original shows a column twice when it is told to.
        return [*names, *(name for name in asked if original or name not in names)]
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


def _found_by_lsns(
    members: list[Membership], kinds: frozenset[NamespaceType], relation: str
) -> list[Membership]:
    """Leave what lsns 2.42 finds.

    It looks at processes, at the descriptors and sockets of each (not of single threads), and at
    the mounts that it sees itself; then at the parents and owners of what has no process, and in
    a tree of either at those of all.
    """
    found = [
        member
        for member in members
        if member.tasks
        or member.namespace.nsfs_paths
        or any(holder.kind in {"fd", "socket"} and not holder.tid for holder in member.holders)
    ]
    if relation in {"parent", "owner"}:
        return _with_related(members, found)
    known = {_key(member) for member in found}
    empty = [member for member in found if not member.tasks and member.namespace.id.type in kinds]
    related = [m for m in members if m.namespace.id.type in kinds]
    known |= {_key(member) for member in _with_related(related, empty)}
    return [member for member in members if _key(member) in known]


def _rows(
    members: list[Membership],
    given: Parsed,
    kinds: frozenset[NamespaceType],
    inode: int,
    relation: str,
    keep: Callable[[Row], bool] | None,
) -> tuple[list[Row], list[int]]:
    """The rows, and for each the index of its parent's row or -1."""
    if inode:
        member = next((m for m in members if m.namespace.id.ino == inode), None)
        if member is None:
            raise NsctlError("list", f"namespace {inode}", "no such namespace was found")
        made = (Row(member, task, len(member.tasks)) for task in member.tasks)
        rows = [row for row in made if keep is None or keep(row)]
        tasks = [row.task for row in rows if row.task]
        place = {task.pid: index for index, task in enumerate(tasks)}
        return rows, [place.get(task.ppid, -1) for task in tasks]
    pid = _pid(given.last("task"))
    wanted = [
        member
        for member in members
        if member.namespace.id.type in kinds
        and (not pid or any(task.pid == pid for task in member.tasks))
        and not (given.has("persistent") and member.tasks)
    ]
    if relation in {"parent", "owner"}:
        some = pid or given.has("persistent")
        shown = wanted if some else _with_related(members, wanted)
        return _by_relation(members, shown, kinds, relation, keep)
    rows = [row for row in map(Row.of, wanted) if keep is None or keep(row)]
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
    keep: Callable[[Row], bool] | None,
) -> tuple[list[Row], list[int]]:
    """Hang namespaces on their parents or owners, in the original's order.

    What a namespace hangs on is brought in before it, and in a tree of parents the owner stands
    before whatever has no parent. A namespace of a type that was not asked for only stands in
    the tree: as in the original it is shown without processes. What hangs on a row that the
    filter does not choose is a root.
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
            row = Row.of(each) if key[0] in kinds else Row(each, None, 0)
            if keep is not None and not keep(row):
                place[key] = -1
                continue
            place[key] = len(rows)
            rows.append(row)
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
    separator = _separator(given)
    lines = []
    grown = grow(parents, style)
    for index, prefix in grown:
        cells = [_cell(snapshot, name, rows[index], separator) for name in names]
        if prefix:
            place = names.index(stem)
            cells[place] = prefix + cells[place]
        lines.append(cells)
    if given.has("notruncate"):
        style = style._replace(width=None)
    elif style.width is not None:
        # As in the original, a terminal that is too narrow for the columns breaks their lines.
        style = style._replace(width=max(style.width, _least_width(columns, lines)))
    stems = None
    if stem in names and any(column.wrap for column in columns):
        stems = Stems(names.index(stem), *run_on(grown, parents, style))
    headings = not given.has("noheadings")
    raw = given.has("raw")
    common.put(table(columns, lines, style, headings=headings, raw=raw, stems=stems))


def _least_width(columns: list[Column], lines: list[list[str]]) -> int:
    """How wide a table is once everything that may be cut is cut down to its heading."""
    total = len(columns) - 1
    for column, cells in zip(columns, zip(*lines, strict=True), strict=False):
        taken = len(column.name)
        if not column.shrink:
            texts = "\n".join(cells).split("\n") if column.wrap else cells
            widest = max(map(width, texts))
            taken = max(widest, column.hint) if widest >= taken else taken
        total += taken
    return total


def _cell(snapshot: Snapshot, name: str, row: Row, separator: str) -> str:
    if name in _TEXT:
        return _TEXT[name](row)
    value = OUTPUTS[name].value(snapshot, row)
    if value is None:
        return ""
    if isinstance(value, tuple):
        return separator.join(map(escape_bytes, value))
    return escape_bytes(value) if isinstance(value, bytes) else escape(str(value))


def _print_json(
    snapshot: Snapshot,
    given: Parsed,
    names: list[str],
    rows: list[Row],
    parents: list[int],
    about: dict[str, object],
) -> None:
    known = OUTPUTS | _JSON_ONLY
    separator = _separator(given).encode()
    made: list[dict[str, Any]] = []
    for row in rows:
        entry: dict[str, Any] = {}
        for name in names:
            value = known[name].value(snapshot, row)
            if isinstance(value, tuple):
                value = separator.join(value)
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
    sys.stdout.write(document("namespaces", roots, about))
