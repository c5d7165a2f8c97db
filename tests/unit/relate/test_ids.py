"""Whose ids are whose, on snapshots by hand."""

from __future__ import annotations

import pytest

from nsctl.errors import TargetError
from nsctl.model.accounts import Account, Accounts, Grant
from nsctl.model.namespace import IdExtent, IdMaps, Namespace, NamespaceType
from nsctl.model.snapshot import Snapshot
from nsctl.model.target import Target
from nsctl.relate.find import find
from nsctl.relate.idmap import ALL_IDS, Span
from nsctl.relate.ids import MOST_OVERLAPS, Ids, ids, of_target
from unit.factories import HOST, container, namespace, ns, snapshot, task

pytestmark = pytest.mark.unit

USER = NamespaceType.USER
_ALL = (IdExtent(0, 0, ALL_IDS),)
_ACCOUNTS = Accounts(
    users=(
        Account("root", 0),
        Account("daemon", 1),
        Account("alice", 1000),
        Account("bob", 1001),
        Account("late", 170000),
    ),
    groups=(Account("root", 0), Account("staff", 120000)),
    subuids=(
        Grant("alice", 100000, 65536),
        Grant("1001", 150000, 65536),
        Grant("gone", 400000, 10),
    ),
    subgids=(Grant("alice", 100000, 65536),),
)


def user(
    ino: int, *extents: tuple[int, int, int], parent: int = HOST[USER], uid: int = 0
) -> Namespace:
    """A user namespace with one map for both kinds of ids."""
    rows = tuple(IdExtent(*each) for each in extents)
    made = namespace(USER, ino, parent=parent)
    return made._replace(maps=IdMaps(rows, rows, "allow"), owner_uid=uid)


def world(*namespaces: Namespace, containers: dict[str, int] | None = None) -> Snapshot:
    """A host with user namespaces, a process in each; containers by name and namespace."""
    host = namespace(USER, HOST[USER])._replace(maps=IdMaps(_ALL, _ALL, "allow"), owner_uid=0)
    tasks = [task(1)] + [
        task(10 + place, ns(user=each.id.ino)) for place, each in enumerate(namespaces)
    ]
    pids = {row.ns[5]: row.pid for row in tasks}
    made = [container(name, pid=pids[ino]) for name, ino in (containers or {}).items()]
    return snapshot(tasks, [host, *namespaces], made)._replace(accounts=_ACCOUNTS)


def by_ino(found: Ids) -> dict[int, int]:
    return {row.member.namespace.id.ino: place for place, row in enumerate(found.rows)}


def test_ranges_of_two_containers_that_meet_are_told_to_both_with_which_ids() -> None:
    found = ids(
        world(
            user(500, (0, 100000, 65536)),
            user(600, (0, 165000, 65536)),
            user(700, (0, 300000, 10)),
            containers={"db": 500, "web": 600, "far": 700},
        )
    )
    rows = {row.member.owners[0].name: row for row in found.rows}
    (overlap,) = rows["db"].overlaps
    assert overlap.other.owners[0].name == "web"
    assert overlap.uids == overlap.gids == (Span(165000, 536),)
    assert [each.other.owners[0].name for each in rows["web"].overlaps] == ["db"]
    assert rows["far"].overlaps == ()
    assert rows["host"].overlaps == ()
    assert (rows["db"].root, rows["db"].level) == (100000, 1)


def test_what_lies_inside_another_namespace_does_not_overlap_it() -> None:
    found = ids(
        world(
            user(500, (0, 1000, 1), (1, 100000, 65536)),
            user(600, (0, 100000, 1000), parent=500),
            user(700, (0, 100500, 1000), parent=500),
        )
    )
    rows = {row.member.namespace.id.ino: row for row in found.rows}
    assert [row.member.namespace.id.ino for row in found.rows] == [HOST[USER], 500, 600, 700]
    assert [row.level for row in found.rows] == [0, 1, 2, 2]
    assert rows[500].overlaps == ()
    assert [each.other.namespace.id.ino for each in rows[600].overlaps] == [700]
    # In the numbers of the one around it, which maps 1 to 100000.
    assert rows[600].above == (IdExtent(0, 1, 1000),)
    assert rows[500].above == ()


def test_namespaces_of_one_container_do_not_overlap_each_other() -> None:
    first, second = user(500, (0, 100000, 10)), user(600, (0, 100000, 10))
    taken = world(first, second, containers={"web": 500})
    # The second process descends from the container's first.
    child = taken.tasks[2]._replace(ppid=taken.tasks[1].pid)
    found = ids(taken._replace(tasks=(*taken.tasks[:2], child)))
    assert all(row.overlaps == () for row in found.rows)


def test_accounts_in_a_range_are_told_root_and_people_apart_and_its_maker() -> None:
    found = ids(
        world(user(500, (0, 0, 2000), uid=1000), user(600, (0, 100000, 100)), user(700, (0, 2, 3)))
    )
    rows = {row.member.namespace.id.ino: row for row in found.rows}
    assert [each.name for each in rows[500].system] == ["root", "daemon"]
    assert [each.name for each in rows[500].people] == ["bob"]
    assert rows[500].creator == Account("alice", 1000)
    assert rows[600].system == rows[600].people == ()
    assert rows[HOST[USER]].people == ()


def test_subordinate_ids_are_told_used_unused_given_twice_and_somebodys() -> None:
    found = ids(world(user(500, (0, 100000, 10)), containers={"web": 500}))
    alice, bob, gone = found.subuids
    assert [owner.name for owner in alice.users] == ["web"]
    assert [each.owner for each in alice.twice] == ["1001"]
    assert [each.owner for each in bob.twice] == ["alice"]
    assert bob.users == ()
    assert [each.name for each in bob.accounts] == ["late"]
    assert (alice.known, bob.known, gone.known) == (True, True, False)
    (group,) = found.subgids
    assert [each.name for each in group.accounts] == ["staff"]
    assert group.known


def test_a_reader_in_a_user_namespace_of_his_own_gets_the_numbers_around_it() -> None:
    own = user(500, (0, 1000, 1), (1, 100000, 65536), parent=0)
    inner = user(600, (0, 1, 1000), parent=500)
    stranger = user(700, (0, ALL_IDS, 5), parent=0)
    taken = world(own, inner, stranger)
    found = ids(taken._replace(reader=taken.reader._replace(ns=ns(user=500))))
    rows = {row.member.namespace.id.ino: row for row in found.rows}
    assert found.own is not None
    assert rows[500].uids == (IdExtent(0, 1000, 1), IdExtent(1, 100000, 65536))
    assert rows[600].uids == (IdExtent(0, 100000, 1000),)
    assert rows[600].root == 100000
    assert (rows[700].uids, rows[700].unseen) == ((), 2)


def test_many_namespaces_with_the_same_ids_are_counted_beyond_a_bound() -> None:
    count = MOST_OVERLAPS + 5
    found = ids(world(*(user(500 + place, (0, 1000, 1)) for place in range(count))))
    row = found.rows[1]
    assert len(row.overlaps) + row.more_overlaps == count - 1
    assert len(row.overlaps) == MOST_OVERLAPS


def test_a_map_that_was_not_read_is_unknown_and_not_empty() -> None:
    unread = namespace(USER, 500, parent=HOST[USER])
    row = ids(world(unread)).rows[1]
    assert (row.uids, row.gids) == (None, None)


def test_a_target_leads_to_its_own_user_namespaces_alone() -> None:
    taken = world(user(500, (0, 100000, 10)), user(600, (0, 200000, 10)), containers={"web": 500})
    found = ids(taken)
    kept = of_target(found, find(taken, Target("name", "web", name="web")))
    assert [row.member.namespace.id.ino for row in kept.rows] == [500]
    kept = of_target(found, find(taken, Target("pid", "11", pid=11)))
    assert [row.member.namespace.id.ino for row in kept.rows] == [600]
    named = Target("namespace", "user:[600]", ino=600, type=USER)
    assert [row.member.namespace.id.ino for row in of_target(found, find(taken, named)).rows] == [
        600
    ]


def test_a_namespace_of_another_type_leads_to_the_one_that_owns_it() -> None:
    net = namespace(NamespaceType.NET, 900, owner=500)
    taken = world(user(500, (0, 100000, 10)))
    taken = taken._replace(namespaces=(*taken.namespaces, net))
    named = Target("namespace", "net:[900]", ino=900, type=NamespaceType.NET)
    kept = of_target(ids(taken), find(taken, named))
    assert [row.member.namespace.id.ino for row in kept.rows] == [500]
    from nsctl.relate.of_target import inodes_of

    with pytest.raises(TargetError, match="it is a network namespace, not a user namespace"):
        inodes_of(find(taken, named), USER, ())
