"""From what confines a process to a plan: whose numbers, whose powers, never more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.child.plan import Filter, Plan
from nsctl.confine import apply, filters
from nsctl.confine.confinement import Confinement
from nsctl.errors import KernelRefusal
from nsctl.kernel.procstatus import Extra
from nsctl.model.execution import Execution
from nsctl.model.namespace import IdExtent, IdMaps
from nsctl.model.task import CapabilitySets, Credentials

pytestmark = pytest.mark.unit

masks = st.integers(0, (1 << 41) - 1)
sets = st.builds(CapabilitySets, masks, masks, masks, masks, masks)
MAPPED = IdMaps((IdExtent(0, 100_000, 65536),), (IdExtent(0, 200_000, 65536),), "allow")


def confinement(caps: CapabilitySets, uid: int, maps: IdMaps = MAPPED) -> Confinement:
    credentials = Credentials(
        uids=(uid,) * 4,
        gids=(200_005,) * 4,
        groups=(200_007, 9),
        caps=caps,
        no_new_privs=False,
        seccomp=2,
        seccomp_filters=1,
    )
    extra = Extra("S", 0, 0o22, 1, mitigated=False)
    return Confinement(1, (), (), credentials, maps, b"", {}, extra, frozen=False)


NONE = CapabilitySets(0, 0, 0, 0, 0)


def test_ids_are_those_of_the_namespace_that_the_command_is_in() -> None:
    held = confinement(NONE, 100_003)
    assert apply.user_of(held, None, inside=True) == (3, 5, (7,))
    assert apply.user_of(held, None, inside=False) == (100_003, 200_005, (200_007, 9))
    declared = Execution("", uid=33, gid=34, groups=(35,))
    assert apply.user_of(held, declared, inside=True) == (33, 34, (35,))
    assert apply.user_of(held, declared, inside=False) == (100_033, 200_034, (200_035,))


def test_an_id_that_is_not_mapped_is_never_taken() -> None:
    with pytest.raises(KernelRefusal, match="is not mapped"):
        apply.user_of(confinement(NONE, 99), None, inside=True)
    with pytest.raises(KernelRefusal, match="is not mapped"):
        apply.user_of(confinement(NONE, 100_000), Execution("", uid=70_000, gid=0), inside=True)


def test_groups_stay_where_they_may_not_be_set() -> None:
    held = confinement(NONE, 100_000, MAPPED._replace(setgroups="deny"))
    assert apply.user_of(held, None, inside=True).groups is None


@given(sets, st.none() | sets, st.integers(0, 5))
def test_nothing_is_given_that_the_containers_own_process_cannot_have(
    held: CapabilitySets, declared: CapabilitySets | None, uid: int
) -> None:
    execution = None if declared is None else Execution("", capabilities=declared)
    user = apply.User(uid, 0, ())
    found = apply.powers_of(confinement(held, 100_003), execution, user, inside=True)
    if uid == 3 and declared is None:
        assert found == held
        return
    for given_set in (found.permitted, found.effective, found.bounding):
        assert not given_set & ~held.bounding
    assert apply.powers_of(confinement(held, 1), execution, user, inside=False) == NONE


@given(sets, sets)
def test_what_the_caller_lacks_is_left_out_and_said(
    wanted: CapabilitySets, mine: CapabilitySets
) -> None:
    held, lacks = apply.limited(wanted, confinement(mine, 0).credentials)
    assert not held.permitted & ~mine.permitted
    assert not held.bounding & ~mine.bounding
    if (wanted.permitted & ~mine.permitted) or (wanted.bounding & ~mine.bounding):
        assert lacks


@pytest.mark.parametrize(
    ("label", "written"),
    [
        (b"", None),
        (b"unconfined", None),
        (b"docker-default (enforce)", b"exec docker-default"),
        (b"a (b) (complain)", b"exec a"),
        (b"system_u:system_r:container_t:s0:c1,c2", b"system_u:system_r:container_t:s0:c1,c2"),
    ],
)
def test_labels_are_written_as_their_module_wants_them(label: bytes, written: bytes | None) -> None:
    # Constructed: no such module may be loaded here.
    found = apply.label_of(confinement(NONE, 0)._replace(label=label))
    assert (found and found[1]) == written


def test_limits_above_the_callers_own_are_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {7: (100, 1000)}
    monkeypatch.setattr(apply, "own_limits", lambda: mine)
    monkeypatch.setattr(apply, "own_credentials", lambda: confinement(NONE, 0).credentials)
    limits, lacks = apply._limits({7: (500, 2000), 4: (0, 0)})
    assert [tuple(one) for one in limits] == [(4, 0, 0), (7, 500, 1000)]
    assert "open files" in lacks[0]


def test_a_notifying_filter_is_recognised() -> None:
    notify = (0x06).to_bytes(2, "little") + b"\0\0" + (0x7FC00000).to_bytes(4, "little")
    allow = (0x06).to_bytes(2, "little") + b"\0\0" + (0x7FFF0000).to_bytes(4, "little")
    held = confinement(NONE, 0)
    assert filters._lacks((Filter(allow + notify),), held)
    assert not filters._lacks((Filter(allow),), held)
    assert filters._lacks((), held)  # it has one, as status says


def test_a_plan_keeps_what_is_not_of_confinement() -> None:
    plan = Plan((b"a",), env=(b"A=1",), cwd=b"/x")
    held = confinement(NONE, 100_000)
    done = apply.confined(
        plan, held, None, apply.User(0, 0, ()), inside=True, new_user_namespace=True
    ).plan
    assert (done.argv, done.env, done.cwd, done.keyring) == ((b"a",), (b"A=1",), b"/x", b"")
