"""What can be asked of a container besides its namespaces, tried from inside."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.cli import run as command
from nsctl.cli.getopt import parse
from nsctl.errors import NsctlError, UsageError
from nsctl.run import bundle, lifecycle
from nsctl.run.spec import CPUS, MEMORY, PIDS, Mount, Spec
from support.containers import Box, box_in

pytestmark = pytest.mark.privileged


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with box_in(tmp_path) as made:
        yield made


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    place = tmp_path / "shared"
    place.mkdir()
    (place / "secret").write_text("host's\n")
    (place / "secret").chmod(0o600)
    (place / "open").write_text("seen\n")
    return place


def test_a_bind_shows_a_file_or_directory_as_it_was_asked(box: Box, shared: Path) -> None:
    mounts = (
        Mount("bind", str(shared), "/deep/er/data", "ro,noexec"),
        Mount("bind", f"{shared}/open", "/etc/one"),
        Mount("tmpfs", "", "/deep/scratch", "size=1m,mode=1777"),
    )
    done = box.run(
        "cat /deep/er/data/open /etc/one; touch /deep/er/data/x; stat -c %a /deep/scratch;"
        " echo new >/deep/scratch/x && cat /deep/scratch/x;"
        " grep -E ' /(deep|etc)' /proc/self/mountinfo | awk '{print $5, $6}'",
        mounts=mounts,
    )
    assert "seen\nseen\n" in done.output
    assert "Read-only file system" in done.output
    assert "1777\nnew\n" in done.output
    assert "/deep/er/data ro,noexec,relatime" in done.output
    assert "/deep/scratch rw,nosuid,nodev,relatime" in done.output
    assert not (shared / "x").exists()


def test_root_inside_can_neither_read_nor_change_a_file_of_the_hosts_root(
    box: Box, shared: Path
) -> None:
    done = box.run(
        "cat /data/secret; echo bad >/data/open; rm -f /data/open; chmod 777 /data/secret;"
        " touch /data/new; ln /data/open /data/other; id -u",
        mounts=(Mount("bind", str(shared), "/data"),),
    )
    assert done.output.endswith("0\n")
    assert "host's" not in done.output
    assert (shared / "open").read_text() == "seen\n"
    assert (shared / "secret").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(shared)) == ["open", "secret"]


def test_an_id_mapped_bind_gives_root_inside_what_is_the_hosts_roots(
    box: Box, shared: Path
) -> None:
    done = box.run(
        "cat /data/secret; stat -c %u /data/secret; touch /data/new",
        mounts=(Mount("bind", str(shared), "/data", "idmap"),),
    )
    assert done.output == "host's\n0\n"
    assert (shared / "new").stat().st_uid == 0


def test_a_place_behind_a_link_or_of_another_kind_is_refused(box: Box, shared: Path) -> None:
    os.symlink("/proc", f"{box.root}/way")
    for mount in (
        Mount("bind", str(shared), "/way/self"),
        Mount("bind", str(shared), "/way"),
        Mount("bind", str(shared), "/etc/passwd"),
        Mount("bind", f"{shared}/open", "/etc"),
        Mount("bind", f"{shared}/nothing", "/data"),
    ):
        with pytest.raises(NsctlError):
            box.run("true", mounts=(mount,))
    assert box.left_over() == []


def test_another_user_has_no_capabilities_and_can_get_none(box: Box) -> None:
    done = box.run(
        "id; grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status; touch /x; umask",
        uid=5,
        gid=6,
        groups=(6, 7),
        umask=0o77,
    )
    assert "uid=5 gid=6 groups=6,7\n" in done.output
    assert done.output.count("0000000000000000") == 3
    assert "Permission denied" in done.output
    assert done.output.endswith("0077\n")
    with pytest.raises(UsageError, match="means nothing"):
        box.run("true", uid=70_000)


def test_the_command_can_be_the_first_process_itself(box: Box) -> None:
    assert box.run("echo $$; cat /proc/1/comm; true", init=False).output == "1\nsh\n"
    # Its parent gets its status all the same.
    assert box.run("exit 7", init=False).status == 7
    made = box.detach(name="web", init=False)
    assert Path(f"/proc/{made.pid}/comm").read_text() == "sleep\n"
    # PID 1 heeds no signal that it has no handler for.
    lifecycle.stop("web", box.store, grace=0)


def test_a_profile_of_ones_own_is_the_filter(box: Box) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    done = box.run("mkdir /x; grep Seccomp: /proc/self/status", seccomp_profile=json.dumps(profile))
    assert "No space left" in done.output
    assert "Seccomp:\t2" in done.output


def test_limits_hold(box: Box) -> None:
    made = box.detach(name="web", limits=((MEMORY, 32 << 20), (CPUS, 500), (PIDS, 12)))
    groups = {path.split("/nsctl/")[0]: path for path in box.state("web").cgroup_dirs}
    values = {}
    for place in groups.values():
        for name in (
            "memory.limit_in_bytes",
            "memory.max",
            "pids.max",
            "cpu.cfs_quota_us",
            "cpu.max",
        ):
            if os.path.exists(f"{place}/{name}"):
                values[name] = Path(place, name).read_text().strip()
    assert values.get("memory.limit_in_bytes", values.get("memory.max")) == str(32 << 20)
    assert values["pids.max"] == "12"
    assert values.get("cpu.cfs_quota_us", values.get("cpu.max", "").split(" ")[0]) == "50000"
    assert made.pid
    done = box.run(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 5 & done; kill $(jobs -p)",
        limits=((PIDS, 8),),
    )
    assert "can't fork" in done.output
    eater = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo survived"
    assert "survived" not in box.run(eater, limits=((MEMORY, 20 << 20),)).output


def test_a_missing_working_directory_is_made_where_that_was_asked(box: Box) -> None:
    assert box.run("pwd", cwd="/srv/app/it", make_cwd=True).output == "/srv/app/it\n"
    with pytest.raises(NsctlError, match="working directory"):
        box.run("pwd", cwd="/srv/app/it")


def test_a_namespace_can_be_named_by_a_path(box: Box) -> None:
    made = box.detach(name="web")
    for kind in ("net", "ipc", "uts", "pid", "cgroup", "time", "user"):
        path = f"/proc/{made.pid}/ns/{kind}"
        asked = {kind: f"ns:{path}"}
        assert box.run(f"readlink /proc/self/ns/{kind}", namespaces=asked).output.strip() == (
            os.readlink(path)
        )
    done = box.run("true", namespaces={"net": "host", "pid": "ns:/proc/self/ns/pid"})
    assert done.status == 0
    for wrong in ("/proc/self/ns/uts", "/etc/passwd", "/nowhere"):
        with pytest.raises(NsctlError):
            box.run("true", namespaces={"net": f"ns:{wrong}"})


def test_a_bundle_runs_as_it_says(box: Box, tmp_path: Path) -> None:
    place = tmp_path / "bundle"
    place.mkdir()
    os.symlink(box.root, place / "rootfs")
    config = {
        "process": {
            "args": ["sh", "-c", "id -u; hostname; pwd; ulimit -n; echo $A; touch /x"],
            "user": {"uid": 3, "gid": 3},
            "env": ["A=b", "PATH=/bin"],
            "cwd": "/made/here",
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}],
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "inside",
        "linux": {"namespaces": [{"type": name} for name in ("mount", "uts", "pid", "user")]},
    }
    (place / "config.json").write_text(json.dumps(config))
    done = box.run_spec(bundle.read(str(place))._replace(remove=True))
    assert done.output.startswith("3\ninside\n/made/here\n77\nb\n")
    assert "Read-only file system" in done.output


def test_words_of_the_command_line_become_what_they_mean(
    box: Box, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(command, "default_store", lambda: box.store)
    monkeypatch.setenv("MINE", "yes")
    (tmp_path / "env").write_text("# a comment\nB=2\n\nMINE\n")

    def spec_of(*words: str) -> Spec:
        return command._spec(parse(command.OPTIONS, words, stop_at_operand=True))[0]

    spec = spec_of(
        *("-d", "-i", "-t", "-m", "1.5g".replace(".5", ""), "--cpus", "1.5", "--pids-limit", "9"),
        *("--env-file", f"{tmp_path}/env", "-e", "C=3", "-e", "MINE", "-e", "NOT_SET_ANYWHERE"),
        *("-v", f"{shared}:/data:ro,z", "--tmpfs", "/t:size=1m", "-u", "7:8", "-w", "/w"),
        *("--security-opt", "no-new-privileges=false", "--security-opt", "systempaths=unconfined"),
        *("--cap-drop", "ALL", "--cap-add", "kill", "--init=false", "--net", "host"),
        *(box.root, "sh", "-x"),
    )
    assert (spec.detach, spec.interactive, spec.terminal, spec.init) == (True, True, True, False)
    assert dict(spec.limits) == {MEMORY: 1 << 30, CPUS: 1500, PIDS: 9}
    assert spec.env == (("B", "2"), ("MINE", "yes"), ("C", "3"), ("MINE", "yes"))
    assert spec.mounts[:2] == (
        Mount("bind", str(shared), "/data", "ro"),
        Mount("tmpfs", "", "/t", "size=1m"),
    )
    assert (spec.uid, spec.gid, spec.cwd, spec.argv) == (7, 8, "/w", ("sh", "-x"))
    assert (spec.no_new_privs, spec.masked, spec.read_only_paths) == (False, (), ())
    assert spec.capabilities == 1 << 5
    assert spec.namespaces == {"net": "host"}
    privileged = spec_of("--privileged", box.root)
    assert not privileged.seccomp
    assert not privileged.no_new_privs
    for words in (
        ("-m", "lots"),
        ("-m", "0"),
        ("--cpus", "0"),
        ("--cpus", "nan"),
        ("--pids-limit", "-1"),
        ("-v", "name:/x"),
        ("-v", "/nowhere:/x"),
        ("-v", "/tmp"),
        ("--init=maybe",),
        ("-u", "nobody-here"),
        ("-e", "=x"),
        ("--security-opt", "label=off"),
        ("-t",),
        ("--security-opt", f"seccomp={shared}/open"),
        ("--env-file", "/nowhere"),
    ):
        with pytest.raises(NsctlError):
            spec_of(*words, box.root)


def test_who_shares_the_hosts_network_has_its_names_for_addresses(box: Box, shared: Path) -> None:
    def targets(*words: str) -> list[str]:
        given = parse(command.OPTIONS, (*words, box.root, "true"), stop_at_operand=True)
        return [each.target for each in command._spec(given)[0].mounts]

    (shared / "hosts").write_text("192.0.2.1 mine\n")
    assert targets("--network", "private") == []
    assert "/etc/hosts" in targets("--network", "host")
    own = targets("--network", "host", "-v", f"{shared}/hosts:/etc/hosts")
    assert own.count("/etc/hosts") == 1
    given = parse(command.OPTIONS, ("--network", "host", box.root, "x"), stop_at_operand=True)
    mounts = command._spec(given)[0].mounts
    script = "cat /etc/hosts; echo x >>/etc/hosts || echo refused"
    done = box.run(script, namespaces={"net": "host"}, mounts=mounts)
    assert done.output.startswith(Path("/etc/hosts").read_text())
    assert done.output.endswith("refused\n")
    # A link in the root is the image's own business, and leads nowhere on the host.
    (Path(box.root) / "etc/hosts").symlink_to(shared / "hosts")
    assert "/etc/hosts" not in targets("--network", "host")


def test_a_hundred_containers_in_a_row_leave_nothing(box: Box) -> None:
    def counted() -> tuple[int, int, int]:
        mounts = Path("/proc/self/mountinfo").read_text().count(box.base)
        interfaces = len(os.listdir("/sys/class/net"))
        return mounts, interfaces, len(os.listdir("/proc/self/fd"))

    before, tag = counted(), f"row{os.getpid()}"
    for number in range(100):
        spec = box.spec("true", remove=True, name=f"{tag}-{number}")
        assert lifecycle.run(spec, box.store, streams=(), alone=True) == 0
    assert counted() == before
    assert box.left_over() == []
    assert [path for path in glob.glob("/sys/fs/cgroup/*/nsctl/row*-*") if tag in path] == []
