"""Control groups as the kernel writes them, and the services that systemd made of them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.relate.groups import groups
from nsctl.relate.services import paths, service_of
from unit.factories import container, ns, snapshot, task

pytestmark = pytest.mark.unit

CONTROLLERS = st.sampled_from([b"", b"cpu,cpuacct", b"name=systemd", b"memory"])
PATHS = st.binary(max_size=30).map(lambda raw: b"/" + raw.replace(b"\n", b"").replace(b"\0", b""))


@given(st.lists(st.tuples(CONTROLLERS, PATHS), max_size=5))
def test_control_groups_read_as_they_were_written_colons_and_all(
    rows: list[tuple[bytes, bytes]],
) -> None:
    raw = b"".join(b"%d:%s:%s\n" % (9, *row) for row in rows)
    assert paths(raw) == rows


@given(st.binary(max_size=100))
def test_arbitrary_bytes_name_a_service_or_none(raw: bytes) -> None:
    assert isinstance(service_of(raw), str)


@pytest.mark.parametrize(
    ("cgroup", "service"),
    [
        (b"0::/system.slice/nginx.service\n", "nginx.service"),
        (b"0::/system.slice/nginx.service/worker\n", "nginx.service"),
        (b"0::/\n", ""),
        (b"", ""),
        (b"0::/user.slice/user-1000.slice/session-3.scope\n", ""),
        (
            b"0::/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service\n",
            "foo.service@1000",
        ),
        (b"0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", "user@1000.service"),
        (b"0::/system.slice/dbus-\\x2dorg.service\n", "dbus--org.service"),
        (b"0::/system.slice/getty@tty1.service\n", "getty@tty1.service"),
        (b"0::/s.slice/\\xff\xfe.service\n", "\udcff\udcfe.service"),
        (b"0::/machine.slice/libpod-3f2a.scope/system.slice/nginx.service\n", ""),
        (b"0::/../../system.slice/a.service\n", "a.service"),
        (b"0::/a:b.service/c\n", "a:b.service"),
    ],
)
def test_the_innermost_service_of_this_hosts_systemd_is_named(cgroup: bytes, service: str) -> None:
    assert service_of(cgroup) == service


def test_version_1s_own_hierarchy_of_systemd_goes_before_version_2() -> None:
    both = b"1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n"
    assert service_of(both) == "a.service"
    assert service_of(both.replace(b"/system.slice/a.service", b"/")) == "b.service"


def test_other_hierarchies_name_no_service() -> None:
    assert service_of(b"4:memory:/system.slice/a.service\n0::/\n") == ""


# --- Constructed from systemd's documentation: no machine of the tests runs it ------------------

# systemd.slice(5): nested slices repeat the names of those above.
NESTED = b"/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service"
USERS = b"/user.slice/user-1000.slice/user@1000.service"


def as_v2(path: bytes) -> bytes:
    return b"0::%s\n" % path


def as_v1(path: bytes) -> bytes:
    """Only some controllers know the service; systemd's own hierarchy always does."""
    return (
        b"12:pids:%s\n11:memory:%s\n10:cpu,cpuacct:/system.slice\n9:freezer:/\n"
        b"1:name=systemd:%s\n" % (path, path, path)
    )


def as_hybrid(path: bytes) -> bytes:
    return as_v1(path) + as_v2(path)


@pytest.mark.parametrize("form", [as_v1, as_hybrid, as_v2])
@pytest.mark.parametrize(
    ("path", "service"),
    [
        (b"/init.scope", ""),
        (b"/system.slice", ""),
        (b"/system.slice/cron.service", "cron.service"),
        (NESTED, "serial-getty@ttyS0.service"),
        (b"/a.slice/a-b.slice/a-b-c.slice/deep.service", "deep.service"),
        # Delegated: what is below is the service's own making, whatever it is called.
        (b"/system.slice/app.service/jobs/system.slice/sshd.service", "app.service"),
        (b"/system.slice/docker.service/docker/3f2a/system.slice/sshd.service", "docker.service"),
        (
            b"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:3f2a",
            "containerd.service",
        ),
        # What is in a container that no state tells of is no service of the host.
        (b"/docker/3f2a/system.slice/sshd.service", ""),
        (b"/lxc.payload.web/system.slice/sshd.service", ""),
        (b"/kubepods.slice/kubepods-pod1.slice/cri-containerd-3f2a.scope/sshd.service", ""),
        (b"/machine.slice/machine-web.scope/payload/system.slice/sshd.service", ""),
        # A user's own manager; he may call his services as he likes.
        (USERS + b"/init.scope", "user@1000.service"),
        (USERS + b"/app.slice/sshd.service", "sshd.service@1000"),
        (USERS + b"/session.slice/pipewire.service", "pipewire.service@1000"),
        (USERS + b"/app.slice/app-gnome\\x2dterminal-77.scope", "user@1000.service"),
        (USERS + b"/app.slice/app-a.slice/podman.service/x/sshd.service", "podman.service@1000"),
        (b"/user.slice/user-1000.slice/session-3.scope", ""),
        (b"/user.slice/user-1000.slice/session-3.scope/sshd.service", ""),
    ],
)
def test_a_systemd_host_of_every_kind_names_its_services(
    form: Callable[[bytes], bytes], path: bytes, service: str
) -> None:
    assert service_of(form(path)) == service


def test_a_service_owns_what_is_no_container_and_no_more() -> None:
    """Constructed: a service with a container below it, and one of the same name of a user's."""
    full_id = "3f2a9c1b" * 8
    docker = f"/system.slice/docker.service/docker/{full_id}"
    host = snapshot(
        [
            task(1),
            task(5, ns(mnt=5), cgroup=as_v2(b"/system.slice/web.service")),
            task(6, ns(mnt=5), cgroup=as_v2(USERS + b"/app.slice/web.service")),
            task(7, ns(mnt=7), cgroup=as_v2(docker.encode())),
            task(8, ns(mnt=8), cgroup=as_v2(b"/system.slice/docker.service")),
            task(9, cgroup=as_v2(b"/system.slice/cron.service")),
        ],
        containers=[container("web", full_id=full_id, pid=7, cgroups=[docker])],
    )
    owners = {pid: group.owner for group in groups(host) for pid in group.pids}
    assert {pid: (owner.kind, owner.name) for pid, owner in owners.items()} == {
        1: ("host", "host"),
        5: ("service", "web.service"),
        6: ("service", "web.service@1000"),
        7: ("container", "web"),
        8: ("service", "docker.service"),
        # In all of the host's own namespaces there is no isolation to own.
        9: ("host", "host"),
    }


@given(st.text(alphabet="\\x20abAfg-", max_size=14))
def test_escapes_of_systemd_are_undone_as_a_regular_expression_would(name: str) -> None:
    expected = re.sub(r"\\x([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), name)
    raw = f"0::/system.slice/{name}.service\n".encode()
    assert service_of(raw) == f"{expected}.service".encode("latin-1").decode(
        "utf-8", "surrogateescape"
    )


@pytest.mark.parametrize("uid", ["", "x", "12345678901", "-1", "1 "])
def test_what_only_looks_like_a_users_manager_is_none(uid: str) -> None:
    raw = f"0::/user.slice/user@{uid}.service/app.slice/a.service\n".encode()
    assert service_of(raw) == "a.service"
