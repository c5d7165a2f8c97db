"""The last stage applied for real, in C and in Python: what the command finds, and who may meet it.

Each test runs a helper that becomes the last stage, and asks the kernel, from inside or outside,
what has come of the plan.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nsctl.child.plan import UNLIMITED, Filter, Limit, Plan
from nsctl.child.report import await_ready
from nsctl.child.stage2 import object_path
from nsctl.kernel import executable, seccomp
from nsctl.model import capabilities
from nsctl.model.task import CapabilitySets
from support.last_stage import (
    LIMIT,
    Running,
    children,
    eventually,
    fields,
    refusal,
    run,
    running,
    status_of,
)

pytestmark = pytest.mark.privileged

PATH = b"PATH=/usr/bin:/bin"
STATUS = Plan((b"cat", b"/proc/self/status"), (PATH,))
DEFAULT = capabilities.DEFAULT
NET_RAW = 1 << capabilities.NUMBERS["CAP_NET_RAW"]
KILL = 1 << capabilities.NUMBERS["CAP_KILL"]
SYS_ADMIN = 1 << capabilities.NUMBERS["CAP_SYS_ADMIN"]
NOTHING = CapabilitySets(0, 0, 0, 0, 0)


@pytest.fixture(params=["c", "python"])
def twin(request: pytest.FixtureRequest) -> bool:
    """Which last stage: stage2, or its twin."""
    if request.param == "c" and not object_path():
        pytest.skip(f"no stage2 for {os.uname().machine}")
    return bool(request.param == "python")


def root_with(mask: int) -> CapabilitySets:
    return CapabilitySets(inheritable=0, permitted=mask, effective=mask, bounding=mask, ambient=0)


def sets_in(status: dict[str, str]) -> CapabilitySets:
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    return CapabilitySets(*(int(status[name], 16) for name in names))


def refusing(*names: str) -> Filter:
    """A filter under which these calls fail with EPERM and all others work."""
    rule = {"names": names, "action": "SCMP_ACT_ERRNO"}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    return Filter(seccomp.compile_profile(profile).program)


def python(code: str, **changes: Any) -> Plan:
    """A plan whose command is a Python program."""
    changes.setdefault("env", (PATH,))
    return Plan(argv=(os.fsencode(sys.executable), b"-Ic", code.encode()), **changes)


def shell(script: str, **changes: Any) -> Plan:
    """A plan whose command is a shell script."""
    changes.setdefault("env", (PATH,))
    return Plan(argv=(b"sh", b"-c", script.encode()), **changes)


# --- What the command finds ---------------------------------------------------------------------


def test_root_gets_the_default_capabilities_and_no_more(twin: bool) -> None:
    _, output = run(STATUS._replace(capabilities=root_with(DEFAULT)), twin=twin)
    assert sets_in(fields(output)) == root_with(DEFAULT)


def test_for_root_the_bounding_set_is_lowered_to_the_permitted_set(twin: bool) -> None:
    wanted = CapabilitySets(SYS_ADMIN, NET_RAW, 0, DEFAULT, 0)
    _, output = run(STATUS._replace(capabilities=wanted, uid=0), twin=twin)
    assert sets_in(fields(output)) == root_with(NET_RAW)


def test_another_user_gets_the_ambient_set(twin: bool) -> None:
    wanted = CapabilitySets(NET_RAW | KILL, NET_RAW | KILL, NET_RAW, DEFAULT, NET_RAW)
    plan = STATUS._replace(capabilities=wanted, uid=1234, gid=5678, groups=(0, 77))
    _, output = run(plan, twin=twin)
    status = fields(output)
    after_exec = CapabilitySets(NET_RAW | KILL, NET_RAW, NET_RAW, DEFAULT, NET_RAW)
    assert sets_in(status) == after_exec
    assert status["Uid"].split("\t") == ["1234"] * 4
    assert status["Gid"].split("\t") == ["5678"] * 4
    assert status["Groups"] == "0 77"


def test_a_user_without_capabilities_has_none_left_to_gain(twin: bool) -> None:
    plan = STATUS._replace(capabilities=NOTHING, uid=1234, gid=1234, groups=(), no_new_privs=True)
    _, output = run(plan, twin=twin)
    status = fields(output)
    assert sets_in(status) == NOTHING
    assert status["Groups"] == ""
    assert status["NoNewPrivs"] == "1"


def test_what_the_plan_leaves_out_is_left_as_it_is(twin: bool) -> None:
    _, output = run(STATUS, twin=twin, umask=0o27)
    status = fields(output)
    ours = status_of(os.getpid())
    for name in ("Uid", "Gid", "Groups", "CapPrm", "CapBnd", "CapAmb", "Seccomp", "NSsid"):
        assert status[name] == ours[name], name
    assert status["Umask"] == "0027"


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_filters_are_loaded_with_and_without_no_new_privs(twin: bool, no_new_privs: bool) -> None:
    plan = STATUS._replace(
        capabilities=root_with(DEFAULT),
        filters=(refusing("swapon"), refusing("swapoff", "acct")),
        no_new_privs=no_new_privs,
    )
    _, output = run(plan, twin=twin)
    status = fields(output)
    assert (status["Seccomp"], status["Seccomp_filters"]) == ("2", "2")
    assert status["NoNewPrivs"] == str(int(no_new_privs))
    assert sets_in(status) == root_with(DEFAULT)


def test_filters_are_loaded_for_a_user_who_keeps_no_capability(twin: bool) -> None:
    plan = STATUS._replace(capabilities=NOTHING, uid=1234, filters=(refusing("swapon"),))
    _, output = run(plan, twin=twin)
    status = fields(output)
    assert (status["Seccomp_filters"], status["NoNewPrivs"]) == ("1", "0")
    assert sets_in(status) == NOTHING


def test_the_default_filter_lets_the_last_stage_through(twin: bool) -> None:
    default = seccomp.default_filter(DEFAULT)
    plan = STATUS._replace(
        capabilities=root_with(DEFAULT),
        filters=(Filter(default.program, default.flags),),
        mode="init",
        setsid=True,
        death_signal=signal.SIGKILL,
    )
    code, output = run(plan, "pid", twin=twin)
    assert (code, fields(output)["Seccomp_filters"]) == (0, "1")


def test_a_filter_that_refuses_seccomp_lets_later_ones_come_by_prctl(twin: bool) -> None:
    plan = STATUS._replace(
        no_new_privs=True, filters=(refusing("seccomp"), refusing("swapon", "swapoff"))
    )
    _, output = run(plan, twin=twin)
    assert fields(output)["Seccomp_filters"] == "2"


def test_securebits_are_set_and_root_is_then_nobody_special(twin: bool) -> None:
    noroot = 0b11  # SECBIT_NOROOT and its lock
    wanted = root_with(DEFAULT)
    code = (
        "import ctypes, sys; print(ctypes.CDLL(None).prctl(27), flush=True);"
        "sys.stdout.write(open('/proc/self/status').read())"
    )
    plan = python(code, capabilities=wanted, uid=0, securebits=noroot)
    _, output = run(plan, twin=twin)
    bits, _, status = output.partition("\n")
    assert int(bits) == noroot
    assert sets_in(fields(status)) == CapabilitySets(0, 0, 0, DEFAULT, 0)


def test_limits_and_umask_are_set(twin: bool) -> None:
    soft, hard = 100, 200
    plan = shell("ulimit -Sn; ulimit -Hn; ulimit -Sc; umask; cat /proc/$$/limits")
    limits = (Limit(resource.RLIMIT_NOFILE, soft, hard), Limit(resource.RLIMIT_CORE, 0, 0))
    _, output = run(plan._replace(limits=limits, umask=0o137), twin=twin)
    assert output.split("\n")[:4] == ["100", "200", "0", "0137"]


def test_signals_are_as_a_new_program_expects_them(twin: bool) -> None:
    _, output = run(STATUS, f"ignore={signal.SIGHUP.value}", twin=twin)
    status = fields(output)
    for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"):
        assert int(status[name], 16) == 0, name


def test_the_command_has_a_session_of_its_own(twin: bool) -> None:
    code = "import os; print(os.getsid(0) == os.getpid() == os.getpgrp())"
    assert run(python(code, setsid=True), twin=twin) == (0, "True\n")
    assert run(python(code, setsid=True, mode="init"), twin=twin) == (0, "True\n")
    assert run(python(code), twin=twin) == (0, "False\n")


KEYRING = """
import ctypes
syscall = ctypes.CDLL(None).syscall
number = {"x86_64": 250}.get(__import__("os").uname().machine, 219)
text = ctypes.create_string_buffer(200)
print(syscall(number, 0, -3, 0))
syscall(number, 6, -3, text, 200)
print(text.value.decode())
"""


def test_the_session_keyring_is_not_the_callers(twin: bool) -> None:
    _, callers = run(python(KEYRING), twin=twin)
    _, nameless = run(python(KEYRING, keyring=b""), twin=twin)
    _, named = run(python(KEYRING, keyring=b"nsctl-test-keyring"), twin=twin)
    serials = {output.split("\n")[0] for output in (callers, nameless, named)}
    assert len(serials) == 3
    assert nameless.split("\n")[1].startswith("keyring;0;0;")
    assert named.split("\n")[1].endswith(";nsctl-test-keyring")


def test_a_user_still_possesses_the_session_keyring(twin: bool) -> None:
    plan = python(KEYRING, keyring=b"", uid=1234, gid=1234, capabilities=NOTHING)
    _, output = run(plan, twin=twin)
    assert output.split("\n")[1].startswith("keyring;0;0;")


DESCRIPTORS = """
import os
there = [fd for fd in os.listdir('/proc/self/fd') if os.path.lexists('/proc/self/fd/' + fd)]
print(sorted(map(int, there)))
"""


def test_only_the_kept_descriptors_reach_the_command(twin: bool) -> None:
    opened = [os.open("/", os.O_RDONLY) for _ in range(5)]
    try:
        plan = python(DESCRIPTORS, keep=(opened[3], opened[1]))
        _, output = run(plan, twin=twin, pass_fds=opened, go=True)
        assert output == f"{[0, 1, 2, opened[1], opened[3]]}\n"
        _, output = run(python(DESCRIPTORS, mode="init"), "pid", twin=twin, pass_fds=opened)
        assert output == "[0, 1, 2]\n"
        _, output = run(python(DESCRIPTORS, keep=None), twin=twin, pass_fds=opened)
        assert set(opened) <= set(json.loads(output))
    finally:
        for fd in opened:
            os.close(fd)


def test_standard_streams_are_put_in_place_even_crosswise(twin: bool) -> None:
    files = [os.memfd_create(name) for name in ("two", "zero")]
    try:
        os.write(files[1], b"read\n")
        os.lseek(files[1], 0, os.SEEK_SET)
        plan = shell("cat; echo written >&2", stdio=(files[1], 2, files[0]))
        code, _ = run(plan, twin=twin, pass_fds=files, stderr=subprocess.DEVNULL)
        assert (code, os.pread(files[0], 99, 0)) == (0, b"written\n")
        code, output = run(
            shell("echo one; echo two >&2", stdio=(0, 2, 1)),
            twin=twin,
            stderr=subprocess.STDOUT,
        )
        assert (code, output) == (0, "one\ntwo\n")
    finally:
        for fd in files:
            os.close(fd)


# --- The working directory ----------------------------------------------------------------------


def test_the_directory_is_entered(twin: bool, tmp_path: Path) -> None:
    assert run(shell("pwd", cwd=os.fsencode(tmp_path)), twin=twin) == (0, f"{tmp_path}\n")


def test_a_directory_that_only_root_may_enter_is_entered_before_root_is_given_up(
    twin: bool, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    plan = shell("echo in", cwd=os.fsencode(tmp_path), uid=1234, capabilities=NOTHING)
    assert run(plan, twin=twin) == (0, "in\n")


def test_a_directory_that_only_the_user_may_enter_is_entered_as_the_user(
    twin: bool, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    os.chown(private, 1234, 1234)
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o711)  # pytest's own directories are closed to others
    plan = shell("pwd", cwd=os.fsencode(private), uid=1234, gid=1234, capabilities=NOTHING)
    dac = capabilities.mask(["DAC_OVERRIDE", "DAC_READ_SEARCH"])
    assert run(plan, f"without={dac}", twin=twin) == (0, f"{private}\n")


def test_a_directory_outside_the_root_is_refused(twin: bool, tmp_path: Path) -> None:
    failure, code = refusal(shell("pwd", cwd=b"."), f"chroot={tmp_path}", twin=twin)
    assert (failure.step, failure.errno, code) == ("CWD", errno.EXDEV, 125)


def test_a_directory_that_is_missing_is_refused(twin: bool) -> None:
    failure, code = refusal(shell("pwd", cwd=b"/nothing-there"), twin=twin)
    assert (failure.step, failure.errno, code) == ("CWD", errno.ENOENT, 125)


# --- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "step", "detail"),
    [
        ({"limits": (Limit(resource.RLIMIT_NOFILE, 1, UNLIMITED - 1),)}, "LIMITS", 7),
        ({"limits": (Limit(99, 1, 1),)}, "LIMITS", 99),
        ({"capabilities": root_with(SYS_ADMIN)}, "CAPABILITIES", 0),
        ({"capabilities": NOTHING._replace(ambient=NET_RAW)}, "AMBIENT", 13),
        ({"no_new_privs": True, "filters": (refusing("acct"), Filter(b"\xff" * 8))}, "FILTER", 1),
    ],
    ids=["hard limit", "no limit", "capability", "ambient", "filter"],
)
def test_what_the_kernel_refuses_is_named(
    twin: bool, changes: dict[str, Any], step: str, detail: int
) -> None:
    failure, code = refusal(shell("exit 0", **changes), f"without={SYS_ADMIN}", twin=twin)
    assert (failure.step, failure.detail, code) == (step, detail, 125)


def test_a_filter_that_refuses_the_last_capset_is_named(twin: bool) -> None:
    plan = shell("exit 0", capabilities=root_with(DEFAULT), filters=(refusing("capset"),))
    failure, code = refusal(plan, twin=twin)
    assert (failure.step, failure.errno, code) == ("LAST_CAPABILITIES", errno.EPERM, 125)


def test_a_filter_that_refuses_execve_is_named(twin: bool) -> None:
    plan = shell("exit 0", no_new_privs=True, filters=(refusing("execve"),))
    failure, code = refusal(plan, twin=twin)
    assert (failure.step, failure.errno, code) == ("EXEC", errno.EPERM, 126)


@pytest.mark.parametrize("init", [False, True])
def test_a_command_that_cannot_be_executed_has_the_shells_status(
    twin: bool, init: bool, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no program\n")
    (tmp_path / "text").chmod(0o755)
    (tmp_path / "closed").write_text("no program\n")
    (tmp_path / "sub").mkdir()
    elsewhere = (b"PATH=/nothing:" + os.fsencode(tmp_path) + b":/etc/passwd",)
    for name, env, number, status in (
        (b"nothing-has-this-name", (), errno.ENOENT, 127),
        (b"", (), errno.ENOENT, 127),
        (b"text", elsewhere, errno.ENOEXEC, 126),
        (b"closed", elsewhere, errno.EACCES, 126),
        (b"sub", elsewhere, errno.EACCES, 126),
        (os.fsencode(tmp_path / "closed"), (), errno.EACCES, 126),
        (b"/etc/passwd/x", (), errno.ENOTDIR, 126),
    ):
        failure, code = refusal(Plan((name,), env, mode="init" if init else "exec"), twin=twin)
        assert (failure.step, failure.errno, code) == ("EXEC", number, status), name
        assert failure.exit_status == status


def test_a_command_is_searched_in_its_own_environments_path(twin: bool, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho found $PATH $#\n")
    tool.chmod(0o755)
    here = os.fsencode(tmp_path)
    _, output = run(Plan((b"tool", b"x"), (b"PATH=/etc/passwd:/nothing:" + here,)), twin=twin)
    assert output == f"found /etc/passwd:/nothing:{tmp_path} 1\n"
    _, output = run(Plan((b"tool",), (b"PATH=/nothing::/x",), cwd=here), twin=twin)
    assert output == "found /nothing::/x 0\n"
    _, output = run(Plan((b"sh", b"-c", b"echo by default"), ()), twin=twin)
    assert output == "by default\n"
    far = b"PATH=" + b"/" * 9000 + b":/bin"
    _, output = run(Plan((b"sh", b"-c", b"echo long"), (far,)), twin=twin)
    assert output == "long\n"


# --- The process above the command --------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
)
def test_the_commands_end_is_passed_on(twin: bool, script: str, status: int) -> None:
    assert run(shell(script, mode="init"), "pid", twin=twin) == (status, "")


def test_without_init_the_last_stage_becomes_the_command(twin: bool) -> None:
    with running(shell("echo $$"), twin=twin) as started:
        pid = started.process.pid
        assert started.finish() == (0, f"{pid}\n")
    assert run(shell("kill -TERM $$"), twin=twin) == (-signal.SIGTERM, "")


SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGWINCH, 40, 64)


@pytest.mark.parametrize("number", SIGNALS)
def test_pid_1_passes_signals_on(twin: bool, number: int) -> None:
    code = (
        "import signal\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, [{number:d}])\n"
        "print('ready', flush=True)\n"
        f"print(signal.sigwaitinfo([{number:d}]).si_signo)\n"
    )
    with running(python(code, mode="init", setsid=True), "pid", twin=twin) as started:
        started.started()
        output = started.process.stdout
        assert output is not None
        assert output.readline() == b"ready\n"
        os.kill(started.inner, number)
        assert output.readline() == b"%d\n" % number
        assert started.process.wait(LIMIT) == 0


def test_a_signal_that_comes_before_the_command_is_not_lost(twin: bool) -> None:
    with running(shell("sleep 1000", mode="init"), "pid", twin=twin, go=True) as started:
        await_ready(started.report)
        os.kill(started.inner, signal.SIGTERM)
        started.release()
        assert started.end() == (143, "")


ORPHANS = """
import os
ours, theirs = os.pipe()
for _ in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            os.close(theirs)
            os.read(ours, 1)
        os._exit(0)
    os.wait()
print("orphaned", flush=True)
os.read(0, 1)
os.close(theirs)
os.read(0, 1)
"""


def test_pid_1_reaps_orphans(twin: bool) -> None:
    with running(python(ORPHANS, mode="init"), "pid", twin=twin) as started:
        see_orphans_reaped(started, lambda: started.inner)


def test_outside_a_pid_namespace_orphans_come_to_the_last_stage(twin: bool) -> None:
    with running(python(ORPHANS, mode="init"), twin=twin) as started:
        see_orphans_reaped(started, lambda: started.process.pid)


def see_orphans_reaped(started: Running, above: Callable[[], int]) -> None:
    """Let twenty orphans end below a process, of which then no zombie is left."""
    started.started()
    output, stdin = started.process.stdout, started.process.stdin
    assert output is not None
    assert stdin is not None
    assert output.readline() == b"orphaned\n"
    assert len(children(above())) == 21
    stdin.write(b".")
    stdin.flush()
    eventually(lambda: len(children(above())) == 1, "orphans were not reaped")
    stdin.close()
    assert started.process.wait(LIMIT) == 0


def test_pid_1_holds_no_more_than_the_command(twin: bool) -> None:
    plan = STATUS._replace(
        argv=(b"cat",),
        mode="init",
        setsid=True,
        capabilities=CapabilitySets(NET_RAW, NET_RAW, NET_RAW, NET_RAW, NET_RAW),
        uid=1234,
        gid=1234,
        groups=(77,),
        filters=(refusing("acct"),),
        no_new_privs=True,
    )
    with running(plan, "pid", twin=twin) as started:
        started.started()
        inner = started.inner
        (command,) = children(inner)
        above, below = status_of(inner), status_of(command)
        for name in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert above[name] == below[name], name
        for name in ("NoNewPrivs", "Seccomp", "Seccomp_filters"):
            assert above[name] == below[name], name
        kept = {"0", "1", "2"}
        eventually(lambda: set(os.listdir(f"/proc/{inner}/fd")) == kept, "it keeps descriptors")
        assert above["Name"] == "nsctl-init"


def test_pid_1_lives_with_filters_that_hide_signals_from_it(twin: bool) -> None:
    plan = shell("exit 7", mode="init", filters=(refusing("rt_sigtimedwait"),), no_new_privs=True)
    assert run(plan, "pid", twin=twin) == (7, "")


def test_pid_1_ends_if_the_filters_hide_the_commands_end(twin: bool) -> None:
    hiding = refusing("wait4", "waitid", "waitpid")
    plan = shell("exit 7", mode="init", filters=(hiding,), no_new_privs=True)
    assert run(plan, "pid", twin=twin)[0] == 125


# --- Go, and the parent -------------------------------------------------------------------------


@pytest.mark.parametrize("init", [False, True])
def test_nothing_runs_before_the_go(twin: bool, init: bool) -> None:
    plan = shell("echo ran", mode="init" if init else "exec", capabilities=root_with(DEFAULT))
    with running(plan, twin=twin, go=True) as started:
        await_ready(started.report)
        assert children(started.process.pid) == []
        status = status_of(started.process.pid)
        assert int(status["CapPrm"], 16) == DEFAULT  # all is applied already
        started.release()
        assert started.end() == (0, "ran\n")


def test_a_go_that_never_comes_ends_it(twin: bool) -> None:
    ours, theirs = os.pipe()
    os.close(theirs)
    try:
        plan = shell("echo ran", go=ours, mode="init")
        failure, code = refusal(plan, twin=twin, pass_fds=[ours])
        assert (failure.step, failure.errno, code) == ("GO", errno.ECANCELED, 125)
    finally:
        os.close(ours)


def test_a_parent_that_has_already_ended_is_seen(twin: bool) -> None:
    ended = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(ended.pid)
    try:
        ended.wait()
        plan = shell("exit 0", parent=pidfd, death_signal=signal.SIGKILL, mode="init")
        failure, code = refusal(plan, "pid", twin=twin, pass_fds=[pidfd])
        assert (failure.step, failure.errno, code) == ("PARENT", errno.ESRCH, 125)
    finally:
        os.close(pidfd)


def test_a_parent_that_lives_is_no_obstacle(twin: bool) -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        plan = shell("exit 3", parent=pidfd, death_signal=signal.SIGKILL)
        assert run(plan, twin=twin, pass_fds=[pidfd]) == (3, "")
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("init", [False, True])
def test_the_command_dies_with_the_parent(twin: bool, init: bool) -> None:
    plan = shell(
        "echo runs; exec cat",
        mode="init" if init else "exec",
        death_signal=signal.SIGKILL,
        uid=1234,
        gid=1234,
        capabilities=NOTHING,
    )
    with running(plan, "pid", twin=twin) as started:
        started.started()
        output = started.process.stdout
        assert output is not None
        assert output.readline() == b"runs\n"
        inner = started.inner
        everybody = [inner, *children(inner)]
        ends = [os.pidfd_open(pid) for pid in everybody]
        try:
            started.process.kill()
            for fd in ends:
                assert select.select([fd], [], [], LIMIT)[0], "it outlived its parent"
        finally:
            for fd in ends:
                os.close(fd)


# --- Who may meet it ----------------------------------------------------------------------------


def owner(pid: int) -> int:
    """Who owns most of /proc/PID: the process's user, or root while it is not dumpable."""
    return os.stat(f"/proc/{pid}/fd").st_uid


def test_nobody_can_look_into_it_before_exec(twin: bool) -> None:
    plan = Plan((b"cat",), (PATH,), uid=1234, gid=1234, capabilities=NOTHING)
    with running(plan, twin=twin, go=True) as started:
        await_ready(started.report)
        pid = started.process.pid
        assert status_of(pid)["Uid"].startswith("1234\t")
        assert owner(pid) == 0
        started.release()
        assert owner(pid) == 1234


def test_pid_1_is_readable_where_it_holds_nothing_that_the_command_does_not(twin: bool) -> None:
    plan = Plan((b"cat",), (PATH,), uid=1234, gid=1234, capabilities=NOTHING, mode="init")
    with running(plan, "pid", twin=twin) as started:
        started.started()
        inner = started.inner
        (command,) = children(inner)
        assert owner(command) == 1234
        if twin:  # the interpreter's memory is more than the plan
            assert owner(inner) == 0
        else:
            eventually(lambda: owner(inner) == 1234, "PID 1 stays closed")


def test_the_executable_of_pid_1_cannot_be_overwritten(twin: bool) -> None:
    with running(Plan((b"cat",), (PATH,), mode="init"), "pid", twin=twin) as started:
        started.started()
        path = f"/proc/{started.inner}/exe"
        with pytest.raises(OSError, match=r"Read-only|Text file busy"):
            os.open(path, os.O_RDWR)
        kept = os.open(path, os.O_RDONLY)
    # Nobody executes it any more, and whoever kept it open tries again.
    again = f"/proc/self/fd/{kept}"
    try:
        if twin:
            with pytest.raises(OSError, match=r"Read-only|Text file busy"):
                os.open(again, os.O_RDWR)
            with pytest.raises(OSError, match="Read-only"):  # other processes keep it busy
                os.chmod(again, os.fstat(kept).st_mode & 0o7777)
        else:
            writable = open_when_idle(again)
            try:
                overwrite(writable)
            finally:
                os.close(writable)
    finally:
        os.close(kept)


def open_when_idle(path: str) -> int:
    """Open for writing what nobody executes any more.

    Whoever looks at the process that ended, through /proc, keeps its memory, and so its
    executable busy, for as long as he looks.
    """
    for _ in range(200):
        try:
            return os.open(path, os.O_RDWR)
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise
            time.sleep(0.05)
    pytest.fail("it stays busy")


def overwrite(fd: int) -> None:
    """Try every way to change a sealed file."""
    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & executable.SEALS == executable.SEALS
    attempts: tuple[Callable[[], object], ...] = (
        lambda: os.write(fd, b"x"),
        lambda: os.ftruncate(fd, 0),
        lambda: os.ftruncate(fd, 1 << 20),
        lambda: os.posix_fallocate(fd, 0, 1 << 20),
        lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
        lambda: os.fchmod(fd, 0o600),
    )
    for attempt in attempts:
        with pytest.raises(PermissionError):
            attempt()


NO_EXECUTABLE_MEMFD = """
import os, sys
from nsctl.child.stage2 import open_stage2
with open("/proc/sys/vm/memfd_noexec", "w") as file:
    file.write("2")
fd = open_stage2()
status = os.fstat(fd)
print(oct(status.st_mode), status.st_nlink)
pid = os.fork()
if pid == 0:
    os.execve(fd, [b"stage2"], {})
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_where_memfds_may_not_be_executed_a_private_copy_is() -> None:
    if not os.path.exists("/proc/sys/vm/memfd_noexec"):
        pytest.skip("this kernel has no vm.memfd_noexec (since 6.3)")
    if not object_path():
        pytest.skip(f"no stage2 for {os.uname().machine}")
    # The setting belongs to a PID namespace.
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", NO_EXECUTABLE_MEMFD],
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT,
    )
    assert done.stdout == "0o100511 0\n125\n"
