"""The matrix: own, host's, shared, unreadable, and nothing in between."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.namespace import ABSENT, NS_LINKS, TYPES, UNREADABLE, NamespaceType, TimeOffsets
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import groups
from nsctl.relate.matrix import Matrix, Row, cells_of, matrix
from unit.factories import HOST, all_own, container, namespace, ns, snapshot, task
from unit.relate.strategies import SNAPSHOTS

pytestmark = pytest.mark.unit

NOT_READ = (UNREADABLE,) * len(NS_LINKS)
TIME = NamespaceType.TIME
NET = TYPES.index(NamespaceType.NET)


def meanings(row: Row) -> str:
    return " ".join(cell.letter or cell.meaning for cell in row.cells)


def test_what_a_pod_shares_within_itself_stands_apart() -> None:
    tasks = [
        task(1),
        task(5, ns(net=300, mnt=301), comm=b"app"),
        task(6, ns(net=300, mnt=302), comm=b"helper"),
        task(7, ns(net=400, mnt=401), comm=b"alone"),
        task(8, ns(net=400, mnt=402), comm=b"guest"),
    ]
    pods = [
        container("app", pid=5, start=50)._replace(pod="shop"),
        container("helper", pid=6, start=60)._replace(pod="shop"),
        container("alone", pid=7, start=70)._replace(pod="other"),
    ]
    found = matrix(snapshot(tasks, containers=pods))
    cells = {row.group.owner.name: row.cells[NET] for row in found.rows}
    assert cells["app"].in_pod
    assert cells["helper"].in_pod
    assert not cells["app"].letter
    # A stranger in the pod's network makes it shared with more than the pod.
    assert not cells["alone"].in_pod
    assert cells["alone"].letter == cells["guest"].letter == "a"


def test_each_cell_is_own_the_hosts_or_shared_with_its_letter() -> None:
    rows = [
        task(1),
        task(5, all_own(500), comm=b"web"),
        task(6, ns(net=502, uts=9), comm=b"sidecar"),
        task(7, ns(uts=9), comm=b"other"),
    ]
    found = matrix(snapshot(rows))
    assert [meanings(row) for row in found.rows] == [
        "own own a own own own own own",
        "host host a host b host host host",
        "host host host host b host host host",
    ]
    assert [owner.name for owner in found.rows[0].cells[NET].shared_with] == ["sidecar"]
    assert found.host is not None
    assert found.host.pids == (1,)


def test_the_hosts_namespace_is_the_hosts_and_not_shared_however_many_are_in_it() -> None:
    found = matrix(snapshot([task(1), task(5, ns(mnt=5)), task(6, ns(mnt=6))]))
    assert {cell.letter for row in found.rows for cell in row.cells} == {""}


def test_letters_go_on_beyond_the_alphabet() -> None:
    rows = [task(1)]
    for pair in range(30):
        rows += [task(10 + 2 * pair, ns(net=1000 + pair, mnt=2000 + pair))]
        rows += [task(11 + 2 * pair, ns(net=1000 + pair))]
    letters = [row.cells[NET].letter for row in matrix(snapshot(rows)).rows]
    assert letters[::2] == letters[1::2]
    assert letters[::2] == [*"abcdefghijklmnopqrstuvwxyz", "aa", "ab", "ac", "ad"]


def test_unreadable_processes_are_in_no_row_and_told_apart() -> None:
    found = matrix(snapshot([task(1), task(5, NOT_READ), task(7, NOT_READ)]))
    assert found.rows == ()
    assert found.unreadable == (5, 7)


def test_where_the_host_is_unreadable_nothing_is_own_or_shared() -> None:
    rows = [task(1, NOT_READ), task(5, all_own(500)), task(6, all_own(500)), task(7, ns())]
    found = matrix(snapshot(rows, host=NOT_READ))
    assert found.host is None
    assert {cell.meaning for row in found.rows for cell in row.cells} == {"unreadable"}


def test_a_type_that_the_kernel_lacks_is_absent() -> None:
    found = matrix(snapshot([task(1, ns(time=0)), task(5, ns(net=7, time=0))], host=ns(time=0)))
    assert meanings(found.rows[0]) == "host host own host host host host absent"
    assert found.rows[0].cells[-1].ino == ABSENT


def test_a_time_namespace_says_by_how_much_its_clocks_are_off() -> None:
    days = TimeOffsets(0, 2 * 86400 * 10**9)
    rows = [task(1), task(5, ns(time=500)), task(6, ns(time=501)), task(7, ns(time=502))]
    spaces = [
        namespace(TIME, 500, offsets=days),
        namespace(TIME, 501, offsets=TimeOffsets(0, 0)),
        namespace(TIME, HOST[TIME], offsets=TimeOffsets(5, 5)),
    ]
    found = matrix(snapshot(rows, spaces))
    assert [row.cells[-1].offsets for row in found.rows] == [days, None, None]
    assert [row.cells[-1].meaning for row in found.rows] == ["own"] * 3


def test_the_cells_of_one_group_mean_what_they_mean_in_the_matrix() -> None:
    host = snapshot([task(1), task(5, all_own(500)), task(6, ns(net=502)), task(7, NOT_READ)])
    by_pid = {row.group.leader: row for row in matrix(host).rows}
    for group in groups(host):
        cells = cells_of(host, group)
        if group.leader in by_pid:
            expected = by_pid[group.leader].cells
            assert [(c.meaning, c.ino, c.shared_with) for c in cells] == [
                (c.meaning, c.ino, c.shared_with) for c in expected
            ]
        else:
            assert {c.meaning for c in cells} == {"host" if group.leader == 1 else "unreadable"}


@given(SNAPSHOTS)
def test_to_share_is_mutual_and_has_one_letter(host: Snapshot) -> None:
    found = matrix(host)
    for column in range(len(TYPES)):
        inodes: dict[str, set[int]] = {}
        for row in found.rows:
            cell = row.cells[column]
            others = [r for r in found.rows if r is not row and r.cells[column].ino == cell.ino]
            shared = bool(others) and cell.meaning not in {"host", "absent", "unreadable"}
            assert (cell.meaning == "shared") == shared
            assert len(cell.shared_with) == (len(others) if shared else 0)
            assert bool(cell.letter) == shared
            if shared:
                inodes.setdefault(cell.letter, set()).add(cell.ino)
                assert {r.cells[column].letter for r in others} == {cell.letter}
        assert all(len(of_letter) == 1 for of_letter in inodes.values())


@given(SNAPSHOTS)
def test_unreadable_is_never_own_the_hosts_or_shared(host: Snapshot) -> None:
    found = matrix(host)
    unread = {row.pid for row in host.tasks if UNREADABLE in row.ns}
    assert set(found.unreadable) == unread
    shown = {pid for row in found.rows for pid in row.group.pids}
    shown |= set(found.host.pids if found.host else ())
    assert not shown & unread


@given(SNAPSHOTS, st.randoms())
def test_the_matrix_does_not_depend_on_the_order_of_processes(
    host: Snapshot, random: Random
) -> None:
    rows = list(host.tasks)
    random.shuffle(rows)
    found: Matrix = matrix(host._replace(tasks=tuple(rows)))
    assert found == matrix(host)
