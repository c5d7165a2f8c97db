r"""Tables as libsmartcols of util-linux lays them out, for a drop-in whose text scripts compare.

Other views use `nsctl.report.table`. Here the widths of columns follow from their share of the
terminal, from what is extreme among their cells and from what may be cut, in the library's own order
of steps, and what does not fit moves the rest of its row to another line. The formats besides are
raw (blanks as ``\x20``), pairs (``NAME="value"``) and the library's JSON.

Cells are raw bytes. What cannot be seen is escaped as everywhere (`nsctl.report.escape`): for bytes
that are not UTF-8 and for control characters that is what the library itself writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from nsctl.model.record import NamedTuple
from nsctl.report.escape import ascii_only, escape_bytes, width
from nsctl.report.jsonout import put_text, quoted
from nsctl.report.style import Style
from nsctl.report.tree import grow, run_on

_FLOAT = struct.Struct("f")
_INDENT = "   "
_BACKSLASH = ord("\\")
_SHELLS_OWN = b'"\\`$'


class Cell(NamedTuple):
    """How one column is laid out.

    Attributes:
        name: its heading.
        hint: wanted width; below 1 a share of the terminal's.
        tree: the tree is drawn in it.
        right: align to the right.
        trunc: what is longer may be cut.
        no_extremes: cells that are more than twice as long as the average do not count at first.
        strict: it may be narrower than its heading.
        number: JSON has it as a number.
        array: JSON has its lines as a list; in text each line is one of its own.
    """

    name: str
    hint: float
    tree: bool = False
    right: bool = False
    trunc: bool = False
    no_extremes: bool = False
    strict: bool = False
    number: bool = False
    array: bool = False


class Table(NamedTuple):
    """What is written.

    Attributes:
        columns: at least one; one of them may be a tree's.
        rows: a cell for each column, None for nothing; in the order in which they were found.
        parents: for each row the index of its parent's row, -1 for none. It counts only where a
            column is a tree's.
    """

    columns: Sequence[Cell]
    rows: Sequence[Sequence[bytes | None]]
    parents: Sequence[int]


def human(
    table: Table,
    style: Style,
    *,
    headings: bool = True,
    shell: bool = False,
    plain_tree: bool = False,
) -> list[str]:
    """Lay out a table for people.

    Args:
        table: see `Table`.
        style: whether characters outside ASCII may be used; its width is the terminal's, None
            for a file or a pipe.
        headings: begin with the columns' names.
        shell: names are such that a shell can have variables of them.
        plain_tree: draw the tree in ASCII whatever the style has.

    Returns:
        Lines without line ends; none where there are no rows.
    """
    if not table.rows:
        return []
    drawn = style._replace(unicode=style.unicode and not plain_tree)
    parents = _parents(table)
    grown = grow(parents, drawn)
    alone, below = run_on(grown, parents, drawn)
    texts = []
    arts = []
    for row, prefix in grown:
        line = [
            _readable(cell, style, several=column.array)
            for column, cell in zip(table.columns, table.rows[row], strict=True)
        ]
        for index, column in enumerate(table.columns):
            if column.tree:
                line[index] = prefix + line[index]
        texts.append(line)
        arts.append(width(prefix))
    layout = _Layout(table.columns, texts, max(arts))
    writer = _Writer(table.columns, layout.calculate(style.width))
    if headings:
        writer.put([_name(column, shell=shell) for column in table.columns], "", "")
    for line, stem, stem_below in zip(texts, alone, below, strict=True):
        writer.put(line, stem, stem_below)
    return writer.lines


def raw(table: Table, style: Style, *, headings: bool = True, shell: bool = False) -> list[str]:
    r"""Write a table as ``--raw`` does: blanks, backslashes and what is not ASCII as ``\xNN``.

    Args:
        table: see `Table`.
        style: characters for the tree, where there is one; they are escaped too.
        headings: begin with the columns' names.
        shell: names are such that a shell can have variables of them.

    Returns:
        Lines without line ends; none where there are no rows.
    """
    if not table.rows:
        return []
    lines = [_nonblank(cell or b"" for cell in row) for row in _ordered(table, style)]
    names = _nonblank(_name(column, shell=shell).encode() for column in table.columns)
    return [names, *lines] if headings else lines


def pairs(table: Table, style: Style, *, shell: bool = False) -> list[str]:
    r"""Write a table as ``--pairs`` does: what means something to a shell as ``\xNN``.

    Args:
        table: see `Table`.
        style: characters for the tree, where there is one; they are escaped too.
        shell: names are such that a shell can have variables of them.

    Returns:
        Lines without line ends.
    """
    names = [_name(column, shell=shell) for column in table.columns]
    return [
        " ".join(
            [f'{name}="{_for_shell(cell or b"")}"' for name, cell in zip(names, row, strict=True)]
        )
        for row in _ordered(table, style)
    ]


def json(table: Table, list_name: str, *, shell: bool = False) -> str:
    """Write a table as ``--json`` does; a key with ``_raw`` follows what was not UTF-8.

    Args:
        table: see `Table`.
        list_name: key of the list.
        shell: names are such that a shell can have variables of them.

    Returns:
        The document.
    """
    parents = _parents(table)
    order = [row for row, _ in grow(parents)]
    last: dict[int, int] = {}
    for row in order:
        last[parents[row]] = row
    names = [_name(column, shell=shell).lower() for column in table.columns]
    depths: dict[int, int] = {-1: 0}
    out = [f'{{\n{_INDENT}"{list_name}": [\n']
    opened = True
    for row in order:
        depth = depths[row] = depths[parents[row]] + 2
        out.append((_INDENT * depth if opened else ",") + "{\n")
        pad = _INDENT * (depth + 1)
        members = [pad + member for member in _members(table, names, row, depth)]
        opened = row in last
        if opened:
            members.append(f'{pad}"children": [\n')
        out.append(",\n".join(members))
        current = -1 if opened else row
        while current >= 0:
            out.append(f"\n{_INDENT * depths[current]}}}")
            parent = parents[current]
            if last[parent] != current or parent < 0:
                break
            out.append(f"\n{_INDENT * (depths[parent] + 1)}]")
            current = parent
    out.append(f"\n{_INDENT}]\n}}\n")
    return "".join(out)


def _members(table: Table, names: Sequence[str], row: int, depth: int) -> Iterator[str]:
    """The members of a row's object, without its children."""
    for column, name, cell in zip(table.columns, names, table.rows[row], strict=True):
        if column.array:
            lines = cell.split(b"\n") if cell else [b""]
            values = ", ".join([_json_text(line) for line in lines])
            pad = _INDENT * (depth + 1)
            yield f'"{name}": [\n{pad}{_INDENT} {values}\n{pad}]'
        elif not cell:
            yield f'"{name}": null'
        elif column.number:
            yield f'"{name}": {cell.decode("ascii")}'
        else:
            entry: dict[str, object] = {}
            put_text(entry, name, cell)
            yield ", ".join([f"{quoted(key)}: {quoted(str(text))}" for key, text in entry.items()])


def _json_text(raw: bytes) -> str:
    return quoted(raw.decode("utf-8", "replace")) if raw else "null"


def _name(column: Cell, *, shell: bool) -> str:
    """A column's name, or what a shell can have a variable of: "USE%" is "USE_PCT"."""
    if not shell:
        return column.name
    made = "".join([letter if letter.isalnum() else "_" for letter in column.name])
    made += "PCT" if column.name.endswith("%") else ""
    return made if made[:1].isalpha() else f"_{made}"


def _parents(table: Table) -> Sequence[int]:
    tree = any(column.tree for column in table.columns)
    return table.parents if tree else [-1] * len(table.rows)


def _ordered(table: Table, style: Style) -> Iterator[list[bytes | None]]:
    """Rows in the order of the tree, with its lines before their texts."""
    for row, prefix in grow(_parents(table), style):
        cells = list(table.rows[row])
        for index, column in enumerate(table.columns):
            if column.tree and prefix:
                cells[index] = prefix.encode() + (cells[index] or b"")
        yield cells


def _nonblank(row: Iterable[bytes]) -> str:
    return " ".join(
        [
            "".join(
                [
                    chr(byte) if 0x20 < byte < 0x7F and byte != _BACKSLASH else f"\\x{byte:02x}"
                    for byte in cell
                ]
            )
            for cell in row
        ]
    )


def _for_shell(cell: bytes) -> str:
    return "".join(
        [
            chr(byte) if 0x20 <= byte < 0x7F and byte not in _SHELLS_OWN else f"\\x{byte:02x}"
            for byte in cell
        ]
    )


def _readable(cell: bytes | None, style: Style, *, several: bool) -> str:
    """Text of a cell for people; where it may have several lines, these stay apart."""
    if not cell:
        return ""
    lines = cell.split(b"\n") if several else [cell]
    text = "\n".join([escape_bytes(line) for line in lines])
    return text if style.unicode else ascii_only(text)


class _Size(NamedTuple):
    """What became of a column.

    Attributes:
        width: in cells.
        hidden: there is no room for it at all.
    """

    width: int
    hidden: bool


class _Layout:
    """How wide each column becomes.

    Args:
        columns: see `Table`.
        texts: cells as they are written, with the tree.
        art: how wide the drawn part of a tree's cell is at most.
    """

    def __init__(self, columns: Sequence[Cell], texts: Sequence[Sequence[str]], art: int) -> None:
        self._columns = columns
        self._art = art
        self._widths = [
            [max(map(width, cell.split("\n"))) for cell in cells]
            for cells in zip(*texts, strict=True)
        ]
        # The library has it in single precision.
        self._hints = [_FLOAT.unpack(_FLOAT.pack(column.hint))[0] for column in columns]
        self._least = [max(width(column.name), 1) for column in columns]
        self._averages = [0] * len(columns)
        self._extreme = [False] * len(columns)
        self._sizes = [0] * len(columns)

    def calculate(self, limit: int | None) -> list[_Size]:
        """Find the widths.

        Args:
            limit: width of the terminal, None where there is none.
        """
        for index in range(len(self._columns)):
            self._measure(index)
        total = sum(self._sizes) + len(self._sizes) - 1
        if limit is not None:
            total = self._fill(total, limit)
            self._reduce(total, limit)
        return [_Size(size, hidden=not size) for size in self._sizes]

    def _measure(self, index: int) -> None:
        """Say how wide a column is; once it is known to have extreme cells, without these."""
        column, widths, average = self._columns[index], self._widths[index], self._averages[index]
        if self._extreme[index]:
            size = max((each for each in widths if each <= average * 2), default=0)
        else:
            size = max(widths)
            if column.no_extremes:
                average = self._averages[index] = sum(widths) // len(widths)
                self._extreme[index] = 0 < average * 2 < size
        least, hint = self._least[index], int(self._hints[index])
        if size < least and not column.strict:
            size = least
        elif size < hint and least < hint:
            size = hint
        self._sizes[index] = size

    def _fill(self, total: int, limit: int) -> int:
        """Take extreme columns back to what is common in them, and fill the line up again.

        Returns:
            How wide the table is then.
        """
        extremes = [index for index, extreme in enumerate(self._extreme) if extreme]
        shortened = len(extremes)
        if total > limit:
            for index in extremes:
                before = self._sizes[index]
                self._measure(index)
                total -= max(before - self._sizes[index], 0)
                shortened -= before <= self._sizes[index]
        if total >= limit:
            return total
        for index in extremes if shortened else ():
            room = max(self._widths[index]) - self._sizes[index]
            added = min(limit - total, room)
            self._sizes[index] += added
            total += added
            if total == limit:
                break
        if not self._columns[-1].right:
            self._sizes[-1] += limit - total
            total = limit
        return total

    def _reduce(self, total: int, limit: int) -> None:
        """Take from columns in turn, a cell at a time, until the table fits or nothing can go.

        First those that may be cut, down to their share of the terminal; then these altogether;
        then those that have a share and may not be cut: what is longer moves to a line of its own.
        """
        stage = 1
        while total > limit and stage <= 3:
            before = total
            for index, column in enumerate(self._columns):
                if total <= limit:
                    break
                size, share = self._sizes[index], self._hints[index]
                if size in {0, self._least[index]} or (column.tree and total <= self._art):
                    continue
                relative = 0 < share < 1
                may_be_cut = column.trunc
                if (
                    (stage == 1 and may_be_cut and relative and size >= int(share * limit))
                    or (stage == 2 and may_be_cut)
                    or (stage == 3 and relative)
                ):
                    self._sizes[index] -= 1
                    total -= 1
            if total == before:
                stage += 1


class _Writer:
    """Writes rows under each other.

    Args:
        columns: see `Table`.
        sizes: from `_Layout`.

    Attributes:
        lines: what was written.
    """

    def __init__(self, columns: Sequence[Cell], sizes: Sequence[_Size]) -> None:
        self._columns = columns
        self._sizes = sizes
        shown = [index for index, size in enumerate(sizes) if not size.hidden]
        self._last = shown[-1] if shown else -1
        self.lines: list[str] = []

    def put(self, texts: Sequence[str], alone: str, below: str) -> None:
        """Write one row.

        Args:
            texts: a cell for each column.
            alone: what stands in the tree's column on its further lines.
            below: the same, where lines of other columns are still to come.
        """
        pending = [text.split("\n") for text in texts]
        self._put([lines.pop(0) for lines in pending], alone)
        while any(pending):
            # Blanks stand where there is nothing more, the tree's lines run on.
            line = ""
            for index, size in enumerate(self._sizes):
                if size.hidden:
                    continue
                if pending[index]:
                    text = pending[index].pop(0)
                else:
                    text = (below if any(pending) else alone) if self._columns[index].tree else ""
                line += self._padded(index, text, width(text))
            self.lines.append(line)

    def _padded(self, index: int, text: str, taken: int) -> str:
        if index == self._last:
            return text
        return text + " " * (self._sizes[index].width - taken) + " "

    def _put(self, texts: Sequence[str], alone: str) -> None:
        line = ""
        for index, text in enumerate(texts):
            column, size = self._columns[index], self._sizes[index].width
            if self._sizes[index].hidden:
                continue
            cell, taken = text, width(text)
            if taken > size and column.trunc:
                cell, taken = _truncated(cell, size)
            if column.right and cell and taken < size:
                cell, taken = " " * (size - taken) + cell, size
            line += self._padded(index, cell, taken)
            if taken > size and index != self._last:
                # The rest of the row goes below, where its columns are.
                self.lines.append(line.removesuffix(" "))
                arts = [alone if each.tree else "" for each in self._columns[: index + 1]]
                line = "".join(
                    [self._padded(place, art, width(art)) for place, art in enumerate(arts)]
                )
        self.lines.append(line)


def _truncated(text: str, size: int) -> tuple[str, int]:
    """Take from the front of a text what fits, and say how wide that is."""
    taken = 0
    for place, character in enumerate(text):
        more = width(character)
        if taken + more > size:
            return text[:place], taken
        taken += more
    return text, taken
