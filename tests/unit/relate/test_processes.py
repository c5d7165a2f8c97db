"""Processes as their container sees them, on snapshots made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.namespace import UNREADABLE, IdExtent, NamespaceType
from nsctl.model.target import Target
from nsctl.relate.find import Found, find
from nsctl.relate.groups import groups
from nsctl.relate.processes import Level, levels, numbered, processes, to_inside
from unit.factories import namespace, ns, snapshot, task

pytestmark = pytest.mark.unit

_MAP = (IdExtent(0, 1000, 1), IdExtent(1, 100_000, 65_536))


@pytest.mark.parametrize(
    ("outside", "inside"),
    [(1000, 0), (100_000, 1), (165_535, 65_536), (165_536, None), (0, None), (1001, None)],
)
def test_a_user_is_translated_through_the_extent_that_has_him(
    outside: int, inside: int | None
) -> None:
    assert to_inside(outside, _MAP) == inside


@given(st.integers(0, 200_000))
def test_what_is_translated_lies_in_an_extent(outside: int) -> None:
    inside = to_inside(outside, _MAP)
    lies = any(e.outside <= outside < e.outside + e.length for e in _MAP)
    assert (inside is not None) == lies
    if inside is not None:
        assert any(
            e.inside <= inside < e.inside + e.length and outside - e.outside == inside - e.inside
            for e in _MAP
        )


def test_a_process_has_a_number_at_each_level() -> None:
    inner = task(30, ns(pid=301))._replace(nspids=(30, 7, 1))
    host = 102
    found = snapshot(
        [task(1), inner],
        namespaces=[
            namespace(NamespaceType.PID, host),
            namespace(NamespaceType.PID, 300)._replace(parent=host),
            namespace(NamespaceType.PID, 301)._replace(parent=300),
        ],
    )
    assert levels(found, inner) == [Level(host, 30), Level(300, 7), Level(301, 1)]
    assert numbered(found, 300, 7) == inner
    assert numbered(found, 301, 7) is None


def test_a_level_whose_namespace_is_not_known_says_so() -> None:
    inner = task(30, ns(pid=301))._replace(nspids=(30, 7, 1))
    assert levels(snapshot([inner]), inner) == [Level(0, 30), Level(0, 7), Level(301, 1)]


def test_a_dead_leader_with_living_threads_is_marked() -> None:
    rows = processes(snapshot([task(5, state="Z", threads=3), task(6, state="Z", threads=1)]))
    assert [row.dead_leader for row in rows] == [True, False]


def test_only_what_a_target_leads_to_is_listed() -> None:
    taken = snapshot([task(1), task(5, ns(net=300)), task(6, ns(net=300), ppid=5)])
    group = next(group for group in groups(taken) if 5 in group.pids)
    assert [row.task.pid for row in processes(taken, Found(group))] == [5, 6]
    assert processes(taken, Found()) == []


def test_what_may_not_be_looked_into_is_nobodys_and_each_stands_alone() -> None:
    hidden = tuple([UNREADABLE] * 10)
    found = snapshot([task(1), task(5, hidden), task(6, hidden), task(7)])
    owners = {row.task.pid: row.owner for row in processes(found)}
    assert owners[5] is owners[6] is None
    assert owners[7] is not None
    (row,) = processes(found, find(found, Target("pid", "6", pid=6)))
    assert (row.task.pid, row.owner is None or row.owner.pid) == (6, True)
