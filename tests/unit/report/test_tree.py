"""Trees are drawn as libsmartcols draws them, however deep they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.report.style import PLAIN, Style
from nsctl.report.tree import Node, depth_first, grow, prefixes, run_on, tree

pytestmark = pytest.mark.unit

ASCII = Style(unicode=False)
FOREST = st.lists(st.integers(0, 1000), max_size=40).map(
    lambda picks: [pick % (row + 1) - 1 for row, pick in enumerate(picks)]
)


def test_a_tree_is_drawn_with_lines() -> None:
    roots = [
        Node(
            "/",
            (Node("/proc"), Node("/sys", (Node("/sys/fs/cgroup", (Node("cpu"), Node("pids"))),))),
        ),
        Node("/dev", (Node("/dev/pts"),)),
    ]
    assert tree(roots) == [
        "/",
        "├─/proc",
        "└─/sys",
        "  └─/sys/fs/cgroup",
        "    ├─cpu",
        "    └─pids",
        "/dev",
        "└─/dev/pts",
    ]


def test_in_an_ascii_locale_it_is_drawn_with_bars() -> None:
    roots = [Node("a", (Node("b", (Node("c"), Node("d"))), Node("e", (Node("f"),))))]
    assert tree(roots, ASCII) == ["a", "|-b", "| |-c", "| `-d", "`-e", "  `-f"]


def test_prefixes_stand_before_rows_of_a_table() -> None:
    assert prefixes([-1, 0, 1, 0, -1]) == ["", "├─", "│ └─", "└─", ""]


def test_no_rows_have_no_prefixes() -> None:
    assert prefixes([]) == []
    assert tree([]) == []
    assert grow([]) == []


def test_a_row_above_its_parent_is_refused() -> None:
    with pytest.raises(ValueError, match="row 0 stands before its parent, row 1"):
        prefixes([1, -1])


def test_rows_in_any_order_are_brought_into_the_trees_order() -> None:
    assert grow([2, 0, -1, 2], ASCII) == [(2, ""), (0, "|-"), (1, "| `-"), (3, "`-")]


def test_rows_that_are_each_others_ancestors_are_all_shown() -> None:
    # 0 hangs below the loop of 1 and 2; 3 is its own parent.
    lines = grow([1, 2, 1, 3], ASCII)
    assert sorted(row for row, _ in lines) == [0, 1, 2, 3]
    assert lines == [(1, ""), (0, "|-"), (2, "`-"), (3, "")]


def test_a_chain_as_deep_as_there_are_process_ids_is_drawn() -> None:
    count = 100_000
    lines = grow(range(-1, count - 1), ASCII)
    assert len(lines) == count
    assert lines[1] == (1, "`-")
    assert lines[64][1] == " " * 126 + "`-"
    assert lines[65][1] == "(65) `-"
    assert lines[-1] == (count - 1, "(99999) `-")


def test_a_deep_tree_of_nodes_is_drawn() -> None:
    node = Node("end")
    for _ in range(20_000):
        node = Node("x", (node,))
    assert len(tree([node])) == 20_001


@given(FOREST)
def test_every_row_is_shown_once_and_below_its_parent(parents: list[int]) -> None:
    order = depth_first(parents)
    assert sorted(order) == list(range(len(parents)))
    place = {row: line for line, row in enumerate(order)}
    assert all(place[parent] < place[row] for row, parent in enumerate(parents) if parent >= 0)


@given(st.lists(st.integers(-1, 19), min_size=20, max_size=20))
def test_rows_with_any_parents_at_all_are_all_shown(parents: list[int]) -> None:
    lines = grow(parents)
    assert sorted(row for row, _ in lines) == list(range(20))


@given(FOREST)
def test_lines_are_those_of_a_plain_recursive_drawing(parents: list[int]) -> None:
    def draw(row: int, stem: str) -> list[str]:
        below = [child for child, parent in enumerate(parents) if parent == row]
        lines = []
        for child in below:
            last = child == below[-1]
            lines.append(f"{stem}{'└─' if last else '├─'}{child}")
            lines += draw(child, stem + ("  " if last else "│ "))
        return lines

    expected = []
    for root in [row for row, parent in enumerate(parents) if parent < 0]:
        expected += [f"{root}", *draw(root, "")]
    assert [f"{prefix}{row}" for row, prefix in grow(parents, PLAIN)] == expected


def test_lines_run_on_beside_further_lines_of_a_row() -> None:
    parents = [-1, 0, 1, 0, -1]
    assert run_on(grow(parents), parents) == (
        ["", "│ ", "│   ", "  ", ""],
        ["│ ", "│ │ ", "│   ", "  ", ""],
    )
    assert run_on(grow(parents, ASCII), parents, ASCII)[1] == ["| ", "| | ", "|   ", "  ", ""]


def test_below_what_is_not_drawn_any_more_lines_run_on_without_their_stems() -> None:
    parents = list(range(-1, 70))
    alone, parent = run_on(grow(parents), parents)
    assert alone[-1] == parent[-1] == "  "


@given(FOREST)
def test_further_lines_lead_to_every_line_that_is_drawn(parents: list[int]) -> None:
    grown = grow(parents)
    alone, parent = run_on(grown, parents)
    for line, (row, prefix) in enumerate(grown[1:]):
        if parents[row] >= 0:
            assert parent[line][len(prefix) - 2] == "│"
    assert all(text.startswith(stem) for stem, text in zip(alone, parent, strict=True))
