"""What a group sees of the host and of others."""

from __future__ import annotations

import pytest

from nsctl.model.namespace import NS_LINKS, TYPES, UNREADABLE, NamespaceType
from nsctl.model.part import Part, PartState
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import groups
from nsctl.relate.sees import Sight, sees
from unit.factories import HOST, all_own, namespace, ns, snapshot, task

pytestmark = pytest.mark.unit

PID = NamespaceType.PID


def sight(host: Snapshot, leader: int) -> Sight:
    (group,) = (each for each in groups(host) if each.leader == leader)
    return sees(host, group)


def test_a_group_in_the_hosts_pid_namespace_sees_the_host_and_all_below() -> None:
    rows = [task(1), task(2), task(5, ns(net=7)), task(6, ns(pid=600)), task(7, ns(pid=601))]
    spaces = [
        namespace(PID, 600, parent=HOST[PID]),
        namespace(PID, 601, parent=600),
    ]
    found = sight(snapshot(rows, spaces), 5)
    assert (found.host_processes, found.other_processes) == (2, 2)


def test_a_group_in_a_pid_namespace_of_its_own_sees_only_what_is_nested_in_it() -> None:
    rows = [task(1), task(6, ns(pid=600)), task(7, ns(pid=601)), task(8, ns(pid=602))]
    spaces = [
        namespace(PID, 600, parent=HOST[PID]),
        namespace(PID, 601, parent=600),
        namespace(PID, 602, parent=HOST[PID]),
    ]
    host = snapshot(rows, spaces)
    assert sight(host, 6)[:2] == (0, 1)
    assert sight(host, 7)[:2] == (0, 0)


def test_zombies_are_not_counted_as_anybodys() -> None:
    ended = ns(**dict.fromkeys(("mnt", "net", "ipc", "uts", "cgroup", "time"), 0))
    host = snapshot([task(1), task(2, ended, state="Z"), task(5, ns(net=7))])
    assert sight(host, 5)[:2] == (1, 0)


def test_the_hosts_namespaces_that_a_group_is_in_are_named() -> None:
    host = snapshot([task(1), task(5, ns(net=7, uts=8)), task(6, all_own(600))])
    missing = {NamespaceType.NET, NamespaceType.UTS}
    assert sight(host, 5).host_parts == tuple(kind for kind in TYPES if kind not in missing)
    assert sight(host, 6).host_parts == ()


def test_a_type_that_the_kernel_lacks_is_nothing_of_the_hosts() -> None:
    host = snapshot([task(5, ns(net=7, time=0))], host=ns(time=0))
    assert NamespaceType.TIME not in sight(host, 5).host_parts


def test_what_an_unreadable_group_sees_is_unknown() -> None:
    host = snapshot([task(1), task(5, (UNREADABLE,) * len(NS_LINKS))])
    assert sight(host, 5) == Sight(None, None, ())


def test_what_is_seen_is_unknown_where_nesting_was_not_asked_for() -> None:
    host = snapshot([task(1), task(5, ns(net=7))])
    host.parts[Part.RELATIONS] = PartState.NOT_ASKED
    assert sight(host, 5)[:2] == (None, None)


def test_parents_that_run_in_a_circle_end() -> None:
    spaces = [namespace(PID, 600, parent=601), namespace(PID, 601, parent=600)]
    host = snapshot([task(5, ns(pid=600)), task(6, ns(pid=HOST[PID], net=7))], spaces)
    assert sight(host, 6)[:2] == (0, 0)
