"""The kernel's own lists and /proc: the same snapshot, and what is said where one cannot be had."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator

import pytest

from nsctl.discovery import take as taking
from nsctl.kernel import bpf_object, lists
from nsctl.kernel.bpf_object import Packed
from nsctl.model.namespace import Namespace
from nsctl.model.part import CONTENTS, Part
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from support.holding import holding
from support.users import ORDINARY_UID, Nsctl, clean_environment

pytestmark = pytest.mark.privileged

ALL = frozenset(Part) - CONTENTS - {Part.CONTAINERS, Part.NETNSIDS}
# All kinds of holders, a thread elsewhere, one with a table of its own, a zombie that leads a
# thread, many groups, a long command line, a hostile name; and processes in namespaces below.
LOAD = """
import signal, time
held = {}
held["uts"], _ = elsewhere(UTS, "uts", lambda: held.setdefault("fd", own("uts")))
held["net"], _ = elsewhere(NET, "net", lambda: held.setdefault("socket", socket.socket()))
pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
held["ipc"], fd = elsewhere(IPC, "ipc", lambda: own("ipc"))
pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
os.close(fd)
made = threading.Barrier(3)
def stray():
    unshare(UTS | IPC)
    made.wait(); threading.Event().wait()
def tabled():
    unshare(FILES)
    unshare(NET)
    held["table"] = own("net")
    made.wait(); threading.Event().wait()
for work in (stray, tabled):
    threading.Thread(target=work, daemon=True).start()
made.wait()
children = []
def child(act):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            call("prctl", 1, signal.SIGKILL)
            act()
            # New credentials clear it.
            call("prctl", 1, signal.SIGKILL)
            os.write(w, b"x")
            time.sleep(1000)
        finally:
            os._exit(1)
    os.close(w)
    if os.read(r, 1) != b"x":
        raise OSError("child")
    os.close(r)
    children.append(pid)
def nothing(): pass
def nest():
    unshare(USER | PID | MNT | NET)
    if os.fork() == 0:
        call("prctl", 1, signal.SIGKILL)
        time.sleep(1000)
def credentials():
    os.setgroups(range(3000, 3060)); os.setgid(77); os.setresuid(5, 6, 7)
def few(): os.setgroups([9, 10, 4000000000]); os.setgid(78)
def named(): open("/proc/self/comm", "wb").write(b"a)\\nb \\x1b[1m")
def waits(): unshare(PID)
def clocks(): unshare(0x80)
def seccomp():
    call("prctl", 38, 1, 0, 0, 0)
    call("prctl", 22, 1)
for act in (nothing, nest, credentials, few, named, waits, clocks):
    for _ in range(3):
        child(act)
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
headless = os.fork()
if headless == 0:
    call("prctl", 1, signal.SIGKILL)
    def on():
        unshare(UTS); time.sleep(1000)
    threading.Thread(target=on).start()
    time.sleep(0.1)
    ctypes.CDLL(None).pthread_exit(None)
while open(f"/proc/{headless}/stat").read().rpartition(")")[2].split()[0] != "Z":
    time.sleep(0.01)
ready(children=children, headless=headless, zombie=pid)
"""
STORM = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
libc.prctl(1, 9)
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    pid = os.fork()
    if pid == 0:
        libc.unshare(0x04000000 | 0x08000000)
        os._exit(0)
    os.waitpid(pid, 0)
"""


def snapshot(source: str, parts: Iterable[Part] = ALL) -> Snapshot:
    return taking.take(parts, source=source)


def settled(task: Task) -> Task:
    """A row without what changes by itself: its state, and a worker's name for its work."""
    comm = task.comm.partition(b"+")[0].partition(b"-")[0] if task.kernel else task.comm
    return task._replace(state="S" if task.state in "RSDI" else task.state, comm=comm)


def compared(load: dict[str, object], before: Snapshot, kernel: Snapshot, after: Snapshot) -> int:
    """Compare what was the same before and after with what the kernel's lists told meanwhile.

    Returns:
        How many processes that were.
    """
    theirs = family(load, before)
    old, new, found = (
        {(task.pid, task.start): settled(task) for task in one.tasks if task.pid in theirs}
        for one in (before, after, kernel)
    )
    stable = [key for key in old if old[key] == new.get(key)]
    for key in stable:
        assert found.get(key) == old[key]
    earlier, later, listed = (
        {row.id: plain(row, theirs) for row in one.namespaces} for one in (before, after, kernel)
    )
    inside = {ino for task in before.tasks if task.pid in theirs for ino in task.ns}
    same = [
        id_
        for id_, row in earlier.items()
        # Others' processes may end between one look and the next.
        if row == later.get(id_) and (id_.ino in inside or any(one.pid for one in row.holders))
    ]
    assert len(same) > 15
    for id_ in same:
        # What nothing leads to but the kernel's lists, only they let be asked.
        assert id_ in listed
        unknown = {
            field: getattr(listed[id_], field)
            for field, value in earlier[id_]._asdict().items()
            if value is None
        }
        assert listed[id_] == earlier[id_]._replace(**unknown)
    for ino in before.mounts:
        if ino in inside and before.mounts[ino] == after.mounts.get(ino):
            assert kernel.mounts.get(ino) == before.mounts[ino]
    assert kernel.host == before.host
    assert kernel.read_from == ("kernel", "/proc")
    assert before.read_from == ("/proc",)
    return len(stable)


def family(load: dict[str, object], snapshot_: Snapshot) -> set[int]:
    """The load's processes; whatever else runs on this machine comes and goes.

    Kernel threads are always there.
    """
    found = {int(str(load["pid"]))}
    for task in snapshot_.tasks:
        found |= {task.pid} if task.ppid in found or task.ppid == 2 else set()
    return found


def plain(row: Namespace, pids: set[int]) -> Namespace:
    """A row without the order of what holds it, and what comes and goes with other processes."""
    holders = sorted(holder for holder in row.holders if not holder.pid or holder.pid in pids)
    return row._replace(holders=tuple(holders))


@pytest.fixture(scope="module")
def load() -> Iterator[dict[str, object]]:
    with holding(LOAD) as (pid, made, _ask):
        yield {**made, "pid": pid}


def test_both_sources_give_the_same_snapshot_field_by_field(load: dict[str, object]) -> None:
    before, kernel, after = (snapshot(each) for each in ("proc", "kernel", "proc"))
    assert compared(load, before, kernel, after) > 25
    by_pid = {task.pid: task for task in kernel.tasks}
    assert by_pid[int(str(load["zombie"]))].state == "Z"
    headless = by_pid[int(str(load["headless"]))]
    assert (headless.state, headless.threads) == ("Z", 2)
    assert headless.ns[0] > 0
    kinds = {holder.kind for row in kernel.namespaces for holder in row.holders}
    assert {"fd", "socket", "thread", "child", "inflight"} <= kinds
    assert any(holder.tid for row in kernel.namespaces for holder in row.holders)


def test_both_sources_agree_under_a_fork_storm(load: dict[str, object]) -> None:
    storm = subprocess.Popen(
        [sys.executable, "-I", "-c", STORM, "20"],
        stdout=subprocess.PIPE,
        env=clean_environment("/"),
    )
    try:
        assert storm.stdout is not None
        assert storm.stdout.readline() == b"ready\n"
        for _ in range(3):
            before, kernel, after = (snapshot(each) for each in ("proc", "kernel", "proc"))
            assert compared(load, before, kernel, after) > 25
            # Only the kernel's first process may be one that its list does not give.
            lacking = [text for text in kernel.remarks if "lacks" in text]
            assert all("lacks process 1 (" in text for text in lacking)
            assert not [gap for gap in kernel.gaps if "hides" in gap.cause]
    finally:
        storm.kill()
        storm.communicate()


def damaged(name: bytes, other: bytes) -> Packed:
    """The programs, written for a kernel whose structures have a field of another name."""
    packed = bpf_object.shipped()
    assert len(name) == len(other)
    assert packed.types.count(b"\0" + name + b"\0") == 1
    types = packed.types.replace(b"\0" + name + b"\0", b"\0" + other + b"\0")
    return packed._replace(types=types)


@pytest.mark.parametrize("field", [b"nsproxy", b"real_cred", b"start_boottime", b"group_leader"])
def test_a_kernel_whose_structures_lack_a_field_is_read_through_proc(
    monkeypatch: pytest.MonkeyPatch, field: bytes
) -> None:
    other = damaged(field, b"x" * len(field)) if field != b"nsproxy" else None
    if other is None:
        # It is a structure's name too.
        packed = bpf_object.shipped()
        other = packed._replace(types=packed.types.replace(b"\0nsproxy\0", b"\0nsxproy\0"))
    monkeypatch.setattr(lists, "shipped", lambda: other)
    found = snapshot("kernel", {Part.TASKS, Part.NAMESPACES})
    assert found.read_from == ("/proc",)
    assert found.remarks == (
        (
            "Read from /proc: the kernel's own lists cannot be walked: this kernel's structures "
            "are not the ones that are known."
        ),
    )
    assert any(task.pid == os.getpid() for task in found.tasks)


@pytest.mark.parametrize(
    ("field", "lacks"), [(b"ns_list_node", "spaces"), (b"mnt_next_for_sb", "binds")]
)
def test_fields_that_older_kernels_lack_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, load: dict[str, object], field: bytes, lacks: str
) -> None:
    packed = damaged(field, b"x" * len(field))
    assert not getattr(lists.read(100, packed=packed), lacks)
    before = snapshot("proc")
    monkeypatch.setattr(lists, "shipped", lambda: packed)
    kernel = snapshot("kernel")
    monkeypatch.undo()
    assert compared(load, before, kernel, snapshot("proc")) > 25


FILTERED = """
import sys
from nsctl.kernel import cbpf, process, seccomp
from nsctl.kernel.syscall_numbers import *
program = cbpf.assemble([
    cbpf.Instruction(0x20, 0, 0, 0),
    cbpf.Instruction(0x15, 0, 1, int(sys.argv[1])),
    cbpf.Instruction(0x06, 0, 0, int(sys.argv[2], 16)),
    cbpf.Instruction(0x06, 0, 0, 0x7fff0000),
])
process.set_no_new_privs()
seccomp.load(seccomp.Filter(program, 0, ()))
from nsctl.cli.main import main
sys.exit(main(["ls"]))
"""


def ls(*before: str, source: str = "kernel", options: Iterable[str] = ()) -> tuple[str, str]:
    """Rows and note of `nsctl ls`, run by a command in front of it."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "nsctl", "ls", *options],
        env=clean_environment("/", {"NSCTL_SOURCE": source}),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("50001", "although the capabilities are held"),
        ("50026", "no bpf(2), or a filter"),
        # SECCOMP_RET_KILL_THREAD, and not the whole process.
        ("0", "no bpf(2), or a filter"),
    ],
)
def test_a_filter_that_refuses_bpf_costs_a_sentence(action: str, words: str) -> None:
    from nsctl.kernel.libc import _NUMBERS

    done = subprocess.run(
        [sys.executable, "-c", FILTERED, str(_NUMBERS["bpf"]), action],
        env=clean_environment("/", {"NSCTL_SOURCE": "kernel"}),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert words in done.stderr.decode()
    assert done.stderr.count(b"Read from /proc:") == 1
    assert b"user" in done.stdout


@pytest.mark.parametrize(
    ("dropped", "needs"),
    [
        ("-sys_admin,-bpf", "take CAP_BPF."),
        ("-sys_admin,-perfmon", "take CAP_PERFMON."),
        ("-sys_admin,-bpf,-perfmon", "take CAP_BPF and CAP_PERFMON."),
    ],
)
def test_without_the_capabilities_the_note_names_them(dropped: str, needs: str) -> None:
    rows, note = ls("setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}")
    assert f"Read from /proc: the kernel's own lists {needs}" in note
    assert "user" in rows


def test_the_two_capabilities_are_enough(load: dict[str, object]) -> None:
    assert load
    caps = "+bpf,+perfmon,+sys_ptrace"
    user = (
        "setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups",
        f"--inh-caps={caps}", f"--ambient-caps={caps}",
    )  # fmt: skip
    rows, note = ls(*user)
    assert "Read from the kernel's own lists and /proc." in note
    assert "user" in rows


def test_another_procfs_is_read_alone_and_the_note_says_why() -> None:
    script = 'mount -t proc proc /mnt && exec "$@" --host-proc /mnt'
    rows, note = ls("unshare", "-m", "sh", "-c", script, "sh", source="auto")
    assert "Read from /mnt: the kernel's own lists follow the caller's PID namespace." in note
    assert "user" in rows


def test_in_a_pid_namespace_below_the_note_says_so() -> None:
    _, note = ls("unshare", "-p", "-f", "-m", "--mount-proc")
    assert "follow the caller's PID namespace, which is not the initial one." in note


def test_what_hidepid_hides_is_named_and_shown() -> None:
    sleeper = subprocess.Popen(["sleep", "1000"], env=clean_environment("/"))
    try:
        caps = "+bpf,+perfmon"
        script = (
            "mount -t proc -o hidepid=2 proc /proc && exec setpriv "
            f"--reuid={ORDINARY_UID} --regid={ORDINARY_UID} --clear-groups "
            f'--inh-caps={caps} --ambient-caps={caps} "$@"'
        )
        rows, note = ls("unshare", "-m", "sh", "-c", script, "sh", options=("-J",))
        document = json.loads(rows)
        (gap,) = [gap for gap in document["completeness"] if "hides what" in gap["cause"]]
        assert re.fullmatch(r"processes [0-9]+ \(.*\) and [0-9]+ more in /proc", gap["object"])
        mnt = os.stat("/proc/self/ns/mnt").st_ino
        (row,) = [row for row in document["namespaces"] if row["ns"] == mnt]
        assert sleeper.pid in row["processes"]
        assert document["read_from"] == ["kernel", "/proc"]
        assert not note
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_process_behind_a_mount_is_named_and_shown(kind: str) -> None:
    sleeper = subprocess.Popen(["sleep", "1000"], env=clean_environment("/"))
    try:
        place = f"/proc/{sleeper.pid}"
        mount = {"tmpfs": f"mount -t tmpfs none {place}", "bind": f"mount --bind /proc/2 {place}"}
        script = f'{mount[kind]} && exec "$@"'
        options = ("-l", "-J", "-o", "ns,processes")
        rows, _ = ls("unshare", "-m", "sh", "-c", script, "sh", options=options)
        document = json.loads(rows)
        (gap,) = [gap for gap in document["completeness"] if "mounted there" in gap["cause"]]
        assert gap["object"] == f"process {sleeper.pid} (sleep) in /proc"
        net = os.stat("/proc/self/ns/net").st_ino
        (row,) = [row for row in document["namespaces"] if row["ns"] == net]
        assert sleeper.pid in row["processes"]
    finally:
        sleeper.kill()
        sleeper.wait()


def test_arrays_that_are_too_small_are_made_again(
    monkeypatch: pytest.MonkeyPatch, load: dict[str, object]
) -> None:
    assert load
    monkeypatch.setattr(lists, "_ROOM", 1)
    found = lists.read(-4 * 51, files=lists.ALL_SOCKETS)
    assert len(found.tasks) > 20
    assert len(found.files) > 4
    assert found.walked == 8


def test_nothing_stays_in_the_kernel() -> None:
    before = set(os.listdir("/proc/self/fd"))
    found = lists.read(100, files=lists.SOME_FILES, credentials=True)
    assert found.tasks
    assert set(os.listdir("/proc/self/fd")) == before
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        assert "bpf-map" not in file.read()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        assert " - bpf " not in file.read()


def test_mounts_by_the_kernels_list_are_those_of_mountinfo(
    monkeypatch: pytest.MonkeyPatch, load: dict[str, object]
) -> None:
    from nsctl.discovery import mounts

    before = snapshot("proc", {Part.MOUNTS})
    with monkeypatch.context() as patched:
        patched.setattr(mounts, "_ids", lambda _draft: {})
        read = snapshot("proc", {Part.MOUNTS})
    after = snapshot("proc", {Part.MOUNTS})
    theirs = family(load, before)
    inside = {task.ns[0] for task in before.tasks if task.pid in theirs}
    same = [ino for ino in inside & read.mounts.keys() if before.mounts[ino] == after.mounts[ino]]
    assert len(same) > 1
    for ino in same:
        # Ids that are never used again only the kernel's list has.
        listed = tuple(row._replace(unique_id=0, parent_unique_id=0) for row in after.mounts[ino])
        assert read.mounts[ino] == listed


def test_an_unknown_source_is_refused_with_those_there_are(nsctl: Nsctl) -> None:
    done = nsctl("ls", env={"NSCTL_SOURCE": "perhaps"}, check=1)
    assert "perhaps" in done.stderr
    assert "auto, kernel or proc" in done.stderr


def test_a_small_host_is_read_through_proc_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {Part.TASKS, Part.NAMESPACES}
    monkeypatch.setattr("nsctl.ahead.SMALL", 1 << 22)
    small = snapshot("auto", parts)
    assert small.read_from == ("/proc",)
    assert small.remarks == ()
    monkeypatch.setattr("nsctl.ahead.SMALL", 1)
    big = snapshot("auto", parts)
    assert big.read_from == ("kernel", "/proc")
    assert big.remarks[0] == "Read from the kernel's own lists and /proc."


def test_without_threads_the_lists_are_walked_all_the_same(
    monkeypatch: pytest.MonkeyPatch, load: dict[str, object]
) -> None:
    assert load

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    found = lists.read(300, files=lists.SOME_FILES)
    assert found.walked == 8
    assert len(found.tasks) > 20


def test_a_walk_that_nobody_wants_leaves_nothing() -> None:
    before = set(os.listdir("/proc/self/fd"))
    lists.Walk(300).close()
    assert set(os.listdir("/proc/self/fd")) == before
