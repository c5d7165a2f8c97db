"""States of bare runc and crun, and what an OCI configuration asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines.oci import containers, crun_state, runc_state
from nsctl.engines.oci_spec import of_config, of_runc_state
from unit.engines.machine import ALL, Machine

pytestmark = pytest.mark.unit

_CONFIG: dict[str, Any] = {
    "root": {"path": "/r", "readonly": True},
    "process": {"noNewPrivileges": True, "apparmorProfile": "strict", "selinuxLabel": "l"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "source": "/srv", "options": ["rbind", "ro"]},
        {"destination": "/etc/hosts", "source": "/state/hosts", "type": "bind"},
        {"destination": "/w", "source": "/tmp", "type": "bind"},
    ],
    "linux": {
        "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"},
        "namespaces": [
            {"type": "mount"},
            {"type": "network", "path": "/proc/7/ns/net"},
            {"type": "new-in-2040"},
        ],
    },
}
_RUNC: dict[str, Any] = {
    "id": "c",
    "init_process_pid": 77,
    "init_process_start": 1234,
    "created": "2026-11-24T12:55:46.5Z",
    "config": {
        "rootfs": "/r",
        "readonlyfs": True,
        "no_new_privileges": False,
        "labels": ["a=b=c", "bundle=/b", "plain"],
        "namespaces": [{"type": "NEWNS"}, {"type": "NEWPID", "path": "/proc/7/ns/pid"}],
        "mounts": [
            {"destination": "/data", "source": "/srv", "flags": 4097},
            {"destination": "/proc", "source": "proc", "flags": 0},
        ],
    },
}


def test_a_namespace_that_is_not_asked_for_is_the_hosts() -> None:
    said = dict(of_config(_CONFIG, ["/state"]))
    assert (said["mnt"], said["net"], said["pid"]) == ("own", "path:/proc/7/ns/net", "host")
    assert (said["seccomp"], said["apparmor"], said["selinux"]) == ("filter", "strict", "l")
    assert (said["no-new-privileges"], said["read-only"]) == ("yes", "yes")
    mounts = {key: value for key, value in said.items() if key.startswith("mount:")}
    assert mounts == {"mount:/data": "/srv,ro", "mount:/w": "/tmp"}
    assert dict(of_config({}))["seccomp"] == "none"


def test_runcs_state_is_read() -> None:
    state = runc_state(_RUNC, "c")
    assert state is not None
    assert (state.pid, state.start, state.image) == (77, 1234, "/r")
    assert state.labels == (("a", "b=c"), ("plain", ""))
    assert state.created == pytest.approx(1795524946.5)
    said = dict(state.declared)
    assert (said["mnt"], said["pid"], said["user"]) == ("own", "path:/proc/7/ns/pid", "host")
    assert said["mount:/data"] == "/srv,ro"
    assert runc_state(_RUNC, "another") is None


def test_cruns_state_is_read() -> None:
    status = {"pid": 9, "process-start-time": 5, "rootfs": "/r", "created": "2026-11-24T12:55:46Z"}
    state = crun_state(status, _CONFIG | {"annotations": {"b": "2", "a": "1", "c": 3}})
    assert (state.pid, state.start, state.image) == (9, 5, "/r")
    assert state.labels == (("a", "1"), ("b", "2"))
    assert crun_state(status, {}).declared == ()


_KEYS = (
    *("linux", "process", "root", "mounts", "namespaces", "seccomp", "type", "path", "options"),
    *("destination", "source", "flags", "config", "labels", "annotations", "id", "created"),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(_KEYS), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(_KEYS), _JSON))
def test_any_state_is_read_without_complaint(fields: dict[str, Any]) -> None:
    for said in (of_config(fields), of_runc_state(fields)):
        assert "".join(key + value for key, value in said).encode()
    runc_state(fields | {"id": "x"}, "x")
    crun_state(fields, fields)


def test_a_state_that_nobody_else_tells_of_is_under_its_engines_name(machine: Machine) -> None:
    machine.add(60, comm=b"sleep", start=1234)
    directory = machine.add(50, comm=b"runc", caps=ALL, words=("runc", "--root", "/r", "run", "x"))
    for name, labels in (("c" * 64, ["io.container.manager=libpod"]), ("plain", [])):
        place = Path(directory, "root/r", name)
        place.mkdir(parents=True)
        config = _RUNC["config"] | {"labels": labels}
        state = _RUNC | {"id": name, "init_process_pid": 60, "config": config}
        (place / "state.json").write_text(json.dumps(state))
    podmans, plain = [row for row in containers(machine.survey()) if row.pid == 60]
    assert (podmans.engine, podmans.name, podmans.id) == ("podman", "c" * 12, "c" * 64)
    assert (plain.engine, plain.name) == ("runc", "plain")
