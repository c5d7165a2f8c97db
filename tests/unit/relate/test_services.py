"""Control groups as the kernel writes them, and the services that systemd made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.relate.services import paths, service_of

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
            "foo.service",
        ),
        (b"0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", "user@1000.service"),
        (b"0::/system.slice/dbus-\\x2dorg.service\n", "dbus--org.service"),
        (b"0::/system.slice/getty@tty1.service\n", "getty@tty1.service"),
        (b"0::/s/\\xff\xfe.service\n", "\udcff\udcfe.service"),
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
