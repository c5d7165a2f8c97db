"""Docker's state on disk: half-written, hostile, of a daemon or without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nsctl import host
from nsctl.model.container import Container
from nsctl.model.part import Gap, Part
from unit.factories import ns
from unit.proctree import ProcTree

pytestmark = pytest.mark.unit

ID, OTHER = "3f2a9c1b" * 8, "d8784ef6" * 8
SHIM, FIRST = 50, 51


class Disk:
    """A host with a process for a container, and Docker's state."""

    def __init__(self, root: Path) -> None:
        self.tree = ProcTree(root)
        self.tree.reader()
        self.tree.add(1, ppid=0)
        self.root = root / "1/root"
        self.root.mkdir()
        first = self.tree.add(FIRST, ns(mnt=900, pid=901), ppid=SHIM, comm=b"sleep")
        (first / "cgroup").write_bytes(f"0::/docker/{ID}\n".encode())

    def process(self, pid: int, comm: bytes, *words: str) -> Path:
        directory = self.tree.add(pid, comm=comm)
        (directory / "cmdline").write_bytes("".join(word + "\0" for word in words).encode())
        (directory / "root").symlink_to(self.root)
        return directory

    def write(
        self,
        place: str = "/var/lib/docker",
        container_id: str = ID,
        wanted: dict[str, Any] | None = None,
        **config: Any,
    ) -> Path:
        directory = self.root / place.lstrip("/") / "containers" / container_id
        directory.mkdir(parents=True)
        state = {"Running": True, "Pid": FIRST, "StartedAt": "2024-05-05T10:00:00.5Z"}
        content = {"ID": container_id, "Name": "/web", "State": state, **config}
        (directory / "config.v2.json").write_text(json.dumps(content))
        (directory / "hostconfig.json").write_text(json.dumps(wanted or {}))
        return directory

    def read(self) -> tuple[dict[str, Container], list[Gap]]:
        found = host.take_snapshot([Part.CONTAINERS], proc_root=str(self.tree.root))
        rows = {row.name: row for row in found.containers if row.engine == "docker"}
        return rows, [gap for gap in found.gaps if gap.source == "docker"]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_state_at_the_default_place_is_enough(disk: Disk) -> None:
    disk.write(
        Config={"Image": "bb:1", "Labels": {"b": "2", "a": "1"}}, Created="1970-01-01T00:00:10Z"
    )
    rows, gaps = disk.read()
    assert gaps == []
    assert rows["web"] == Container(
        *("web", "docker", ID, "bb:1", FIRST, 100, "running", 10.0),
        labels=(("a", "1"), ("b", "2")),
        cgroups=(f"/docker/{ID}",),
    )


@pytest.mark.parametrize(
    "words",
    [
        ("dockerd", "--data-root", "/srv/d"),
        ("dockerd", "--data-root=/srv/d/"),
        ("dockerd", "-g", "/srv/d"),
    ],
)
def test_a_moved_data_root_is_found_from_the_daemons_arguments(
    disk: Disk, words: tuple[str, ...]
) -> None:
    disk.process(40, b"dockerd", *words)
    disk.write("/srv/d")
    assert disk.read()[0]["web"].pid == FIRST


def test_a_moved_data_root_is_found_from_the_daemons_configuration(disk: Disk) -> None:
    disk.process(40, b"dockerd", "dockerd", "--config-file", "/etc/d.json")
    (disk.root / "etc").mkdir()
    (disk.root / "etc/d.json").write_text('{"data-root": "/srv/d"}')
    disk.write("/srv/d")
    assert disk.read()[0]["web"].pid == FIRST


def test_a_moved_data_root_is_found_from_a_shim_when_the_daemon_is_gone(disk: Disk) -> None:
    bundle = f"/run/x/io.containerd.runtime.v2.task/moby/{ID}"
    shim = disk.process(SHIM, b"containerd-shim", "shim", "-namespace", "moby", "-id", ID)
    (shim / "cwd").symlink_to(bundle)
    (disk.root / bundle[1:]).mkdir(parents=True)
    mounts = [{"source": f"/srv/d/300000.300000/containers/{ID}/hostname"}]
    (disk.root / bundle[1:] / "config.json").write_text(json.dumps({"mounts": mounts}))
    disk.write("/srv/d/300000.300000", wanted={"PidMode": "host"})
    rows, _ = disk.read()
    assert dict(rows["web"].declared)["user"] == "own"
    assert rows["web"].pid == FIRST


def test_a_shim_alone_still_tells_the_id(disk: Disk) -> None:
    bundle = f"/run/x/io.containerd.runtime.v2.task/moby/{ID}"
    shim = disk.process(SHIM, b"containerd-shim", "shim", "-namespace", "moby", "-id", ID)
    (shim / "cwd").symlink_to(bundle)
    (disk.root / bundle[1:]).mkdir(parents=True)
    (disk.root / bundle[1:] / "init.pid").write_text(str(FIRST))
    rows, _ = disk.read()
    assert (rows[ID[:12]].id, rows[ID[:12]].pid) == (ID, FIRST)


@pytest.mark.parametrize("content", ["", '{"ID": "', "[]", "nonsense"])
def test_a_half_written_state_is_a_line_in_the_note_and_costs_no_other_row(
    disk: Disk, content: str
) -> None:
    disk.write()
    broken = disk.write(container_id=OTHER, Name="/other")
    (broken / "config.v2.json").write_text(content)
    rows, gaps = disk.read()
    assert list(rows) == ["web"]
    assert [gap.object for gap in gaps] == [f"/var/lib/docker/containers/{OTHER}/config.v2.json"]


@pytest.mark.parametrize(
    "config",
    [
        {"State": 5, "Config": [], "Name": None},
        {"State": {"Pid": "x", "Running": "yes"}, "Name": 7},
        {"State": {"Pid": -1}, "Config": {"Labels": {"a": 1}, "Image": {}}},
        {"State": {"Pid": 10**30}, "Created": "yesterday"},
    ],
)
def test_what_is_of_another_type_counts_as_not_there(disk: Disk, config: dict[str, Any]) -> None:
    disk.write(wanted={"PidMode": 3, "Binds": "x", "Mounts": [1], "SecurityOpt": {}}, **config)
    (row,) = disk.read()[0].values()
    assert (row.id, row.pid, row.labels, row.created) == (ID, 0, (), 0.0)


def test_a_state_of_another_container_is_not_taken(disk: Disk) -> None:
    disk.write(ID=OTHER)
    rows, gaps = disk.read()
    # The control groups still tell that there is one.
    assert list(rows) == [ID[:12]]
    assert [gap.cause for gap in gaps] == ["it tells of another container"]


def test_a_process_id_that_was_used_again_is_not_believed(disk: Disk) -> None:
    disk.tree.add(70)
    disk.write(State={"Running": True, "Pid": 70, "StartedAt": "2024-05-05T10:00:00Z"})
    rows, _ = disk.read()
    assert (rows["web"].pid, rows["web"].state) == (0, "exited")


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"Pid": FIRST, "Running": True}, "running"),
        ({"Pid": FIRST, "Running": True, "Paused": True}, "paused"),
        ({"Pid": FIRST, "Running": True, "Restarting": True}, "restarting"),
        ({"Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"}, "created"),
        ({"Pid": 0, "StartedAt": "2024-05-05T10:00:00Z"}, "exited"),
        ({"Dead": True}, "dead"),
        ({"RemovalInProgress": True}, "removing"),
    ],
)
def test_the_state_is_in_dockers_words(disk: Disk, state: dict[str, Any], word: str) -> None:
    disk.write(State=state)
    assert disk.read()[0]["web"].state == word


def test_what_was_declared_is_said_in_one_vocabulary(disk: Disk) -> None:
    disk.write(container_id=OTHER, Name="/other", State={})
    wanted = {
        "PidMode": f"container:{OTHER}",
        "NetworkMode": f"container:{OTHER[:12]}",
        "IpcMode": "private",
        "UTSMode": "host",
        "CgroupnsMode": "private",
        "Privileged": True,
        "ReadonlyRootfs": True,
        "CapAdd": ["SYS_PTRACE"],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", "apparmor=mine", "seccomp={}"],
        "Binds": ["/srv:/srv:ro,z", "vol:/data", "odd"],
        "Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}],
    }
    disk.write(wanted=wanted)
    assert dict(disk.read()[0]["web"].declared) == {
        "pid": "container:other",
        "net": "container:other",
        "ipc": "own",
        "uts": "host",
        "cgroup": "own",
        "user": "host",
        "privileged": "yes",
        "seccomp": "profile",
        "no-new-privileges": "yes",
        "apparmor": "mine",
        "read-only": "yes",
        "cap-add": "SYS_PTRACE",
        "cap-drop": "ALL",
        "mount:/srv": "/srv,ro",
        "mount:/data": "vol",
        "mount:/b": "/a,ro",
    }


def test_pods_of_cri_dockerd_are_told_by_its_labels(disk: Disk) -> None:
    labels = {"io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "n"}
    disk.write(Config={"Labels": labels})
    assert disk.read()[0]["web"].pod == "n:p"


def test_an_ordinary_users_daemon_is_told_by_its_environment(disk: Disk) -> None:
    """Constructed after what rootlesskit(1) and dockerd leave; one runs in the tests of engines."""
    daemon = disk.process(40, b"dockerd", "dockerd", "--bridge=none")
    status = (daemon / "status").read_bytes()
    users = b"Uid:" + b"\t1000" * 4
    (daemon / "status").write_bytes(status.replace(b"Uid:\t0\t0\t0\t0", users))
    (daemon / "environ").write_bytes(
        b"HOME=/home/alice\0ROOTLESSKIT_STATE_DIR=/tmp/rootlesskit1\0XDG_RUNTIME_DIR=/run/user/1000\0"
    )
    place = "/home/alice/.local/share/docker"
    disk.write(place, OTHER, {"NetworkMode": "none"}, State={})
    rows, gaps = disk.read()
    assert gaps == []
    row = rows["web@1000"]
    assert (row.user, row.vouched_by, row.state) == (1000, 40, "created")
    assert dict(row.declared)["user"] == "rootless"
