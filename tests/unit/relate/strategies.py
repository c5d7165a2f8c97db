"""Hosts by chance: processes in a few namespaces of each type, some of them a container's."""

from __future__ import annotations

from hypothesis import strategies as st

from nsctl.model.container import Container
from nsctl.model.namespace import NS_LINKS, TYPES, UNREADABLE
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from unit.factories import HOST, container, ns, snapshot, task

_CGROUPS = st.sampled_from(
    [
        None,
        b"0::/\n",
        b"0::/system.slice/nginx.service\n",
        b"0::/docker/aa\n",
        b"0::/docker/bb/inner\n",
    ]
)


@st.composite
def namespaces(draw: st.DrawFn) -> tuple[int, ...]:
    """A task's namespaces: each the host's or one of two others; seldom unreadable, or none."""
    kind = draw(st.integers(0, 11))
    if kind == 0:
        return (UNREADABLE,) * len(NS_LINKS)
    if kind == 1:
        return ns(**{str(each): 0 for each in TYPES if each not in {"pid", "user"}})
    inodes = {str(each): HOST[each] + 1000 * draw(st.integers(0, 2)) for each in TYPES}
    if draw(st.booleans()):
        inodes["pid_for_children"] = draw(st.sampled_from([0, 7001, 7002]))
    return ns(**inodes)


@st.composite
def tasks(draw: st.DrawFn) -> list[Task]:
    """Up to a dozen processes; parents are any of them, nobody, or unknown."""
    pids = draw(st.lists(st.integers(1, 40), unique=True, max_size=12))
    rows = []
    for pid in pids:
        inodes = draw(namespaces())
        rows.append(
            task(
                pid,
                inodes,
                ppid=draw(st.sampled_from([0, *pids, 999])),
                start=draw(st.integers(0, 5)),
                comm=draw(st.sampled_from([b"a", b"b", b"\xff"])),
                state="S" if inodes[0] else "Z",
                cgroup=draw(_CGROUPS),
            )
        )
    return rows


@st.composite
def containers(draw: st.DrawFn) -> list[Container]:
    """Up to three containers, by process, by control group, or by both."""
    rows = []
    for name in draw(st.lists(st.sampled_from(["aa", "bb", "cc"]), unique=True)):
        cgroups = draw(st.sampled_from([[], [f"/docker/{name}"]]))
        rows.append(container(name, pid=draw(st.integers(0, 40)), cgroups=cgroups))
    return rows


SNAPSHOTS: st.SearchStrategy[Snapshot] = st.builds(
    lambda rows, engines: snapshot(rows, containers=engines), tasks(), containers()
)
