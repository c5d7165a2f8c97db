"""What is seen of the tree, on trees by hand: a pure version 2 host as systemd lays one out.

No machine of this kind was at hand: its paths are those of systemd's documentation and of Docker's
and Podman's systemd drivers.
"""

from __future__ import annotations

import pytest

from nsctl.model.cgroup import CgroupGroup, CgroupHierarchy
from nsctl.model.contents import CgroupRoot
from nsctl.model.mount import Mount
from nsctl.model.namespace import NamespaceType
from nsctl.model.snapshot import Snapshot
from nsctl.model.target import Target
from nsctl.relate.cgroups import Leak, View, units, views
from nsctl.relate.find import find
from unit.factories import HOST, all_own, container, namespace, ns, snapshot, task

pytestmark = pytest.mark.unit

DEV = 77
CGROUP = NamespaceType.CGROUP
WEB = b"/system.slice/docker-aaaa.scope"
DB = b"/machine.slice/libpod-bbbb.scope"
GROUPS = (
    b"/",
    b"/init.scope",
    b"/machine.slice",
    DB,
    DB + b"/container",
    b"/system.slice",
    b"/system.slice/cron.service",
    WEB,
    b"/system.slice/docker.service",
    b"/system.slice/ssh.service",
    b"/system.slice/dbus\\x2dorg.service",
    b"/user.slice",
    b"/user.slice/user-1000.slice/session-3.scope",
)


def tree(**files: bytes) -> CgroupHierarchy:
    """The tree of version 2; files of the group "web" by name, "__" for "."."""
    said = tuple((name.replace("__", "."), text) for name, text in files.items())
    groups = tuple(CgroupGroup(path, said if path == WEB else ()) for path in GROUPS)
    return CgroupHierarchy(2, "cpu,memory,pids", DEV, b"/", groups)


def mount(point: bytes, root: bytes, *, read_only: bool = True, kind: str = "cgroup2") -> Mount:
    return Mount(1, 0, DEV if kind == "cgroup2" else 5, root, point, read_only, kind, b"x")


PROC = mount(b"/proc", b"/", kind="proc")


def world(
    mounts: tuple[Mount, ...], *, root: bytes | None = WEB, host_pids: bool = False
) -> Snapshot:
    """A host with ssh and cron, a container "web", and another, "db"."""
    apart = all_own(500)
    if host_pids:
        apart = (*apart[:1], ns()[1], *apart[2:8], ns()[8], apart[9])
    mine = namespace(CGROUP, apart[6])._replace(cgroup_roots=(CgroupRoot(DEV, root),))
    hosts = namespace(CGROUP, HOST[CGROUP])._replace(cgroup_roots=(CgroupRoot(DEV, b"/"),))
    tasks = [
        task(1, cgroup=b"0::/init.scope\n"),
        task(20, cgroup=b"0::/system.slice/ssh.service\n"),
        task(21, cgroup=b"0::/system.slice/cron.service\n"),
        task(30, apart, cgroup=b"0::%s\n" % WEB),
        task(40, all_own(600), cgroup=b"0::%s/container\n" % DB),
    ]
    containers = [
        container("web", pid=30, cgroups=(WEB.decode(),)),
        container("db", engine="podman", pid=40, cgroups=(DB.decode(),)),
    ]
    below = [
        namespace(NamespaceType.PID, ino, parent=HOST[NamespaceType.PID]) for ino in (501, 601)
    ]
    made = snapshot(tasks, [mine, hosts, *below], containers)
    tables = {apart[0]: mounts, HOST[NamespaceType.MNT]: (mount(b"/sys/fs/cgroup", b"/"), PROC)}
    return made._replace(
        cgroups=(tree(memory__max=b"4096\n", pids__current=b"3\n"),), mounts=tables
    )


def web(snapshot_: Snapshot) -> View:
    (view,) = [view for view in views(snapshot_) if view.owner.name == "web"]
    return view


def test_a_private_namespace_with_its_own_tree_sees_itself_and_leaks_nothing() -> None:
    view = web(world((mount(b"/sys/fs/cgroup", WEB), PROC)))
    assert (view.number, view.mine, view.of) == (1, 1, len(GROUPS))
    assert not view.leaks
    assert not view.containers
    assert (view.hosts, view.writable) == (False, ())
    assert view.seen[0].begins == view.seen[0].own == WEB
    assert (view.used.memory_max, view.used.pids, view.limits.memory_max) == (4096, 3, 4096)


def test_the_hosts_whole_tree_leaks_each_service_and_container_by_name() -> None:
    view = web(world((mount(b"/sys/fs/cgroup", b"/"), PROC), root=b"/"))
    assert view.number == len(GROUPS)
    assert view.mine == 1
    names = {leak.name for leak in view.leaks if leak.way == "mount"}
    assert names == {
        *("init.scope", "cron.service", "docker.service", "ssh.service", "dbus-org.service"),
        *("libpod-bbbb.scope", "session-3.scope"),
    }
    assert [owner.name for owner in view.containers] == ["db"]


def test_a_part_of_the_tree_leaks_what_is_below_it_alone() -> None:
    view = web(world((mount(b"/mnt", b"/system.slice"), PROC)))
    assert view.number == 6
    assert {leak.name for leak in view.leaks} == {
        *("cron.service", "docker.service", "ssh.service", "dbus-org.service"),
    }


def test_with_the_hosts_processes_in_sight_their_paths_leak_names_without_any_mount() -> None:
    view = web(world((PROC,), host_pids=True))
    assert view.number == 0
    assert Leak("ssh.service", "proc") in view.leaks
    assert Leak("libpod-bbbb.scope", "proc") in view.leaks
    assert all(leak.way == "proc" for leak in view.leaks)
    assert "docker-aaaa.scope" not in {leak.name for leak in view.leaks}
    # Without a procfs there is nothing to read them from.
    assert web(world((), host_pids=True)).leaks == ()


def test_in_the_hosts_namespace_its_own_path_names_the_groups_around_it() -> None:
    made = world((PROC,), root=b"/")
    inner = b"/system.slice/docker.service/aaaa"
    tasks = tuple(
        row._replace(cgroup=b"0::%s\n" % inner) if row.pid == 30 else row for row in made.tasks
    )
    made = made._replace(tasks=tasks, containers=(container("web", pid=30),))
    assert web(made).leaks == (Leak("docker.service", "proc"),)


def test_a_writable_mount_of_the_tree_is_told() -> None:
    view = web(world((mount(b"/sys/fs/cgroup", WEB, read_only=False), PROC)))
    assert view.writable == (b"/sys/fs/cgroup",)


def test_a_namespace_that_begins_out_of_sight_tells_no_more_than_its_mounts() -> None:
    view = web(world((mount(b"/sys/fs/cgroup", WEB), PROC), root=None, host_pids=True))
    assert view.seen[0].begins is None
    assert view.leaks == ()


def test_a_process_of_the_hosts_is_shown_in_its_own_group() -> None:
    made = world((PROC,))
    (view,) = views(made, find(made, Target("pid", "20", pid=20)))
    assert (view.owner.kind, view.leader) == ("host", 20)
    assert view.seen[0].own == b"/system.slice/ssh.service"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/system.slice/ssh.service/x", ["ssh.service"]),
        (b"/a.slice/b\\x2dc.service/d.scope", ["b-c.service", "d.scope"]),
        (b"/docker/0123", []),
        (b"/", []),
    ],
)
def test_units_in_a_path_are_named_slices_aside(path: bytes, found: list[str]) -> None:
    assert list(units(path)) == found
