"""Whose a namespace without a process was, and what it is held by then."""

from __future__ import annotations

import pytest

from nsctl.model.namespace import Holder, NamespaceType
from nsctl.model.owner import Owner
from nsctl.relate.members import Membership, memberships
from unit.factories import HOST, container, namespace, ns, snapshot, task

pytestmark = pytest.mark.unit

MNT, NET, USER, UTS = NamespaceType.MNT, NamespaceType.NET, NamespaceType.USER, NamespaceType.UTS


def rows(*arguments: object, **keywords: object) -> dict[int, Membership]:
    made = memberships(snapshot(*arguments, **keywords))  # type: ignore[arg-type]
    return {row.namespace.id.ino: row for row in made}


def test_a_container_that_remembers_its_mount_namespace_had_what_its_user_namespace_owns() -> None:
    held = (Holder("fd", pid=1, fd=3),)
    web = container("web", engine="nsctl")._replace(mnt_ns_id=77)
    found = rows(
        [task(1), task(2, ns(user=600, uts=603))],
        [
            namespace(MNT, 500, owner=501, holders=held)._replace(ns_id=77),
            namespace(USER, 501, owner=HOST[USER], parent=HOST[USER]),
            namespace(NET, 502, owner=501, holders=held),
            namespace(NET, 503, owner=HOST[USER], holders=held),
            namespace(MNT, 504, owner=501, holders=held)._replace(ns_id=78),
        ],
        [web],
    )
    for ino in (500, 501, 502, 504):
        assert found[ino].was == Owner("container", "web", "nsctl", web.id)
    assert found[503].was is None
    assert found[600].was is None


def test_a_container_in_the_hosts_user_namespace_had_its_mount_namespace_only() -> None:
    web = container("web")._replace(mnt_ns_id=77)
    found = rows(
        [task(1)],
        [
            namespace(MNT, 500, owner=HOST[USER])._replace(ns_id=77),
            namespace(NET, 502, owner=HOST[USER]),
        ],
        [web],
    )
    assert found[500].was is not None
    assert found[502].was is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/run/netns/blue", Owner("service", "blue", "netns")),
        (b"/var/run/netns/blue", Owner("service", "blue", "netns")),
        (b"/run/docker/netns/3f2a9c", Owner("container", "sandbox 3f2a9c", "docker")),
        (b"/run/netns/a/b", None),
        (b"/srv/run/netns/a", None),
    ],
)
def test_the_path_of_a_bind_mount_tells_whose_it_was(path: bytes, expected: Owner | None) -> None:
    bind = Holder("bind", path=path, mntns=HOST[MNT])
    found = rows([task(1)], [namespace(NET, 500, holders=(bind,))])
    assert found[500].was == expected
    assert found[500].owners == ()


def test_who_is_in_a_namespace_is_no_former_owner() -> None:
    bind = Holder("bind", path=b"/run/netns/blue", mntns=HOST[MNT])
    found = rows([task(1), task(2, ns(net=500))], [namespace(NET, 500, holders=(bind,))])
    assert found[500].was is None


def test_what_nothing_is_found_to_hold_is_held_by_the_kernel_and_what_is_below_is_counted() -> None:
    found = rows(
        [task(1), task(2, ns(user=502))],
        [
            namespace(USER, 501, owner=HOST[USER], parent=HOST[USER]),
            namespace(USER, 502, owner=501, parent=501),
            namespace(UTS, 503, owner=501),
            namespace(MNT, 504, owner=HOST[USER]),
        ],
    )
    assert found[501].holders == (Holder("kernel"),)
    assert found[501].below == 2
    assert found[504].holders == (Holder("kernel"),)
    assert found[504].below == 0
    assert found[502].holders == ()
