"""Processes are read one by one, as they are at that moment, and what is hidden is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nsctl.discovery import reader, tasks
from nsctl.discovery.draft import Draft
from nsctl.kernel.procfs import ProcFs
from nsctl.model.namespace import ABSENT, TYPES, NamespaceType
from nsctl.model.part import Part, PartState
from nsctl.model.task import Task
from support.users import OrdinaryUser
from unit.factories import all_own, ns
from unit.proctree import READER, ProcTree

pytestmark = pytest.mark.unit

_PID = TYPES.index(NamespaceType.PID)
_USER = TYPES.index(NamespaceType.USER)
_TIME = TYPES.index(NamespaceType.TIME)


@pytest.fixture
def tree(tmp_path: Path) -> ProcTree:
    made = ProcTree(tmp_path)
    made.reader()
    made.add(1, comm=b"systemd", ppid=0, start=1)
    return made


def read(tree: ProcTree, *parts: Part) -> Draft:
    draft = Draft(ProcFs(str(tree.root)), frozenset({Part.TASKS, *parts}), {})
    reader.run(draft)
    tasks.run(draft)
    return draft


def only(draft: Draft, pid: int) -> Task:
    (found,) = (task for task in draft.tasks if task.pid == pid)
    return found


def test_a_process_is_read_with_its_ten_links_and_nothing_that_was_not_asked(
    tree: ProcTree,
) -> None:
    tree.add(70, all_own(500), comm=b"a) b\n\xff", ppid=1, start=777, threads=3)
    task = only(read(tree), 70)
    assert task.ns == all_own(500)
    assert (task.comm, task.ppid, task.start, task.threads) == (b"a) b\n\xff", 1, 777, 3)
    assert (task.cgroup, task.command, task.nspids, task.credentials) == (None, None, (), None)


def test_what_was_asked_for_is_read(tree: ProcTree) -> None:
    tree.add(70, comm=b"x", caps=0xFF)
    task = only(read(tree, Part.CGROUPS, Part.COMMANDS, Part.CREDENTIALS), 70)
    assert (task.cgroup, task.command, task.nspids) == (b"0::/\n", b"x\0", (70,))
    assert task.credentials is not None
    assert task.credentials.caps.effective == 0xFF


def test_of_leaders_alone_the_command_lines_are_read_that_stand_for_a_namespace(
    tree: ProcTree,
) -> None:
    """The first of each combination: so the first in each namespace is among them."""
    for pid, inodes in ((70, all_own(500)), (71, all_own(500)), (72, ns(net=7)), (73, ns(net=7))):
        tree.add(pid, inodes)
    found = {task.pid: task.command for task in read(tree, Part.LEADERS).tasks}
    assert found == {1: b"systemd\0", 70: b"x\0", 71: None, 72: b"x\0", 73: None, READER: None}


def test_tasks_are_in_the_order_of_their_numbers(tree: ProcTree) -> None:
    for pid in (100, 20, 3):
        tree.add(pid)
    assert [task.pid for task in read(tree).tasks] == [1, 3, 20, 100, READER]


def test_a_process_that_vanished_after_it_was_listed_is_left_out_and_no_gap(
    tree: ProcTree,
) -> None:
    (tree.root / "70").mkdir()
    tree.add(71)
    (tree.root / "71" / "status").unlink()
    draft = read(tree, Part.CREDENTIALS)
    assert [task.pid for task in draft.tasks] == [1, READER]
    assert draft.gaps == []


def test_a_zombie_keeps_its_pid_and_user_namespaces_alone(tree: ProcTree) -> None:
    kept = tuple(ino if i in {_PID, _USER} else ABSENT for i, ino in enumerate(all_own(500)))
    tree.add(70, kept, state="Z")
    draft = read(tree)
    assert only(draft, 70).ns == kept
    assert draft.gaps == []


def test_a_process_that_is_about_to_end_has_no_namespaces_but_those_of_a_zombie(
    tree: ProcTree,
) -> None:
    # The kernel drops all but two at once, between two links that were read.
    half = tuple(0 if i > _USER else ino for i, ino in enumerate(all_own(500)))
    tree.add(70, half, state="R")
    assert [ino for ino in only(read(tree), 70).ns if ino] == [500 + _PID, 500 + _USER]


def test_a_dead_leader_is_where_its_living_threads_are(tree: ProcTree) -> None:
    nothing = ns(**{str(kind): 0 for kind in TYPES})
    directory = tree.add(70, nothing, state="Z", threads=3)
    for tid, inodes in ((70, nothing), (71, nothing), (72, all_own(500))):
        (directory / "task" / str(tid)).mkdir(parents=True)
        tree.link(directory / "task" / str(tid), inodes)
    assert only(read(tree), 70).ns == all_own(500)


def test_a_dead_leader_whose_threads_vanish_meanwhile_is_a_zombie(tree: ProcTree) -> None:
    directory = tree.add(70, ns(**{str(kind): 0 for kind in TYPES}), state="Z", threads=2)
    (directory / "task" / "70").mkdir(parents=True)
    assert only(read(tree), 70).ns == (ABSENT,) * 10


def test_a_kernel_without_time_namespaces_leaves_their_place_empty(tmp_path: Path) -> None:
    tree = ProcTree(tmp_path)
    tree.reader(ns(time=0), offsets=b"")
    (tree.root / str(READER) / "timens_offsets").unlink()
    tree.add(1, ns(time=0), offsets=None)
    tree.add(70, ns(net=7, time=0), offsets=None)
    draft = read(tree)
    assert only(draft, 70).ns == ns(net=7, time=0)
    assert draft.gaps == []


def test_a_pid_namespace_that_waits_for_its_first_process_is_absent(tree: ProcTree) -> None:
    tree.add(70, ns(pid_for_children=0))
    assert only(read(tree), 70).ns == ns(pid_for_children=0)


def test_a_kernel_thread_has_an_empty_command_line(tree: ProcTree) -> None:
    tree.add(2, comm=b"kthreadd", kernel=True, ppid=0)
    task = only(read(tree, Part.COMMANDS), 2)
    assert (task.kernel, task.command) == (True, b"")


@pytest.mark.parametrize("seconds", [3600, -60])
def test_start_times_are_those_of_the_initial_time_namespace(tmp_path: Path, seconds: int) -> None:
    tree = ProcTree(tmp_path)
    offsets = b"monotonic 0 0\nboottime %d 0\n" % seconds
    tree.reader(ns(time=500), offsets=offsets)
    tree.add(1, start=(100 + seconds * 100) % (((1 << 64) + 10**7 - 1) // 10**7))
    draft = read(tree)
    assert only(draft, 1).start == 100
    assert draft.gaps == []


def test_start_times_are_unknown_where_the_reader_cannot_know_its_own_offset(
    tmp_path: Path,
) -> None:
    tree = ProcTree(tmp_path)
    tree.reader(ns(time=500, time_for_children=501), offsets=b"monotonic 0 0\nboottime 9 0\n")
    tree.add(1)
    draft = read(tree)
    assert draft.boottime_offset == 0
    assert [(gap.part, gap.object) for gap in draft.gaps] == [
        (Part.TASKS, "start times in the initial time namespace")
    ]


def test_a_procfs_that_does_not_show_process_1_hides_processes(tmp_path: Path) -> None:
    tree = ProcTree(tmp_path)
    tree.reader()
    (gap,) = read(tree).gaps
    assert (gap.part, gap.state, gap.needs) == (Part.TASKS, PartState.PARTIAL, "CAP_SYS_PTRACE")
    assert "hidepid" in gap.cause


def test_the_reader_may_be_nobody_in_the_procfs_that_it_reads(tmp_path: Path) -> None:
    tree = ProcTree(tmp_path)
    tree.add(1)
    draft = read(tree)
    assert draft.reader.pid == 0
    assert draft.dev
    assert only(draft, 1).ns == ns()


REFUSED = """
import sys
from nsctl.discovery import reader, tasks
from nsctl.discovery.draft import Draft
from nsctl.kernel.procfs import ProcFs
from nsctl.model.part import Part
parts = frozenset({Part.TASKS, Part.CGROUPS, Part.COMMANDS})
draft = Draft(ProcFs(sys.argv[1]), parts, {})
reader.run(draft)
tasks.run(draft)
for task in draft.tasks:
    print("task", task.pid, set(task.ns), task.cgroup, task.command)
for gap in draft.gaps:
    print("gap", gap.part, gap.state, gap.object, gap.needs, gap.pids, sep="|")
"""


def refused(user: OrdinaryUser, tmp_path: Path, caps: int, *names: str) -> list[str]:
    """What an ordinary user is told of a /proc in which he may not read these names."""
    root = Path(user.home) / tmp_path.name
    root.mkdir()
    tree = ProcTree(root)
    tree.reader(caps=caps)
    tree.add(1)
    tree.add(70)
    modes = {root / name: (root / name).stat().st_mode for name in names}
    try:
        for path in modes:
            path.chmod(0)
        return user.python(REFUSED, str(root)).stdout.split("\n")
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
        shutil.rmtree(root)


def test_unreadable_namespaces_are_unknown_and_the_note_says_whose(
    ordinary_user: OrdinaryUser, tmp_path: Path
) -> None:
    lines = refused(ordinary_user, tmp_path, 0, "70/ns")
    assert "task 70 {-1} b'0::/\\n' b'x\\x00'" in lines
    assert "gap|tasks|unreadable|namespaces of process 70|CAP_SYS_PTRACE|(70,)" in lines


def test_the_note_does_not_ask_for_a_capability_that_is_held(
    ordinary_user: OrdinaryUser, tmp_path: Path
) -> None:
    lines = refused(ordinary_user, tmp_path, 1 << 19, "70/ns", "1/ns")
    assert "gap|tasks|unreadable|namespaces of processes 1, 70||(1, 70)" in lines


def test_a_procfs_that_shows_numbers_only_is_partial_and_no_failure(
    ordinary_user: OrdinaryUser, tmp_path: Path
) -> None:
    lines = refused(ordinary_user, tmp_path, 0, "1", "70")
    assert [line.split()[1] for line in lines if line.startswith("task")] == [str(READER)]
    assert "gap|tasks|partial|processes of other users|CAP_SYS_PTRACE|(1, 70)" in lines


def test_an_unreadable_control_group_or_command_line_is_a_gap_of_its_part(
    ordinary_user: OrdinaryUser, tmp_path: Path
) -> None:
    lines = refused(ordinary_user, tmp_path, 0, "70/cgroup", "1/cmdline")
    assert f"task 70 {set(ns())} None b'x\\x00'" in lines
    assert f"task 1 {set(ns())} b'0::/\\n' None" in lines
    assert "gap|cgroups|partial|control groups of process 70|CAP_SYS_PTRACE|(70,)" in lines
    assert "gap|commands|partial|command lines of process 1|CAP_SYS_PTRACE|(1,)" in lines


def test_a_gap_names_few_processes_and_counts_many() -> None:
    draft = Draft(ProcFs("/p"), frozenset(), {})
    for pids in ([7], [7, 8, 9], [7, 8, 9, 10], []):
        draft.note_refused(Part.TASKS, "namespaces", pids, PartState.PARTIAL)
    assert [gap.object for gap in draft.gaps] == [
        "namespaces of process 7",
        "namespaces of processes 7, 8, 9",
        "namespaces of 4 processes",
    ]
    assert {gap.source for gap in draft.gaps} == {"/p"}
