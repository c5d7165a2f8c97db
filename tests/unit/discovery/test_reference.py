"""Which process tells what is the host's: process 1, else kthreadd, else whoever asks."""

from __future__ import annotations

import pytest

from nsctl.discovery import reference
from nsctl.discovery.draft import Draft
from nsctl.kernel.procfs import ProcFs
from nsctl.model.namespace import NS_LINKS, UNREADABLE
from nsctl.model.snapshot import Reader, Reference
from nsctl.model.task import Task
from unit.factories import all_own, ns, task

pytestmark = pytest.mark.unit

NOT_READ = (UNREADABLE,) * len(NS_LINKS)
KTHREADD = task(2, all_own(200))._replace(kernel=True)


def chosen(*tasks: Task, caps: int = 0) -> Draft:
    draft = Draft(ProcFs(), frozenset(), {})
    draft.reader = Reader(99, 1000, caps, all_own(300))
    draft.tasks = list(tasks)
    reference.run(draft)
    return draft


def test_process_1_tells_where_it_can_be_read() -> None:
    draft = chosen(task(1, ns(net=7)), KTHREADD)
    assert draft.reference == Reference("pid1", 1, ns(net=7))
    assert draft.gaps == []


@pytest.mark.parametrize("first", [[task(1, NOT_READ)], []])
def test_kthreadd_tells_where_process_1_is_hidden_or_unreadable(first: list[Task]) -> None:
    draft = chosen(*first, KTHREADD)
    assert draft.reference == Reference("kernel-thread", 2, all_own(200))
    assert draft.gaps == []


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        ([], "process 1 is not shown"),
        ([task(1, NOT_READ)], "process 1 may not be read"),
        ([task(1, NOT_READ), KTHREADD._replace(ns=NOT_READ)], "process 1 may not be read"),
        ([task(1, NOT_READ), task(2, all_own(200))], "process 1 may not be read"),
    ],
)
def test_the_caller_tells_where_neither_can_and_the_note_says_so(
    tasks: list[Task], why: str
) -> None:
    draft = chosen(*tasks)
    assert draft.reference == Reference("caller", 99, all_own(300))
    (gap,) = draft.gaps
    assert gap.cause.startswith(why)
    assert gap.needs == "CAP_SYS_PTRACE"


def test_a_capability_that_is_held_is_not_asked_for() -> None:
    assert [gap.needs for gap in chosen(task(1, NOT_READ), caps=1 << 19).gaps] == [""]


def test_a_process_1_that_has_ended_tells_nothing() -> None:
    ended = task(1, (0, 102, 0, 0, 0, 106, 0, 0, 0, 0), state="Z")
    assert chosen(ended, KTHREADD).reference.basis == "kernel-thread"
