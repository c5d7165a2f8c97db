"""Whose word counts, and for which processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsctl.engines.survey import Survey, Trust, View, option, options
from nsctl.model.container import Container
from nsctl.model.part import Part
from nsctl.model.task import Task
from unit.engines.machine import ALL, Machine
from unit.factories import HOST, ns

pytestmark = pytest.mark.unit

ALICE = 1000


def _row(survey: Survey, pid: int) -> Task:
    task = survey.row_of(pid)
    assert task is not None
    return task


def trust(machine: Machine, pid: int) -> Trust | None:
    survey = machine.survey()
    return survey.trust(_row(survey, pid))


@pytest.mark.parametrize(
    ("options_of", "kind"),
    [
        ({}, "host"),
        ({"uid": ALICE}, "user"),
        # A service with a mount namespace of its own, as a service manager gives one.
        ({"inodes": ns(mnt=900), "caps": ALL}, "host"),
        # A container that shares the host's PID namespace: with and without its powers.
        ({"inodes": ns(mnt=900), "caps": 1 << 19}, "inside"),
        ({"inodes": ns(mnt=900), "caps": ALL, "seccomp": 2}, "inside"),
        ({"inodes": ns(mnt=900), "uid": ALICE}, "inside"),
        ({"inodes": ns(mnt=900, pid=901), "caps": ALL}, "inside"),
        # Root in a user namespace of his own.
        ({"inodes": ns(mnt=900, user=902), "uid": ALICE, "caps": ALL}, "user"),
        ({"inodes": ns(mnt=900, pid=901, user=902), "uid": ALICE, "caps": ALL}, "inside"),
    ],
)
def test_whose_word_counts_how_far(machine: Machine, options_of: dict[str, int], kind: str) -> None:
    machine.add(50, **options_of)  # type: ignore[arg-type]  # a table of keywords
    found = trust(machine, 50)
    assert found is not None
    assert found.kind == kind
    assert found.uid == options_of.get("uid", 0)


def test_who_is_root_in_one_respect_only_is_not_root(machine: Machine) -> None:
    directory = machine.add(50, uid=ALICE)
    status = (directory / "status").read_bytes()
    for uids in (b"1000\t0\t0\t0", b"0\t0\t1000\t0"):
        text = status.replace(b"1000\t1000\t1000\t1000", uids)
        (directory / "status").write_bytes(text)
        found = trust(machine, 50)
        assert found is not None
        assert found.kind != "host"


def test_nothing_counts_of_who_may_not_be_looked_into(machine: Machine) -> None:
    machine.add(50, inodes=(-1,) * 10)
    survey = machine.survey()
    assert survey.trust(_row(survey, 50)) is None
    assert survey.view_of(_row(survey, 50)) is None
    assert not survey.may_speak_for(_row(survey, 50), _row(survey, 1))


def test_a_process_is_believed_only_if_something_agrees(machine: Machine) -> None:
    machine.add(50)
    machine.add(60, ppid=50)
    machine.add(61, ppid=1, start=700, cgroup=b"0::/docker/abc\n")
    machine.add(62, ppid=50, state="Z", inodes=ns(mnt=0))
    survey = machine.survey()
    shim = _row(survey, 50)
    assert survey.process(60, shim) == _row(survey, 60)
    assert survey.process(61, shim) is None
    assert survey.process(61, shim, start=700) == _row(survey, 61)
    assert survey.process(61, None, start=701) == _row(survey, 61)
    assert survey.process(61, None, start=702) is None
    assert survey.process(61, None, cgroup="abc") == _row(survey, 61)
    assert survey.process(61, None, cgroup="abd") is None
    assert survey.process(62, shim) is None
    assert survey.process(999, shim) is None


def test_a_user_speaks_for_what_descends_from_him(machine: Machine) -> None:
    machine.add(50, uid=ALICE)
    machine.add(60, ppid=50, uid=ALICE)
    machine.add(70, start=700, cgroup=b"0::/docker/abc\n")
    survey = machine.survey()
    shim = _row(survey, 50)
    assert survey.process(60, shim) == _row(survey, 60)
    assert survey.process(70, shim, start=700, cgroup="abc") is None


def test_who_shares_the_hosts_pid_namespace_does_not_speak_for_the_host(machine: Machine) -> None:
    machine.add(50, inodes=ns(mnt=900), caps=1 << 19)
    machine.add(70, start=700)
    survey = machine.survey()
    assert survey.process(70, _row(survey, 50), start=700) is None


def test_numbers_of_another_pid_namespace_are_translated(machine: Machine) -> None:
    inside = ns(mnt=900, pid=901)
    deeper = ns(mnt=910, pid=911)
    machine.add(50, inodes=inside, nspids=(50, 1))
    machine.add(51, inodes=inside, nspids=(51, 7), ppid=50)
    machine.add(52, inodes=deeper, nspids=(52, 8, 1), ppid=51)
    # Another container, with the same inner number.
    machine.add(80, inodes=ns(mnt=990, pid=991), nspids=(80, 8), ppid=1)
    machine.add(8, start=700)
    survey = machine.survey()
    shim = _row(survey, 51)
    assert survey.numbered(8, shim) == _row(survey, 52)
    assert survey.process(8, shim) == _row(survey, 52)
    assert survey.process(1, shim) is None
    assert survey.process(1, shim, cgroup="/") == _row(survey, 50)


def test_a_row_says_whose_word_it_is(machine: Machine) -> None:
    group = b"0::/docker/outer/mine\n"
    machine.add(50, inodes=ns(mnt=900, pid=901), cgroup=b"0::/docker/outer/x\n")
    machine.add(51, ppid=50, inodes=ns(mnt=900, pid=901), cgroup=group)
    machine.add(60, uid=ALICE)
    machine.add(70)
    survey = machine.survey()
    inner, first = _row(survey, 50), _row(survey, 51)
    container = Container("web", "docker", "mine")
    row = survey.row(container, inner, first)
    assert (row.vouched_by, row.user, row.pid, row.state) == (50, 0, 51, "running")
    assert row.cgroups == ("/docker/outer/mine",)
    # One whose id is a group further up claims no group.
    assert survey.row(container._replace(id="docker"), inner, first).cgroups == ()
    row = survey.row(container, _row(survey, 60), None)
    assert (row.vouched_by, row.user, row.pid, row.state) == (60, ALICE, 0, "stopped")
    row = survey.row(container, _row(survey, 70), None)
    assert (row.vouched_by, row.user) == (0, 0)


def test_arguments_are_read_of_the_process_that_was_seen(machine: Machine) -> None:
    directory = machine.add(50, words=("containerd-shim-runc-v2", "-id", "a\tb", ""))
    survey = machine.survey()
    assert survey.named("containerd-shim-runc-v2") == [_row(survey, 50)]
    assert survey.command(_row(survey, 50)) == ("containerd-shim-runc-v2", "-id", "a\tb", "")
    (directory / "environ").write_bytes(b"A=1\0B=\0junk\0C=x=y\0")
    assert survey.environ(_row(survey, 50)) == {"A": "1", "B": "", "C": "x=y"}
    other = machine.survey()
    stat = (directory / "stat").read_bytes()
    (directory / "stat").write_bytes(stat.replace(b" 100\n", b" 900\n").replace(b" 100 ", b" 900 "))
    assert other.command(_row(other, 50)) == ()


def test_options_are_found_in_all_their_spellings() -> None:
    words = ("dockerd", "-g", "/a", "--data-root=/b", "--data-root", "/c", "-x")
    assert options(words, "--data-root", "-g") == ["/a", "/b", "/c"]
    assert option(words, "--data-root") == "/c"
    assert option(words, "-x") == option(words, "--none") == ""


@pytest.fixture
def state(machine: Machine) -> tuple[Survey, View, Path]:
    directory = machine.add(50)
    survey = machine.survey()
    view = survey.view_of(_row(survey, 50))
    assert view is not None
    return survey, view, directory / "root"


def test_state_that_is_not_there_is_no_matter(state: tuple[Survey, View, Path]) -> None:
    survey, view, root = state
    (root / "file").touch()
    assert survey.read(view, "/none", "x") is None
    assert survey.read(view, "/file/none", "x") is None
    assert survey.list(view, "/none", "x") == []
    assert survey.read_link(view, "/none", "x") == ""
    assert survey.gaps == []


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ('{"a": ', "half written"),
        ("[1]", "no object"),
        ("[" * 100_000, "too deeply"),
        ("", "half written"),
    ],
)
def test_what_is_half_written_is_a_line_in_the_note(
    state: tuple[Survey, View, Path], content: str, cause: str
) -> None:
    survey, view, root = state
    (root / "state.json").write_text(content)
    for _ in range(2):
        assert survey.read_json(view, "/state.json", "x") is None
    (gap,) = survey.gaps
    assert (gap.part, gap.source, gap.object) == (Part.CONTAINERS, "x", "/state.json")
    assert cause in gap.cause


def test_what_anybody_can_write_is_not_believed(state: tuple[Survey, View, Path]) -> None:
    survey, view, root = state
    (root / "state.json").write_text("{}")
    assert survey.read_json(view, "/state.json", "x") == {}
    (root / "state.json").chmod(0o666)
    assert survey.read_json(view, "/state.json", "x") is None
    assert "not root's alone" in survey.gaps[0].cause


def test_what_is_no_plain_file_or_too_long_is_noted(state: tuple[Survey, View, Path]) -> None:
    survey, view, root = state
    os.mkfifo(root / "pipe")
    (root / "long").write_bytes(b"x" * 11)
    assert survey.read(view, "/pipe", "x") is None
    assert survey.read(view, "/long", "x", limit=10) is None
    assert [gap.cause for gap in survey.gaps] == [
        "it is no regular file",
        "it is longer than 10 bytes",
    ]


def test_the_hosts_own_view_leads_through_the_process_that_is_known_to_be_the_hosts(
    machine: Machine,
) -> None:
    survey = machine.survey()
    assert survey.host_view() is None
    root = machine.tree.root / "1/root"
    root.mkdir()
    assert survey.host_view() == View(str(root), Trust("host", 0), None, HOST["mnt"])  # type: ignore[index]  # keys are words too
