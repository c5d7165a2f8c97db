"""What a configuration says of commands, and whose configuration is believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines import exec_spec
from nsctl.kernel.procfs import ProcFs
from nsctl.model import capabilities
from nsctl.model.container import Container

pytestmark = pytest.mark.unit

CONFIG: dict[str, object] = {
    "process": {
        "user": {"uid": 1234, "gid": 1235, "additionalGids": [1235, 77, "x", -1], "umask": 63},
        "env": ["A=b c", "=x", "B"],
        "cwd": "/tmp",
        "capabilities": {"bounding": ["CAP_KILL", "CAP_NONE"], "permitted": ["CAP_KILL"]},
        "noNewPrivileges": True,
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99},
            {"type": "RLIMIT_NONE", "soft": 1, "hard": 1},
        ],
        "apparmorProfile": "docker-default",
    },
    "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}},
}
KILL = 1 << capabilities.NUMBERS["CAP_KILL"]


def test_everything_that_it_says_is_taken_and_nothing_else() -> None:
    found = exec_spec.of_config(CONFIG, "here")
    assert (found.uid, found.gid, found.groups, found.umask) == (1234, 1235, (1235, 77), 0o77)
    assert (found.env, found.cwd, found.no_new_privs) == ((b"A=b c",), "/tmp", True)
    assert found.capabilities == (0, KILL, 0, KILL, 0)
    assert found.limits == ((7, 77, 99),)
    assert (found.apparmor, found.selinux) == ("docker-default", "")
    assert found.seccomp == {"defaultAction": "SCMP_ACT_ALLOW"}


def test_a_configuration_that_says_nothing_says_root_without_powers_of_its_own() -> None:
    found = exec_spec.of_config({}, "here")
    assert (found.uid, found.gid, found.groups, found.umask) == (0, 0, (), 0o22)
    assert found.capabilities is None
    assert found.seccomp is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from([*CONFIG["process"], "args"]),  # type: ignore[misc]
        json_values,
    ),
    json_values,
)
def test_any_json_is_read_and_gives_what_can_be_applied(
    process: dict[str, object], linux: object
) -> None:
    found = exec_spec.of_config({"process": process, "linux": linux}, "here")
    assert found.uid is not None
    assert 0 <= found.uid < 0xFFFFFFFF
    assert all(0 <= group < 0xFFFFFFFF for group in found.groups)


@pytest.mark.parametrize(
    ("vouched_by", "user"), [(7, 0), (0, 54321)], ids=["of an engine inside", "of another user"]
)
def test_what_is_not_the_hosts_own_is_not_believed(vouched_by: int, user: int) -> None:
    fd = ProcFs().open(os.getpid())
    try:
        container = Container("web", "docker", "ab" * 32, vouched_by=vouched_by, user=user)
        assert exec_spec.of_container(container, fd) is None
    finally:
        os.close(fd)


def test_a_process_whose_parent_is_no_monitor_has_no_configuration() -> None:
    fd = ProcFs().open(os.getpid())
    try:
        container = Container("web", "docker", "ab" * 32, pid=os.getpid(), user=os.geteuid())
        assert exec_spec.of_container(container, fd) is None
    finally:
        os.close(fd)


FILTER = bytes(range(16))


@pytest.mark.parametrize("damage", ["", "cut", "long", "link", "fifo", "missing", "id"])
def test_the_copy_of_a_filter_is_taken_as_it_is_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    place = tmp_path / "crun" / "abc"
    place.mkdir(parents=True)
    copy = place / "seccomp.bpf"
    if damage == "link":
        (tmp_path / "other").write_bytes(FILTER)
        copy.symlink_to(tmp_path / "other")
    elif damage == "fifo":
        os.mkfifo(copy)
    elif damage != "missing":
        copy.write_bytes({"cut": FILTER[:-1], "long": bytes(8 * 4097)}.get(damage, FILTER))
    identity = "../crun/abc" if damage == "id" else "abc"
    found = exec_spec._copy_of_filter(Container("web", "podman", identity))
    assert found == (b"" if damage else FILTER)
