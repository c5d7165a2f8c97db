r"""Columns under headings, with the look of libsmartcols and at the speed of str's own methods.

Everything is done column by column: ten thousand rows of eight columns take some milliseconds.
Columns are separated by one blank; the last one is not padded on its right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat

from nsctl.model.record import NamedTuple
from nsctl.report.escape import ascii_only, clip, narrow, printable, width
from nsctl.report.style import PLAIN, Role, Style


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        name: its heading, upper case.
        right: align to the right, for numbers.
        shrink: may be cut where the table is wider than the terminal.
        hint: cells that it takes at least once it is filled beyond its heading's width; keeps
            numbers of varying length in place, as the columns of util-linux do. 0 for none.
        wrap: a line end in a cell begins another line.
    """

    name: str
    right: bool = False
    shrink: bool = False
    hint: int = 0
    wrap: bool = False


class Stems(NamedTuple):
    """What stands in a tree's column beside the further lines of a row.

    Attributes:
        column: index of the tree's column.
        alone: for each row, what leads on to the rows that its ancestors still have below it.
        parent: the same, and what leads on to its own children.
    """

    column: int
    alone: Sequence[str]
    parent: Sequence[str]


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    style: Style = PLAIN,
    *,
    headings: bool = True,
    raw: bool = False,
    roles: Mapping[int, Sequence[Role | None]] | None = None,
    stems: Stems | None = None,
) -> list[str]:
    r"""Lay out a table.

    Args:
        columns: at least one.
        rows: a cell for each column, text from `nsctl.report.escape.escape`, where need be
            behind a prefix from `nsctl.report.tree`.
        style: its width limits the lines (None: nothing is cut), its colours mark cells.
        headings: begin with the columns' names.
        raw: as ``lsns -r``: cells one blank apart, not aligned, cut or coloured; blanks,
            backslashes and what is not ASCII as ``\xNN``. An empty cell is empty: two blanks.
        roles: for some columns, by their index, a role for each row.
        stems: how a tree's lines run on, where cells have several lines.

    Returns:
        The lines, without line ends; no heading where there are no rows (as libsmartcols).
        Where they would be wider than the style allows, the last column that may shrink is cut,
        then the widest of the others that may, no column below its heading; if that does not do,
        what stands too far right is left out. A cut cell ends with an ellipsis (">" in ASCII).

    Raises:
        ValueError: a row has not one cell for each column.
    """
    if not rows:
        return []
    further: list[bool] = []
    wraps = [index for index, column in enumerate(columns) if column.wrap and not raw]
    if any("\n" in row[index] for index in wraps for row in rows):
        rows, further, origins = _unfold(columns, rows, stems)
        roles = {
            index: [None if more else of[row] for row, more in zip(origins, further, strict=True)]
            for index, of in (roles or {}).items()
        }
    cells: list[Sequence[str]] = list(zip(*rows, strict=True))
    if len(cells) != len(columns):
        raise ValueError(f"{len(columns)} columns, but rows of {len(cells)} cells")
    names = [column.name for column in columns]
    if raw:
        lines = list(map(" ".join, zip(*map(_raw, cells), strict=True)))
        return [" ".join(_raw(names)), *lines] if headings else lines

    measured = [_measure(column, style) for column in cells]
    floors = [max(width(name), 1) for name in names]
    sizes = _fit(
        columns,
        [
            _natural(column, floor, measure)
            for column, floor, measure in zip(columns, floors, measured, strict=True)
        ],
        floors,
        style.width,
    )
    mark = "…" if style.unicode else ">"
    padded = []
    title = []
    for index, size in enumerate(sizes):
        column = columns[index]
        fill = column.right or index < len(sizes) - 1
        body = _cut(measured[index], size, mark)
        head = _cut(_measure([column.name], style), size, mark)
        padded.append(
            _pad(body, size if fill else 0, column.right, style, (roles or {}).get(index))
        )
        title.append(_pad(head, size if fill else 0, column.right, style, None)[0])
    lines = list(map(" ".join, zip(*padded, strict=True)))
    if columns[-1].right and len(sizes) == len(columns):
        # As libsmartcols, which pads no last cell that has nothing to show on a further line.
        for line in (index for index, more in enumerate(further) if more):
            lines[line] = lines[line].removesuffix(" " * sizes[-1])
    return [style.paint(" ".join(title), "heading"), *lines] if headings else lines


def _unfold(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], stems: Stems | None
) -> tuple[list[list[str]], list[bool], list[int]]:
    """Give each line of a cell a row of its own, as libsmartcols lays out columns that wrap.

    Returns:
        Rows, for each whether it is a further line, and the row that it was.
    """
    unfolded: list[list[str]] = []
    further: list[bool] = []
    origins: list[int] = []
    for origin, row in enumerate(rows):
        parts = [
            cell.split("\n") if column.wrap else [cell]
            for column, cell in zip(columns, row, strict=True)
        ]
        height = max(map(len, parts))
        for line in range(height):
            cells = [part[line] if line < len(part) else "" for part in parts]
            if stems and line:
                # What leads on to children stands beside what is still to come in other columns.
                beside = any(len(part) > line + 1 for part in parts[: stems.column]) or any(
                    len(part) > line for part in parts[stems.column :]
                )
                stem = stems.parent if beside else stems.alone
                cells[stems.column] = stem[origin]
            unfolded.append(cells)
            further.append(line > 0)
            origins.append(origin)
    return unfolded, further, origins


class _Measured(NamedTuple):
    """One column's cells; how wide each is, None where len() says it; the widest."""

    cells: Sequence[str]
    widths: Sequence[int] | None
    widest: int


def _measure(cells: Sequence[str], style: Style) -> _Measured:
    joined = "".join(cells)
    if not joined.isprintable():
        # Somebody forgot to escape: what that costs is a backslash, not the terminal.
        cells = list(map(printable, cells))
        joined = "".join(cells)
    if not style.unicode and not joined.isascii():
        cells = list(map(ascii_only, cells))
        joined = ""
    if narrow(joined):
        return _Measured(cells, None, max(map(len, cells)))
    widths = list(map(width, cells))
    return _Measured(cells, widths, max(widths))


def _natural(column: Column, floor: int, measured: _Measured) -> int:
    if measured.widest < floor:
        return floor
    return max(measured.widest, column.hint) if floor < column.hint else measured.widest


def _fit(
    columns: Sequence[Column], sizes: list[int], floors: list[int], limit: int | None
) -> list[int]:
    """Reduce the columns' sizes to what the limit leaves; fewer sizes mean fewer columns."""
    if limit is None:
        return sizes
    excess = sum(sizes) + len(sizes) - 1 - limit
    spare = [index for index, column in enumerate(columns) if column.shrink]
    if excess > 0 and spare:
        excess -= _reduce(sizes, floors, spare.pop(), excess)
    while excess > 0:
        spare = [index for index in spare if sizes[index] > floors[index]]
        if not spare:
            break
        # Down to the next widest, so that columns of one width share what must go.
        spare.sort(key=sizes.__getitem__)
        widest = spare[-1]
        step = sizes[widest] - sizes[spare[-2]] if len(spare) > 1 else excess
        excess -= _reduce(sizes, floors, widest, min(excess, max(step, 1)))
    kept = []
    for size in sizes:
        if limit <= 0:
            break
        kept.append(min(size, limit))
        limit -= size + 1
    return kept


def _reduce(sizes: list[int], floors: list[int], index: int, wanted: int) -> int:
    taken = max(min(wanted, sizes[index] - floors[index]), 0)
    sizes[index] -= taken
    return taken


def _cut(measured: _Measured, size: int, mark: str) -> _Measured:
    if measured.widest <= size:
        return measured
    if measured.widths is None:
        cells = [
            cell if len(cell) <= size else clip(cell, size - 1, measured=True) + mark
            for cell in measured.cells
        ]
        return _Measured(cells, None, size)
    cells = [
        cell if taken <= size else clip(cell, size - 1) + mark
        for cell, taken in zip(measured.cells, measured.widths, strict=True)
    ]
    return _Measured(cells, list(map(width, cells)), size)


def _pad(
    measured: _Measured,
    size: int,
    right: bool,
    style: Style,
    roles: Sequence[Role | None] | None,
) -> Sequence[str]:
    """Bring cells to one size (0: leave them), and colour what stands in them, not the blanks."""
    cells = measured.cells
    if measured.widths is None and not (roles and style.colour):
        return list(map(str.rjust if right else str.ljust, cells, repeat(size)))
    widths = measured.widths or list(map(len, cells))
    blanks = [" " * (size - cell) for cell in widths]
    if roles and style.colour:
        cells = list(map(style.paint, cells, roles))
    pairs = zip(blanks, cells, strict=True) if right else zip(cells, blanks, strict=True)
    return list(map("".join, pairs))


def _raw(cells: Sequence[str]) -> Sequence[str]:
    joined = "".join(cells)
    if joined.isascii() and joined.isprintable() and " " not in joined and "\\" not in joined:
        return cells
    return list(map(_raw_cell, cells))


def _raw_cell(cell: str) -> str:
    r"""Write a blank and a backslash as ``\xNN`` too; the escapes that stand there stay."""
    pieces = printable(cell).split("\\x")
    cell = "\\x".join([piece.replace("\\", "\\x5c") for piece in pieces])
    return ascii_only(cell.replace(" ", "\\x20"))
