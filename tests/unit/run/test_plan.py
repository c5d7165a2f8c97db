"""The order of steps, for every choice of namespaces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model import capabilities
from nsctl.mounting.filesystems import Attach, Bind, Filesystem, IdmappedClone, Overlay, Prepare
from nsctl.mounting.root import PivotRoot
from nsctl.run import finish, namespaces, plan, steps
from nsctl.run.plan import Layout
from nsctl.run.spec import Spec

pytestmark = pytest.mark.unit

LAYOUT = Layout(
    id="0" * 32,
    name="web",
    uid=0,
    gid=0,
    mapping=plan.RANGE,
    ids=1000,
    id_count=65536,
    root_uid=1000,
    root_gid=1000,
    storage="/s",
    cgroup_dirs=("/g/nsctl/web-0",),
    privileged=True,
    has_cgroup2=True,
)
ROOTLESS = LAYOUT._replace(
    uid=1000, gid=1000, mapping=plan.SINGLE, cgroup_dirs=(), privileged=False
)
KINDS = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "time")

choices = st.dictionaries(st.sampled_from(KINDS), st.sampled_from(["host", "container:a"]))


def _kinds(planned: plan.Plan) -> list[type]:
    return [type(step) for step in planned.build]


@given(choices, st.sampled_from([LAYOUT, ROOTLESS, LAYOUT._replace(mapping=plan.NONE)]))
def test_the_order_holds_whatever_is_shared(chosen: dict[str, str], layout: Layout) -> None:
    foreign = () if layout.mapping == plan.NONE else tuple(k for k in plan.SHOWN_BY if k in chosen)
    spec = Spec("/r", ("true",), namespaces=chosen)
    if "time" not in chosen:
        spec = spec._replace(boottime=1, monotonic=1)
    planned = plan.plan(spec, layout._replace(foreign=foreign))
    kinds = _kinds(planned)
    assert kinds[-1] is finish.LastStage
    fork = kinds.index(steps.FirstProcess)
    # The host's powers are needed before they end, clocks before anybody is born.
    for early in (IdmappedClone, Prepare, namespaces.PrepareProc, namespaces.NewUserNamespace):
        if early in kinds and layout.privileged:
            assert kinds.index(early) < kinds.index(namespaces.EnterUserNamespace)
    for before in (namespaces.Unshare, namespaces.TimeOffset, namespaces.JoinNamespace):
        if before in kinds:
            assert kinds.index(before) < fork
    if "mnt" in chosen:
        assert not {Overlay, PivotRoot, namespaces.NewMountNamespace, Filesystem} & set(kinds)
    else:
        assert fork < kinds.index(namespaces.NewMountNamespace) < kinds.index(Overlay)
        assert kinds.index(Overlay) < kinds.index(PivotRoot)
        attached = {step.name for step in planned.build if isinstance(step, Attach)}
        prepared = {step.fstype for step in planned.build if isinstance(step, Prepare)}
        prepared |= {"proc" for step in planned.build if isinstance(step, namespaces.PrepareProc)}
        assert attached == prepared
        # Only root can make what shows a foreign namespace, and only an ordinary user binds.
        assert layout.privileged or not attached
        assert not layout.privileged or Bind not in kinds


def test_every_step_says_what_it_does_in_one_line() -> None:
    asked: list[tuple[dict[str, Any], Layout]] = [
        ({"boottime": 1}, LAYOUT),
        ({"read_only": True}, ROOTLESS._replace(streams=("terminal",) * 3)),
        (
            {"namespaces": {"user": "container:a", "mnt": "container:a"}},
            LAYOUT._replace(mapping=plan.OTHER),
        ),
    ]
    for fields, layout in asked:
        planned = plan.plan(Spec("/r", ("true",), **fields), layout)
        for step in (*planned.prepare, *planned.build):
            assert step.describe()
            assert "\n" not in step.describe()
            assert "\n" not in step.command()
        assert len(planned.describe()) == len(planned.prepare) + len(planned.build)


def test_root_of_the_host_gets_no_mknod() -> None:
    spec = Spec("/r", ("true",))
    mknod = 1 << capabilities.NUMBERS["CAP_MKNOD"]
    assert plan.granted(spec, LAYOUT) & mknod
    assert not plan.granted(spec, LAYOUT._replace(mapping=plan.NONE)) & mknod


def test_a_layout_comes_back_from_json() -> None:
    import json

    assert plan.layout_from_json(json.loads(json.dumps(LAYOUT._asdict()))) == LAYOUT
