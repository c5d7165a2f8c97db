"""A pod: what its containers share with each other, with others, and with the host."""

from __future__ import annotations

import pytest

from nsctl.model.container import Container
from nsctl.model.namespace import NS_LINKS, UNREADABLE
from nsctl.model.namespace import NamespaceType as Kind
from nsctl.model.snapshot import Snapshot
from nsctl.relate.pods import Pod, pod_of
from unit.factories import container, ns, snapshot, task

pytestmark = pytest.mark.unit


def member(name: str, pid: int, engine: str = "cri", **more: float) -> Container:
    return container(name, engine=engine, pid=pid)._replace(pod="n:p", created=more.get("at", 1.0))


PAUSE, A, B = member("p", 5, at=1.0), member("a", 6, at=2.0), member("b", 7, at=3.0)
ENDED = member("old", 0, at=2.5)
INJECTED = member("spy", 8, engine="containerd", at=4.0)
HOST = snapshot(
    [
        task(1),
        task(5, ns(mnt=5, net=50, ipc=51, pid=5)),
        task(6, ns(mnt=6, net=50, ipc=51, pid=60)),
        task(7, ns(mnt=7, net=50, ipc=51, pid=60)),
        # It joined the network only.
        task(8, ns(mnt=8, net=50, ipc=8, pid=8)),
        # Somebody from outside of the pod.
        task(9, ns(mnt=9, ipc=51), comm=b"nsenter"),
    ],
    containers=[PAUSE, A, B, ENDED, INJECTED],
)


def read(host: Snapshot = HOST) -> Pod:
    return pod_of(host, [each for each in host.containers if each.pod])


def inside(pod: Pod, kind: Kind) -> list[set[str]]:
    return [{owner.name for owner in row.inside} for row in pod.namespaces[kind]]


def test_what_runs_comes_first_in_the_order_of_creation() -> None:
    pod = read()
    assert [row.name for row in pod.containers] == ["p", "a", "b", "spy", "old"]
    assert (pod.name, pod.engine) == ("n:p", "cri")


def test_each_type_is_said_by_who_is_together_in_it() -> None:
    pod = read()
    assert inside(pod, Kind.NET) == [{"p", "a", "b", "spy"}]
    assert inside(pod, Kind.PID) == [{"p"}, {"a", "b"}, {"spy"}]
    assert inside(pod, Kind.MNT) == [{"p"}, {"a"}, {"b"}, {"spy"}]


def test_the_hosts_and_strangers_stand_apart_from_the_pod() -> None:
    pod = read()
    (uts,) = pod.namespaces[Kind.UTS]
    assert (uts.is_host, uts.outside) == (True, ())
    ipc = pod.namespaces[Kind.IPC][0]
    assert not ipc.is_host
    assert [owner.name for owner in ipc.outside] == ["nsenter"]
    (net,) = pod.namespaces[Kind.NET]
    assert net.outside == ()


def test_what_may_not_be_read_is_in_no_namespace_of_the_pods() -> None:
    tasks = [task(1), task(5, (UNREADABLE,) * len(NS_LINKS))]
    pod = read(snapshot(tasks, containers=[PAUSE]))
    assert [row.ino for row in pod.namespaces[Kind.NET]] == [UNREADABLE]
    assert not pod.namespaces[Kind.NET][0].is_host


def test_a_pod_of_which_nothing_runs_has_no_namespaces() -> None:
    pod = read(snapshot([task(1)], containers=[ENDED]))
    assert not any(pod.namespaces.values())
