"""Names in control groups: paths recorded on a machine, and paths constructed from documentation.

The second kind is of what no machine of the tests has: systemd's driver, CRI-O, a kubelet.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines.by_cgroup import may_name
from nsctl.engines.cgroup_names import groups_of, names

pytestmark = pytest.mark.unit

A, B = "3f2a9c1b" * 8, "d8784ef6" * 8
UID = "0f7d3d4c-7d3e-4a2b-9c55-1f0e5a6b7c8d"
UNDERSCORED = UID.replace("-", "_")

RECORDED = [
    # Docker 20.10, cgroupfs driver, version 1 beside 2.
    (f"/docker/{A}", [("docker", A, "")]),
    # The same with --cgroup-parent: the engine is not told.
    (f"/parent/{A}", [("", A, "")]),
    # Podman 4.3, cgroupfs driver: alone, and in a pod.
    (f"/libpod_parent/libpod-{A}", [("podman", A, "")]),
    (f"/libpod_parent/{B}/libpod-{A}", [("podman", A, B)]),
    # containerd 1.6 with its CRI plugin under a parent as a kubelet gives it, cgroupfs driver.
    (f"/kubepods/burstable/pod{UID}/{A}", [("cri", A, UID)]),
    # LXC 5.
    ("/lxc.payload.web", [("lxc", "web", "")]),
    # A shell, and ctr(8): nothing that a name could be told by.
    ("/", []),
    ("/plain/one", []),
]
# Seen by engines that had version 2 alone (Docker 20.10, Podman 4.3, LXC 5, systemd-nspawn 252), on
# Linux 6.18: containers' processes, and their monitors beside them.
RECORDED_V2 = [
    (f"/docker/{A}", [("docker", A, "")]),
    (f"/libpod_parent/libpod-{A}", [("podman", A, "")]),
    ("/lxc.payload.plain", [("lxc", "plain", "")]),
    ("/lxc.monitor.plain", []),
    ("/machine.slice/machine-web.scope/payload", [("nspawn", "web", "")]),
    ("/machine.slice/machine-web.scope/supervisor", []),
    # runc and crun, where a bundle says so: nothing that a name could be told by.
    ("/r1", []),
]
CONSTRUCTED = [
    (f"/system.slice/docker-{A}.scope", [("docker", A, "")]),
    (f"/system.slice/docker-{A}.scope/init.scope", [("docker", A, "")]),
    (f"/machine.slice/libpod-{A}.scope/container", [("podman", A, "")]),
    (f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope", [("podman", A, B)]),
    (f"/machine.slice/libpod-conmon-{A}.scope", []),
    (
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice"
            f"/cri-containerd-{A}.scope"
        ),
        [("cri", A, UID)],
    ),
    (
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDERSCORED}.slice"
            f"/crio-{A}.scope/container"
        ),
        [("cri", A, UID)],
    ),
    (f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-conmon-{A}.scope", []),
    (
        (
            f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UNDERSCORED}.slice"
            f"/cri-containerd-{A}.scope"
        ),
        [("cri", A, UID)],
    ),
    # A static pod has a hash for a uid.
    (f"/kubepods/pod{'ab' * 16}/{A}", [("cri", A, "ab" * 16)]),
    (
        (
            f"/system.slice/containerd.service/kubepods-burstable-pod{UNDERSCORED}.slice"
            f":cri-containerd:{A}"
        ),
        [("cri", A, UID)],
    ),
    ("/lxc/web", [("lxc", "web", "")]),
    ("/lxc.payload.web/init.scope", [("lxc", "web", "")]),
    (r"/machine.slice/machine-my\x2dbox.scope/payload", [("nspawn", "my-box", "")]),
    ("/machine.slice/systemd-nspawn@box.service/payload", [("nspawn", "box", "")]),
    (r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator", []),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/a.service", []),
    # Engines in containers, outermost first.
    (f"/docker/{A}/docker/{B}", [("docker", A, ""), ("docker", B, "")]),
    (f"/kubepods/pod{UID}/{A}/docker/{B}", [("cri", A, UID), ("docker", B, "")]),
    (f"/lxc.payload.box/system.slice/docker-{A}.scope", [("lxc", "box", ""), ("docker", A, "")]),
    # Near misses.
    (f"/docker/{A}x", []),
    (f"/docker/{A.upper()}", []),
    ("/docker/buildkit", []),
    ("/docker", []),
]


def as_v1(path: str) -> bytes:
    return f"11:memory:{path}\n1:name=systemd:{path}\n0::{path}\n".encode()


@pytest.mark.parametrize(("path", "expected"), RECORDED + RECORDED_V2 + CONSTRUCTED)
def test_a_path_names_its_containers(path: str, expected: list[tuple[str, str, str]]) -> None:
    for raw in (as_v1(path), f"0::{path}\n".encode()):
        assert [(found.engine, found.id, found.pod) for found in names(raw)] == expected


def test_one_hierarchy_of_many_is_enough() -> None:
    raw = f"12:pids:/\n1:name=systemd:/docker/{A}\n0::/\n".encode()
    assert [found.id for found in names(raw)] == [A]


def test_the_group_of_a_name_ends_with_it() -> None:
    outer, inner = names(f"0::/docker/{A}/docker/{B}/x\n".encode())
    assert (outer.path, inner.path) == (f"/docker/{A}", f"/docker/{A}/docker/{B}")


def test_what_is_in_a_users_part_of_the_tree_is_the_users() -> None:
    path = f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container"
    (found,) = names(f"0::{path}\n".encode())
    assert (found.engine, found.user) == ("podman", 1000)


def test_the_groups_of_a_container_end_with_its_id() -> None:
    raw = f"5:cpu:/p/{A}/init.scope\n1:name=systemd:/p/{A}\n0::/system.slice/docker-{A}.scope/x\n"
    assert groups_of(raw.encode(), A) == (f"/p/{A}", f"/system.slice/docker-{A}.scope")
    assert groups_of(b"0::/plain/plain\n", "plain") == ("/plain/plain",)
    assert groups_of(b"0::/lxc.payload.web\n", "web") == ("/lxc.payload.web",)
    assert groups_of(b"0::/a/b\n", "c") == groups_of(b"0::/\n", "") == ()


def test_a_name_chosen_to_be_like_a_group_further_up_claims_nothing() -> None:
    forger = f"0::/docker/{A}/x\n".encode()
    for chosen in ("docker", A):
        assert groups_of(f"0::/docker/{A}/y\n".encode(), chosen, forger) == ()
    own = f"0::/docker/{A}/docker/{B}\n".encode()
    assert groups_of(own, B, forger) == (f"/docker/{A}/docker/{B}",)


COMPONENTS = st.sampled_from(
    [
        *("docker", A, B, f"docker-{A}.scope", f"libpod-{B}", "libpod_parent", "kubepods"),
        *(f"pod{UID}", "lxc", "lxc.payload.x", "machine-a.scope", "user-7.slice", "..", "a:b"),
        *("\\x2d", "\\xff", "user@99999999999.service", "\udcff"),
    ]
)


@given(st.lists(COMPONENTS, max_size=8))
def test_names_lie_on_the_path_in_order(components: list[str]) -> None:
    path = "/" + "/".join(components)
    found = names(b"0::" + path.encode("utf-8", "surrogateescape") + b"\n")
    lengths = [len(each.path) for each in found]
    assert lengths == sorted(set(lengths))
    for each in found:
        assert path == each.path or path.startswith(each.path + "/")
        raw = b"0::" + path.encode("utf-8", "surrogateescape") + b"\n"
        assert groups_of(raw, each.id)


@given(st.binary(max_size=200), st.text(max_size=20))
def test_garbage_names_nothing_wrong(raw: bytes, container_id: str) -> None:
    for each in names(raw):
        assert each.id
        assert each.path.startswith("/") or not each.path.startswith("0")
    groups_of(raw, container_id, raw)


def test_a_group_that_was_removed_names_nobody() -> None:
    assert names(f"1:pids:/docker/{A} (deleted)\n0::/\n".encode()) == ()


@pytest.mark.parametrize("below", ["conmon", f"libpod-{B}"])
def test_a_pod_of_podmans_below_any_parent_is_a_pod(below: str) -> None:
    found = names(f"0::/mine/{A}/{below}\n".encode())
    assert [(each.id, each.pod) for each in found] == ([(B, A)] if B in below else [])


_PIECES = st.sampled_from(
    [
        *(
            "/",
            "-",
            ".scope",
            ".slice",
            ":",
            "docker",
            "libpod",
            "lxc",
            "lxc.payload.",
            "a",
            "\\x2d",
        ),
        *(
            "crio",
            "cri-containerd",
            "kubepods",
            "machine",
            "systemd-nspawn@",
            ".service",
            A,
            B[:63],
        ),
        *("user@1000.service", "libpod_parent", "conmon", "supervisor", "payload", "pod", UID),
    ]
)


@given(st.lists(_PIECES).map("".join))
def test_what_is_passed_over_unread_names_nothing(path: str) -> None:
    group = f"0::/{path}\n".encode()
    assert may_name(group) or not names(group)


@pytest.mark.parametrize("path", [path for path, named in [*RECORDED, *RECORDED_V2] if named])
def test_what_names_a_container_is_read(path: str) -> None:
    assert may_name(f"0::{path}\n".encode())
