"""`nsctl ls`: lsns's options, columns and order, and whose each namespace is.

The options are util-linux's letter by letter (lsns(8) of 2.42); our own have long names only.
Called by the name of lsns it is lsns: the options, columns and rows of the original alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from nsctl import __version__
from nsctl.cli import common
from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.cli.ls_columns import INTEGERS, JSON_ONLY, LSNS, OUTPUTS, TEXT, Facts, Output
from nsctl.errors import NsctlError, UsageError
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Part
from nsctl.relate.listing import Row, by_process, by_relation, found_by_lsns, with_related
from nsctl.relate.members import Membership, memberships
from nsctl.report.escape import escape, escape_bytes, width
from nsctl.report.jsonout import document, envelope, ndjson, put_text
from nsctl.report.note import note
from nsctl.report.style import Style
from nsctl.report.table import Column, Stems, table
from nsctl.report.tree import grow, run_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nsctl.report.filter import Filter, Kind, Value

_LSNS_OPTIONS = (
    Option("json", "J", "no", "", "print JSON"),
    Option("list", "l", "no", "", "a list, no tree"),
    Option("noheadings", "n", "no", "", "no headings"),
    Option("output", "o", "required", "list", "columns to print, +COL to add to the usual"),
    Option("output-all", "", "no", "", "every column"),
    Option("persistent", "P", "no", "", "only namespaces without processes"),
    Option("task", "p", "required", "pid", "the namespaces of a process"),
    Option("filter", "Q", "required", "expr", "only rows that it chooses, see scols-filter(5)"),
    Option("raw", "r", "no", "", "cells with one blank between, escaped"),
    Option("notruncate", "u", "no", "", "cut no cell short"),
    Option("nowrap", "W", "no", "", "one line a namespace, whatever it has"),
    Option("type", "t", "required", "name", "namespace type; may be given more than once"),
    Option("tree", "T", "optional", "rel", "a tree by parent, owner or process"),
)
_OWN_OPTIONS = (
    Option("ndjson", "", "no", "", "print one JSON object a line"),
    Option("from", "", "required", "file", "a saved snapshot in place of the live host"),
    Option("host-proc", "", "required", "dir", "the host's procfs, mounted here"),
    Option("strict", "", "no", "", "exit with 3 when something could not be read"),
    Option("watch", "", "optional", "seconds", "show it again every so many seconds (2)"),
    Option("color", "", "required", "when", "auto, always or never"),
)
_ABOUT_OPTIONS = (
    Option("list-columns", "H", "no", "", "columns there are, with their types"),
    Option("help", "h", "no", "", "display this help"),
    Option("version", "V", "no", "", "display version"),
)
OPTIONS = (*_LSNS_OPTIONS, *_OWN_OPTIONS, *_ABOUT_OPTIONS)
OPERANDS = ("TYPE",)

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
    alone = (("json", "raw"), ("persistent", "task"), ("from", "host-proc"), ("from", "watch"))
    for one, other in alone:
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
    elif given.has("watch"):
        from nsctl.cli.again import again, seconds

        separator = "" if given.has("ndjson") else "\n"
        wait = seconds(given.last("watch"))
        return again(wait, lambda: _run(given, original=original), separator=separator)
    else:
        return _run(given, original=original)
    return 0


def _known(*, original: bool) -> dict[str, Output]:
    """The columns that can be asked for."""
    return {name: OUTPUTS[name] for name in LSNS} if original else OUTPUTS


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
        (name, "<integer>" if name in INTEGERS else "<string>", output.help)
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
    known = OUTPUTS | JSON_ONLY
    needed = {*names, *(chosen.columns if chosen else ())}
    base = _LSNS_BASE if original else _BASE
    parts = {*base, *(part for name in needed for part in known[name].parts)}
    if inode and Part.LEADERS in parts:
        # A line for each process of one namespace, not one for each namespace.
        parts.add(Part.COMMANDS)
    relation = _relation(given, inode)
    snapshot = common.snapshot_of(
        given.last("from"), given.last("host-proc") or "/proc", sorted(parts)
    )
    members = memberships(snapshot)
    if original:
        members = found_by_lsns(members, kinds, relation)
    facts = Facts(snapshot)
    keep = _keeper(facts, given, chosen)
    rows, parents = _rows(members, given, kinds, inode, relation, keep)
    # The tree hangs on the command, or where namespaces are the nodes, on their number.
    stem = {"": "", "process": "COMMAND"}.get(relation, "NS")
    if stem not in names:
        parents = [-1] * len(rows)
    if as_json:
        about = {} if original else envelope(snapshot)
        _print_json(facts, given, names, rows, parents, about)
    else:
        style = common.style("never" if original else given.last("color") or "auto")
        _print_text(facts, given, names, rows, parents, stem, style)
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
        name: "integer" if name in INTEGERS else "string" for name in _known(original=original)
    }
    return filters.parse(text, kinds)


def _keeper(facts: Facts, given: Parsed, chosen: Filter | None) -> Callable[[Row], bool] | None:
    """What tells which rows the filter chooses; None for all."""
    if chosen is None:
        return None
    separator = _separator(given).encode()

    def fetch(name: str, row: Row) -> Value:
        if name in TEXT:
            return TEXT[name](row)
        value = OUTPUTS[name].value(facts, row)
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
            names += [name for name in (*LSNS, *OUTPUTS, *JSON_ONLY) if name not in names]
            names = list(dict.fromkeys(names))
    wanted = given.last("output")
    if wanted is None:
        return names
    if as_json and not original:
        known = OUTPUTS | JSON_ONLY
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
    wanted = [member for member in members if member.namespace.id.type in kinds]
    if pid:
        wanted = [member for member in wanted if any(task.pid == pid for task in member.tasks)]
    if given.has("persistent"):
        wanted = [member for member in wanted if not member.tasks]
    if relation in {"parent", "owner"}:
        some = pid or given.has("persistent")
        shown = wanted if some else with_related(members, wanted)
        return by_relation(members, shown, kinds, relation, keep)
    rows = [Row.of(member) for member in wanted]
    if keep is not None:
        rows = [row for row in rows if keep(row)]
    return rows, by_process(rows)


def _pid(text: str | None) -> int:
    if text is None:
        return 0
    # As strtol(3), which the original reads it with.
    digits = text.lstrip(" \t\n\v\f\r").removeprefix("+")
    if not (
        digits.isascii() and digits.isdecimal() and len(digits) <= 10 and int(digits) < 1 << 31
    ):
        raise UsageError(f"invalid PID argument: {text!r}")
    return int(digits)


def _print_text(
    facts: Facts,
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
    grown = grow(parents, style)
    shown = [rows[index] for index, _ in grown]
    by_column = [_cells(facts, name, shown, separator) for name in names]
    if stem in names:
        place = names.index(stem)
        pairs = zip(grown, by_column[place], strict=True)
        by_column[place] = [prefix + cell for (_, prefix), cell in pairs]
    lines = list(zip(*by_column, strict=True))
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


def _least_width(columns: list[Column], lines: list[tuple[str, ...]]) -> int:
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


def _cells(facts: Facts, name: str, rows: list[Row], separator: str) -> list[str]:
    """One column's cells."""
    if name in TEXT:
        return list(map(TEXT[name], rows))
    value_of = OUTPUTS[name].value
    values = [value_of(facts, row) for row in rows]
    # Most columns have one kind of value, and whole columns are written the fastest.
    write = _WRITERS.get(type(values[0])) if len(set(map(type, values))) == 1 else None
    if write is None:
        return [_cell(value, separator) for value in values]
    if write is str:
        return [*map(str, values)]
    # Many lines say the same of each.
    written = {value: write(value) for value in set(values)}
    return [written[value] for value in values]


_WRITERS: dict[type, Callable[[Any], str]] = {int: str, str: escape, bytes: escape_bytes}


def _cell(value: object, separator: str) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return separator.join(map(escape_bytes, value))
    return escape_bytes(value) if isinstance(value, bytes) else escape(str(value))


def _print_json(
    facts: Facts,
    given: Parsed,
    names: list[str],
    rows: list[Row],
    parents: list[int],
    about: dict[str, object],
) -> None:
    known = OUTPUTS | JSON_ONLY
    separator = _separator(given).encode()
    made: list[dict[str, Any]] = []
    for row in rows:
        entry: dict[str, Any] = {}
        for name in names:
            value = known[name].value(facts, row)
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
