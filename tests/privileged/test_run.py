"""Containers as root: isolated in all eight namespaces, and nothing more than they should be."""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import pty
import re
import select
import signal
import stat
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.child.report import Failure
from nsctl.errors import NsctlError, UnknownTarget, UsageError
from nsctl.model.container import Container
from nsctl.run import lifecycle
from support.containers import FIRST_ID, Box, box_in, namespaces

pytestmark = pytest.mark.privileged

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with box_in(tmp_path) as made:
        yield made


def test_a_container_differs_from_the_host_in_all_eight_namespaces(box: Box) -> None:
    made = box.detach(name="web")
    inside, outside = namespaces(made.pid), namespaces("self")
    assert [kind for kind in inside if inside[kind] == outside[kind]] == []


def test_its_own_view_differs_in_each_of_the_eight_ways(box: Box) -> None:
    days = 400 * 86400
    key, segment = 0x6E736374, -1
    try:
        segment = _libc.shmget(key, 4096, 0o1600)  # IPC_CREAT
        assert segment >= 0
        script = """
            echo "mounts $(grep -c /dev/vda /proc/self/mounts) $(cut -d' ' -f2 /proc/mounts | head -1)"
            echo "pids $(ls -d /proc/[0-9]* | wc -l) $$"
            echo "host $(hostname)"
            echo "uptime $(cut -d. -f1 /proc/uptime)"
            echo "net $(echo $(ls /sys/class/net)) $(cat /sys/class/net/lo/flags)"
            echo "ipc $(tail -n +2 /proc/sysvipc/shm | wc -l)"
            echo "cgroup $(cut -d: -f3 /proc/self/cgroup | sort -u)"
            echo "users $(id -u) $(echo $(cat /proc/self/uid_map))"
        """
        done = box.run(script, name="web", boottime=days * 10**9)
    finally:
        _libc.shmctl(segment, 0, None)  # IPC_RMID
    seen = dict(line.split(" ", 1) for line in done.output.strip().split("\n"))
    assert seen["mounts"] == "0 /"
    assert int(seen["pids"].split()[0]) < 8
    assert seen["host"] == "web"
    assert int(seen["uptime"]) >= days
    assert seen["net"] == "lo 0x9"
    assert seen["ipc"] == "0"
    assert seen["cgroup"] == "/"
    assert seen["users"] == f"0 0 {FIRST_ID} 65536"


def test_both_clocks_are_set_off_as_asked(box: Box) -> None:
    box.detach(name="late", boottime=7_200 * 10**9 + 5, monotonic=-1 * 10**9)
    offsets = Path(f"/proc/{box.state('late').pid}/timens_offsets").read_text()
    assert offsets.split() == ["monotonic", "-1", "0", "boottime", "7200", "5"]


def test_root_inside_can_neither_read_nor_change_what_is_the_hosts(box: Box) -> None:
    secret = Path(box.base, "secret")
    secret.write_text("the host's")
    secret.chmod(0o600)
    os.symlink(secret, f"{box.root}/link")
    os.symlink(box.base, f"{box.root}/up")
    ways = [
        *("/link", "/up/secret", f"/..{secret}", f"/proc/1/root{secret}", "/proc/1/cwd/../secret"),
        *(f"/proc/self/root/../..{secret}", f"/proc/{os.getpid()}/root{secret}"),
    ]
    script = "; ".join(f"cat {way} && echo BROKEN; (echo x >>{way}) && rm -f {way}" for way in ways)
    for namespaces_asked in ({}, {"pid": "host", "net": "host", "ipc": "host", "uts": "host"}):
        done = box.run(script, namespaces=namespaces_asked)
        assert "the host's" not in done.output
        assert "BROKEN" not in done.output
    assert secret.read_text() == "the host's"


def test_in_the_hosts_mount_namespace_it_has_the_rights_of_nobody(box: Box) -> None:
    secret = Path(box.base, "secret")
    secret.write_text("the host's")
    Path(box.base).chmod(0o755)
    secret.chmod(0o600)
    done = box.run(
        f"cat {secret}; echo x >>{secret}; rm {secret}; cat /proc/{os.getpid()}/environ",
        rootfs="/",
        namespaces={"mnt": "host", "pid": "host"},
    )
    assert "the host's" not in done.output
    assert "PATH=" not in done.output
    assert secret.read_text() == "the host's"


def test_what_it_writes_is_owned_by_its_range_and_the_root_below_stays(box: Box) -> None:
    before = sorted(os.listdir(box.root))
    box.detach(
        *("sh", "-c", "cp /bin/busybox /suid && chmod 6755 /suid; rm /etc/passwd; sleep 1000"),
        name="web",
    )
    suid = f"{box.state('web').storage}/upper/suid"
    _eventually(lambda: os.path.exists(suid) and os.stat(suid).st_mode & stat.S_ISUID)
    assert os.stat(suid).st_uid == FIRST_ID
    assert sorted(os.listdir(box.root)) == before
    assert os.path.exists(f"{box.root}/etc/passwd")
    # Nobody else can even come near.
    assert stat.S_IMODE(os.stat(box.store.storage).st_mode) == 0o700


def _eventually(condition: object) -> None:
    assert callable(condition)
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    pytest.fail("it did not come about in ten seconds")


def test_powers_are_the_default_ones(box: Box) -> None:
    done = box.run("grep -E '^(Cap|NoNew|Seccomp)' /proc/self/status; unshare -U true; id -G")
    lines = dict(line.split(":\t") for line in done.output.split("\n") if ":\t" in line)
    assert {lines[f"Cap{name}"] for name in ("Prm", "Eff", "Bnd")} == {"00000000a80425fb"}
    assert {lines[f"Cap{name}"] for name in ("Inh", "Amb")} == {"0000000000000000"}
    assert (lines["NoNewPrivs"], lines["Seccomp"], lines["Seccomp_filters"]) == ("1", "2", "1")
    assert "Operation not permitted" in done.output
    assert done.output.strip().split("\n")[-1] == "0"


def test_masked_paths_hide_and_read_only_ones_refuse(box: Box) -> None:
    done = box.run("""
        for p in kcore keys interrupts timer_list latency_stats sched_debug; do
            [ -e /proc/$p ] && echo "$p $(head -c 10 /proc/$p | wc -c)"; done
        for p in /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap \
            /sys/devices/system/cpu/cpu0/thermal_throttle; do
            [ -d $p ] && echo "$p $(ls $p | wc -l)"; done
        for p in /proc/sys/kernel/hostname /sys/x /sys/fs/cgroup/x; do (echo x >$p) 2>&1; done
        for p in bus fs irq sys; do grep -q " /proc/$p proc ro," /proc/mounts || echo "/proc/$p rw"; done
        [ ! -e /proc/sysrq-trigger ] || grep ' /proc/sysrq-trigger proc ro,' /proc/mounts || echo BAD
    """)
    lines = done.output.strip().split("\n")
    assert [line for line in lines if line.endswith(" 0")]
    assert not [line for line in lines if line.endswith((" 10", "rw", "BAD"))]
    assert not [line for line in lines if line.startswith("/") and not line.endswith(" 0")]
    assert done.output.count("Read-only file system") == 3, done.output


def test_hidden_directories_share_one_file_system(box: Box) -> None:
    done = box.run("stat -c '%d' /proc/acpi /sys/firmware 2>/dev/null")
    assert len(set(done.output.split())) <= 1


def test_its_devices_are_the_usual_ones_and_they_work(box: Box) -> None:
    for asked in ({}, {"user": "host"}):
        done = box.run(
            "stat -c '%n %t:%T %a' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty;"
            "echo gone >/dev/null; head -c 3 /dev/zero | wc -c; (echo x >/dev/full) 2>&1;"
            "readlink /dev/fd; readlink /dev/ptmx; ls /dev/pts; echo hi >/dev/shm/x; cat /dev/shm/x",
            namespaces=asked,
        )
        assert done.output.split("\n")[:6] == [
            *("/dev/null 1:3 666", "/dev/zero 1:5 666", "/dev/full 1:7 666"),
            *("/dev/random 1:8 666", "/dev/urandom 1:9 666", "/dev/tty 5:0 666"),
        ]
        assert "No space left" in done.output
        assert done.output.endswith("/proc/self/fd\npts/ptmx\nptmx\nhi\n")


def test_the_hosts_root_can_use_no_device_but_its_own(box: Box) -> None:
    script = (
        "mknod /dev/disk b 8 0; mknod /tmp/disk b 8 0; mknod /dev/kmsg c 1 11; chmod 600 /dev/null"
    )
    reads = "; ".join(f"head -c 1 {path}" for path in ("/dev/disk", "/tmp/disk", "/dev/kmsg"))
    done = box.run(f"{script}; {reads}; head -c 1 /dev/zero | wc -c", namespaces={"user": "host"})
    # Where a control group confines devices it may make nodes, as with engines; else none.
    opened = [line for line in done.output.split("\n") if line.startswith("head: ")]
    assert len(opened) == 3
    assert all("denied" in line or "not permitted" in line or "No such" in line for line in opened)
    assert done.output.endswith("1\n")
    assert stat.S_IMODE(os.stat("/dev/null").st_mode) == 0o666


def test_its_first_process_holds_nothing_but_its_standard_streams(box: Box) -> None:
    assert box.run(
        "echo $(ls /proc/1/fd); ls -l /proc/1/fd; readlink /proc/1/cwd"
    ).output.startswith("0 1 2\n")
    made = box.detach(name="web")
    links = {name: os.readlink(f"/proc/{made.pid}/fd/{name}") for name in "012"}
    assert links["0"] == "/dev/null"
    # Its log lies on the other side of pipes.
    assert links["1"].startswith("pipe:")
    assert links["2"].startswith("pipe:")
    assert sorted(os.listdir(f"/proc/{made.pid}/fd")) == ["0", "1", "2"]
    # The null device is one that lies inside its tree.
    mine = [
        line.split(" ")[0]
        for line in Path(f"/proc/{made.pid}/mountinfo").read_text().split("\n")
        if " /dev/null " in line
    ]
    info = Path(f"/proc/{made.pid}/fdinfo/0").read_text()
    assert f"mnt_id:\t{mine[0]}\n" in info


def test_it_has_a_session_keyring_of_its_own(box: Box) -> None:
    inside = box.run("cat /proc/keys; cat /proc/key-users", namespaces={"user": "host"})
    assert "_ses" not in inside.output


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
def test_the_exit_status_is_the_commands(box: Box, script: str, status: int) -> None:
    assert box.run(script).status == status


def test_a_command_that_cannot_run_says_why_and_leaves_nothing(box: Box) -> None:
    for argv, status in ((["/no/such"], 127), (["nosuch"], 127), (["/etc/passwd"], 126)):
        with pytest.raises(Failure) as caught:
            box.run_spec(box.spec(*argv))
        assert caught.value.exit_status == status
        assert box.left_over() == []


def test_environment_directory_and_host_name_are_as_asked(box: Box) -> None:
    done = box.run(
        "pwd; hostname; echo $GREETING; echo $container; echo $PATH; env | wc -l",
        name="web",
        hostname="other",
        cwd="/tmp",
        env=(("GREETING", "hé\n\x1b"), ("PATH", "/bin")),
    )
    assert done.output.split("\n")[:2] == ["/tmp", "other"]
    assert "nsctl\n/bin\n" in done.output


def test_input_from_a_pipe_and_from_a_file_arrives(box: Box) -> None:
    text = b"line\n" * 40_000
    for kind in ("pipe", "file"):
        reading, writing = os.pipe()
        output = Path(box.base, f"output-{kind}")
        if kind == "file":
            Path(box.base, "input").write_bytes(text)
            source = os.open(f"{box.base}/input", os.O_RDONLY)
        else:
            source = os.dup(reading)
            threading.Thread(target=_write_all, args=(os.dup(writing), text)).start()
        os.close(reading)
        os.close(writing)
        sink = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            spec = box.spec("sh", "-c", "cat; readlink /proc/self/fd/1", remove=True)
            assert lifecycle.run(spec, box.store, streams=(source, sink, sink)) == 0
        finally:
            os.close(source)
            os.close(sink)
        # What it wrote to was a pipe, not the host's file.
        head, _, tail = output.read_bytes().rpartition(b"pipe:[")
        assert head == text
        assert tail.endswith(b"]\n")


def _write_all(fd: int, text: bytes) -> None:
    with open(fd, "wb") as file:
        file.write(text)


def test_a_directory_is_no_standard_stream(box: Box) -> None:
    directory = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(UsageError, match="a directory cannot be"):
            lifecycle.run(box.spec("true"), box.store, streams=(directory, 1, 2))
    finally:
        os.close(directory)
    assert box.left_over() == []


def test_a_read_only_root_is_one(box: Box) -> None:
    done = box.run("touch /x; touch /tmp/x; touch /dev/shm/x && echo shm", read_only=True)
    assert done.output.count("Read-only file system") == 2
    assert done.output.endswith("shm\n")


def test_list_stop_start_and_remove(box: Box) -> None:
    made = box.detach(
        "sh", "-c", "echo x >>/kept; trap 'exit 0' TERM; sleep 1000 & wait", name="web"
    )
    assert lifecycle.list_containers(box.store) == [made]
    assert (made.engine, made.name, made.state, made.image) == ("nsctl", "web", "running", box.root)
    assert Path(f"/proc/{made.pid}/cgroup").read_text().count(made.cgroups[0]) > 0
    with pytest.raises(UsageError, match="web runs"):
        lifecycle.remove("web", box.store)
    with pytest.raises(UsageError, match="there is a container web already"):
        box.detach(name="web")
    with pytest.raises(UnknownTarget) as caught:
        lifecycle.stop("wbe", box.store)
    assert "web" in caught.value.hint
    lifecycle.stop(made.id[:6], box.store)
    (row,) = lifecycle.list_containers(box.store)
    assert (row.state, row.pid, row.id) == ("stopped", 0, made.id)
    assert _groups(made) == []
    again = lifecycle.start("web", box.store)
    assert isinstance(again, Container)
    assert again.state == "running"
    kept = Path(f"{box.state('web').storage}/upper/kept")
    _eventually(lambda: kept.read_text() == "x\nx\n")
    lifecycle.remove("web", box.store, force=True)
    assert lifecycle.list_containers(box.store) == []
    assert _groups(made) == []
    assert box.left_over() == []


def _groups(row: Container) -> list[str]:
    return [
        f"/sys/fs/cgroup/{name}{row.cgroups[0]}"
        for name in ("", *os.listdir("/sys/fs/cgroup"))
        if os.path.isdir(f"/sys/fs/cgroup/{name}{row.cgroups[0]}")
    ]


def test_stop_kills_what_does_not_heed_it(box: Box) -> None:
    made = box.detach("sh", "-c", "trap '' TERM; while :; do sleep 1000; done", name="deaf")
    lifecycle.stop("deaf", box.store, grace=0.2)
    assert not os.path.exists(f"/proc/{made.pid}")
    assert lifecycle.list_containers(box.store)[0].state == "stopped"


def test_a_created_container_waits_for_its_start(box: Box) -> None:
    row = lifecycle.create(box.spec("sh", "-c", "exit 3", name="later"), box.store)
    assert row.state == "created"
    assert lifecycle.list_containers(box.store)[0].state == "created"
    assert lifecycle.start("later", box.store, streams=()) == 3
    assert box.state("later").exit_status == 3


def test_a_detached_container_outlives_its_starter_and_leaves_when_told(box: Box) -> None:
    code = (
        "import sys; from nsctl.run import lifecycle; from nsctl.run.spec import Spec;"
        "from nsctl.run.store import Store; from nsctl.run.ids import IdPool;"
        "lifecycle.run(Spec(sys.argv[1], ('sleep', '1000'), name='web', detach=True, remove=True),"
        "Store(sys.argv[2], sys.argv[3], IdPool(int(sys.argv[4]), directory=sys.argv[5])))"
    )
    arguments = (box.root, box.store.state, box.store.storage, str(FIRST_ID), box.pool.directory)
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    (row,) = lifecycle.list_containers(box.store)
    # It has no manager: its parent is whoever takes in orphans.
    assert b"nsctl-init" in Path(f"/proc/{row.pid}/cmdline").read_bytes()
    lifecycle.stop("web", box.store, grace=0.2)
    assert box.left_over() == []


_FOREGROUND = """
import sys
from support.containers import Box
from nsctl.run import lifecycle
box = Box.at(sys.argv[1])
remove = sys.argv[2] == "remove"
spec = box.spec("sh", "-c", *sys.argv[3:], name="web", remove=remove)
sys.exit(lifecycle.run(spec, box.store))
"""
_TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _foreground(
    box: Box, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _FOREGROUND, box.base, *arguments],
        env={**os.environ, "PYTHONPATH": _TESTS},
        stdin=stdin,
        stdout=stdout,
    )


@pytest.mark.parametrize("remove", ["remove", "keep"])
def test_a_container_in_the_foreground_dies_with_its_starter(box: Box, remove: str) -> None:
    starter = _foreground(box, remove, "echo ready; sleep 1000")
    try:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"ready\n"
        _eventually(lambda: box.state("web").status == "running")
        pidfd = os.pidfd_open(box.state("web").pid)
        members = {
            Path(f"/proc/{pid}/comm").read_text().strip()
            for directory in box.state("web").cgroup_dirs
            for pid in Path(f"{directory}/cgroup.procs").read_text().split()
        }
    finally:
        starter.kill()
        starter.communicate()
    # Whoever waits for it is no member of it.
    assert members <= {"nsctl-init", "sh", "sleep"}
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(10_000)
    os.close(pidfd)
    states = [(row.name, row.state) for row in lifecycle.list_containers(box.store)]
    assert states == ([] if remove == "remove" else [("web", "stopped")])


def test_on_a_terminal_it_gets_one_of_its_own(box: Box) -> None:
    master, slave = pty.openpty()
    try:
        attributes = termios.tcgetattr(slave)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 37, 91, 0, 0))
        script = (
            'tty; stty size; ls -1 /dev/pts; readlink /proc/1/fd/0; read x; echo "<$x>"; sleep 1000'
        )
        starter = _foreground(box, "remove", script, stdin=slave, stdout=slave)
        try:
            _read_until(master, b"/dev/pts/0\r\n37 91\r\n0\r\nptmx\r\n/dev/pts/0\r\n")
            os.write(master, b"typed\r")
            _read_until(master, b"<typed>\r\n")
            os.write(master, b"\x03")  # reaches the command by its own terminal
            _read_until(master, b"^C")
            starter.wait(10)
        finally:
            starter.kill()
            starter.wait()
        assert starter.returncode == 130
        assert termios.tcgetattr(slave) == attributes
    finally:
        os.close(master)
        os.close(slave)


def _read_until(fd: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        assert select.select([fd], [], [], 10)[0], seen
        seen += os.read(fd, 4096)


def test_ranges_of_containers_that_start_at_once_are_disjoint(box: Box) -> None:
    failures: list[NsctlError] = []

    def start(number: int) -> None:
        try:
            box.detach(name=f"web{number}")
        except NsctlError as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    maps = [
        Path(f"/proc/{row.pid}/uid_map").read_text().split()
        for row in lifecycle.list_containers(box.store)
    ]
    firsts = sorted(int(line[1]) for line in maps)
    assert len(firsts) == 6
    assert all(later - earlier >= 65536 for earlier, later in itertools.pairwise(firsts))


def test_the_dry_run_says_what_is_then_done(box: Box) -> None:
    spec = box.spec("true", name="web", remove=True, boottime=10**9, read_only=True)
    planned = [text.split("\n")[0] for text in lifecycle.describe(spec, box.store, streams=())]
    assert box.left_over() == []
    done: list[str] = []
    assert lifecycle.run(spec, box.store, streams=(), on_step=done.append) == 0

    def without_id(steps: list[str]) -> list[str]:
        storage = next(step for step in steps if "for its changes" in step)
        made_up = storage.split("/containers/")[1].split(" ")[0]
        return [step.replace(made_up, "ID").replace(made_up[:12], "ID") for step in steps]

    assert without_id(planned) == without_id(done)
    assert len(planned) > 50


def test_signals_go_to_the_command(box: Box) -> None:
    script = "trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    reading, writing = os.pipe()

    def send() -> None:
        assert os.read(reading, 100) == b"ready\n"
        os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        spec = box.spec("sh", "-c", script, remove=True)
        assert lifecycle.run(spec, box.store, streams=(writing, writing, writing)) == 9
    finally:
        sender.join()
        os.close(writing)
        os.close(reading)


def test_a_builder_is_forked_only_from_one_thread_and_hands_nothing_on(box: Box) -> None:
    """Alone and not, the container has the same descriptors and signals."""
    script = """
import os, signal, sys, threading
sys.path[:0] = [sys.argv[1]]
from support.containers import Box
from nsctl.run import lifecycle
box, forks = Box.at(sys.argv[2]), []
sys.addaudithook(lambda event, _: forks.append(event) if event == "os.fork" else None)
os.dup2(1, 77)
os.set_inheritable(77, True)
signal.signal(signal.SIGUSR1, lambda *_: print("heard outside"))
look = "grep -E 'Sig(Blk|Ign|Cgt)' /proc/1/status; ls /proc/1/fd; ls /proc/1/task | wc -l"
stop = threading.Event()

def run(alone):
    spec = box.spec("sh", "-c", look, remove=True, name="web")
    forks.clear()
    status = lifecycle.run(spec, box.store, alone=alone)
    print(status, len(forks), flush=True)

run(False)
run(True)
thread = threading.Thread(target=stop.wait)
thread.start()
run(True)
stop.set()
"""
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    words = (sys.executable, "-c", script, tests, box.base)
    done = subprocess.run(words, capture_output=True, check=False, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    spawned, forked, threaded = re.findall(r"(?s)(.*?)\n0 (\d)\n", done.stdout)
    assert [spawned[1], forked[1], threaded[1]] == ["0", "1", "0"]
    assert spawned[0] == forked[0] == threaded[0]
    assert "77" not in forked[0].split("\n")


def test_without_the_last_stages_program_an_interpreter_does_the_same(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nsctl.child import stage2

    monkeypatch.setattr(stage2, "object_path", lambda _machine="": "")
    done = box.run("grep -E '^(CapEff|Seccomp):' /proc/self/status; exit 4")
    assert done.status == 4
    assert done.output == "CapEff:\t00000000a80425fb\nSeccomp:\t2\n"
    made = box.detach(name="web")
    assert sorted(os.listdir(f"/proc/{made.pid}/fd")) == ["0", "1", "2"]
