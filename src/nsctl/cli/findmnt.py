"""Being findmnt: its rows, columns and formats, from whatever mount table is looked at."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from nsctl import __version__
from nsctl.cli import common
from nsctl.cli.findmnt_columns import LATER, OUTPUTS, POLLED, SIZED, Context, Output
from nsctl.cli.findmnt_options import ABOUT, SEARCH, actions, number
from nsctl.cli.getopt import Parsed, describe
from nsctl.errors import EXIT_FAILED, EXIT_OK, UsageError
from nsctl.model.mount import Mount
from nsctl.model.record import NamedTuple
from nsctl.relate.mount_search import (
    Found,
    Wanted,
    may_be_target,
    search,
    source_or_device,
    unique_targets,
)
from nsctl.report import smartcols
from nsctl.report.style import Style
from nsctl.report.table import Column, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.cli.findmnt_columns import Facts
    from nsctl.relate.mount_changes import Change
    from nsctl.report.filter import Filter, Kind, Value

_USAGE = """\
Usage:
 findmnt [options]
 findmnt [options] <device> | <mountpoint>
 findmnt [options] <device> <mountpoint>
 findmnt [options] [--source <device>] [--target <path> | --mountpoint <dir>]

What is mounted where: all of it, or what the options choose. `nsctl mounts` tells more of each.

Options:
{options}

Available output columns:
{columns}
"""
_DEFAULT = ("TARGET", "SOURCE", "FSTYPE", "OPTIONS")
_DF = ("SOURCE", "FSTYPE", "SIZE", "USED", "AVAIL", "USE%", "TARGET")
_DFI = ("SOURCE", "FSTYPE", "INO.TOTAL", "INO.USED", "INO.AVAIL", "INO.USE%", "TARGET")
# What makes a list of the tree that is the default.
_LISTS = ("df", "dfi", "poll", "pairs", "raw", "list")


class Source(NamedTuple):
    """The table that is looked at.

    Attributes:
        mounts: its rows.
        facts: what is asked about them.
        tid: the process whose table it is, 0 where no process's.
        later: reads it anew each time that it changes, given the milliseconds after which it is
            waited for no more (negative for ever); None where it never changes.
        several: it is more than one file's.
    """

    mounts: Sequence[Mount]
    facts: Facts
    tid: int = 0
    later: Callable[[int], Iterator[list[Mount]]] | None = None
    several: bool = False


def help_text() -> str:
    """What ``findmnt --help`` says."""
    return _USAGE.format(options="\n".join(describe((*SEARCH, *ABOUT))), columns=column_help())


def column_help() -> str:
    """A line for each column."""
    return "\n".join(f" {name:>11}  {output.help}" for name, output in OUTPUTS.items())


def version_text() -> str:
    """What ``findmnt --version`` says."""
    return f"findmnt from nsctl {__version__} (util-linux 2.42 compatible)\n"


def list_columns(given: Parsed) -> None:
    """Print the columns and their types, as all of util-linux does it since 2.40."""
    rows = [(name, _type(name, output), output.help) for name, output in OUTPUTS.items()]
    if given.has("json"):
        cells = [smartcols.Cell(name, 0) for name in ("HOLDER", "TYPE", "DESCRIPTION")]
        encoded = [[text.encode() for text in row] for row in rows]
        listed = smartcols.Table(cells, encoded, [-1] * len(rows))
        sys.stdout.write(smartcols.json(listed, "findmnt-columns"))
        return
    columns = [Column("HOLDER", right=True), Column("TYPE"), Column("DESCRIPTION")]
    common.put(table(columns, rows, headings=False, raw=given.has("raw")))


def _type(name: str, output: Output) -> str:
    if name in SIZED:
        return "<string|number>"
    return "<integer>" if output.cell.number else "<string>"


def column_names(given: Parsed) -> list[str]:
    """Names of the columns that are wanted, in order.

    Raises:
        UsageError: there is no such column, or only --poll fills it.
    """
    polls = given.has("poll")
    if given.has("output-all"):
        names = [name for name in OUTPUTS if name not in POLLED | LATER]
    elif given.has("df") or given.has("dfi"):
        names = list(_DFI if given.has("dfi") else _DF)
    else:
        names = [*(["ACTION"] if polls else []), *_DEFAULT]
    wanted = given.last("output")
    if wanted is not None:
        asked = [word.upper() for word in wanted.removeprefix("+").split(",")]
        for name in asked:
            if name not in OUTPUTS:
                raise UsageError(f"unknown column: {name.lower() or repr(name)}")
        names = [*names, *asked] if wanted.startswith("+") else asked
    for name in names:
        if name in POLLED and not polls:
            raise UsageError(f"nothing but --poll fills column {name}")
    return names


def wanted(given: Parsed, operands: Sequence[str]) -> Wanted:
    """What is looked for.

    Args:
        given: the command line.
        operands: device or mount point, and mount point.

    Raises:
        UsageError: a source or target is named twice.
    """
    source = device = target = None
    exact = False
    for name, text in given.given:
        if text is not None and name == "source":
            source, device = source_or_device(os.fsencode(text))
            exact = True
        elif text is not None and name in {"target", "mountpoint"}:
            target = os.fsencode(text)
            exact = True
    if operands and (source is not None or target is not None):
        raise UsageError(
            "what is looked for stands behind --source, --target or --mountpoint already: "
            f"{operands[0]!r} is one too many"
        )
    if operands:
        source, device = source_or_device(os.fsencode(operands[0]))
        exact = exact or device is not None
    if len(operands) > 1:
        target = os.fsencode(operands[1])
    types, options = given.last("types"), given.last("options")
    made = Wanted(
        source=source,
        device=device,
        target=target,
        types=None if types is None else os.fsencode(types),
        options=None if options is None else os.fsencode(options),
        id=number(given, "id", -(1 << 31), 1 << 31),
        unique_id=number(given, "uniq-id", 0, 1 << 64),
        invert=given.has("invert"),
        every=given.has("all"),
        df=given.has("df") or given.has("dfi"),
        real=given.has("real"),
        pseudo=given.has("pseudo"),
        shadowed=given.has("shadowed"),
        first=given.has("first-only"),
        submounts=given.has("submounts"),
        backward=given.last("direction") == "backward",
        strict=given.has("mountpoint"),
        literal=given.has("nocanonicalize"),
        exact=exact or (source is not None and not may_be_target(source)),
        tree=not any(given.has(name) for name in _LISTS),
    )
    if made.submounts and made.lists_all:
        made = made._replace(submounts=False)
    if not made.submounts and (made.first or made.searches):
        made = made._replace(tree=False)
    return made._replace(tree=made.tree or given.has("tree"))


def find(
    given: Parsed,
    source: Source,
    asked: Wanted,
    keep: Callable[[Mount], bool] | None = None,
) -> Found:
    """Find the rows that are shown.

    Args:
        given: the command line.
        source: the table.
        asked: from `wanted`.
        keep: a filter of the rows.
    """
    mounts = unique_targets(source.mounts) if given.has("uniq") else source.mounts
    if source.several or not mounts:
        asked = asked._replace(tree=False)
    return search(mounts, asked, source.facts.names, keep)


def serve(given: Parsed, source: Source, operands: Sequence[str]) -> int:
    """Print what findmnt prints.

    Args:
        given: the command line, checked.
        source: the table.
        operands: those that are findmnt's.

    Returns:
        The exit status.
    """
    names = column_names(given)
    asked = wanted(given, operands)
    chosen = filter_of(given)
    style = _style()
    context = context_of(given, source)
    if given.has("poll"):
        return _poll(given, source, asked, names, context, style)
    found = find(given, source, asked, None if chosen is None else keeper(chosen, context))
    if found.failed:
        return EXIT_FAILED
    rows = [[_value(name, context, mount) for name in names] for mount in found.mounts]
    _print(given, names, rows, found.parents, style, tree=asked.tree and not source.several)
    return EXIT_OK


def context_of(given: Parsed, source: Source) -> Context:
    """What cells depend on besides the mounts."""
    return Context(
        source.facts,
        source.tid,
        exact=given.has("bytes"),
        plain=given.has("raw") or given.has("pairs") or given.has("json") or given.has("ndjson"),
        no_root=given.has("nofsroot"),
        canonical=given.has("canonicalize"),
        evaluate=given.has("evaluate"),
        every_flag=given.has("vfs-all"),
    )


def _style() -> Style:
    """How standard output wants to be written to: a terminal's own width counts first."""
    style = common.style("never")
    if style.width is None:
        return style
    with contextlib.suppress(OSError):
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
        return style._replace(width=columns or style.width)
    return style


def _value(name: str, context: Context, mount: Mount) -> bytes | None:
    value = OUTPUTS[name].value
    return None if value is None else value(context, mount)


def filter_of(given: Parsed) -> Filter | None:
    """The filter expression, where one was given.

    Raises:
        UsageError: it is none.
    """
    text = given.last("filter")
    if text is None:
        return None
    from nsctl.report import filter as filters

    kinds: dict[str, Kind] = {
        name: "integer" if _is_number(name, given) else "string" for name in OUTPUTS
    }
    return filters.parse(text, kinds)


def keeper(chosen: Filter, context: Context) -> Callable[[Mount], bool]:
    """What tells which mounts a filter chooses."""

    def fetch(name: str, mount: Mount) -> Value:
        value = _value(name, context, mount)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    return lambda mount: chosen.matches(lambda name: fetch(name, mount))


def _is_number(name: str, given: Parsed) -> bool:
    return OUTPUTS[name].cell.number or (name in SIZED and given.has("bytes"))


def _print(
    given: Parsed,
    names: Sequence[str],
    rows: Sequence[Sequence[bytes | None]],
    parents: Sequence[int],
    style: Style,
    *,
    tree: bool,
) -> None:
    """Print rows in the format that was asked for."""
    cells = []
    for name in names:
        cell = OUTPUTS[name].cell
        cell = cell._replace(
            tree=cell.tree and tree,
            trunc=cell.trunc and not given.has("notruncate"),
            number=_is_number(name, given),
        )
        cells.append(cell)
    shown = smartcols.Table(cells, rows, parents)
    headings, shell = not given.has("noheadings"), given.has("shell")
    drawn = style._replace(unicode=style.unicode and not given.has("ascii"))
    if given.has("json"):
        sys.stdout.write(smartcols.json(shown, "filesystems", shell=shell))
    elif given.has("pairs"):
        common.put(smartcols.pairs(shown, drawn, shell=shell))
    elif given.has("raw"):
        common.put(smartcols.raw(shown, drawn, headings=headings, shell=shell))
    else:
        ascii_tree = given.has("ascii")
        common.put(
            smartcols.human(shown, style, headings=headings, shell=shell, plain_tree=ascii_tree)
        )


def _poll(
    given: Parsed,
    source: Source,
    asked: Wanted,
    names: Sequence[str],
    context: Context,
    style: Style,
) -> int:
    """Print what changes, as it does."""
    from nsctl.relate.mount_changes import changes

    if source.later is None:
        raise UsageError("--poll waits at a process's table: name it by --task")
    kinds = actions(given)
    timeout = number(given, "timeout", -(1 << 31), 1 << 31)
    before: Sequence[Mount] = source.mounts
    for after in source.later(-1 if timeout is None else timeout):
        found = [
            change
            for change in changes(before, after)
            if change.action in kinds and _is_wanted(change, asked, context)
        ]
        if asked.first:
            found = found[:1]
        before = after
        if not found:
            continue
        rows = [[_of_change(name, context, change) for name in names] for change in found]
        _print(given, names, rows, [-1] * len(rows), style, tree=False)
        sys.stdout.flush()
        if asked.first:
            break
        given = given._replace(given=(*given.given, ("noheadings", None)))
    return EXIT_OK


def _is_wanted(change: Change, asked: Wanted, context: Context) -> bool:
    """Tell whether a change is of a mount that is looked for."""
    mount = change.new or change.old
    if mount is None:
        return False
    alone = asked._replace(tree=False, submounts=False, first=False)
    return not search([mount], alone, context.facts.names).failed


def _of_change(name: str, context: Context, change: Change) -> bytes | None:
    if name == "ACTION":
        return change.action.encode()
    if name == "OLD-TARGET":
        gone = change.action in {"move", "umount"}
        return change.old.point if gone and change.old else None
    if name == "OLD-OPTIONS":
        if change.action not in {"remount", "umount"} or change.old is None:
            return None
        return _value("OPTIONS", context, change.old)
    mount = change.new or change.old
    return None if mount is None else _value(name, context, mount)
