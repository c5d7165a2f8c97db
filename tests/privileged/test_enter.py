"""`nsctl enter` for real: what the command gets, what it is refused, and how it ends."""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.child.report import Failure
from nsctl.child.stage2 import open_stage2
from nsctl.confine import confinement, filters
from nsctl.enter import ahead, entry, session
from nsctl.enter.request import Request
from nsctl.errors import KernelRefusal, UsageError, Vanished
from nsctl.kernel.seccomp import compile_profile
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.targets.live import Process, resolve
from support.containers import Box, box_in
from support.entering import DOCKERS, enter, python, target
from support.last_stage import children, eventually, fields, status_of
from support.terminal import on_terminal
from support.users import Nsctl, clean_environment

pytestmark = pytest.mark.privileged

POWERS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
WHO = ("Uid", "Gid", "Groups", "Umask", "Seccomp_filters")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with box_in(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def confined() -> Iterator[int]:
    with target(bounding=DOCKERS) as pid:
        yield pid


def links(pid: int | str) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in TYPES]


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


# --- What the command gets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [{}, {"capabilities": 0}, {"namespaces": {"user": "host"}}],
    ids=["own user namespace", "no capabilities", "host's user namespace"],
)
def test_the_command_has_the_containers_powers_and_no_others(
    box: Box, asked: dict[str, object]
) -> None:
    pid = box.detach(**asked).pid
    wanted = status_of(pid)
    status, output = enter(pid, "cat", "/proc/self/status")
    assert status == 0
    found = fields(output)
    assert [found[name] for name in POWERS] == [wanted[name] for name in POWERS]
    assert found["Seccomp_filters"] == wanted["Seccomp_filters"] == "1"
    assert found["Uid"] == "0\t0\t0\t0"


def test_the_command_is_in_all_namespaces_and_groups_of_the_container(box: Box) -> None:
    pid = box.detach().pid
    script = "for kind in $0 $@; do readlink /proc/self/ns/$kind; done"
    status, output = enter(pid, "sh", "-c", script, *TYPES)
    assert (status, output.split("\n")[:-1]) == (0, links(pid))
    before = _members(pid)
    with subprocess.Popen(
        [sys.executable, "-m", "nsctl", "enter", str(pid), "sh", "-c", "echo; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        running.stdout.readline()
        (inside,) = set(_members(pid)) - set(before)
        assert read(f"/proc/{inside}/cgroup") == read(f"/proc/{pid}/cgroup")
        running.stdin.close()


def _is_in(pid: str, mount_namespace: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == mount_namespace
    except OSError:
        return False


def test_what_a_filter_forbids_is_forbidden(tmp_path: Path) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    program = compile_profile(profile).program
    code = (
        "import sys, time; from nsctl.kernel import process, seccomp;"
        "process.set_no_new_privs();"
        f"seccomp.load(seccomp.Filter({program!r}, 0, ()));"
        "sys.stdout.write('x'); sys.stdout.flush(); time.sleep(1000)"
    )
    with target(*python(code)) as pid:
        while status_of(pid)["Seccomp"] != "2":
            os.sched_yield()
        status, output = enter(pid, "mkdir", str(tmp_path / "made"))
        assert status == 1
        assert "Operation not permitted" in output
        assert enter(pid, "grep", "NoNewPrivs", "/proc/self/status")[1] == "NoNewPrivs:\t1\n"
        said: list[str] = []
        assert enter(pid, "mkdir", str(tmp_path / "made"), filters="none", said=said)[0] == 0
        assert said == ["not taken over: its seccomp filters, as was asked for"]
        with pytest.raises(KernelRefusal, match="not taken over: its seccomp filters"):
            enter(pid, "true", filters="none", strict=True)
    assert (tmp_path / "made").is_dir()


def test_who_is_stopped_for_its_filters_waits_where_that_is_no_harm(box: Box) -> None:
    # The first process of a container of ours waits for signals, which a stop would interrupt.
    pid = box.detach().pid
    found = resolve(str(pid))
    assert isinstance(found, Process)
    try:
        held = confinement.read(found.pid, found.proc, found.pidfd)
        chosen = filters._choose(held, found.proc, found.pidfd)
        assert chosen.restarts
        assert [chosen.pid] == children(pid)
        os.close(chosen.pidfd)
    finally:
        found.close()


def test_a_call_that_a_stop_interrupts_is_spoken_of_where_nobody_else_can_be_stopped(
    tmp_path: Path,
) -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
    program = compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}).program
    told = tmp_path / "told"
    code = (
        "import ctypes, os; from nsctl.kernel import process, seccomp;"
        "libc = ctypes.CDLL(None, use_errno=True); process.set_no_new_privs();"
        f"seccomp.load(seccomp.Filter({program!r}, 0, ()));"
        f"open({str(told)!r}, 'a').write('waits ');"
        "fd = libc.epoll_create1(0); events = ctypes.create_string_buffer(64);"
        "result = libc.epoll_wait(fd, events, 1, -1);"
        f"open({str(told)!r}, 'a').write(str(ctypes.get_errno())); import time; time.sleep(1000)"
    )
    with target(*python(code)) as pid:
        eventually(lambda: read(f"/proc/{pid}/syscall").split()[0] in {"232", "281", "22"}, "no")
        said: list[str] = []
        assert enter(pid, "true", filters="none", said=said)[0] == 0
        assert told.read_text() == "waits "
        said.clear()
        assert enter(pid, "true", said=said)[0] == 0
        eventually(lambda: told.read_text() == "waits 4", "it was not interrupted")
        assert [word for word in said if "sees EINTR" in word]


def test_limits_and_umask_are_the_containers() -> None:
    script = "ulimit -n 77; umask 027; exec sleep 1000"
    with target("sh", "-c", script) as shell:
        while read(f"/proc/{shell}/comm") != "sleep\n":
            os.sched_yield()
        assert enter(shell, "sh", "-c", "ulimit -n; umask")[1] == "77\n0027\n"


def test_nothing_of_the_callers_is_open_in_the_command(confined: int) -> None:
    opened = [os.open("/", os.O_RDONLY), os.open("/etc/passwd", os.O_RDONLY)]
    for fd in opened:
        os.set_inheritable(fd, True)  # noqa: FBT003  (positional only)
    try:
        code = "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1], os.getcwd())"
        status, output = enter(confined, *python(code))
    finally:
        for fd in opened:
            os.close(fd)
    assert (status, output) == (0, "['0', '1', '2'] /\n")


def test_standard_streams_are_pipes_whatever_the_callers_are(
    confined: int, tmp_path: Path, nsctl: Nsctl
) -> None:
    (tmp_path / "in").write_text("from a file")
    command = [sys.executable, "-m", "nsctl", "enter", str(confined), "sh", "-c"]
    with open(tmp_path / "in") as stdin, open(tmp_path / "out", "w") as stdout:
        script = "cat; for n in 0 1 2; do readlink /proc/self/fd/$n >&2; done"
        done = subprocess.run(
            [*command, script], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=True
        )
    assert (tmp_path / "out").read_text() == "from a file"
    assert [line.split(b":")[0] for line in done.stderr.split(b"\n")[:-1]] == [b"pipe"] * 3
    directory = os.open("/", os.O_RDONLY)
    found = resolve(str(confined))
    try:
        with pytest.raises(UsageError, match="a directory cannot be"):
            entry.enter(Request(found, ("true",)), print, (0, directory, 2))
    finally:
        found.close()
        os.close(directory)
    assert nsctl("enter", str(confined), "cat", stdin=b"piped", check=0).stdout == "piped"


def test_a_file_is_read_no_further_than_the_command_reads_it(confined: int, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("one\ntwo\nthree\n")
    loop = f'while read word; do {sys.executable} -m nsctl enter {confined} echo "$word"; done'
    done = subprocess.run(
        ["sh", "-c", f"{loop} <{lines}"], capture_output=True, text=True, check=True
    )
    assert done.stdout == lines.read_text()


def test_files_of_a_container_that_are_none_are_not_waited_for(box: Box, nsctl: Nsctl) -> None:
    etc = Path(box.root, "etc")
    (etc / "passwd").unlink()
    os.mkfifo(etc / "passwd")
    os.mknod(etc / "resolv.conf", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    (etc / "hosts").symlink_to("../../../../../../etc/shadow")
    pid = box.detach().pid
    assert enter(pid, "sh", "-c", "echo $HOME") == (0, "/\n")
    shown = nsctl("enter", str(pid), "-n", "cat", "/etc/resolv.conf", "/etc/hosts", check=0)
    assert shown.stdout == read("/etc/resolv.conf") + read("/etc/hosts")


def test_a_namespace_alone_is_entered_with_the_files_that_belong_to_its_name(
    nsctl: Nsctl,
) -> None:
    name = f"nsctl-{secrets.token_hex(4)}"
    etc = Path("/etc/netns", name)
    had = etc.parent.exists()
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        etc.mkdir(parents=True)
        (etc / "resolv.conf").write_text("nameserver 192.0.2.9\n")
        wanted = os.stat(f"/run/netns/{name}").st_ino
        script = "readlink /proc/self/ns/net; cat /etc/resolv.conf; ls /sys/class/net"
        found = f"net:[{wanted}]\nnameserver 192.0.2.9\nlo\n"
        peer = subprocess.run(
            ["ip", "netns", "exec", name, "sh", "-c", script],
            capture_output=True,
            text=True,
            check=True,
        )
        assert peer.stdout == found
        done = nsctl("enter", f"/run/netns/{name}", "sh", "-c", script, check=0)
        assert done.stdout == found
        by_inode = nsctl("enter", f"net:[{wanted}]", "ls", "/sys/class/net", check=0)
        assert by_inode.stdout == "lo\n"
        by_option = nsctl("enter", f"--net=/run/netns/{name}", "ls", "/sys/class/net", check=0)
        assert by_option.stdout == "lo\n"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
        shutil.rmtree(etc if had else etc.parent)


def test_the_session_keyring_is_a_new_one(confined: int) -> None:
    code = (
        "import ctypes; libc = ctypes.CDLL(None);"
        "print(libc.syscall(250 if 'x86' in __import__('os').uname().machine else 219,"
        " 0, ctypes.c_int(-3), 0))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, output = enter(confined, *python(code))
    assert status == 0
    assert int(output) > 0
    assert output != child.stdout


# --- How it ends ---------------------------------------------------------------------------------


def test_exit_statuses_are_the_commands_own_or_ours(
    confined: int, tmp_path: Path, nsctl: Nsctl
) -> None:
    (tmp_path / "text").write_text("no program\n")
    for words, status in (
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -TERM $$"), 143),
        (("nothing-has-this-name",), 127),
        ((str(tmp_path / "text"),), 126),
        (("--no-such-option",), 125),
        (("--powers", "nobody", "true"), 125),
    ):
        assert nsctl("enter", str(confined), *words).returncode == status, words
    assert nsctl("enter", "no-such-target-here", "true").returncode == 125
    assert nsctl("enter", f"{confined}:1", "true").returncode == 125


def test_what_is_waited_for_ahead_moves_nobody() -> None:
    before, threads = read("/proc/self/cgroup"), set(os.listdir("/proc/self/task"))
    files = len(os.listdir("/proc/self/fd"))
    ahead.expect_move()
    eventually(lambda: set(os.listdir("/proc/self/task")) <= threads, "the thread has not ended")
    assert read("/proc/self/cgroup") == before
    assert len(os.listdir("/proc/self/fd")) == files


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_changes_no_status(confined: int, closed: str) -> None:
    script = f'"$@" {closed}'
    words = (sys.executable, "-m", "nsctl", "enter", str(confined))
    command = ("sh", "-c", "echo a; echo b >&2; read line; exit 5")
    done = subprocess.run(
        ["sh", "-c", script, "sh", *words, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 5
    assert done.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else b"a\n")
    assert done.stderr == (b"" if "2>&-" in closed else b"b\n")


def test_a_signal_for_nsctl_is_one_for_the_command(confined: int) -> None:
    script = 'trap "echo got; exit 9" TERM; echo ready; while :; do sleep 0.01; done'
    with subprocess.Popen(
        [sys.executable, "-m", "nsctl", "enter", str(confined), "sh", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        assert running.stdout.read() == "got\n"
        assert running.wait() == 9


def test_the_command_dies_with_nsctl(confined: int) -> None:
    before = set(_members(confined))
    with subprocess.Popen(
        [sys.executable, "-m", "nsctl", "enter", str(confined), "sh", "-c", "echo; sleep 1000"],
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        (shell,) = [pid for pid in set(_members(confined)) - before if _leads(pid)]
        pidfd = os.pidfd_open(shell)
        try:
            running.kill()
            running.wait()
            assert select.select([pidfd], [], [], 30)[0]
        finally:
            os.close(pidfd)
            for pid in set(_members(confined)) - before:
                os.kill(pid, signal.SIGKILL)


def _members(pid: int) -> list[int]:
    return [
        int(name)
        for name in os.listdir("/proc")
        if name.isdecimal() and _is_in(name, links(pid)[0])
    ]


def _leads(pid: int) -> bool:
    return os.getsid(pid) == pid


def test_a_terminal_of_its_own_with_the_callers_size(confined: int) -> None:
    script = "tty; stty size; readlink /proc/self/fd/0; ps -o tty= -p $$; exit 5"
    outer = clean_environment("/root")
    shown = on_terminal(
        [
            "sh",
            "-c",
            f'tty; {sys.executable} -m nsctl enter {confined} sh -c "$0"; echo $?',
            script,
        ],
        91,
        outer,
        errors=True,
    )
    lines = shown.decode().split("\n")
    outside, inside, size, link, controlling, status, _ = lines
    assert outside.startswith("/dev/pts/")
    assert inside == link
    assert inside != outside
    assert (size, status) == ("50 91", "5")
    assert f"/dev/{controlling.strip()}" == inside


def test_a_container_without_a_devpts_gets_the_callers_spare_terminal(box: Box) -> None:
    pid = box.detach().pid
    subprocess.run(["nsenter", "-t", str(pid), "-m", "umount", "-l", "/dev/pts"], check=True)
    command = [sys.executable, "-m", "nsctl", "enter", str(pid), "stty", "size"]
    assert on_terminal(command, 77, clean_environment("/root")) == b"50 77\n"


# --- Parts of a container, and more powers -------------------------------------------------------


def test_the_hosts_programs_run_in_the_network_with_its_files(box: Box, nsctl: Nsctl) -> None:
    etc = Path(box.root, "etc")
    (etc / "resolv.conf").write_text("nameserver 192.0.2.7\n")
    (etc / "hosts").symlink_to("/proc/self/environ")
    pid = box.detach().pid
    before = read("/proc/self/mountinfo")
    script = "cat /etc/resolv.conf /etc/hosts; ls /sys/class/net; ls /sys/fs/cgroup; id -u"
    done = nsctl("enter", str(pid), "-n", "sh", "-c", script, check=0)
    groups = "".join(f"{name}\n" for name in sorted(os.listdir("/sys/fs/cgroup")))
    assert done.stdout == f"nameserver 192.0.2.7\n{read('/etc/hosts')}lo\n{groups}0\n"
    assert done.stderr == ""
    assert read("/proc/self/mountinfo") == before
    assert "127.0.0.1" in nsctl("enter", str(pid), "-n", "ip", "addr", check=0).stdout


def test_the_callers_powers_are_kept_only_when_asked_for_and_it_is_said(
    confined: int, nsctl: Nsctl
) -> None:
    mine = status_of(os.getpid())["CapEff"]
    for words, kept in (((), False), (("--powers", "caller"), True), (("-u",), True)):
        done = nsctl("enter", str(confined), *words, "grep", "CapEff", "/proc/self/status", check=0)
        assert (done.stdout == f"CapEff:\t{mine}\n") == kept, words
        assert ("your own powers" in done.stderr) == (words[:1] == ("--powers",))


def test_only_the_namespaces_that_are_named_are_entered(confined: int) -> None:
    named = frozenset({NamespaceType.UTS, NamespaceType.NET})
    code = "import os; print(*(os.readlink(f'/proc/self/ns/{kind}') for kind in %r))"
    status, output = enter(confined, *python(code % ([*map(str, TYPES)],)), kinds=named)
    assert status == 0
    theirs, mine = links(confined), links("self")
    wanted = [theirs[n] if kind in named else mine[n] for n, kind in enumerate(TYPES)]
    # With a network of its own the host's program has a view, and so a mount namespace, of its own.
    found = output.split()
    assert found[1:] == wanted[1:]
    assert found[0] not in {theirs[0], mine[0]}


def test_a_user_that_is_asked_for_wins(confined: int) -> None:
    assert enter(confined, "id", "-u", uid=1234)[1] == "1234\n"
    assert enter(confined, "id", "-g", gid=77)[1] == "77\n"
    _, output = enter(confined, "cat", "/proc/self/status", uid=1234)
    assert fields(output)["CapPrm"] == "0000000000000000"


# --- Refusals ------------------------------------------------------------------------------------


def test_a_target_that_ends_before_it_is_joined_is_never_mistaken() -> None:
    program = open_stage2()
    with target() as pid:
        found = resolve(str(pid))
        assert isinstance(found, Process)
        prepared = entry.prepare(program, Request(found, ("true",)), terminal=False)
        os.kill(pid, signal.SIGKILL)
        select.select([found.pidfd], [], [], 30)
        with pytest.raises((Vanished, Failure)) as caught:
            session.run(program, prepared.plan, (0, 1, 2), lambda _: None, (0, 0))
        assert caught.value.exit_status == 125 or isinstance(caught.value, Vanished)
        found.close()
    os.close(program)


_USED_AGAIN = """
import os, subprocess, sys
from nsctl.child.report import Failure
from nsctl.child.stage2 import open_stage2
from nsctl.enter import entry, session
from nsctl.enter.request import Request
from nsctl.errors import NsctlError
from nsctl.targets.live import resolve

def start(pid=0):
    if pid:
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(pid - 1))
    made = subprocess.Popen(["unshare", "--net", "--uts", "sleep", "1000"])
    while os.readlink(f"/proc/{made.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        pass
    return made

first, program = start(), open_stage2()
found = resolve(str(first.pid))
request = Request(found, ("touch", sys.argv[1]))
prepared = entry.prepare(program, request, terminal=False)
first.kill()
first.wait()
second = start(first.pid)
assert second.pid == first.pid
for enter in (
    lambda: session.run(program, prepared.plan, (0, 1, 2), lambda _: None, (0, 0)),
    lambda: entry.enter(request, print),
):
    try:
        enter()
    except NsctlError as error:
        print(type(error).__name__)
    else:
        print("entered")
assert resolve(str(second.pid)).start >= found.start
second.kill()
"""


def test_a_process_that_has_the_number_of_the_target_by_now_is_never_entered(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [
            *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable),
            *("-c", _USED_AGAIN, str(tmp_path / "entered")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) <= {"Vanished", "Failure", "KernelRefusal"}
    assert len(done.stdout.split()) == 2
    assert not (tmp_path / "entered").exists()


def test_a_paused_container_is_refused_with_words(box: Box, nsctl: Nsctl) -> None:
    made = box.detach()
    freezers = [
        path for path in box.state(made.name).cgroup_dirs if os.path.exists(f"{path}/freezer.state")
    ]
    if not freezers:
        pytest.skip("no freezer of cgroup version 1 here")
    try:
        Path(freezers[0], "freezer.state").write_text("FROZEN")
        done = nsctl("enter", str(made.pid), "true")
        assert done.returncode == 125
        assert "it is paused" in done.stderr
    finally:
        Path(freezers[0], "freezer.state").write_text("THAWED")


def test_a_traced_target_is_refused_with_words_and_entered_without_its_filters(box: Box) -> None:
    made = box.detach()
    code = (
        "import ctypes, sys, time; libc = ctypes.CDLL(None, use_errno=True);"
        f"assert libc.ptrace(0x4206, {made.pid}, None, None) == 0;"
        "print(flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as tracer:
        try:
            assert tracer.stdout is not None
            tracer.stdout.readline()
            with pytest.raises(KernelRefusal, match=f"is being traced by process {tracer.pid}"):
                enter(made.pid, "true")
            assert enter(made.pid, "true", filters="none")[0] == 0
        finally:
            tracer.kill()


def test_a_namespace_without_a_first_process_is_named_as_the_cause(nsctl: Nsctl) -> None:
    with target() as pid:
        namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
    try:
        done = nsctl("enter", f"--pid=/proc/{os.getpid()}/fd/{namespace}", "true")
        assert done.returncode == 125
        assert "its first process has ended" in done.stderr
    finally:
        os.close(namespace)


# --- Full and short ------------------------------------------------------------------------------


def test_a_full_container_and_one_without_memory_are_entered(box: Box) -> None:
    made = box.detach()
    for path in box.state(made.name).cgroup_dirs:
        for name, value in (
            ("pids.max", "1"),
            ("memory.limit_in_bytes", str(6 << 20)),
            ("memory.max", str(6 << 20)),
        ):
            if os.path.exists(f"{path}/{name}"):
                Path(path, name).write_text(value)
    assert enter(made.pid, "echo", "in") == (0, "in\n")


def test_five_hundred_entries_leave_nothing_behind(confined: int) -> None:
    def held() -> tuple[list[str], list[int], list[int]]:
        return sorted(os.listdir("/proc/self/fd")), _members(confined), children(os.getpid())

    enter(confined, "true")
    before = held()
    for number in range(500):
        status, _ = enter(confined, "sh", "-c", f"exit {number % 7}")
        assert status == number % 7
    assert held() == before
