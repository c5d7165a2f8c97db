"""Namespaces as a forest, by parent or by owner."""

from __future__ import annotations

import pytest

from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.relate.hierarchy import By, Node, hierarchy
from unit.factories import HOST, namespace, ns, snapshot, task

pytestmark = pytest.mark.unit

USER, PID, NET = NamespaceType.USER, NamespaceType.PID, NamespaceType.NET
TOP = HOST[USER]

SPACES = [
    namespace(USER, TOP),
    namespace(USER, 500, parent=TOP, owner=TOP),
    namespace(USER, 501, parent=500, owner=500),
    namespace(PID, HOST[PID], owner=TOP),
    namespace(PID, 600, parent=HOST[PID], owner=500),
    namespace(PID, 601, parent=600, owner=501),
    namespace(NET, HOST[NET], owner=TOP),
    namespace(NET, 700, owner=501),
    namespace(NET, 701, owner=99),
]


def drawn(nodes: list[Node] | tuple[Node, ...]) -> list[object]:
    """Inodes, each followed by the list of those below it."""
    found: list[object] = []
    for node in nodes:
        found.append(node.row.namespace.id.ino)
        if node.children:
            found.append(drawn(node.children))
    return found


def forest(kinds: set[NamespaceType], by: By) -> list[object]:
    spaces = [row for row in SPACES if row.id.type in {USER, PID, NET}]
    host = snapshot([], spaces)
    return drawn(hierarchy(host, frozenset(kinds), by))


def test_user_namespaces_stand_below_their_parents() -> None:
    assert forest({USER}, "parent") == [TOP, [500, [501]]]


def test_pid_namespaces_stand_below_their_parents() -> None:
    assert forest({PID}, "parent") == [HOST[PID], [600, [601]]]


def test_other_types_stand_below_their_owners_which_are_shown_with_them() -> None:
    assert forest({NET}, "parent") == [TOP, [HOST[NET], 500, [501, [700]]], 701]


def test_by_owner_every_type_stands_below_the_user_namespace_that_owns_it() -> None:
    assert forest({USER, PID, NET}, "owner") == [
        TOP,
        [HOST[PID], HOST[NET], 500, [501, [601, 700], 600]],
        701,
    ]


def test_what_is_owned_out_of_sight_is_a_root() -> None:
    assert 701 in forest({NET}, "owner")


def test_each_namespace_that_is_asked_for_is_shown_once() -> None:
    host = snapshot([task(1), task(5, ns(net=7, user=8))])
    found: list[int] = []

    def walk(nodes: list[Node] | tuple[Node, ...]) -> None:
        for node in nodes:
            found.append(node.row.namespace.id.ino)
            walk(node.children)

    walk(hierarchy(host, frozenset(TYPES), "owner"))
    assert sorted(found) == sorted(row.id.ino for row in host.namespaces)
