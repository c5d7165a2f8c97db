"""Runtime bundles: what they ask for is taken, or refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import NsctlError, UsageError
from nsctl.model import capabilities
from nsctl.run import bundle
from nsctl.run.spec import Mount

pytestmark = pytest.mark.unit

# As `runc spec` writes it, shortened.
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 5, "gid": 6, "additionalGids": [7], "umask": 63},
        "args": ["sh", "-c", "id"],
        "env": ["PATH=/bin", "A=b=c", "EMPTY="],
        "cwd": "/srv",
        "capabilities": {
            name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted", "ambient")
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 2048, "soft": 1024}],
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]},
        {"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro"]},
        {"destination": "/run", "type": "tmpfs", "options": ["nosuid", "size=64k"]},
    ],
    "linux": {
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {"limit": 1 << 25},
            "cpu": {"quota": 50000, "period": 100000},
            "pids": {"limit": 20},
        },
        "namespaces": [
            {"type": "pid"},
            {"type": "network", "path": "/run/netns/a"},
            {"type": "mount"},
            {"type": "user"},
        ],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    },
}


def _write(directory: Path, config: object) -> str:
    (directory / "config.json").write_text(json.dumps(config))
    return str(directory)


def test_what_a_bundle_asks_for_is_taken(tmp_path: Path) -> None:
    spec = bundle.read(_write(tmp_path, CONFIG))
    assert spec.rootfs == f"{tmp_path}/rootfs"
    assert spec.argv == ("sh", "-c", "id")
    assert spec.env == (("PATH", "/bin"), ("A", "b=c"), ("EMPTY", ""))
    assert (spec.uid, spec.gid, spec.groups, spec.umask) == (5, 6, (7,), 63)
    assert (spec.cwd, spec.hostname, spec.read_only, spec.no_new_privs) == (
        "/srv",
        "box",
        True,
        True,
    )
    assert spec.namespaces["pid"] == spec.namespaces["mnt"] == spec.namespaces["user"] == "private"
    assert spec.namespaces["net"] == "ns:/run/netns/a"
    assert spec.namespaces["ipc"] == spec.namespaces["time"] == "host"
    kill = 1 << capabilities.NUMBERS["CAP_KILL"]
    # What is not inheritable cannot be ambient.
    assert spec.sets == (0, kill, kill, kill, 0)
    assert spec.mounts == (
        Mount("bind", f"{tmp_path}/data", "/data", "rbind,ro"),
        Mount("tmpfs", "", "/run", "nosuid,size=64k"),
    )
    assert spec.masked == ("/proc/kcore",)
    assert spec.read_only_paths == ("/proc/sys",)
    assert json.loads(spec.seccomp_profile) == {"defaultAction": "SCMP_ACT_ALLOW"}
    assert dict(spec.limits) == {"memory": 1 << 25, "cpus": 500, "pids": 20}
    assert spec.rlimits == ((7, 1024, 2048),)
    assert not spec.init


def test_without_capabilities_and_filter_there_are_none(tmp_path: Path) -> None:
    config = copy.deepcopy(CONFIG)
    del config["process"]["capabilities"], config["linux"]["seccomp"]
    spec = bundle.read(_write(tmp_path, config))
    assert spec.capabilities == 0
    assert not spec.seccomp


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("hooks",), {"prestart": [{"path": "/x"}]}),
        (("linux", "sysctl"), {"net.core.somaxconn": "1"}),
        (("linux", "devices"), [{"path": "/dev/fuse"}]),
        (("linux", "resources", "blockIO"), {"weight": 10}),
        (("linux", "resources", "memory", "swap"), 5),
        (("process", "apparmorProfile"), "x"),
        (("process", "selinuxLabel"), "x"),
        (("domainname",), "x"),
        (("process", "rlimits"), [{"type": "RLIMIT_X", "hard": 1, "soft": 1}]),
        (("mounts",), [{"destination": "/x", "type": "nfs", "source": "a:/b"}]),
        (("linux", "namespaces"), [{"type": "pid"}]),
        (("linux", "namespaces"), [{"type": "galaxy"}]),
        (("root",), {}),
        (("process", "args"), "sh"),
        (("process", "user"), {"uid": "0"}),
        (("linux",), []),
    ],
)
def test_what_is_not_done_is_refused_by_name(
    tmp_path: Path, path: tuple[str, ...], value: object
) -> None:
    config = copy.deepcopy(CONFIG)
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(UsageError, match="bundle"):
        bundle.read(_write(tmp_path, config))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["root", "path", "process", "linux", "user", "args", "type", "mounts"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_a_damaged_configuration_is_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, config: object
) -> None:
    place = tmp_path_factory.mktemp("bundle")
    # What is whole by chance has no namespaces, and so none of its own for mounts.
    with pytest.raises(NsctlError) as caught:
        bundle.read(_write(place, config))
    assert "\n" not in caught.value.sentence
