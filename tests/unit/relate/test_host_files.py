"""Which of the host's files a group sees, told by device and root."""

from __future__ import annotations

import pytest

from nsctl.model.mount import Mount
from nsctl.relate.groups import groups
from nsctl.relate.host_files import HostFiles, host_files
from unit.factories import HOST, ns, snapshot, task

pytestmark = pytest.mark.unit

DISK, LAYERS, TMPFS = 0x801, 0x30, 0x31


def mount(
    point: bytes, dev: int, root: bytes = b"/", fs_type: str = "ext4", *, read_only: bool = False
) -> Mount:
    return Mount(1, 0, dev, root, point, read_only, fs_type, b"x")


OURS = (
    mount(b"/", DISK),
    mount(b"/srv", DISK, b"/data/srv"),
    mount(b"/var/lib/docker/merged", LAYERS, fs_type="overlay"),
    mount(b"/proc", 0x5, fs_type="proc"),
)


def seen(*theirs: Mount, ours: tuple[Mount, ...] = OURS) -> tuple[HostFiles, ...] | None:
    host = snapshot([task(1), task(5, ns(mnt=500))])
    host = host._replace(mounts={HOST_MNT: ours, 500: theirs})
    (group,) = (each for each in groups(host) if each.leader == 5)
    return host_files(host, group)


HOST_MNT = next(iter(HOST.values()))


def test_a_bind_mount_is_where_the_host_has_the_same_files() -> None:
    assert seen(mount(b"/log", DISK, b"/var/log", read_only=True)) == (
        HostFiles(b"/var/log", b"/log", read_only=True),
    )


def test_the_hosts_mount_that_is_nearest_tells_the_path() -> None:
    assert seen(mount(b"/web", DISK, b"/data/srv/web"), mount(b"/x", DISK, b"/data/srvx")) == (
        HostFiles(b"/srv/web", b"/web", read_only=False),
        HostFiles(b"/data/srvx", b"/x", read_only=False),
    )


def test_what_the_host_has_not_mounted_and_what_is_made_for_each_are_none_of_its() -> None:
    assert seen(mount(b"/tmp", TMPFS, fs_type="tmpfs"), mount(b"/proc", 0x5, fs_type="proc")) == ()


def test_a_containers_root_over_layers_is_its_own_and_the_hosts_is_the_hosts() -> None:
    assert seen(mount(b"/", LAYERS, fs_type="overlay")) == ()
    layered = (mount(b"/", LAYERS, fs_type="overlay"),)
    assert seen(*layered, ours=layered) == (HostFiles(b"/", b"/", read_only=False),)


def test_where_a_table_was_not_read_what_is_seen_is_unknown() -> None:
    assert seen(mount(b"/", DISK), ours=()) == ()
    host = snapshot([task(1), task(5, ns(mnt=500))])
    assert host_files(host, groups(host)[1]) is None
