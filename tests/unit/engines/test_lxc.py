"""LXC's monitors and configurations."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines import lxc
from nsctl.engines.lxc import declared, monitor_of, parse_config
from unit.engines.machine import Machine

pytestmark = pytest.mark.unit

_KEYS = ("lxc.idmap", "lxc.net.0.type", "lxc.namespace.share.pid", "lxc.mount.entry", "lxc.x")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("[lxc monitor] /var/lib/lxc web",), ("/var/lib/lxc", "web")),
        (("[lxc monitor] /with blank/lxc/ web", "rest"), ("/with blank/lxc", "web")),
        ((), None),
        (("lxc-start", "-n", "web"), None),
        (("[lxc monitor] web",), None),
        (("[lxc monitor] relative web",), None),
        (("[lxc monitor] /var/lib/lxc ..",), None),
        (("[lxc monitor] /var/lib/lxc ../../etc",), None),
        (("[lxc monitor] /var/lib/lxc ",), None),
    ],
)
def test_a_title_tells_path_and_name(
    arguments: tuple[str, ...], found: tuple[str, str] | None
) -> None:
    assert monitor_of(arguments) == found


def test_a_configuration_is_read_as_lxc_reads_it() -> None:
    raw = b"# lxc.a = 1\n\tlxc.b=2\nlxc.c = 'x = y'\r\nlxc.d = \"q\nnonsense\nother = 1\nlxc.e =\n"
    assert parse_config(raw) == [
        ("lxc.b", "2"),
        ("lxc.c", "x = y"),
        ("lxc.d", '"q'),
        ("lxc.e", ""),
    ]


def test_what_a_configuration_asks_for_is_told() -> None:
    said = dict(
        declared(
            parse_config(
                b"lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n"
                b"lxc.time.offset.boot = 5h\nlxc.namespace.share.net = other\n"
                b"lxc.namespace.share.ipc = /proc/7/ns/ipc\nlxc.namespace.keep = uts cgroup\n"
                b"lxc.apparmor.profile = unconfined\nlxc.cap.drop = sys_time mknod\n"
                b"lxc.mount.entry = /srv data none ro,bind 0 0\n"
                b"lxc.mount.entry = shm dev/shm tmpfs defaults 0 0\n"
            )
        )
    )
    assert said == {
        "mnt": "own",
        "pid": "own",
        "net": "container:other",
        "ipc": "path:/proc/7/ns/ipc",
        "uts": "host",
        "user": "own",
        "cgroup": "host",
        "time": "own",
        "idmap": "u 0 100000 65536; g 0 100000 65536",
        "time.boot": "5h",
        "apparmor": "unconfined",
        "cap-drop": "sys_time,mknod",
        "mount:/data": "/srv,ro",
    }


@pytest.mark.parametrize(("types", "net"), [("none", "host"), ("none veth", "own"), ("", "own")])
def test_the_hosts_network_is_asked_for_by_none_alone(types: str, net: str) -> None:
    settings = [(f"lxc.net.{index}.type", kind) for index, kind in enumerate(types.split())]
    assert dict(declared(settings))["net"] == net


@given(st.lists(st.tuples(st.sampled_from(_KEYS), st.text())))
def test_any_configuration_is_read_without_complaint(settings: list[tuple[str, str]]) -> None:
    for key, value in declared(settings):
        assert isinstance(key, str)
        assert isinstance(value, str)


@given(st.binary())
def test_any_file_is_read_without_complaint(raw: bytes) -> None:
    for key, _ in parse_config(raw):
        assert key.startswith("lxc.")


def test_rows_come_from_monitors_and_from_what_lies_beside_their_containers(
    machine: Machine,
) -> None:
    words = ("[lxc monitor] /srv/lxc web",)
    directory = machine.add(50, comm=b"lxc-start", words=words, cgroup=b"0::/lxc.monitor.web\n")
    machine.add(60, ppid=50, comm=b"init", cgroup=b"0::/lxc.payload.web\n")
    place = Path(directory, "root/srv/lxc")
    for name in ("web", "off"):
        (place / name).mkdir(parents=True)
    (place / "web/config").write_text("lxc.include = /srv/common.conf\nlxc.rootfs.path = dir:/r\n")
    (place.parent / "common.conf").write_text("lxc.include = /srv/common.conf\n")
    (place / "off/config").write_text("lxc.net.0.type = none\n")
    survey = machine.survey()
    web, off = lxc.containers(survey)
    assert (web.name, web.pid, web.image, web.scope) == ("web", 60, "/r", "/srv/lxc")
    assert web.cgroups == ("/lxc.payload.web",)
    assert (off.name, off.pid, off.state, dict(off.declared)["net"]) == (
        "off",
        0,
        "stopped",
        "host",
    )
    assert [gap.cause for gap in survey.gaps] == ["it includes too many files"]
