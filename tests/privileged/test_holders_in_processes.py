"""Namespaces that a thread, a descriptor or a child to come keeps alive: each is made and found."""

from __future__ import annotations

import os
import subprocess

import pytest

from support.holding import holding, lacks, look, number, row_of, tell
from support.users import Nsctl, OrdinaryUser

pytestmark = [pytest.mark.privileged, pytest.mark.usefixtures("each_source")]


def test_a_thread_with_namespaces_of_its_own_holds_them(nsctl: Nsctl) -> None:
    code = """
found = {}
made = threading.Event()
def work():
    unshare(NET | UTS)
    found.update(tid=threading.get_native_id(), net=number("net"), uts=number("uts"))
    made.set()
    threading.Event().wait()
threading.Thread(target=work, daemon=True).start()
made.wait()
ready(**found)
"""
    with holding(code) as (pid, made, _):
        document = tell(nsctl)
        for kind in ("net", "uts"):
            row = row_of(document, kind, made[kind])
            assert row["nprocs"] == 0
            assert row["pid"] is None
            assert row["holders"] == [{"kind": "thread", "pid": pid, "tid": made["tid"]}]
            assert row["ons"] == number("user")
            assert row["ns_id"]


def test_what_a_thread_has_for_its_next_child_is_held_by_the_thread(nsctl: Nsctl) -> None:
    code = """
found = {}
made = threading.Event()
def work():
    unshare(PID)
    found.update(tid=threading.get_native_id())
    made.set()
    threading.Event().wait()
threading.Thread(target=work, daemon=True).start()
made.wait()
pidfd = os.pidfd_open(found["tid"], os.O_EXCL)
import fcntl
found["pid"] = os.fstat(fcntl.ioctl(pidfd, 0xff06, 0)).st_ino
os.closerange(pidfd, pidfd + 2)
ready(**found)
"""
    with holding(code) as (pid, made, _):
        row = look(nsctl, "pid", made["pid"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "child", "pid": pid, "tid": made["tid"]}]


def test_the_threads_of_a_dead_first_thread_hold_what_they_are_in(nsctl: Nsctl) -> None:
    code = """
unshare(UTS)
def work():
    import time
    while open(f"/proc/{os.getpid()}/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    ready(tid=threading.get_native_id(), uts=number("uts"))
threading.Thread(target=work).start()
libc.syscall(60, 0)
"""
    if os.uname().machine != "x86_64":
        pytest.skip("ends one thread by the number that exit(2) has on x86-64")
    with holding(code) as (pid, made, _):
        row = look(nsctl, "uts", made["uts"])
        assert {"kind": "thread", "pid": pid, "tid": made["tid"]} in row["holders"]


def test_a_pid_namespace_that_never_had_a_process_is_found_and_its_owner_asked(
    nsctl: Nsctl,
) -> None:
    code = """
unshare(PID)
import fcntl
pidfd = os.pidfd_open(os.getpid())
fd = fcntl.ioctl(pidfd, 0xff06, 0)
ino = os.fstat(fd).st_ino
os.close(fd)
ready(pid=ino, link=os.path.exists("/proc/self/ns/pid_for_children"))
"""
    with holding(code) as (pid, made, _):
        assert not made["link"]
        row = look(nsctl, "pid", made["pid"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "child", "pid": pid}]
        assert row["ons"] == number("user")
        assert row["pns"] == number("pid")


def test_a_time_namespace_for_children_is_held_by_who_will_have_them(nsctl: Nsctl) -> None:
    code = 'unshare(0x80); ready(time=os.stat("/proc/self/ns/time_for_children").st_ino)'
    with holding(code) as (pid, made, _):
        row = look(nsctl, "time", made["time"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "child", "pid": pid}]


def test_every_descriptor_is_a_holder_and_not_just_the_first(nsctl: Nsctl) -> None:
    code = """
ino, fd = elsewhere(UTS, "uts", lambda: own("uts"))
ready(uts=ino, fds=sorted([fd, os.dup(fd), os.dup(fd)]))
"""
    with holding(code) as (pid, made, _):
        row = look(nsctl, "uts", made["uts"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "fd", "pid": pid, "fd": fd} for fd in made["fds"]]
        text = nsctl("ls", "-l", "-o", "NS,HELD", check=0).stdout
        (line,) = [line for line in text.split("\n") if line.startswith(str(made["uts"]))]
        assert f"[{pid}]/{made['fds'][0]} +2" in line


def test_the_own_table_of_a_thread_is_read_and_a_shared_one_only_once(nsctl: Nsctl) -> None:
    code = """
found = {}
shared = elsewhere(IPC, "ipc", lambda: own("ipc"))
made = threading.Event()
def work():
    unshare(FILES)
    uts, fd = elsewhere(UTS, "uts", lambda: own("uts"))
    os.close(shared[1])
    found.update(tid=threading.get_native_id(), uts=uts, fd=fd)
    made.set()
    threading.Event().wait()
threading.Thread(target=work, daemon=True).start()
for _ in range(5):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
made.wait()
ready(ipc=shared[0], shared=shared[1], **found)
"""
    with holding(code) as (pid, made, _):
        document = tell(nsctl)
        assert row_of(document, "uts", made["uts"])["holders"] == [
            {"kind": "fd", "pid": pid, "tid": made["tid"], "fd": made["fd"]}
        ]
        assert row_of(document, "ipc", made["ipc"])["holders"] == [
            {"kind": "fd", "pid": pid, "fd": made["shared"]}
        ]


def test_a_descriptor_opened_through_a_bind_mount_is_found_by_its_device(nsctl: Nsctl) -> None:
    code = """
unshare(MNT)
mount("none", "/", None, 0x4000 | 1 << 18)
mount("none", "/mnt", "tmpfs", 0)
def bound(name):
    open(f"/mnt/{name}", "x").close()
    mount("/proc/thread-self/ns/uts", f"/mnt/{name}", None, 0x1000)
    return os.open(f"/mnt/{name}", os.O_RDONLY)
kept, fd = elsewhere(UTS, "uts", lambda: bound("web"))
gone, lost = elsewhere(UTS, "uts", lambda: bound("gone"))
call("umount2", b"/mnt/gone", 2)
ready(kept=kept, fd=fd, gone=gone, lost=lost, mnt=number("mnt"),
      links=[os.readlink(f"/proc/self/fd/{each}") for each in (fd, lost)])
"""
    with holding(code) as (pid, made, _):
        assert made["links"] == ["/mnt/web", "/"]
        document = tell(nsctl)
        assert row_of(document, "uts", made["kept"])["holders"] == [
            {"kind": "bind", "path": "/mnt/web", "mntns": made["mnt"]},
            {"kind": "fd", "pid": pid, "fd": made["fd"]},
        ]
        assert row_of(document, "uts", made["gone"])["holders"] == [
            {"kind": "fd", "pid": pid, "fd": made["lost"]}
        ]


def test_a_namespace_between_others_that_no_process_is_in_is_kept_by_those_below(
    nsctl: Nsctl,
) -> None:
    code = """
read, write = os.pipe()
between = os.fork()
if not between:
    unshare(USER)
    os.write(write, b"%d " % number("user"))
    for name, text in ("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1"):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    if os.fork():
        os._exit(0)
    unshare(USER)
    os.write(write, b"%d" % number("user"))
    os.close(write)
    sys.stdin.read()
    os._exit(0)
os.close(write)
os.waitpid(between, 0)
middle, inner = map(int, open(read).read().split())
ready(middle=middle, inner=inner)
"""
    with holding(code) as (_, made, _):
        document = tell(nsctl)
        row = row_of(document, "user", made["middle"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "kernel"}]
        assert row_of(document, "user", made["inner"])["pns"] == made["middle"]
        shown = nsctl("show", f"user:[{made['middle']}]", check=0).stdout
        assert "below it" in shown


def test_an_ordinary_user_is_told_which_capability_is_missing(
    nsctl: Nsctl, ordinary_user: OrdinaryUser
) -> None:
    done = nsctl("ls", user=ordinary_user, check=0)
    assert "mount namespaces that no process is in" in done.stderr
    assert "CAP_SYS_ADMIN" in done.stderr
    assert "descriptors of" in done.stderr
    assert "CAP_SYS_PTRACE" in done.stderr
    process = ordinary_user.start(
        "python3",
        "-c",
        "import socket; s=socket.socket(); print(1, flush=True); input()",
        stdin=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            done = nsctl("ls", user=ordinary_user, check=0)
        finally:
            process.kill()
    assert "network namespaces of" in done.stderr
    assert "CAP_NET_ADMIN" in done.stderr


def test_a_procfs_of_other_numbers_is_not_mixed_up_with_the_own(nsctl: Nsctl) -> None:
    code = """
unshare(PID)
outer = os.fork()
if outer:
    sys.stdin.read()
    os._exit(0)
unshare(MNT)
mount("none", "/", None, 0x4000 | 1 << 18)
mount("proc", "/mnt", "proc", 0)
kept = socket.socket()
ready(pid=int(os.readlink("/proc/self")))
"""
    with holding(code) as (_, made, _):
        document = tell(nsctl, "--host-proc", f"/proc/{made['pid']}/root/mnt")
        assert lacks(document, "another PID namespace")
