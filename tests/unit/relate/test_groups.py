"""Groups: who is isolated alike, and whose they are."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.namespace import NS_LINKS, UNREADABLE
from nsctl.model.owner import HOST, Owner
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import Group, groups, owner_of
from unit.factories import all_own, container, ns, snapshot, task
from unit.relate.strategies import SNAPSHOTS

pytestmark = pytest.mark.unit

NOT_READ = (UNREADABLE,) * len(NS_LINKS)


def named(found: list[Group]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(group.owner.kind, group.owner.name, group.pids) for group in found]


def test_processes_in_all_of_the_hosts_namespaces_are_the_host() -> None:
    rows = [task(1), task(2), task(3, ns(net=7))]
    host, other = groups(snapshot(rows))
    assert (host.owner, host.pids, host.leader) == (HOST, (1, 2), 1)
    assert other.owner == Owner("process", "x", pid=3)


def test_a_service_in_the_hosts_namespaces_is_the_hosts_and_in_its_own_is_itself() -> None:
    cgroup = b"0::/system.slice/nginx.service\n"
    rows = [task(1), task(5, cgroup=cgroup), task(6, ns(mnt=7), cgroup=cgroup)]
    assert named(groups(snapshot(rows))) == [
        ("host", "host", (1, 5)),
        ("service", "nginx.service", (6,)),
    ]


def test_a_group_is_named_after_the_oldest_process_whose_parent_is_outside() -> None:
    rows = [
        task(1),
        task(5, ns(net=7), ppid=6, start=1, comm=b"child"),
        task(6, ns(net=7), ppid=1, start=9, comm=b"late"),
        task(7, ns(net=7), ppid=1, start=3, comm=b"first"),
    ]
    assert named(groups(snapshot(rows)))[1:] == [("process", "first", (5, 6, 7))]


def test_what_cannot_be_read_is_a_group_apart_at_the_end_and_never_the_hosts() -> None:
    rows = [task(1, NOT_READ, comm=b"systemd"), task(2), task(3, ns(net=7))]
    found = groups(snapshot(rows))
    assert named(found)[-1] == ("process", "systemd", (1,))
    assert found[-1].isolation == (UNREADABLE,) * 8


def test_unreadable_processes_are_not_the_hosts_where_the_host_is_unreadable_too() -> None:
    (group,) = groups(snapshot([task(1, NOT_READ), task(2, NOT_READ)], host=NOT_READ))
    assert group.owner.kind == "process"


def test_a_zombie_is_in_no_group() -> None:
    ended = ns(**dict.fromkeys(("mnt", "net", "ipc", "uts", "cgroup", "time"), 0))
    assert named(groups(snapshot([task(1), task(2, ended, state="Z")]))) == [("host", "host", (1,))]


def test_a_dead_leader_with_living_threads_is_in_a_group() -> None:
    rows = [task(1), task(2, ns(net=7), state="Z", threads=2)]
    assert named(groups(snapshot(rows)))[1] == ("process", "x", (2,))


# --- Containers


def test_a_containers_processes_are_found_by_control_group_and_below_it() -> None:
    web = container("web", cgroups=["/docker/web"])
    rows = [
        task(1, cgroup=b"0::/\n"),
        task(5, all_own(500), cgroup=b"0::/docker/web\n"),
        task(6, all_own(500), cgroup=b"0::/docker/web/deeper/still\n"),
        task(7, all_own(600), cgroup=b"0::/docker/web2\n"),
    ]
    assert named(groups(snapshot(rows, containers=[web]))) == [
        ("host", "host", (1,)),
        ("container", "web", (5, 6)),
        ("process", "x", (7,)),
    ]


def test_a_control_group_of_any_hierarchy_tells_and_may_contain_colons() -> None:
    web = container("web", cgroups=["/a:b/web"])
    rows = [task(5, all_own(500), cgroup=b"4:cpu,cpuacct:/a:b/web\n1:name=systemd:/\n0::/\n")]
    assert named(groups(snapshot(rows, containers=[web]))) == [("container", "web", (5,))]


def test_the_nearest_containers_control_group_above_wins() -> None:
    outer, inner = container("outer", cgroups=["/o"]), container("inner", cgroups=["/o/x/i"])
    rows = [
        task(5, all_own(500), cgroup=b"0::/o/x\n"),
        task(6, all_own(600), cgroup=b"0::/o/x/i/deep\n"),
    ]
    found = groups(snapshot(rows, containers=[outer, inner]))
    assert named(found) == [("container", "inner", (6,)), ("container", "outer", (5,))]


def test_what_is_in_the_hosts_user_namespace_is_not_in_a_container_that_left_it() -> None:
    evil = container("evil", pid=5, start=50)
    inner = all_own(500)
    rows = [
        task(1),
        task(4, ppid=1),
        task(5, inner, ppid=4),  # forked what follows, then left for a user namespace
        task(6, ppid=5, comm=b"sudo"),
        task(7, ns(mnt=7), ppid=6, comm=b"roots"),
        task(8, all_own(600), ppid=7, comm=b"apart"),
        task(9, inner, ppid=5),
    ]
    assert named(groups(snapshot(rows, containers=[evil]))) == [
        ("host", "host", (1, 4, 6)),
        ("container", "evil", (5, 9)),
        ("process", "roots", (7,)),
        ("process", "apart", (8,)),
    ]
    hosts = container("hosts", pid=4, start=40)
    found = named(groups(snapshot(rows, containers=[hosts])))
    assert sum((pids for _, name, pids in found if name == "hosts"), ()) == (4, 6, 5, 9, 7, 8)


def test_a_containers_processes_are_found_by_descent_from_its_first() -> None:
    web = container("web", pid=5, start=50)
    rows = [
        task(1),
        task(5, all_own(500), ppid=1),
        task(6, all_own(500), ppid=5),
        task(7, ns(net=7, user=900), ppid=6),
    ]
    assert named(groups(snapshot(rows, containers=[web])))[1:] == [
        ("container", "web", (5, 6)),
        ("container", "web", (7,)),
    ]


@pytest.mark.parametrize(("start", "believed"), [(50, True), (51, True), (0, True), (70, False)])
def test_a_containers_first_process_is_believed_only_if_it_began_then(
    start: int, believed: bool
) -> None:
    web = container("web", pid=5, start=start)
    (group,) = groups(snapshot([task(5, all_own(500), start=50)], containers=[web]))
    assert (group.owner.kind == "container") is believed


def test_whoever_joined_all_of_a_containers_namespaces_is_folded_into_it() -> None:
    web = container("web", pid=5)
    rows = [task(1), task(5, all_own(500)), task(3, all_own(500), ppid=1)]
    assert named(groups(snapshot(rows, containers=[web])))[1:] == [("container", "web", (3, 5))]


def test_whoever_joined_two_containers_that_are_isolated_alike_is_in_neither() -> None:
    both = [container("a", pid=5), container("b", pid=6)]
    rows = [task(5, all_own(500)), task(6, all_own(500)), task(7, all_own(500))]
    assert named(groups(snapshot(rows, containers=both))) == [
        ("container", "a", (5,)),
        ("container", "b", (6,)),
        ("process", "x", (7,)),
    ]


def test_the_hosts_processes_are_not_a_containers_that_shares_all_with_the_host() -> None:
    web = container("web", pid=5)
    rows = [task(1), task(5), task(6)]
    assert named(groups(snapshot(rows, containers=[web]))) == [
        ("host", "host", (1, 6)),
        ("container", "web", (5,)),
    ]


def test_parents_that_run_in_a_circle_end() -> None:
    rows = [task(5, ppid=6), task(6, ppid=5), task(7, ppid=7)]
    assert named(groups(snapshot(rows, containers=[container("web", pid=4)]))) == [
        ("host", "host", (5, 6, 7))
    ]


def test_the_owner_of_a_container_carries_all_that_names_it() -> None:
    row = container("web", engine="podman", full_id="3f2a", pid=7)._replace(pod="pod")
    assert owner_of(row) == Owner("container", "web", "podman", "3f2a", "pod", 7)


def test_groups_are_in_the_order_host_containers_services_processes() -> None:
    rows = [
        task(1),
        task(2, all_own(200), comm=b"a"),
        task(3, all_own(300), cgroup=b"0::/s.slice/z.service\n"),
        task(4, all_own(400), cgroup=b"0::/s.slice/b.service\n"),
        task(5, all_own(500)),
        task(6, all_own(600)),
        task(7, NOT_READ),
    ]
    both = [container("web", pid=5), container("app", pid=6)]
    names = [group.owner.name for group in groups(snapshot(rows, containers=both))]
    assert names == ["host", "app", "web", "b.service", "z.service", "a", "x"]


# --- Of any host


@given(SNAPSHOTS)
def test_every_living_process_is_in_exactly_one_group(host: Snapshot) -> None:
    found = groups(host)
    assert sorted(pid for group in found for pid in group.pids) == [
        row.pid for row in host.tasks if row.ns[0]
    ]
    by_pid = {row.pid: row for row in host.tasks}
    for group in found:
        assert group.leader in group.pids
        assert list(group.pids) == sorted(group.pids)
        assert all(by_pid[pid].ns[:8] == group.isolation for pid in group.pids)


@given(SNAPSHOTS)
def test_only_what_is_in_all_of_the_hosts_namespaces_is_the_hosts(host: Snapshot) -> None:
    for group in groups(host):
        if group.owner == HOST:
            assert group.isolation == host.host.ns[:8]


@given(SNAPSHOTS, st.randoms())
def test_groups_do_not_depend_on_the_order_of_processes(host: Snapshot, random: Random) -> None:
    rows = list(host.tasks)
    random.shuffle(rows)
    assert groups(host._replace(tasks=tuple(rows))) == groups(host)


def test_a_sandbox_of_bubblewrap_is_named_after_what_runs_in_it() -> None:
    # Its own first process inside, or with --as-pid-1 the program itself.
    inside = [
        task(10, comm=b"bwrap"),
        task(11, all_own(300), ppid=10, comm=b"bwrap"),
        task(12, all_own(300), ppid=11, comm=b"firefox"),
        task(13, all_own(300), ppid=12, comm=b"Web Content"),
        task(20, comm=b"bwrap"),
        task(21, all_own(400), ppid=20, comm=b"sleep"),
        task(31, all_own(500), ppid=1, comm=b"bwrap"),
    ]
    owners = [group.owner for group in groups(snapshot(inside)) if group.owner.kind == "process"]
    assert [(owner.name, owner.engine, owner.pid) for owner in owners] == [
        ("firefox", "bwrap", 11),
        ("sleep", "bwrap", 21),
        ("bwrap", "bwrap", 31),
    ]
