"""What steps add to namespaces: maps, clocks, parents and owners, bind mounts, mount tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nsctl.discovery import id_maps, mounts, namespaces, nsfs_paths, reader, tasks, time_offsets
from nsctl.discovery.draft import Draft
from nsctl.discovery.members import Members
from nsctl.discovery.take import take
from nsctl.kernel.procfs import ProcFs
from nsctl.model.namespace import (
    IdExtent,
    IdMaps,
    Namespace,
    NamespaceType,
    TimeOffsets,
)
from nsctl.model.part import Part, PartState
from unit.factories import HOST, ns
from unit.proctree import READER, ProcTree

pytestmark = pytest.mark.unit

USER, TIME, NET, MNT = (
    NamespaceType.USER,
    NamespaceType.TIME,
    NamespaceType.NET,
    NamespaceType.MNT,
)


@pytest.fixture
def tree(tmp_path: Path) -> ProcTree:
    made = ProcTree(tmp_path)
    made.reader()
    made.add(1, ppid=0)
    return made


def scanned(tree: ProcTree) -> Draft:
    """A draft with tasks and namespaces, before any other step."""
    draft = Draft(ProcFs(str(tree.root)), frozenset({Part.TASKS, Part.NAMESPACES}), {})
    for run in (reader.run, tasks.run, namespaces.run):
        run(draft)
    return draft


def of(draft: Draft, kind: NamespaceType, ino: int) -> Namespace:
    return draft.namespaces[kind, ino]


def after(tree: ProcTree, step: Callable[[Draft], None]) -> Draft:
    draft = scanned(tree)
    step(draft)
    return draft


# --- Id maps


def test_the_maps_of_a_user_namespace_are_read_through_a_member(tree: ProcTree) -> None:
    directory = tree.add(70, ns(user=500))
    (directory / "uid_map").write_bytes(b"         0       1000          1\n")
    (directory / "gid_map").write_bytes(b"")
    (directory / "setgroups").write_bytes(b"deny\n")
    draft = after(tree, id_maps.run)
    assert of(draft, USER, 500).maps == IdMaps((IdExtent(0, 1000, 1),), (), "deny")
    assert of(draft, USER, HOST[USER]).maps is not None
    assert draft.gaps == []


def test_maps_are_read_through_the_next_member_where_one_vanished(tree: ProcTree) -> None:
    tree.add(70, ns(user=500))
    tree.add(71, ns(user=500))
    draft = scanned(tree)
    tree.remove(70)
    id_maps.run(draft)
    assert of(draft, USER, 500).maps is not None


def test_a_number_that_is_another_processs_by_now_answers_for_no_namespace(
    tree: ProcTree,
) -> None:
    tree.add(70, ns(user=500))
    draft = scanned(tree)
    tree.remove(70)
    (tree.add(70, ns(user=501)) / "uid_map").write_bytes(b"0 5 1\n")
    id_maps.run(draft)
    assert of(draft, USER, 500).maps is None
    assert draft.gaps == []


def test_a_user_namespace_without_a_process_has_unknown_maps_and_the_note_says_so(
    tree: ProcTree,
) -> None:
    draft = scanned(tree)
    draft.add_namespace(USER, 900)
    id_maps.run(draft)
    assert [(gap.part, gap.object) for gap in draft.gaps] == [
        (Part.ID_MAPS, "id maps of 1 namespace without a process")
    ]
    # Where processes can be found by the procfs's numbers, it would be visited, if anything led to it.
    draft = scanned(tree)
    draft.own_numbers = True
    draft.add_namespace(USER, 900)
    id_maps.run(draft)
    assert [(gap.part, gap.object) for gap in draft.gaps] == [
        (Part.ID_MAPS, "id maps of 1 user namespace")
    ]


# --- Clocks

OFFSETS = b"monotonic          -1 500000000\nboottime      172800         0\n"


def test_the_offsets_of_a_time_namespace_are_read_through_its_processes(tree: ProcTree) -> None:
    tree.add(70, ns(time=500), offsets=OFFSETS)
    draft = after(tree, time_offsets.run)
    assert of(draft, TIME, 500).offsets == TimeOffsets(-500_000_000, 172_800 * 10**9)
    assert of(draft, TIME, HOST[TIME]).offsets == TimeOffsets(0, 0)
    assert draft.gaps == []


def test_offsets_are_those_of_the_namespace_for_children_not_of_the_own(tree: ProcTree) -> None:
    tree.add(70, ns(time=500, time_for_children=501), offsets=OFFSETS)
    draft = after(tree, time_offsets.run)
    assert of(draft, TIME, 500).offsets is None
    assert of(draft, TIME, 501).offsets is not None


def test_offsets_are_not_taken_from_a_process_that_moved_on_or_ended(tree: ProcTree) -> None:
    tree.add(70, ns(time=500))
    tree.add(71, ns(time=501))
    draft = scanned(tree)
    tree.remove(70)
    tree.add(70, ns(time=502), offsets=OFFSETS)
    (tree.root / "71" / "ns" / "time_for_children").unlink()
    (tree.root / "71" / "timens_offsets").write_bytes(b"")
    time_offsets.run(draft)
    assert of(draft, TIME, 500).offsets is None
    assert of(draft, TIME, 501).offsets is None
    assert draft.gaps == []


# --- Bind mounts and mount tables


def test_a_namespace_that_only_a_bind_mount_holds_is_a_row_of_its_own(tree: ProcTree) -> None:
    (tree.root / str(READER) / "mountinfo").write_bytes(
        b"25 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        b"36 25 0:4 net:[900] /run/netns/a\\040b rw - nsfs nsfs rw\n"
        b"37 25 0:4 net:[900] /mnt/again rw - nsfs nsfs rw\n"
        b"38 25 0:4 new:[901] /mnt/new rw - nsfs nsfs rw\n"
    )
    snapshot = take([Part.NSFS_PATHS], proc_root=str(tree.root))
    (row,) = (row for row in snapshot.namespaces if row.id.ino == 900)
    assert row.id.type is NET
    assert row.nsfs_paths == (b"/run/netns/a b", b"/mnt/again")
    assert [(h.kind, h.path, h.mntns) for h in row.holders] == [
        ("bind", b"/run/netns/a b", HOST[MNT]),
        ("bind", b"/mnt/again", HOST[MNT]),
    ]
    assert snapshot.gaps == ()


def test_bind_mounts_are_unknown_to_a_reader_that_is_not_in_the_procfs(tmp_path: Path) -> None:
    tree = ProcTree(tmp_path)
    tree.add(1)
    draft = after(tree, nsfs_paths.run)
    assert [(gap.part, gap.state) for gap in draft.gaps] == [
        (Part.NSFS_PATHS, PartState.UNREADABLE)
    ]


TABLE = b"25 1 8:1 /srv/web / ro,relatime - ext4 /dev/sda1 rw\n26 25 0:5 / /proc rw - proc p rw\n"


def test_the_longest_table_of_a_few_members_is_the_mount_namespaces(tree: ProcTree) -> None:
    (tree.add(70, ns(mnt=500)) / "mountinfo").write_bytes(TABLE.partition(b"\n")[0] + b"\n")
    (tree.add(71, ns(mnt=500)) / "mountinfo").write_bytes(TABLE)
    (tree.root / "1" / "mountinfo").write_bytes(TABLE)
    draft = after(tree, mounts.run)
    assert [(row.point, row.read_only, row.fs_type) for row in draft.mounts[500]] == [
        (b"/", True, "ext4"),
        (b"/proc", False, "proc"),
    ]
    assert draft.gaps == []


def test_a_table_is_not_taken_from_a_process_that_moved_on_or_vanished(tree: ProcTree) -> None:
    (tree.root / "1" / "mountinfo").write_bytes(TABLE)
    tree.add(70, ns(mnt=500))
    tree.add(71, ns(mnt=501))
    draft = scanned(tree)
    tree.remove(71)
    tree.remove(70)
    (tree.add(70, ns(mnt=502)) / "mountinfo").write_bytes(TABLE)
    mounts.run(draft)
    assert set(draft.mounts) == {HOST[MNT]}
    assert draft.gaps == []


def test_a_mount_namespace_whose_members_see_none_of_it_is_a_gap(tree: ProcTree) -> None:
    (tree.root / "1" / "mountinfo").write_bytes(TABLE)
    (tree.add(70, ns(mnt=500)) / "mountinfo").write_bytes(b"")
    draft = after(tree, mounts.run)
    assert 500 not in draft.mounts
    assert [gap.object for gap in draft.gaps] == ["mounts of 1 mount namespace"]


# --- Namespaces that can be opened


def real(kind: NamespaceType) -> int:
    return os.stat(f"/proc/self/ns/{kind}").st_ino


def lead(tree: ProcTree, pid: int, kind: NamespaceType) -> None:
    """Let a process's dangling link lead to the namespace of the running test."""
    directory = tree.root / str(pid) / "ns"
    target = directory / os.readlink(directory / kind)
    target.unlink(missing_ok=True)
    target.symlink_to(f"/proc/self/ns/{kind}")


@pytest.fixture
def opening(tmp_path: Path) -> ProcTree:
    """A tree whose reader and process 70 are in the running test's own namespaces."""
    made = ProcTree(tmp_path)
    inodes = ns(net=real(NET), user=real(USER), mnt=real(MNT))
    made.reader(inodes)
    made.add(70, inodes)
    lead(made, READER, MNT)
    for kind in (NET, USER):
        lead(made, 70, kind)
    return made


def test_a_namespace_is_opened_through_a_member_and_checked(opening: ProcTree) -> None:
    members = Members(scanned(opening))
    with members.open(NET, real(NET)) as fd:
        assert fd is not None
        assert os.fstat(fd).st_ino == real(NET)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_a_namespace_whose_member_moved_on_is_not_taken_for_another(opening: ProcTree) -> None:
    draft = scanned(opening)
    link = opening.root / "70" / "ns" / f"net:[{real(NET)}]"
    link.unlink()
    link.symlink_to("/proc/self/ns/uts")
    members = Members(draft)
    with members.open(NET, real(NET)) as fd:
        assert fd is None
    assert not members.refused


def test_a_file_that_has_a_namespaces_inode_by_chance_is_none(opening: ProcTree) -> None:
    link = opening.root / "70" / "ns" / f"net:[{real(NET)}]"
    link.unlink()
    link.touch()
    draft = scanned(opening)
    ino = link.stat().st_ino
    directory = opening.add(71, ns(net=ino))
    (directory / "ns" / f"net:[{ino}]").hardlink_to(link)
    draft = scanned(opening)
    with Members(draft).open(NET, ino) as fd:
        assert fd is None


def test_a_namespace_says_its_owner_and_id_and_the_owner_is_found_with_it(
    opening: ProcTree,
) -> None:
    snapshot = take([Part.RELATIONS, Part.NETNSIDS], proc_root=str(opening.root))
    by_key = {(row.id.type, row.id.ino): row for row in snapshot.namespaces}
    net, user = by_key[NET, real(NET)], by_key[USER, real(USER)]
    assert net.owner == 0 or (USER, net.owner) in by_key
    assert user.owner_uid is not None
    assert net.netnsid is not None
    assert snapshot.parts[Part.RELATIONS] is PartState.READ


def test_an_open_descriptor_of_a_namespace_is_one_of_its_holders() -> None:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    child = None
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(fd,)
        )
        snapshot = take([Part.DESCRIPTORS])
        (net,) = (row for row in snapshot.namespaces if row.id.ino == real(NET))
        held = [(holder.kind, holder.fd) for holder in net.holders if holder.pid == child.pid]
        assert held == [("fd", fd)]
    finally:
        os.close(fd)
        if child is not None:
            child.communicate(b"\n")
