"""Debug shells as root: tools beside a target that has none, and no trace of them in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.child.report import Failure
from nsctl.errors import NsctlError, UsageError
from nsctl.model import capabilities
from nsctl.model.container import Container
from nsctl.model.namespace import NamespaceType
from support.containers import Box, box_in, namespaces
from support.debugging import PORT, debug, groups_left, lone
from support.entering import DOCKERS, python, target
from support.last_stage import eventually
from support.terminal import on_terminal
from support.users import Nsctl, clean_environment

pytestmark = pytest.mark.privileged

NET = frozenset({NamespaceType.NET})
PID = frozenset({NamespaceType.PID})
_KINDS = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with box_in(tmp_path_factory.mktemp("debugged")) as made:
        yield made


@pytest.fixture(scope="module")
def web(box: Box) -> Container:
    return lone(box)


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def test_a_lone_static_program_is_traced_with_strace(web: Container) -> None:
    needs("strace")
    script = f"""
        strace -o /tmp/trace -p 1 & sleep 0.1
        until grep -q . /tmp/trace || ! kill -0 $!; do
            busybox wget -q -O /dev/null http://127.0.0.1:{PORT}/httpd; done
        kill -INT $!; wait; cat /tmp/trace
    """
    status, output = debug(web.pid, "sh", "-c", script)
    assert status == 0, output
    assert "accept" in output or "poll" in output


def test_a_lone_static_program_is_debugged_with_gdb(web: Container) -> None:
    needs("gdb")
    words = ("gdb", "-q", "-batch", "-p", "1", "-ex", "info registers", "-ex", "detach")
    status, output = debug(web.pid, *words)
    assert status == 0, output
    assert "[Inferior 1 (process 1) detached]" in output
    assert "sp" in output


def test_a_lone_static_program_s_packets_are_seen_with_tcpdump(web: Container) -> None:
    needs("tcpdump")
    script = f"""
        tcpdump -l -n -i lo -c 2 tcp port {PORT} >/tmp/seen 2>/tmp/said &
        until grep -q listening /tmp/said; do :; done
        until ! kill -0 $! 2>/dev/null; do
            busybox wget -q -O /dev/null http://127.0.0.1:{PORT}/httpd; done
        cat /tmp/seen
    """
    status, output = debug(web.pid, "bash", "-c", script, share=NET)
    assert status == 0, output
    assert f"127.0.0.1.{PORT}" in output


def test_a_lone_static_program_s_sockets_are_told_by_ss_with_their_process(
    web: Container,
) -> None:
    needs("ss")
    status, output = debug(web.pid, "ss", "-Htlnp")
    assert status == 0
    assert f":{PORT} " in output
    assert '("httpd",pid=1,' in output


def test_its_files_are_in_target_and_cannot_be_changed(web: Container) -> None:
    script = "ls /target; touch /target/x; cmp /target/httpd /proc/1/exe && echo same"
    status, output = debug(web.pid, "sh", "-c", script)
    assert status == 0
    assert "httpd\n" in output
    assert "Read-only file system" in output
    assert output.endswith("same\n")


def test_with_write_they_can(box: Box) -> None:
    made = box.detach()
    assert debug(made.pid, "sh", "-c", "echo hello >/target/tmp/left", write=True) == (0, "")
    assert Path(f"/proc/{made.pid}/root/tmp/left").read_text() == "hello\n"


def seen_of(web: Container) -> dict[str, object]:
    """All of a target that a debug shell could have changed."""
    root = f"/proc/{web.pid}/root"
    tree = {}
    for place, _, files in os.walk(root):
        if place[len(root) :].startswith(("/proc", "/sys", "/dev")):
            continue
        for name in (".", *files):
            about = os.lstat(f"{place}/{name}")
            tree[f"{place}/{name}"] = (
                about.st_ino,
                about.st_mode,
                about.st_atime_ns if name != "." else 0,
                about.st_mtime_ns,
                about.st_ctime_ns,
            )
    return {
        **{
            name: Path(f"/proc/{web.pid}/{name}").read_text()
            for name in ("mountinfo", "mounts", "environ", "cmdline", "cgroup", "uid_map", "limits")
        },
        "fds": {
            fd: os.readlink(f"/proc/{web.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{web.pid}/fd")
        },
        "namespaces": namespaces(web.pid),
        **tree,
    }


def test_no_trace_in_the_target_before_during_and_after(web: Container, box: Box) -> None:
    upper = Path(box.state(web.name).storage) / "upper"

    def layer() -> list[str]:
        return sorted(str(each) for each in upper.rglob("*"))

    seen_of(web)  # the first look leaves times of access of its own
    before, layer_before = seen_of(web), layer()
    script = "echo; grep -r . /target/etc /target/httpd >/dev/null 2>&1; read x"
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "nsctl", "debug", str(web.pid), "sh", "-c", script],
        stdin=reading,
        stdout=subprocess.PIPE,
    )
    try:
        os.close(reading)
        assert process.stdout is not None
        process.stdout.readline()
        during = seen_of(web)
        assert {key for key in before if during[key] != before[key]} == set()
        assert layer() == layer_before
        shell = next(
            pid
            for pid in filter(str.isdigit, os.listdir("/proc"))
            if _is_in(pid, "pid", web.pid) and not _is_in(pid, "mnt", web.pid)
        )
        inside = namespaces(shell)
        theirs, host = namespaces(web.pid), namespaces("self")
        for kind in ("pid", "net"):
            assert inside[kind] == theirs[kind]
        for kind in ("mnt", "ipc", "uts", "cgroup"):
            assert inside[kind] not in {theirs[kind], host[kind]}
        with open(f"/proc/{shell}/cgroup") as own, open(f"/proc/{web.pid}/cgroup") as other:
            assert not set(own) & set(other)
    finally:
        os.close(writing)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert (seen_of(web), layer()) == (before, layer_before)


def _is_in(pid: str, kind: str, other: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/{other}/ns/{kind}")
    except OSError:
        return False


def everything() -> set[str]:
    """Processes with their namespaces, and mounts here."""
    found = {f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().split("\n")}
    return found | {f"group {each}" for each in groups_left()}


@pytest.mark.parametrize("share", [frozenset({NamespaceType.PID, NamespaceType.NET}), NET])
def test_an_exited_shell_leaves_nothing(web: Container, share: frozenset[NamespaceType]) -> None:
    before = everything()
    script = "readlink /proc/self/ns/mnt /proc/self/ns/pid; setsid sleep 1000 & echo $!"
    status, output = debug(web.pid, "sh", "-c", script, share=share)
    assert status == 0
    mounts, _, _ = output.split()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            assert os.readlink(f"/proc/{pid}/ns/mnt") != mounts, pid
    assert everything() == before


@pytest.mark.parametrize("share", ["pid,net", "net"])
def test_a_killed_nsctl_leaves_nothing_either(web: Container, share: str) -> None:
    words = ("debug", "-s", share, str(web.pid), "sh", "-c", "setsid sleep 1000 & echo; read x")
    process = subprocess.Popen(
        [sys.executable, "-m", "nsctl", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        assert groups_left()
        process.kill()
    eventually(lambda: not groups_left(), "control groups are left")


def test_the_groups_of_one_that_was_killed_with_its_guardian_go_with_the_next(
    web: Container,
) -> None:
    made = Path("/sys/fs/cgroup/unified/nsctl-debug/4194305-1.web")
    if not made.parent.parent.is_dir():
        made = Path("/sys/fs/cgroup/nsctl-debug/4194305-1.web")
    made.mkdir(parents=True)
    with subprocess.Popen(["sleep", "1000"]) as left:
        (made / "cgroup.procs").write_text(str(left.pid))
        assert debug(web.pid, "true")[0] == 0
        assert left.wait() == -signal.SIGKILL
    assert not made.exists()


def test_with_net_alone_its_own_first_process_is_without_power(web: Container) -> None:
    script = """
        tr '\\0' ' ' </proc/1/cmdline; echo; grep Cap /proc/1/status
        readlink /proc/1/ns/pid /proc/self/ns/pid; echo /proc/[0-9]*; readlink /proc/1/root/
        ls -l /proc/1/fd | grep -c /; (sleep 0.01 &); kill -TERM 1; kill -9 1; echo alive
    """
    status, output = debug(web.pid, "bash", "-c", script, share=NET)
    lines = output.split("\n")
    assert status == 0, output
    assert lines[0].startswith("nsctl-init debug of ")
    assert [line.split()[1] for line in lines[1:6]] == ["0" * 16] * 5
    assert lines[6] == lines[7] != os.readlink(f"/proc/{web.pid}/ns/pid")
    assert lines[-2] == "alive"
    host = {pid for pid in os.listdir("/proc") if pid.isdigit()}
    assert len(lines[8].split()) < min(10, len(host))


def test_a_signal_ends_a_command_that_would_be_the_first_process(web: Container) -> None:
    words = ("debug", "-s", "net", str(web.pid), "sh", "-c", "echo; exec sleep 1000")
    process = subprocess.Popen(
        [sys.executable, "-m", "nsctl", *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM


def test_nothing_of_the_host_is_there_but_programs(web: Container) -> None:
    secret = Path("/root/.nsctl-debug-test")
    script = (
        "ls -A / /home /var /etc 2>/dev/null; cat /etc/shadow /root/.nsctl* 2>&1; "
        "cut -d' ' -f5,6 /proc/self/mountinfo; ls /proc/self/fd"
    )
    secret.write_text("the host's")
    try:
        _, output = debug(web.pid, "sh", "-c", script)
    finally:
        secret.unlink()
    assert "the host's" not in output
    assert "root:" not in output.replace("/root:", "")
    assert output.split("\n")[-5:-1] == ["0", "1", "2", "3"]  # the last is that of ls itself
    for line in output.split("\n"):
        point, _, options = line.partition(" ")
        if point.startswith(("/usr", "/etc", "/lib", "/bin", "/target")) and options:
            assert "ro" in options.split(","), line
            assert "nodev" in options.split(","), line


@pytest.mark.parametrize(
    ("profile", "effective", "uid", "nnp", "seccomp"),
    [
        ("general", capabilities.DEFAULT | 1 << 19, 0, 0, 2),
        ("baseline", capabilities.DEFAULT, 0, 0, 2),
        ("restricted", 0, None, 1, 2),
        ("netadmin", capabilities.DEFAULT | 1 << 12, 0, 0, 2),
    ],
)
def test_profiles_give_what_they_say(
    web: Container, profile: str, effective: int, uid: int | None, nnp: int, seccomp: int
) -> None:
    _, output = debug(web.pid, "cat", "/proc/self/status", profile=profile)
    found = dict(line.split(":\t", 1) for line in output.split("\n") if ":\t" in line)
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == effective
    assert int(found["NoNewPrivs"]) == nnp
    assert int(found["Seccomp"]) == seccomp
    assert int(found["Uid"].split("\t")[0]) != 0 if uid is None else found["Uid"][0] == "0"


def test_sysadmin_has_all_that_the_caller_has(web: Container) -> None:
    _, output = debug(web.pid, "cat", "/proc/self/status", profile="sysadmin")
    assert "Seccomp:\t0\n" in output
    with open("/proc/self/status") as file:
        mine = next(line for line in file if line.startswith("CapBnd"))
    assert mine.replace("Bnd", "Eff") in output


def test_a_user_and_variables_are_those_that_were_asked_for(web: Container) -> None:
    status, output = debug(
        web.pid, "sh", "-c", "id; echo $A $HOME; env | wc -l", uid=1234, gid=1235, env=("A=b c",)
    )
    assert status == 0
    assert output.startswith("uid=1234 gid=1235 groups=1235\nb c /tmp\n")


def test_every_type_but_mount_can_be_shared_or_none(web: Container) -> None:
    script = "for kind in pid net ipc uts user cgroup time; do readlink /proc/self/ns/$kind; done"
    everyone = frozenset(kind for kind in NamespaceType if kind != NamespaceType.MNT)
    kinds = ("pid", "net", "ipc", "uts", "user", "cgroup", "time")
    _, shared = debug(web.pid, "sh", "-c", script, share=everyone)
    assert shared.split() == [namespaces(web.pid)[kind] for kind in kinds]
    _, alone = debug(web.pid, "sh", "-c", script, share=frozenset())
    assert not set(alone.split()) & {namespaces(web.pid)[kind] for kind in _KINDS}


def test_a_namespace_alone_is_a_target(web: Container) -> None:
    needs("ss")
    path = f"/proc/{web.pid}/ns/net"
    status, output = debug(path, "ss", "-Htln", share=NET)
    assert (status, f":{PORT} " in output) == (0, True)
    with pytest.raises(UsageError):
        debug(path, "true", share=PID)


def test_tools_are_busybox_or_a_directory_of_them(web: Container, tmp_path: Path) -> None:
    listed = "ls /; ls /bin | head -2; type bash"
    status, output = debug(web.pid, "sh", "-c", listed, tools="busybox")
    assert (status, "usr" in output.split("\n")) == (127, False)
    busybox = shutil.which("busybox")
    assert busybox is not None
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(busybox, flat / "busybox")
    assert debug(web.pid, "busybox", "echo", "x", tools=str(flat)) == (0, "x\n")
    whole = tmp_path / "whole"
    for place in ("bin", "etc", "proc", "target"):
        (whole / place).mkdir(parents=True)
    shutil.copy(busybox, whole / "bin/busybox")
    (whole / "bin/sh").symlink_to("busybox")
    (whole / "etc/mine").write_text("yes\n")
    (whole / "etc/hosts").write_text("no\n")
    script = "busybox cat /etc/mine; busybox touch /bin/x; busybox ls /target"
    status, output = debug(web.pid, "sh", "-c", script, tools=str(whole))
    assert output.startswith("yes\ntouch: /bin/x: Read-only file system\n")
    assert "httpd" in output
    assert sorted(each.name for each in whole.iterdir()) == ["bin", "etc", "proc", "target"]


def test_tools_come_from_an_archive(web: Container, tmp_path: Path, nsctl: Nsctl) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None
    (tmp_path / "root/bin").mkdir(parents=True)
    shutil.copy(busybox, tmp_path / "root/bin/busybox")
    archive = tmp_path / "tools.tar"
    subprocess.run(["tar", "-C", tmp_path / "root", "-cf", archive, "."], check=True)
    words = ("-t", f"tar:{archive}", str(web.pid), "/bin/busybox", "echo", "x")
    done = nsctl("debug", *words, check=0)
    assert done.stdout == "x\n"
    # It is kept as an image without a name, by the archive's digest.
    nsctl("images", "rm", hashlib.sha256(archive.read_bytes()).hexdigest(), check=0)


@pytest.mark.parametrize(
    ("words", "status", "cause"),
    [
        (("/nope",), 127, "missing in the host's tools"),
        (("/etc/passwd",), 126, "Permission denied"),
        (("-p", "bad", "true"), 125, "--profile is general"),
        (("-s", "mnt", "true"), 125, "mount namespace of its own"),
        (("-t", "/nope", "true"), 125, "no root file system /nope"),
        (("sh", "-c", "exit 7"), 7, ""),
        (("sh", "-c", "kill -9 $$"), 137, ""),
    ],
)
def test_exit_statuses_are_the_command_s_own_or_say_who_refused(
    web: Container, nsctl: Nsctl, words: tuple[str, ...], status: int, cause: str
) -> None:
    done = nsctl("debug", str(web.pid), *words, check=status)
    assert cause in done.stderr
    assert bool(done.stderr) == bool(cause)


def test_a_target_that_has_ended_is_said(nsctl: Nsctl) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    done = nsctl("debug", str(process.pid), "true", check=125)
    assert f"process {process.pid}" in done.stderr


def test_on_a_terminal_it_has_one_of_its_own_and_says_whose_shell_it_is(web: Container) -> None:
    output = on_terminal(
        [sys.executable, "-m", "nsctl", "debug", str(web.pid)],
        80,
        clean_environment("/"),
        errors=True,
        typed=(
            (b"# ", b'tty; stty size; sh -c \'trap "echo caught; exit" INT; echo rea""dy; '),
            (b"; ", b"while :; do sleep 0.1; done'\n"),
            (b"ready\r\n", b"\x03"),
            (b"caught\r\n", b"exit 5\n"),
        ),
    )
    text = output.decode()
    assert f"debug of {web.pid}, with the host's tools: shares pid, net" in text.replace("\n", " ")
    assert "/dev/pts/0" in text
    assert f"[debug of {web.pid}]" in text


def test_lists_of_processes_tell_whose_debug_shell_it_is(web: Container, nsctl: Nsctl) -> None:
    words = ("debug", str(web.pid), "sh", "-c", "echo; read x")
    process = subprocess.Popen(
        [sys.executable, "-m", "nsctl", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        rows = json.loads(nsctl("ps", "-J", check=0).stdout)["processes"]
        names = {row["whose"]["name"] for row in rows if row["whose"]}
        network = json.loads(nsctl("net", "-J", str(web.pid), check=0).stdout)["net"][0]
        process.stdin.close() if process.stdin else None
    assert f"debug of {web.pid}" in names
    listening = [row for row in network["sockets"] if row.get("local_port") == PORT]
    assert [owner["pid"] for row in listening for owner in row["owners"]] == [web.pid]


# --- A hostile target ------------------------------------------------------------------------

# Traces whatever new process it can, and reads what lies behind it.
_HUNTER = r"""
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
told = open(sys.argv[1], "w", buffering=1)
known = {name for name in os.listdir("/proc") if name.isdigit()}
told.write("{}\n")
while True:
    for name in set(filter(str.isdigit, os.listdir("/proc"))) - known:
        found = {"seized": False, "caps": [], "fds": [], "root": []}
        for _ in range(200):
            try:
                found["seized"] |= libc.ptrace(0x4206, int(name), None, None) == 0
                with open(f"/proc/{name}/status") as file:
                    found["caps"] += [row for row in file if row.startswith("Cap")]
                found["fds"] += [os.readlink(f"/proc/{name}/fd/{fd}") for fd in os.listdir(f"/proc/{name}/fd")]
                found["root"] += os.listdir(f"/proc/{name}/root/")
                found["root"] += os.listdir(f"/proc/{name}/root/root")
                for place in ("etc/shadow", "root/.ssh", "var/lib", "home"):
                    if os.path.exists(f"/proc/{name}/root/{place}"):
                        found["root"].append(place)
                os.close(os.open(f"/proc/{name}/root/usr/bin/hunted", os.O_CREAT))
            except OSError:
                pass
        known.add(name)
        if found["seized"] and os.path.exists(f"/proc/{name}"):
            libc.ptrace(0x4207, int(name), None, None)
            libc.waitpid(int(name), None, 0x40000000)
            libc.ptrace(17, int(name), None, None)
        for key in ("caps", "fds", "root"):
            found[key] = sorted(set(found[key]))
        told.write(json.dumps(found) + "\n")
"""


def hunted(
    bounding: str, tmp_path: Path, **asked: object
) -> tuple[list[dict[str, object]], int, list[str]]:
    told = tmp_path / "told"
    said: list[str] = []
    with target(*python(_HUNTER, str(told)), bounding=bounding) as pid:
        eventually(lambda: told.exists() and told.read_text() != "", "no hunter")
        with open(f"/proc/{pid}/status") as file:
            mask = int(next(line for line in file if line.startswith("CapBnd")).split()[1], 16)
        for _ in range(5):
            seen = len(told.read_text().split("\n"))
            status, _ = debug(pid, "sleep", "0.2", said=said, share=PID, **asked)
            assert status in {0, 128 + signal.SIGKILL}
            eventually(
                lambda seen=seen: len(told.read_text().split("\n")) > seen,  # type: ignore[misc]
                "the hunter met nobody",
            )
    return [json.loads(line) for line in told.read_text().split("\n")[1:-1]], mask, said


def test_a_target_with_docker_s_powers_cannot_look_behind_the_shell(tmp_path: Path) -> None:
    rows, _, said = hunted(DOCKERS, tmp_path)
    assert said == []
    for row in rows:
        assert (row["seized"], row["fds"], row["root"]) == (False, [], []), row


def test_a_target_that_may_trace_everybody_gains_no_power_and_no_file_but_programs(
    tmp_path: Path,
) -> None:
    rows, mask, said = hunted(f"{DOCKERS},-net_raw,+sys_ptrace", tmp_path)
    assert "CAP_NET_RAW" in said[0]
    for row in rows:
        assert isinstance(row["caps"], list)
        assert isinstance(row["root"], list)
        for line in row["caps"]:
            assert not int(line.split("\t")[1], 16) & ~mask, row
        assert not {"etc/shadow", "root/.ssh", "var/lib", "home"} & set(row["root"]), row
    assert any(row["seized"] for row in rows)  # it may: hence all the rest
    assert not os.path.exists("/usr/bin/hunted")


def test_more_power_than_such_a_target_has_is_refused_unless_it_is_trusted(
    tmp_path: Path,
) -> None:
    with target("sleep", "1000", bounding=f"{DOCKERS},+sys_ptrace") as pid:
        for profile in ("netadmin", "sysadmin"):
            with pytest.raises(NsctlError) as raised:
                debug(pid, "true", profile=profile)
            assert "--trust" in raised.value.hint
        assert debug(pid, "true", profile="netadmin", trust=True)[0] == 0
        assert debug(pid, "true", profile="netadmin", share=NET)[0] == 0
    assert tmp_path.exists()


def test_where_the_kernel_makes_no_foreign_proc_it_is_made_from_within(
    web: Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A kernel before 6.18 answers EINVAL: here a copy of the package whose builder asks for a
    # parameter that no kernel has.
    import nsctl

    copy = tmp_path / "nsctl"
    shutil.copytree(os.path.dirname(nsctl.__file__), copy)
    builder = copy / "debug/builder.py"
    text = builder.read_text()
    assert text.count('"pidns"') == 1
    builder.write_text(text.replace('"pidns"', '"nopidns"'))
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); "
        "from nsctl.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", code, str(tmp_path), "debug"]
    done = subprocess.run(
        [*words, str(web.pid), "ls", "-d", "/proc/1/exe"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "/proc/1/exe\n"
    with target("sleep", "1000", bounding=f"{DOCKERS},+sys_ptrace") as pid:
        refused = subprocess.run([*words, str(pid), "true"], capture_output=True, check=False)
    assert refused.returncode == 125
    assert b"from within only" in refused.stderr
    assert monkeypatch is not None


def test_a_command_that_is_missing_is_told_from_one_that_is_none(web: Container) -> None:
    with pytest.raises(Failure) as raised:
        debug(web.pid, "nope")
    assert raised.value.exit_status == 127
