"""Rows of several engines become one list that nobody can push himself into."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsctl.discovery.containers import _as_heard_by
from nsctl.discovery.draft import Draft
from nsctl.discovery.take import take
from nsctl.model.container import Container
from nsctl.model.part import Part
from unit.proctree import ProcTree

pytestmark = pytest.mark.unit

ID, OTHER = "3f2a9c1b" * 8, "d8784ef6" * 8
ALICE = 1000


@pytest.fixture
def tree(tmp_path: Path) -> ProcTree:
    tree = ProcTree(tmp_path)
    tree.reader()
    tree.add(1, ppid=0)
    tree.add(50)
    tree.add(51, ppid=50)
    tree.add(52, ppid=51)
    (tree.add(60) / "cgroup").write_bytes(b"3:cpu:/\n0::/docker/outer/sub\n")
    return tree


def listed(tree: ProcTree, *by_source: list[Container]) -> list[Container]:
    def source(rows: list[Container]) -> object:
        def ask(_draft: Draft) -> list[Container]:
            return rows

        return ask

    sources = {str(number): source(rows) for number, rows in enumerate(by_source)}
    found = take([Part.CONTAINERS], proc_root=str(tree.root), sources=sources)  # type: ignore[arg-type]  # mypy does not see that it is called
    return list(found.containers)


def test_of_what_two_sources_tell_the_first_is_heard(tree: ProcTree) -> None:
    docker = Container("web", "docker", ID, pid=50)
    runc = Container(ID, "oci", ID, pid=50)
    renamed = Container("x", "oci", "x", pid=50)
    assert listed(tree, [docker], [runc, renamed]) == [docker]


def test_names_that_people_chose_may_be_the_same_in_two_places(tree: ProcTree) -> None:
    rows = [
        Container("one", "containerd", "one", scope="a"),
        Container("one", "containerd", "one", scope="b"),
        Container("one", "lxc", "one"),
    ]
    assert listed(tree, rows) == rows
    assert listed(tree, rows, rows[:1]) == rows


def test_the_hosts_engines_are_heard_before_all_others(tree: ProcTree) -> None:
    forged = Container("web", "docker", ID, pid=51, vouched_by=51)
    real = Container("web", "podman", ID, pid=50)
    assert listed(tree, [forged], [real]) == [real]


def test_an_engine_in_a_container_may_say_more_than_the_control_groups(tree: ProcTree) -> None:
    bare = Container(ID[:12], "", ID, pid=51, cgroups=(f"/docker/{ID}",))
    told = bare._replace(name="web", engine="docker", image="bb:1", vouched_by=60)
    (row,) = listed(tree, [told], [bare])
    assert (row.name, row.image) == ("web@60", "bb:1")
    # But not of a container in other groups than its own process is in.
    forged = told._replace(cgroups=(), pid=52)
    assert listed(tree, [forged], [bare]) == [bare]
    known = bare._replace(image="real:1")
    assert listed(tree, [told], [known]) == [known]


def test_what_an_engine_in_a_container_has_is_named_after_that(tree: ProcTree) -> None:
    outer = Container("box", "docker", ID, pid=50, cgroups=("/docker/outer",))
    by_descent = Container("web", "docker", OTHER, vouched_by=52, pod="default:p")
    by_group = Container("db", "docker", OTHER[::-1], vouched_by=60)
    rows = listed(tree, [by_descent, by_group], [outer])
    assert [row.name for row in rows] == ["box", "web@box", "db@box"]
    assert rows[1].pod == "default:p@box"


def test_what_an_ordinary_user_has_is_named_after_him(tree: ProcTree) -> None:
    by_monitor = Container("web", "podman", ID, vouched_by=51, user=ALICE)
    by_group = Container("x", "podman", OTHER, user=ALICE)
    assert [row.name for row in listed(tree, [by_monitor, by_group])] == ["x@1000", "web@1000"]


def test_what_control_groups_alone_name_is_said_better_by_who_names_it_otherwise(
    tree: ProcTree,
) -> None:
    groups = ("/mine/lxc.payload.web",)
    bare = Container("web", "lxc", "web", pid=51, cgroups=groups)
    told = bare._replace(scope="/srv/lxc", image="/r", vouched_by=50)
    (row,) = listed(tree, [bare], [told])
    assert (row.image, row.name) == ("/r", "web@50")
    # Whose groups are others is another.
    assert listed(tree, [bare], [told._replace(cgroups=())]) == [bare]


def test_what_the_readers_own_engine_says_counts_as_the_hosts() -> None:
    row = Container("web", "podman", ID, pid=51, user=ALICE, vouched_by=50)
    assert _as_heard_by(ALICE, row) == row._replace(vouched_by=0)
    for uid in (0, ALICE + 1):
        assert _as_heard_by(uid, row) == row
    inside = row._replace(user=0)
    assert _as_heard_by(0, inside) == inside


def completed(tree: ProcTree, rows: list[Container], answers: list[Container]) -> list[Container]:
    found = take(
        [Part.CONTAINERS],
        proc_root=str(tree.root),
        sources={"x": lambda _draft: rows},
        answers=lambda _draft: answers,
    )
    return list(found.containers)


def test_a_daemon_adds_what_was_not_told_and_changes_nothing_else(tree: ProcTree) -> None:
    answer = Container(
        "web", "docker", ID, image="bb:1", state="paused", created=5.0, labels=(("a", "b"),)
    )
    bare = Container(ID[:12], "docker", ID, pid=50, start=100, state="running")
    told = answer._replace(pid=50, start=100)
    assert completed(tree, [bare], [answer]) == [told]
    full = told._replace(
        name="www", image="cc:1", state="restarting", created=6.0, labels=(("c", "d"),)
    )
    assert completed(tree, [full], [answer]) == [full]


@pytest.mark.parametrize(
    ("known", "said", "shown"),
    [
        ("running", "paused", "paused"),
        ("running", "exited", "running"),
        ("stopped", "exited", "exited"),
        ("stopped", "running", "stopped"),
        ("paused", "running", "paused"),
        ("", "created", "created"),
    ],
)
def test_whether_a_container_runs_is_not_the_daemons_to_say(
    tree: ProcTree, known: str, said: str, shown: str
) -> None:
    row = Container("web", "docker", ID, state=known)
    assert [each.state for each in completed(tree, [row], [row._replace(state=said)])] == [shown]


def test_a_container_that_only_its_daemon_tells_of_is_listed(tree: ProcTree) -> None:
    rows = [Container("web", "docker", ID)]
    answer = Container("other", "docker", OTHER, state="exited")
    assert completed(tree, rows, [answer]) == [*rows, answer]


def test_a_daemon_says_nothing_of_others_containers(tree: ProcTree) -> None:
    answer = Container("web", "docker", ID, image="bb:1", labels=(("a", "b"),))
    for row in (
        Container("web", "podman", ID),
        Container("web", "docker", ID, user=ALICE),
        Container("web", "docker", ID, vouched_by=51),
    ):
        (seen,) = completed(tree, [row], [answer])
        assert (seen.id, seen.image, seen.labels) == (ID, "", ())


def test_a_daemon_that_cannot_be_asked_is_noted(tree: ProcTree) -> None:
    def fails(_draft: Draft) -> list[Container]:
        raise OSError(24, "Too many open files")

    row = Container("web", "docker", ID)
    found = take(
        [Part.CONTAINERS],
        proc_root=str(tree.root),
        sources={"x": lambda _draft: [row]},
        answers=fails,
    )
    assert found.containers == (row,)
    assert [gap.object for gap in found.gaps] == ["containers of daemons"]
