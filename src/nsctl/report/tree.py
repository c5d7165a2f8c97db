"""Trees: the lines that lead from a parent to its children, as libsmartcols draws them.

Nothing here recurses: hostile processes can be nested as deep as there are process ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nsctl.model.record import NamedTuple
from nsctl.report.style import PLAIN, Style


class Node(NamedTuple):
    """One line of a tree and those below it.

    Attributes:
        text: escaped text, which may be coloured.
        children: in the order in which they are shown.
    """

    text: str
    children: Sequence[Node] = ()


class _Symbols(NamedTuple):
    """What is drawn before a child that others follow, the last child, and below each."""

    branch: str
    last: str
    vertical: str
    blank: str


_UNICODE = _Symbols("├─", "└─", "│ ", "  ")
_ASCII = _Symbols("|-", "`-", "| ", "  ")

# Lines are drawn this deep; namespaces nest 32 deep (user_namespaces(7), pid_namespaces(7)). Deeper
# rows say their depth instead: a chain of processes must not make lines of its own length.
_DRAWN_DEPTH = 64


def prefixes(parents: Sequence[int], style: Style = PLAIN) -> list[str]:
    """Draw the tree column of a table.

    Args:
        parents: for each row, in the order in which rows are shown, the index of its parent's
            row; -1 for a root. Rows stand as a depth-first walk meets them (see `depth_first`).
        style: whether line-drawing characters may be used.

    Returns:
        For each row what to put before its text; "" for a root.

    Raises:
        ValueError: a row stands before its parent.
    """
    symbols = _UNICODE if style.unicode else _ASCII
    followed = _followed(parents)
    depths: list[int] = []
    stems: list[str] = []
    drawn = []
    for row, parent in enumerate(parents):
        if parent >= row:
            raise ValueError(f"row {row} stands before its parent, row {parent}")
        if parent < 0:
            depths.append(0)
            stems.append("")
            drawn.append("")
            continue
        depth = depths[parent] + 1
        depths.append(depth)
        corner = symbols.branch if followed[row] else symbols.last
        if depth > _DRAWN_DEPTH:
            stems.append("")
            drawn.append(f"({depth}) {corner}")
        else:
            stem = stems[parent]
            stems.append(stem + (symbols.vertical if followed[row] else symbols.blank))
            drawn.append(stem + corner)
    return drawn


def depth_first(parents: Sequence[int]) -> list[int]:
    """Bring rows into the order in which a tree shows them.

    Args:
        parents: for each row the index of its parent's row, -1 for a root, in any order.

    Returns:
        Indices of all rows, parents before their children and siblings in the order given. Where
        rows are each other's ancestors (a process id used again meanwhile can make it seem so)
        one of them is taken for a root, so that no row is lost.
    """
    children: dict[int, list[int]] = {}
    for row, parent in enumerate(parents):
        children.setdefault(parent if parent >= 0 else -1, []).append(row)
    order: list[int] = []
    met = [False] * len(parents)

    def walk(roots: Iterable[int]) -> None:
        stack = list(roots)
        stack.reverse()
        while stack:
            row = stack.pop()
            if not met[row]:
                met[row] = True
                order.append(row)
                stack.extend(reversed(children.get(row, ())))

    walk(children.get(-1, ()))
    for row in range(len(parents)):
        if not met[row]:
            walk((_in_loop(parents, row),))
    return order


def grow(parents: Sequence[int], style: Style = PLAIN) -> list[tuple[int, str]]:
    """Order rows as a tree and draw its lines.

    Args:
        parents: see `depth_first`.
        style: see `prefixes`.

    Returns:
        For each line the index of its row and its prefix.
    """
    order = depth_first(parents)
    place = [0] * len(parents)
    for line, row in enumerate(order):
        place[row] = line
    # A parent that stands below its child is the end of a loop: the child is shown as a root.
    above = [
        place[parents[row]] if parents[row] >= 0 and place[parents[row]] < line else -1
        for line, row in enumerate(order)
    ]
    return list(zip(order, prefixes(above, style), strict=True))


def run_on(
    lines: Sequence[tuple[int, str]], parents: Sequence[int], style: Style = PLAIN
) -> tuple[list[str], list[str]]:
    """Draw what stands beside further lines of rows, where other cells have several lines.

    Args:
        lines: from `grow`.
        parents: what `grow` was given.
        style: what `grow` was given.

    Returns:
        For each line, what leads on to rows further down; and the same with what leads on to the
        children of the row itself.
    """
    symbols = _UNICODE if style.unicode else _ASCII
    leads = {symbols.branch: symbols.vertical, symbols.last: symbols.blank}
    mothers = {parents[row] for row, prefix in lines if prefix}
    alone = []
    for _, prefix in lines:
        stem, corner = prefix[:-2], prefix[-2:]
        alone.append(("" if stem.startswith("(") else stem) + leads.get(corner, ""))
    parent = [
        stem + symbols.vertical if row in mothers else stem
        for (row, _), stem in zip(lines, alone, strict=True)
    ]
    return alone, parent


def tree(roots: Sequence[Node], style: Style = PLAIN) -> list[str]:
    """Draw a tree that stands alone.

    Args:
        roots: drawn at the left margin, one below the other.
        style: whether line-drawing characters may be used.

    Returns:
        The lines, without line ends, not cut.
    """
    texts: list[str] = []
    parents: list[int] = []
    stack = [(node, -1) for node in reversed(roots)]
    while stack:
        node, parent = stack.pop()
        stack.extend([(child, len(texts)) for child in reversed(node.children)])
        texts.append(node.text)
        parents.append(parent)
    return list(map("".join, zip(prefixes(parents, style), texts, strict=True)))


def _in_loop(parents: Sequence[int], row: int) -> int:
    """Climb from a row that no root leads to, until a row comes again."""
    climbed = set()
    while row not in climbed:
        climbed.add(row)
        row = parents[row]
    return row


def _followed(parents: Sequence[int]) -> list[bool]:
    """Tell of each row whether another child of its parent stands below it."""
    followed = [False] * len(parents)
    met = set()
    for row in range(len(parents) - 1, -1, -1):
        parent = parents[row]
        followed[row] = parent in met
        met.add(parent)
    return followed
