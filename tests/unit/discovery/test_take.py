"""A snapshot has the parts that were asked for, says how much of each, and fails in one sentence."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from nsctl.discovery.draft import Draft
from nsctl.discovery.take import STEPS, needed, take
from nsctl.errors import KernelRefusal, NsctlError
from nsctl.model.container import Container
from nsctl.model.namespace import NS_LINKS, TYPES, NamespaceType
from nsctl.model.part import Part, PartState
from unit.factories import all_own, container, ns
from unit.proctree import READER, ProcTree

pytestmark = pytest.mark.unit

ASKED = {PartState.READ, PartState.PARTIAL}
# What the step of the tasks reads besides them.
CARRIED = {Part.CGROUPS, Part.COMMANDS, Part.CREDENTIALS}
# Parts whose steps read files alone, so that a constructed /proc can answer them.
OF_FILES = (
    Part.TASKS,
    Part.CGROUPS,
    Part.COMMANDS,
    Part.CREDENTIALS,
    Part.NAMESPACES,
    Part.RELATIONS,
    Part.ID_MAPS,
    Part.TIME_OFFSETS,
    Part.NETNSIDS,
    Part.NSFS_PATHS,
    Part.MOUNTS,
    Part.CONTAINERS,
)


@pytest.fixture
def tree(tmp_path: Path) -> ProcTree:
    made = ProcTree(tmp_path)
    made.reader()
    made.add(1, comm=b"systemd", ppid=0)
    made.add(70, all_own(500))
    return made


@pytest.mark.parametrize("part", OF_FILES)
def test_a_part_brings_what_its_step_needs_and_nothing_else_is_read(
    tree: ProcTree, part: Part
) -> None:
    snapshot = take([part], proc_root=str(tree.root))
    assert set(snapshot.parts) == set(Part)
    asked = {part for part, state in snapshot.parts.items() if state in ASKED}
    assert asked == needed([part])
    assert (snapshot.namespaces != ()) == (Part.NAMESPACES in asked)


def test_every_part_is_filled_by_a_step_but_for_those_that_the_tasks_carry() -> None:
    filled = {step.fills for step in STEPS if step.fills is not None}
    assert filled == set(Part) - CARRIED


def test_a_step_comes_after_all_that_it_needs() -> None:
    done: set[Part | None] = set()
    for step in STEPS:
        assert done >= set(step.needs)
        done |= {step.fills, *(CARRIED if step.fills is Part.TASKS else ())}


def test_a_snapshot_says_when_where_and_by_whom_it_was_taken(tree: ProcTree) -> None:
    before = time.time()
    snapshot = take([Part.TASKS], proc_root=str(tree.root))
    assert before <= snapshot.began <= snapshot.ended <= time.time()
    assert (snapshot.boot_id, snapshot.uptime) == ("8d3cd5b7-0000", 5000.25)
    assert snapshot.read_from == (str(tree.root),)
    assert (snapshot.reader.pid, snapshot.reader.uid) == (READER, os.geteuid())
    assert snapshot.reader.ns == ns()
    assert (snapshot.host.basis, snapshot.host.pid, snapshot.host.ns) == ("pid1", 1, ns())


def test_uptime_is_that_of_the_initial_time_namespace(tmp_path: Path) -> None:
    tree = ProcTree(tmp_path)
    tree.reader(ns(time=500), offsets=b"monotonic 0 0\nboottime -1000 500000000\n")
    tree.add(1)
    assert take([Part.TASKS], proc_root=str(tmp_path)).uptime == 5000.25 + 999.5


def test_namespaces_are_listed_once_each_by_inode_children_s_too(tree: ProcTree) -> None:
    tree.add(71, ns(pid_for_children=801, time_for_children=802))
    rows = take([Part.NAMESPACES], proc_root=str(tree.root)).namespaces
    keys = [(row.id.type, row.id.ino) for row in rows]
    assert len(set(keys)) == len(keys) == 18
    assert [row.id.ino for row in rows] == sorted(row.id.ino for row in rows)
    assert {(NamespaceType.PID, 801), (NamespaceType.TIME, 802)} <= set(keys)
    assert len({row.id.dev for row in rows}) == 1


def test_an_unreadable_reference_leaves_nothing_that_is_the_hosts(tmp_path: Path) -> None:
    tree = ProcTree(tmp_path)
    tree.add(70)
    snapshot = take([Part.TASKS], proc_root=str(tmp_path), sources={})
    assert snapshot.host.basis == "caller"
    assert set(snapshot.host.ns) == {-1}
    assert snapshot.parts[Part.TASKS] is PartState.PARTIAL


def test_a_procfs_of_processes_only_lacks_the_boot_and_has_the_clocks_uptime(
    tree: ProcTree,
) -> None:
    shutil.rmtree(tree.root / "sys")
    (tree.root / "uptime").unlink()
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    snapshot = take([Part.TASKS], proc_root=str(tree.root))
    assert snapshot.boot_id == ""
    assert before <= snapshot.uptime <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_directory_that_is_no_procfs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelRefusal, match=f"cannot read {tmp_path}: it is no procfs"):
        take([Part.TASKS], proc_root=str(tmp_path))


def test_text_that_no_kernel_writes_is_refused_in_one_sentence(tree: ProcTree) -> None:
    (tree.root / "70" / "stat").write_bytes(b"70 (x) S\n")
    with pytest.raises(NsctlError) as caught:
        take([Part.TASKS], proc_root=str(tree.root))
    assert caught.value.sentence == (f"cannot understand {tree.root} (tasks): stat line cut short")


def fine(_draft: Draft) -> list[Container]:
    return [container("web")]


def refusing(_draft: Draft) -> list[Container]:
    raise NsctlError("ask", "docker", "it does not answer")


def denied(_draft: Draft) -> list[Container]:
    raise PermissionError(13, "Permission denied", "/run/x")


def test_an_engine_that_fails_costs_its_rows_and_a_line_in_the_note(tree: ProcTree) -> None:
    snapshot = take(
        [Part.CONTAINERS],
        proc_root=str(tree.root),
        sources={"docker": refusing, "podman": denied, "nsctl": fine},
    )
    assert [row.name for row in snapshot.containers] == ["web"]
    assert [(gap.source, gap.state, gap.cause) for gap in snapshot.gaps] == [
        ("docker", PartState.UNREADABLE, "cannot ask docker: it does not answer"),
        ("podman", PartState.UNREADABLE, "cannot list podman: Permission denied (EACCES)"),
    ]
    assert snapshot.parts[Part.CONTAINERS] is PartState.PARTIAL


def test_the_names_of_the_users_that_were_met_are_known(tree: ProcTree) -> None:
    uid = os.stat(tree.root / "70").st_uid
    users = take([Part.TASKS], proc_root=str(tree.root)).users
    assert set(users) <= {uid}


def test_this_host_can_be_read_whole_by_whoever_runs_the_tests() -> None:
    snapshot = take(OF_FILES)
    own = next(task for task in snapshot.tasks if task.pid == os.getpid())
    expected = {
        link: os.stat(f"/proc/self/ns/{link}").st_ino
        for link in NS_LINKS
        if os.path.exists(f"/proc/self/ns/{link}")
    }
    assert {link: ino for link, ino in zip(NS_LINKS, own.ns, strict=True) if ino} == expected
    assert snapshot.reader.pid == os.getpid()
    by_key = {(row.id.type, row.id.ino): row for row in snapshot.namespaces}
    for kind, ino in zip(TYPES, own.ns, strict=False):
        if ino:
            assert by_key[kind, ino].id.dev == os.stat("/proc/self/ns/mnt").st_dev
    user = by_key[NamespaceType.USER, own.ns[TYPES.index(NamespaceType.USER)]]
    assert user.maps is not None
    assert snapshot.parts[Part.TASKS] in ASKED
