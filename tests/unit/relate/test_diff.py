"""What a comparison of two moments says, and what it does not claim."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.namespace import (
    NS_LINKS,
    TYPES,
    UNREADABLE,
    Holder,
    HolderKind,
    Namespace,
    NamespaceId,
    NamespaceType,
)
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Reader, Snapshot
from nsctl.model.task import Task
from nsctl.relate.diff import Change, Diff, Process, diff
from unit.factories import DEV, HOST, container, namespace, ns, snapshot, task

pytestmark = pytest.mark.unit

NET = NamespaceType.NET
INIT = task(1, comm=b"init")
HIDDEN = (UNREADABLE,) * len(NS_LINKS)


def of(found: Diff, ino: int) -> list[Change]:
    return [change for change in found.changes if change.namespace.id.ino == ino]


def pids(processes: Sequence[Process]) -> list[int]:
    return [process.task.pid for process in processes]


def with_id(ino: int, ns_id: int | None) -> Namespace:
    return Namespace(NamespaceId(NET, DEV, ino), ns_id=ns_id)


def unread(*numbers: int, part: Part = Part.TASKS) -> Gap:
    what = f"namespaces of {len(numbers)}"
    return Gap(part, "/proc", what, PartState.PARTIAL, "refused", "CAP_SYS_PTRACE", numbers)


def without(moment: Snapshot, part: Part, state: PartState = PartState.NOT_ASKED) -> Snapshot:
    return moment._replace(parts={**moment.parts, part: state})


def test_a_namespace_that_a_new_process_made_is_new() -> None:
    before = snapshot([INIT])
    after = snapshot([INIT, task(33, ns(net=500), comm=b"sh")])
    (change,) = of(diff(before, after), 500)
    assert (change.kind, change.seen, pids(change.came), change.came[0].moved) == (
        "new",
        "after",
        [33],
        False,
    )
    assert change.owners[0].name == "sh"


def test_a_process_that_moves_leaves_one_namespace_and_enters_another() -> None:
    before = snapshot([INIT, task(33)])
    after = snapshot([INIT, task(33, ns(net=500))])
    found = diff(before, after)
    (new,), (left,) = of(found, 500), of(found, HOST[NET])
    assert (new.kind, pids(new.came), new.came[0].moved) == ("new", [33], True)
    assert (left.kind, pids(left.went), left.went[0].moved, left.host) == (
        "changed",
        [33],
        True,
        True,
    )
    assert len(found.changes) == 2


def test_joining_and_leaving_changes_who_is_in_a_namespace() -> None:
    a, b = task(33, ns(net=500)), task(44, ns(net=500))
    (change,) = of(diff(snapshot([INIT, a]), snapshot([INIT, b])), 500)
    assert (change.kind, pids(change.came), pids(change.went)) == ("changed", [44], [33])


def test_a_process_number_that_was_used_again_is_one_gone_and_one_new() -> None:
    a, b = task(33, ns(net=500), start=100), task(33, ns(net=500), start=900)
    found = diff(snapshot([INIT, a]), snapshot([INIT, b]))
    (change,) = of(found, 500)
    assert (pids(change.came), pids(change.went), change.came[0].moved) == ([33], [33], False)
    assert [each.start for each in (*found.came, *found.went)] == [900, 100]


def test_a_start_that_is_one_tick_off_is_the_same_process() -> None:
    a, b = task(33, ns(net=500), start=100), task(33, ns(net=500), start=101)
    assert diff(snapshot([INIT, a]), snapshot([INIT, b])) == Diff("same")


def test_an_inode_that_was_used_again_is_one_namespace_gone_and_one_new() -> None:
    member = task(33, ns(net=500))
    before = snapshot([INIT, member], [with_id(500, 7)])
    after = snapshot([INIT, member], [with_id(500, 8)])
    gone, new = of(diff(before, after), 500)
    assert (gone.kind, gone.namespace.ns_id, gone.reused) == ("gone", 7, True)
    assert (new.kind, new.namespace.ns_id, new.reused) == ("new", 8, True)


@pytest.mark.parametrize(("first", "second"), [(7, None), (None, 8), (None, None), (7, 7)])
def test_without_an_id_on_both_sides_device_and_inode_tell(
    first: int | None, second: int | None
) -> None:
    member = task(33, ns(net=500))
    before = snapshot([INIT, member], [with_id(500, first)])
    assert diff(before, snapshot([INIT, member], [with_id(500, second)])).changes == ()


def test_the_same_inode_on_another_device_is_another_namespace() -> None:
    held = Holder("bind", path=b"/x")
    elsewhere = Namespace(NamespaceId(NET, DEV + 1, 500), holders=(held,))
    found = diff(
        snapshot([INIT], [namespace(NET, 500, holders=(held,))]), snapshot([INIT], [elsewhere])
    )
    assert [change.kind for change in of(found, 500)] == ["gone", "new"]


def test_what_holds_a_namespace_comes_and_goes() -> None:
    member = task(33, ns(net=500))
    bind = Holder("bind", path=b"/run/netns/blue", mntns=HOST[NamespaceType.MNT])
    before = snapshot([INIT, member])
    after = snapshot([INIT, member], [namespace(NET, 500, holders=(bind,))])
    (change,) = of(diff(before, after), 500)
    assert (change.kind, change.held, change.released) == ("changed", (bind,), ())
    (change,) = of(diff(after, before), 500)
    assert (change.held, change.released) == ((), (bind,))


def test_another_descriptor_of_the_same_process_is_no_change() -> None:
    member = task(33)
    five, seven = (
        snapshot([INIT, member], [namespace(NET, 500, holders=(Holder("fd", pid=33, fd=fd),))])
        for fd in (5, 7)
    )
    assert diff(five, seven).changes == ()


def test_a_holder_with_the_number_of_one_that_ended_is_another() -> None:
    held = namespace(NET, 500, holders=(Holder("fd", pid=33, fd=5),))
    before = snapshot([INIT, task(33, start=100)], [held])
    after = snapshot([INIT, task(33, start=900)], [held])
    (change,) = of(diff(before, after), 500)
    assert (len(change.held), len(change.released)) == (1, 1)


def test_a_container_comes_and_goes_by_its_name() -> None:
    web = container("web", pid=50, start=500)
    first = task(50, ns(mnt=600), comm=b"nginx")
    child = task(51, ns(mnt=600), ppid=50, comm=b"nginx")
    before = snapshot([INIT])
    after = snapshot([INIT, first, child], containers=[web])
    found = diff(before, after)
    (new,), (hosts,) = of(found, 600), of(found, HOST[NET])
    assert [owner.name for owner in new.owners_came] == ["web"]
    assert [owner.name for owner in hosts.owners_came] == ["web"]
    # One more process of a container is not the container.
    (grown,) = of(diff(snapshot([INIT, first], containers=[web]), after), 600)
    assert (grown.owners_came, pids(grown.came)) == ((), [51])


def test_a_container_with_a_new_first_process_is_still_the_same() -> None:
    pinned = "0123"
    before = snapshot(
        [INIT, task(50, ns(mnt=600))], containers=[container("web", full_id=pinned, pid=50)]
    )
    after = snapshot(
        [INIT, task(60, ns(mnt=600))], containers=[container("web", full_id=pinned, pid=60)]
    )
    (change,) = of(diff(before, after), 600)
    assert (change.owners_came, change.owners_went) == ((), ())
    assert (pids(change.came), pids(change.went)) == ([60], [50])


def test_whoever_looked_is_no_finding() -> None:
    shell = task(33)
    reader = [task(99, ns(mnt=700), ppid=33), task(100, ns(net=701), ppid=99)]
    before = snapshot([INIT, shell, *reader])
    after = snapshot([INIT, shell])._replace(reader=Reader(0, 0, 0, ns()))
    assert diff(before, after) == Diff("same")
    assert diff(after, before) == Diff("same")


def test_a_namespace_is_not_news_because_somebody_besides_the_looker_is_seen_in_it() -> None:
    before = snapshot([INIT, task(99, ns(net=500))])
    after = snapshot([INIT, task(33, ns(net=500), start=5000)])
    (change,) = of(diff(before, after), 500)
    assert (change.kind, pids(change.came)) == ("changed", [33])


def test_a_member_that_became_unreadable_did_not_leave() -> None:
    readable = snapshot([INIT, task(33, ns(net=500)), task(44, ns(net=500))])
    partly = snapshot([INIT, task(33, ns(net=500)), task(44, HIDDEN)], gaps=[unread(44)])
    found = diff(readable, partly)
    assert (found.changes, found.unread) == ((), (44,))
    assert diff(partly, readable).changes == ()


def test_a_namespace_whose_member_became_unreadable_is_unknown() -> None:
    readable = snapshot([INIT, task(33, ns(net=500))])
    blind = snapshot([INIT, task(33, HIDDEN)], gaps=[unread(33)])
    (change,) = of(diff(readable, blind), 500)
    assert (change.kind, change.seen, change.came, change.went) == ("unknown", "before", (), ())
    assert "process 33" in change.why
    (change,) = of(diff(blind, readable), 500)
    assert (change.kind, change.seen) == ("unknown", "after")


def test_a_process_that_could_be_hidden_is_neither_gone_nor_new() -> None:
    old = task(33, ns(net=500), start=100)
    full = snapshot([INIT, old])
    hiding = snapshot([task(40)])
    (change,) = of(diff(full, hiding), 500)
    assert change.kind == "unknown"
    (change,) = of(diff(hiding, full), 500)
    assert change.kind == "unknown"
    assert diff(hiding, full).came == ()


def test_a_process_that_began_after_the_first_moment_is_new_even_if_that_hid_some() -> None:
    hiding = snapshot([task(40)])
    young = task(50, ns(net=500), start=int(hiding.uptime * 100) + 5000)
    (change,) = of(diff(hiding, snapshot([task(40), young])), 500)
    assert change.kind == "new"


def test_a_hidden_process_that_is_numbered_hides_too() -> None:
    full = snapshot([INIT, task(33, ns(net=500))])
    hiding = snapshot([INIT], gaps=[unread(33)])
    (change,) = of(diff(full, hiding), 500)
    assert change.kind == "unknown"


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("fd", Part.DESCRIPTORS),
        ("socket", Part.SOCKETS),
        ("inflight", Part.INFLIGHT),
        ("ioring", Part.RINGS),
        ("thread", Part.THREADS),
        ("bind", Part.MOUNTED),
    ],
)
def test_what_was_not_asked_for_on_one_side_is_unknown(kind: str, part: Part) -> None:
    holder = Holder(kind, pid=0 if kind == "bind" else 33)  # type: ignore[arg-type]
    before = snapshot([INIT, task(33)], [namespace(NET, 500, holders=(holder,))])
    after = snapshot([INIT, task(33)])
    (change,) = of(diff(before, after), 500)
    assert change.kind == "gone"
    (change,) = of(diff(before, without(after, part)), 500)
    assert change.kind == "unknown"
    (change,) = of(diff(without(after, part), before), 500)
    assert change.kind == "unknown"


def test_a_holder_that_one_side_could_not_look_for_did_not_go() -> None:
    held = namespace(NET, 500, holders=(Holder("fd", pid=44, fd=3),))
    rows = [INIT, task(33, ns(net=500)), task(44)]
    gap = unread(44, part=Part.DESCRIPTORS)
    assert diff(snapshot(rows, [held]), snapshot(rows, gaps=[gap])).changes == ()
    assert len(diff(snapshot(rows, [held]), snapshot(rows)).changes) == 1


def test_a_gap_that_names_nobody_makes_what_it_covers_unknown() -> None:
    vague = Gap(Part.DESCRIPTORS, "/proc", "some", PartState.PARTIAL, "because")
    held = snapshot([INIT], [namespace(NET, 500, holders=(Holder("fd", pid=44, fd=3),))])
    (change,) = of(diff(held, snapshot([INIT], gaps=[vague])), 500)
    assert change.kind == "unknown"
    # Where both lack the same, what one saw in spite of it is gone.
    (change,) = of(diff(held._replace(gaps=(vague,)), snapshot([INIT], gaps=[vague])), 500)
    assert change.kind == "gone"


def test_a_namespace_between_others_goes_with_those_that_lead_to_it() -> None:
    outer = namespace(NamespaceType.USER, 800)
    inner = namespace(NamespaceType.USER, 801, parent=800, owner=800)
    before = snapshot([INIT, task(33, ns(user=801))], [outer, inner])
    kinds = {
        change.namespace.id.ino: change.kind for change in diff(before, snapshot([INIT])).changes
    }
    assert (kinds[800], kinds[801]) == ("gone", "gone")
    blind = snapshot([INIT, task(33, HIDDEN)], gaps=[unread(33)])
    kinds = {change.namespace.id.ino: change.kind for change in diff(before, blind).changes}
    assert (kinds[800], kinds[801]) == ("unknown", "unknown")
    lost = snapshot([INIT, task(33, ns(user=801))], [inner._replace(parent=0, owner=0)])
    kinds = {change.namespace.id.ino: change.kind for change in diff(before, lost).changes}
    assert kinds == {800: "unknown"}


def test_another_boot_is_compared_by_name_and_nothing_by_number() -> None:
    web = container("web", pid=50, start=500)
    job = container("job", pid=60, start=600)
    before = snapshot(
        [INIT, task(50, ns(mnt=600, net=601)), task(60, ns(mnt=700))], containers=[web, job]
    )
    new = container("new", pid=70, start=700)
    after = snapshot(
        [INIT, task(50, ns(mnt=600)), task(70, ns(mnt=800))], containers=[web, new]
    )._replace(boot_id="another")
    found = diff(before, after)
    assert (found.boot, found.changes, found.came, found.went) == ("other", (), (), ())
    told = {change.owner.name: (change.kind, change.cells) for change in found.names}
    assert told == {
        "job": ("gone", ()),
        "new": ("new", ()),
        "web": ("changed", ((NET, ("own",), ("host",)),)),
    }


def test_a_container_that_one_boot_was_not_asked_for_is_unknown() -> None:
    web = container("web", pid=50, start=500)
    before = snapshot([INIT, task(50, ns(mnt=600))], containers=[web])
    after = without(snapshot([INIT])._replace(boot_id="another"), Part.CONTAINERS)
    assert [change.kind for change in diff(before, after).names] == ["unknown"]


def test_without_a_boot_id_the_clocks_tell() -> None:
    before = snapshot([INIT])._replace(boot_id="")
    assert diff(before, snapshot([INIT])).boot == "unknown"
    assert diff(before, snapshot([INIT])._replace(began=5000.0)).boot == "other"


def test_where_processes_have_other_numbers_nothing_is_said_of_them() -> None:
    outside = snapshot([INIT, task(33, ns(net=500)), task(34, ns(net=501))])
    first = task(1, ns(net=500, pid=900), start=330)
    inside = snapshot([first, task(34, ns(net=500, pid=900), start=340)])
    found = diff(outside, inside)
    assert (found.alike, found.came, found.went) == (False, (), ())
    assert {change.kind for change in found.changes} == {"unknown"}


@st.composite
def moments(draw: st.DrawFn) -> Snapshot:
    """A host with few processes and few namespaces, so that two have much in common."""
    inodes = st.sampled_from([0, 500, 501, 502])
    rows: list[Task] = [INIT] if draw(st.booleans()) else []
    for pid in draw(st.sets(st.integers(2, 7))):
        own = {str(kind): ino + 10 * i for i, kind in enumerate(TYPES[:3]) if (ino := draw(inodes))}
        inodes_of = HIDDEN if draw(st.integers(0, 5)) == 0 else ns(**own)
        start = draw(st.sampled_from([100, 101, 200_000]))
        rows.append(task(pid, inodes_of, ppid=draw(st.integers(0, 7)), start=start))
    held = []
    for ino in draw(st.sets(st.integers(500, 503))):
        kinds: list[HolderKind] = ["fd", "bind", "child", "kernel"]
        kind = draw(st.sampled_from(kinds))
        pid = draw(st.integers(1, 7)) if kind in {"fd", "child"} else 0
        row = Namespace(
            NamespaceId(NET, DEV, ino + 20),
            ns_id=draw(st.sampled_from([None, 1, 2])),
            owner=draw(st.sampled_from([0, HOST[NamespaceType.USER], 500])),
            holders=(Holder(kind, pid=pid, fd=draw(st.integers(-1, 2))),),
        )
        held.append(row)
    blind = tuple(row.pid for row in rows if UNREADABLE in row.ns)
    made = snapshot(rows, held, gaps=[unread(*blind)] if blind else [])
    parts = draw(st.sets(st.sampled_from(list(Part))))
    return made._replace(
        parts={p: PartState.NOT_ASKED if p in parts else PartState.READ for p in Part},
        reader=Reader(draw(st.integers(0, 7)), 0, 0, ns()),
        boot_id=draw(st.sampled_from(["boot", "boot", "boot", "other", ""])),
    )


OPPOSITE = {"new": "gone", "gone": "new", "changed": "changed", "unknown": "unknown"}
SIDES = {"before": "after", "after": "before", "both": "both"}


def seen_from_a(change: Change) -> object:
    return (
        (change.namespace.id, change.kind, change.seen, change.reused, change.why),
        change.came,
        change.went,
        change.owners_came,
        change.owners_went,
        change.held,
        change.released,
    )


def seen_from_b(change: Change) -> object:
    return (
        (
            change.namespace.id,
            OPPOSITE[change.kind],
            SIDES[change.seen],
            change.reused,
            change.why,
        ),
        change.went,
        change.came,
        change.owners_went,
        change.owners_came,
        change.released,
        change.held,
    )


@given(moments())
def test_a_moment_does_not_differ_from_itself(moment: Snapshot) -> None:
    found = diff(moment, moment)
    assert (found.changes, found.names, found.came, found.went, found.unread) == ((),) * 5


@given(moments(), moments())
def test_the_way_back_says_the_opposite(a: Snapshot, b: Snapshot) -> None:
    there, back = diff(a, b), diff(b, a)
    assert sorted(map(repr, map(seen_from_a, there.changes))) == sorted(
        map(repr, map(seen_from_b, back.changes))
    )
    assert (there.came, there.went, there.boot) == (back.went, back.came, back.boot)
    assert [(each.owner.name, each.kind) for each in there.names] == [
        (each.owner.name, OPPOSITE[each.kind]) for each in back.names
    ]
