"""Members: who is in a namespace, and what else keeps it alive."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.namespace import TYPES, Holder, NamespaceType
from nsctl.model.snapshot import Snapshot
from nsctl.relate.members import Membership, memberships
from unit.factories import HOST, all_own, container, namespace, ns, snapshot, task
from unit.relate.strategies import SNAPSHOTS

pytestmark = pytest.mark.unit

PID, TIME, NET = NamespaceType.PID, NamespaceType.TIME, NamespaceType.NET


def member(host: Snapshot, kind: NamespaceType, ino: int) -> Membership:
    (row,) = (
        r for r in memberships(host) if (r.namespace.id.type, r.namespace.id.ino) == (kind, ino)
    )
    return row


def test_a_namespace_has_its_processes_by_number_and_its_owners_the_host_first() -> None:
    rows = [task(1), task(5, ns(mnt=7)), task(3, all_own(500)), task(4, ns(mnt=7))]
    row = member(snapshot(rows), NET, HOST[NET])
    assert [each.pid for each in row.tasks] == [1, 4, 5]
    assert [(owner.kind, owner.name) for owner in row.owners] == [
        ("host", "host"),
        ("process", "x"),
    ]
    assert row.holders == ()


def test_an_owner_is_named_once_however_many_groups_it_has() -> None:
    rows = [task(5, ns(net=7), ppid=1), task(6, ns(net=7, mnt=8), ppid=5)]
    row = member(snapshot(rows, containers=[container("web", pid=5)]), NET, 7)
    assert [owner.name for owner in row.owners] == ["web"]


def test_a_namespace_that_waits_for_a_processs_children_is_held_by_that_process() -> None:
    rows = [task(1), task(5, ns(pid_for_children=700)), task(6, ns(time_for_children=701))]
    host = snapshot(rows)
    assert member(host, PID, 700).holders == (Holder("child", pid=5),)
    assert member(host, PID, 700).tasks == ()
    assert member(host, TIME, 701).holders == (Holder("child", pid=6),)
    assert member(host, TIME, HOST[TIME]).holders == ()


def test_what_discovery_found_to_hold_a_namespace_is_among_its_holders() -> None:
    held = (Holder("fd", pid=1, fd=3), Holder("bind", path=b"/run/netns/a", mntns=9))
    host = snapshot([task(1)], [namespace(NET, 900, holders=held)])
    row = member(host, NET, 900)
    assert (row.tasks, row.owners, row.holders) == ((), (), held)


def test_a_zombie_counts_where_the_kernel_keeps_it() -> None:
    ended = ns(**dict.fromkeys(("mnt", "net", "ipc", "uts", "cgroup", "time"), 0))
    host = snapshot([task(1), task(5, ended, state="Z")])
    assert [each.pid for each in member(host, PID, HOST[PID]).tasks] == [1, 5]
    assert [each.pid for each in member(host, NET, HOST[NET]).tasks] == [1]


def test_two_types_may_have_the_same_inode() -> None:
    host = snapshot([task(1), task(5, ns(net=700)), task(6, ns(mnt=700))])
    assert [each.pid for each in member(host, NET, 700).tasks] == [5]
    assert [each.pid for each in member(host, NamespaceType.MNT, 700).tasks] == [6]


@given(SNAPSHOTS)
def test_each_namespace_has_as_many_members_as_processes_name_it(host: Snapshot) -> None:
    rows = memberships(host)
    assert [row.namespace for row in rows] == list(host.namespaces)
    for row in rows:
        column = TYPES.index(row.namespace.id.type)
        ino = row.namespace.id.ino
        assert list(row.tasks) == [each for each in host.tasks if each.ns[column] == ino]
        waiting = {
            each.pid
            for each in host.tasks
            if (row.namespace.id.type is PID and each.ns[8] == ino != each.ns[1])
            or (row.namespace.id.type is TIME and each.ns[9] == ino != each.ns[7])
        }
        assert {holder.pid for holder in row.holders} == waiting


@given(SNAPSHOTS, st.randoms())
def test_members_do_not_depend_on_the_order_of_processes(host: Snapshot, random: Random) -> None:
    rows = list(host.tasks)
    random.shuffle(rows)
    shuffled = memberships(host._replace(tasks=tuple(rows)))
    for row, expected in zip(shuffled, memberships(host), strict=True):
        assert row[:3] == expected[:3]
        assert set(row.holders) == set(expected.holders)
