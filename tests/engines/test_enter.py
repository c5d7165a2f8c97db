"""`nsctl enter` beside each engine's own exec: the same powers, ids, groups, namespaces, limits."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engines.containerd import Containerd, Cri
from support.engines.docker import Docker
from support.engines.grouped import in_group
from support.engines.lxc import MAPPED, Lxc
from support.engines.needs import require
from support.engines.podman import Podman
from support.engines.stage import Stage
from support.imports import ENTERED, ENTERED_STANDARD

pytestmark = pytest.mark.engines

SHOWN = (
    "grep -E '^(Umask|Uid|Gid|Groups|Cap.*|NoNewPrivs|Seccomp.*|Sig(Blk|Ign|Cgt)|Speculation.*):' "
    "/proc/self/status; for name in /proc/self/ns/*; do readlink $name; done; cat /proc/self/cgroup; ulimit -a; pwd; "
    "mkdir /tmp/forbidden && rmdir /tmp/forbidden; echo $?; "
    "awk '{print $1 == $6}' /proc/self/stat; env | sort | grep -vE '^(SHLVL|PWD|_|OLDPWD)='"
)
_TAG = secrets.token_hex(4)
SHELL = ("sh", "-c", f"exec 2>/dev/null; {SHOWN}")
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
}


def own(name: str) -> str:
    """A name that no other container of this machine has."""
    return f"{name}-{_TAG}"


def entered(target: str, *options: str, prefix: tuple[str, ...] = (), said: str = "") -> str:
    """What a shell sees that nsctl brought in."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "nsctl", "enter", target, *options, *SHELL],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, said)
    return done.stdout.rstrip("\n")


@pytest.fixture(scope="module")
def web(docker: Docker) -> Docker:
    profile = docker.stage.directory / "profile.json"
    profile.write_text(json.dumps(PROFILE))
    docker.run(own("plain"))
    docker.run(
        own("hard"),
        *("-u", "1234:1235", "--group-add", "77", "--cap-drop", "ALL", "-e", "A=b c", "-w", "/tmp"),
        *("--security-opt", "no-new-privileges", "--security-opt", f"seccomp={profile}"),
        *("--ulimit", "nofile=77:99"),
    )
    docker.run(own("user"), "-u", "1234")
    docker.run(
        own("added"), "--cap-add", "SYS_PTRACE", "--cap-drop", "NET_RAW", "--pids-limit", "50"
    )
    docker.run(own("hostnet"), "--network", "host", "--pid", "host", "--ipc", "host")
    return docker


@pytest.mark.parametrize("name", ["plain", "hard", "user", "added", "hostnet"])
def test_docker(web: Docker, name: str) -> None:
    shown = entered(f"docker://{own(name)}")
    assert _without_soft_limit(shown) == _without_soft_limit(web("exec", own(name), *SHELL))
    if name == "hard":
        assert "(-n) 77\n" in shown
        assert "\nCapBnd:\t0000000000000000\n" in shown
        assert "\n1\n" in shown  # mkdir failed, as it does for the container


@pytest.mark.usefixtures("web")
def test_entering_by_name_imports_what_is_written_down() -> None:
    """A name and its start-up are to take 25 ms together: what that may import is a budget."""
    code = (
        "import sys; before = set(sys.modules); from nsctl.cli.main import main; "
        "status = main(sys.argv[1:]); print(*sorted(set(sys.modules) - before)); sys.exit(status)"
    )
    words = ("enter", f"docker://{own('plain')}", "true")
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.split())
    # Where containers of other engines run, what can have the name is looked into too.
    others = {f"nsctl.engines.{name}" for name in ("oci", "oci_spec", "nspawn")}
    others.add("nsctl.kernel.nsfs")
    assert {name for name in modules if name.startswith("nsctl")} - others <= ENTERED
    assert {name.partition(".")[0] for name in modules} - {"nsctl"} <= ENTERED_STANDARD


def test_docker_without_a_stop_and_by_a_host_program(web: Docker) -> None:
    declared = entered(f"docker://{own('hard')}", "--filters", "declared")
    assert declared == entered(f"docker://{own('hard')}")
    # A filter compiled from the profile and the engine's own forbid the same.
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nsctl",
            "enter",
            f"docker://{own('plain')}",
            "-n",
            "ip",
            "-j",
            "addr",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    address = web("inspect", "-f", "{{.NetworkSettings.IPAddress}}", own("plain"))
    assert address in done.stdout


def test_docker_with_mapped_ids(remapped_docker: Docker) -> None:
    remapped_docker.run(own("mapped"))
    remapped_docker.run(own("mapped-user"), "-u", "1234:1235")
    for name in ("mapped", "mapped-user"):
        shown = remapped_docker("exec", own(name), *SHELL)
        mine = entered(f"docker://{own(name)}")
        assert _without_soft_limit(mine) == _without_soft_limit(shown)


def test_a_paused_container_of_docker_is_refused_at_once(web: Docker) -> None:
    web("pause", own("plain"))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "nsctl", "enter", f"docker://{own('plain')}", "true"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert (done.returncode, "it is paused" in done.stderr) == (125, True)
    finally:
        web("unpause", own("plain"))


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    require("podman", "conmon", "runc", "catatonit")
    with Stage("podman") as stage:
        engine = Podman(stage)
        engine.run(own("one"), "--network", "none")
        engine.run(
            own("hard"),
            "--network",
            "none",
            "-u",
            "1234:1235",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "-w",
            "/tmp",
            "-e",
            "A=b c",
        )
        engine.run(own("mapped"), "--network", "none", "--uidmap", "0:500000:65536")
        yield engine


@pytest.mark.parametrize("name", ["one", "hard", "mapped"])
def test_podman(podman: Podman, name: str) -> None:
    shown = podman("exec", own(name), *SHELL)
    assert _without_soft_limit(entered(f"podman://{own(name)}")) == _without_soft_limit(shown)


def _without_soft_limit(shown: str) -> list[str]:
    """The runtime's own soft limit on open files may come through (runc's issue 4195)."""
    return [line for line in shown.split("\n") if not line.startswith("open files")]


def test_podman_of_an_ordinary_user() -> None:
    require("podman", "conmon", "crun", "newuidmap")
    with Stage("rootless") as stage:
        engine = Podman(stage, rootless=True, runtime="crun")
        engine.run(own("mine"), "--network", "none")
        shown = engine("exec", own("mine"), *SHELL)
        pid = engine("inspect", "-f", "{{.State.Pid}}", own("mine"))
        identity = ("setpriv", "--reuid=64322", "--regid=64322", "--clear-groups")
        group = f"{stage.cgroup}/user"
        prefix = tuple(stage.inside(in_group(group, ["env", "-C", "/", *identity])))
        mine = entered(f"podman://{own('mine')}", prefix=(*prefix,))
        assert _without_soft_limit(mine) == _without_soft_limit(shown)
        # Root enters it too, with the same powers and no more.
        assert _powers(entered(pid)) == _powers(shown)


def _powers(shown: str) -> list[str]:
    return [line for line in shown.split("\n") if line.startswith(("Cap", "Uid", "Gid", "NoNew"))]


@pytest.fixture(scope="module")
def cri(containerd: Containerd) -> Iterator[tuple[Cri, str]]:
    pytest.importorskip("grpc")
    pytest.importorskip("cri_api")
    if not Path("/usr/lib/cni/bridge").exists():
        pytest.skip("needs containernetworking-plugins")
    made = Cri(containerd)
    pod = None
    try:
        pod = made.pod(own("shop"), net="NODE")
        yield made, made.container(pod, "app")
    finally:
        if pod is not None:
            made.stop_pod(pod)
            made.remove_pod(pod)
        made.close()


def test_a_container_of_a_pod(cri: tuple[Cri, str]) -> None:
    engine, container = cri
    request = engine.api.ExecSyncRequest(container_id=container, cmd=SHELL, timeout=30)
    answer = engine.runtime.ExecSync(request, timeout=30)
    theirs = answer.stdout.decode().rstrip("\n")
    assert _without_soft_limit(entered(f"pod/{own('shop')}/app")) == _without_soft_limit(theirs)


def test_lxc() -> None:
    require("lxc-start", "lxc-attach", "newuidmap")
    with Stage("lxc") as stage:
        engine = Lxc(stage)
        dropped = "lxc.cap.drop = sys_module mac_admin net_raw"
        engine.start(own("plain"), "lxc.net.0.type = empty", dropped)
        engine.start(own("mapped"), "lxc.net.0.type = empty", *MAPPED)
        for name in ("plain", "mapped"):
            shown = stage.run(
                *("lxc-attach", "-P", engine.path, "-n", own(name), "--clear-env", "--"),
                *SHELL,
            )
            assert _without_environment(entered(f"lxc://{own(name)}")) == _without_environment(
                shown
            )


def _without_environment(shown: str) -> list[str]:
    """LXC's attach gives an environment of its own, and has a group of version 2 for itself."""
    return [
        line
        for line in shown.rstrip("\n").split("\n")
        if not line.startswith(
            ("HOME=", "PATH=", "TERM=", "container", "USER=", "/", "SHELL=", "0::")
        )
    ]


def test_our_own(tmp_path: Path) -> None:
    from support.containers import box_in

    with box_in(tmp_path) as box:
        pid = box.detach(env=(("A", "b c"),)).pid
        inside = box.detach("sh", "-c", f"{SHOWN}; sleep 1000", name="told").pid
        shown = entered(str(pid))
        assert inside
        # A command of a container of ours and one that entered another have the same powers.
        wanted = subprocess.run(
            ["grep", "-E", "^Cap", f"/proc/{pid}/status"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "".join(f"{line}\n" for line in _powers(shown) if line.startswith("Cap")) == wanted
