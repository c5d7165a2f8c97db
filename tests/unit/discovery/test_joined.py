"""Containers that were brought into others' namespaces, whichever engines made them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsctl.discovery.take import take
from nsctl.model.container import Container
from nsctl.model.part import Part
from unit.factories import ns
from unit.proctree import ProcTree

pytestmark = pytest.mark.unit

POD = Container("app", "cri", "a1" * 32, pid=50, pod="n:shop")
SPY = Container("spy", "docker", "b2" * 32, pid=51, declared=(("net", "path:/proc/50/ns/net"),))


@pytest.fixture
def tree(tmp_path: Path) -> ProcTree:
    tree = ProcTree(tmp_path)
    tree.reader()
    tree.add(1, ppid=0)
    tree.add(50, ns(mnt=500, net=501))
    tree.add(51, ns(mnt=510, net=501))
    tree.add(52, ns(mnt=520, net=521))
    return tree


def listed(tree: ProcTree, *rows: Container) -> dict[str, Container]:
    found = take(
        [Part.CONTAINERS], proc_root=str(tree.root), sources={"x": lambda _draft: list(rows)}
    )
    return {row.name: row for row in found.containers}


def test_a_path_of_anothers_namespace_is_named_and_its_pod_joined(tree: ProcTree) -> None:
    spy = listed(tree, POD, SPY)["spy"]
    assert (dict(spy.declared), spy.pod) == ({"net": "container:app"}, "n:shop")


def test_whoever_joined_one_that_joined_is_in_the_pod_by_its_name(tree: ProcTree) -> None:
    named = SPY._replace(declared=(("net", "container:app"),))
    assert listed(tree, POD, named)["spy"].pod == "n:shop"
    other = POD._replace(name="other", id="c3" * 32, pod="n:other", pid=52)
    assert (
        listed(tree, other, named._replace(declared=(("net", "container:other"),)))["spy"].pod == ""
    )


def test_a_number_that_is_used_again_names_nobody(tree: ProcTree) -> None:
    elsewhere = SPY._replace(pid=52)
    spy = listed(tree, POD, elsewhere)["spy"]
    assert (dict(spy.declared), spy.pod) == (dict(SPY.declared), "")


@pytest.mark.parametrize(
    ("pod", "spy"),
    [
        (POD, SPY._replace(vouched_by=52)),
        (POD._replace(vouched_by=52), SPY),
        (POD, SPY._replace(pid=0)),
        (POD, SPY._replace(declared=(("mount:/x", "path:/proc/50/ns/net"),))),
        (POD, SPY._replace(declared=(("net", "path:/proc/9999999999/ns/net"),))),
    ],
)
def test_nobody_gets_into_a_pod_by_somebody_elses_word(
    tree: ProcTree, pod: Container, spy: Container
) -> None:
    rows = listed(tree, pod, spy)
    (found,) = [row for row in rows.values() if row.id == spy.id]
    assert found.pod == ""
    assert found.declared == spy.declared


def test_what_an_engine_says_of_its_own_pods_goes_before(tree: ProcTree) -> None:
    assert listed(tree, POD, SPY._replace(pod="mine"))["spy"].pod == "mine"
