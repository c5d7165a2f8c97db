"""`nsctl run` beside Docker's container of the same flags: what is shared, hidden, held, mounted."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.run.spec import MEMORY, PIDS, Mount
from support.containers import Box, box_in
from support.engines.docker import IMAGE, Docker

pytestmark = pytest.mark.engines

_TAG = secrets.token_hex(4)
KINDS = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")
# Docker's default namespaces: the host's user and time namespaces.
LIKE_DOCKER = {"user": "host", "time": "host"}
# Which of the flags have the same word on both sides: ours and Docker's.
SHARED = (
    ("pid", ("--pid=host",)),
    ("net", ("--network=host",)),
    ("ipc", ("--ipc=host",)),
    ("uts", ("--uts=host",)),
    ("cgroup", ("--cgroupns=host",)),
)


@pytest.fixture(scope="module")
def box(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    root = docker.stage.directory / "busybox"
    with box_in(tmp_path_factory.mktemp("box")) as made:
        made.root = str(root)
        yield made


def _of_docker(docker: Docker, *options: str, script: str) -> str:
    return docker("run", "--rm", *options, IMAGE, "sh", "-c", script)


def _namespaces(text: str, host: int | str = "self") -> dict[str, bool]:
    """Which of the namespaces that a container saw are those of whoever started it."""
    seen = dict(zip(KINDS, text.split(), strict=True))
    return {kind: seen[kind] == os.readlink(f"/proc/{host}/ns/{kind}") for kind in KINDS}


LINKS = "for kind in mnt pid net ipc uts user cgroup time; do readlink /proc/self/ns/$kind; done"


def test_the_same_namespaces_are_shared(docker: Docker, box: Box) -> None:
    # A cgroup namespace is the host's by default where the hierarchy is version 1.
    for kind, options in ((None, ("--network=none", "--cgroupns=private")), *SHARED[:4]):
        theirs = _of_docker(docker, "--cgroupns=private", *options, script=LINKS)
        chosen = LIKE_DOCKER | ({} if kind is None else {kind: "host"})
        ours = box.run(LINKS, namespaces=chosen)
        assert _namespaces(ours.output) == _namespaces(theirs, docker.daemon.pid), kind


STATUS = "grep -E '^(Uid|Gid|Groups|Cap.*|Seccomp.*|NoNewPrivs):' /proc/self/status; umask; pwd"


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ((), {}),
        (("-u", "5:6"), {"uid": 5, "gid": 6, "groups": (6,)}),
        (("--security-opt", "no-new-privileges"), {"no_new_privs": True}),
        (("--security-opt", "seccomp=unconfined"), {"seccomp": False}),
        (("--cap-drop", "ALL"), {"capabilities": 0}),
        (("-w", "/tmp"), {"cwd": "/tmp"}),
    ],
)
def test_the_same_powers_are_held(
    docker: Docker, box: Box, options: tuple[str, ...], asked: dict[str, object]
) -> None:
    theirs = _of_docker(docker, "--network=none", *options, script=STATUS).split("\n")
    asked = {"no_new_privs": False, "namespaces": LIKE_DOCKER, **asked}
    ours = box.run(STATUS, **asked).output.rstrip("\n").split("\n")
    assert [line.split() for line in ours] == [line.split() for line in theirs]


HIDDEN = "awk '{print $5, $6}' /proc/self/mountinfo | grep -E '^/(proc|sys)' | sort"


def _mounts(text: str) -> dict[str, frozenset[str]]:
    found = {}
    for line in text.rstrip("\n").split("\n"):
        place, options = line.split(" ")
        found[place] = frozenset(options.split(","))
    return found


def test_the_same_of_proc_and_sys_is_hidden_or_read_only(docker: Docker, box: Box) -> None:
    theirs = _mounts(_of_docker(docker, "--network=none", script=HIDDEN))
    ours = _mounts(box.run(HIDDEN, namespaces=LIKE_DOCKER).output)
    groups = "/sys/fs/cgroup"
    theirs = {path: options for path, options in theirs.items() if not path.startswith(groups)}
    # Whatever an older Docker hides is hidden; what today's hides besides may be more.
    assert theirs.keys() <= ours.keys()
    new = {"/proc/interrupts", "/sys/devices/virtual/powercap"}
    more = {path for path in ours.keys() - theirs.keys() if not path.startswith(groups)}
    assert all(path in new or path.endswith("/thermal_throttle") for path in more)
    for path, options in theirs.items():
        # As strict or stricter: a mask of a file is the null device of a tmpfs.
        kept = {"ro", "nosuid", "nodev", "noexec"} & options
        if path in {"/proc/keys", "/proc/timer_list", "/proc/kcore", "/proc/latency_stats"}:
            kept -= {"ro"}
        assert kept <= ours[path] | {"nodev"}, (path, options, ours[path])


def test_the_same_devices_are_there_and_others_cannot_be_opened(docker: Docker, box: Box) -> None:
    script = (
        "ls -l /dev | awk '{print $1, $NF}' | grep -E '^c' | sort; stat -c %a /dev/null;"
        " mknod /tmp/d c 1 11 && head -c 1 /tmp/d; echo $?"
    )
    refusal = re.compile("Operation not permitted|Permission denied")
    theirs = _of_docker(docker, "--network=none", script=f"exec 2>&1; {script}").split("\n")
    ours = box.run(f"exec 2>&1; {script}", namespaces=LIKE_DOCKER).output.rstrip("\n").split("\n")
    # Here the file system has no devices either, which is asked first.
    assert {refusal.sub("", line) for line in theirs} == {refusal.sub("", line) for line in ours}
    assert any("head: /tmp/d" in line for line in ours)


def test_the_same_mounts_and_limits_hold(docker: Docker, box: Box, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    script = (
        "grep -E ' /(data|scratch) ' /proc/self/mountinfo | awk '{print $5, $6}' | sort;"
        " cat /data/file; touch /data/new; echo $?"
    )
    script = f"exec 2>&1; {script}"
    options = ("-v", f"{tmp_path}:/data:ro", "--tmpfs", "/scratch:size=1m", "--network=none")
    theirs = _of_docker(docker, *options, script=script)
    mounts = (
        Mount("bind", str(tmp_path), "/data", "ro"),
        Mount("tmpfs", "", "/scratch", "size=1m,noexec"),
    )
    ours = box.run(script, namespaces=LIKE_DOCKER, mounts=mounts)
    assert ours.output.rstrip("\n") == theirs
    name = f"limits-{_TAG}"
    docker.run(name, "--network=none", "--pids-limit", "40", "-m", "64m")
    made = box.detach(name="limits", limits=((MEMORY, 64 << 20), (PIDS, 40)))
    pids = (int(docker("inspect", "-f", "{{.State.Pid}}", name)), made.pid)
    limits = [_limits(pid) for pid in pids]
    docker("rm", "-f", name)
    assert limits[0] == limits[1] == {"pids.max": "40", "memory.limit_in_bytes": str(64 << 20)}


def _limits(pid: int) -> dict[str, str]:
    """The limits of a process's version 1 groups."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().split("\n"):
        _, _, rest = line.partition(":")
        controller, _, path = rest.partition(":")
        for name in ("pids.max", "memory.limit_in_bytes"):
            file = Path(f"/sys/fs/cgroup/{controller}{path}/{name}")
            if controller and file.exists():
                found[name] = file.read_text().strip()
    return found


def test_another_engines_container_can_be_shared_from(docker: Docker, box: Box) -> None:
    name = f"shared-{_TAG}"
    docker.run(name, "--network=none", "--cap-drop=ALL")
    pid = docker("inspect", "-f", "{{.State.Pid}}", name)
    try:
        for kind in ("net", "ipc", "uts", "pid", "cgroup", "time"):
            seen = box.run(
                f"readlink /proc/self/ns/{kind}",
                namespaces={kind: f"container:docker://{name}"},
            )
            assert seen.output.strip() == os.readlink(f"/proc/{pid}/ns/{kind}"), kind
    finally:
        docker("rm", "-f", name)


def test_no_process_is_built_beside_a_privileged_one(docker: Docker, box: Box) -> None:
    from nsctl.errors import NsctlError

    name = f"tracer-{_TAG}"
    docker.run(name, "--network=none", "--cap-add=SYS_PTRACE")
    try:
        with pytest.raises(NsctlError, match="CAP_SYS_PTRACE"):
            box.run("true", namespaces={"pid": f"container:{name}"})
    finally:
        docker("rm", "-f", name)


def test_what_docker_saves_runs(docker: Docker, box: Box, tmp_path: Path) -> None:
    from nsctl.run.sources import open_root

    archive = tmp_path / "bb.tar"
    docker("save", "-o", str(archive), IMAGE)
    root = open_root(str(archive), box.store)
    assert root.config.argv == ("sleep", "1000")
    assert box.run("echo works", rootfs=root.path).output == "works\n"
    assert subprocess.run(["test", "-d", root.path], check=False).returncode == 0
