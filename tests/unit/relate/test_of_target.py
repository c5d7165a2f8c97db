"""Which namespaces a TARGET is about, on snapshots made by hand."""

from __future__ import annotations

import pytest

from nsctl.errors import TargetError
from nsctl.model.namespace import UNREADABLE, NamespaceType
from nsctl.model.part import PartState
from nsctl.model.target import Target
from nsctl.relate.find import Found, find
from nsctl.relate.of_target import inodes_of, unread
from unit.factories import all_own, container, ns, snapshot, task

pytestmark = pytest.mark.unit

_HIDDEN = tuple([UNREADABLE] * 10)


def test_where_namespaces_may_not_be_read_the_target_is_named_as_lacking() -> None:
    rows = [task(1), task(5, _HIDDEN, cgroup=b"0::/web\n")]
    web = container("web", pid=5, start=50, cgroups=["/web"])
    found = snapshot(rows, containers=[web])
    for text, target in (("web", Target("name", "web", name="web")), ("5", Target("pid", "5", 5))):
        gap = unread(find(found, target), NamespaceType.IPC, text)
        assert gap is not None
        assert gap.object == f"which IPC namespace {text} is in"
        assert (gap.needs, gap.state) == ("CAP_SYS_PTRACE", PartState.UNREADABLE)


def test_where_they_may_be_read_and_where_there_is_no_process_nothing_is_lacking() -> None:
    found = snapshot([task(1), task(5, all_own(500))])
    assert unread(find(found, Target("pid", "5", 5)), NamespaceType.NET, "5") is None
    assert unread(Found(), NamespaceType.NET, "made") is None


def test_a_namespace_of_another_type_is_refused_in_good_english() -> None:
    found = snapshot([task(1), task(5, ns(uts=77))])
    uts = find(found, Target("namespace", "uts:[77]", ino=77, type=NamespaceType.UTS))
    with pytest.raises(TargetError, match="it is a UTS namespace, not an IPC namespace"):
        inodes_of(uts, NamespaceType.IPC, [])
