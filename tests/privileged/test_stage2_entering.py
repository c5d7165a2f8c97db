"""What only entering asks of the last stage: labels, words, programs, modes, and who may forge what."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from nsctl.child import readers
from nsctl.child.laststage import run as run_twin
from nsctl.child.plan import Join, Plan
from nsctl.child.report import NUMBERS, STEPS, Failure
from nsctl.child.stage2 import object_path, open_stage2, spawn_stage2
from nsctl.enter import session
from nsctl.errors import KernelRefusal, NsctlError
from nsctl.kernel import scm
from support.entering import target
from support.last_stage import LIMIT, children, fields, refusal, run

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(not object_path(), reason="no stage2 for this machine"),
]

PATH = b"PATH=/usr/bin:/bin"


def test_a_label_is_written_before_anything_is_joined(tmp_path: Path) -> None:
    # No module that gives labels may be loaded here: a plain file takes the place of attr/exec.
    file = tmp_path / "exec"
    file.write_text("")
    plan = Plan((b"true",), (PATH,), label=(os.fsencode(file), b"exec docker-default"))
    assert run(plan, twin=False)[0] == 0
    assert file.read_text() == "exec docker-default"
    missing = Plan((b"true",), (PATH,), label=(b"/nothing/here", b"x"))
    failure, status = refusal(missing, twin=False)
    assert (failure.step, failure.errno, status) == ("LABEL", errno.ENOENT, 125)


def test_a_program_has_another_name_and_a_script_without_a_line_is_read_by_a_shell(
    tmp_path: Path,
) -> None:
    named = Plan((b"-x", b"-c", b"echo $0"), (PATH,), program=b"/bin/sh")
    assert run(named, twin=False) == (0, "-x\n")
    script = tmp_path / "script"
    script.write_text("echo $0 $1\n")
    script.chmod(0o755)
    words = (os.fsencode(script), b"a b")
    assert run(Plan(words, (PATH,), scripts=True), twin=False) == (0, f"{script} a b\n")
    failure, status = refusal(Plan(words, (PATH,)), twin=False)
    assert (failure.errno, status) == (errno.ENOEXEC, 126)


def test_capabilities_are_kept_over_exec_where_that_is_asked_for() -> None:
    plan = Plan((b"cat", b"/proc/self/status"), (PATH,), keep_caps=True)
    status = fields(run(plan, twin=False)[1])
    assert status["CapAmb"] == status["CapPrm"] != "0000000000000000"


def test_without_a_report_it_says_in_the_plans_words_what_fails() -> None:
    sentences = [f"step {step.name}".encode() for step in STEPS]
    errors = [os.strerror(number).encode() for number in range(134)]
    code = (
        "import os, sys; from nsctl.child.stage2 import exec_stage2, open_stage2;"
        "from nsctl.child.plan import decode;"
        "exec_stage2(open_stage2(), decode(sys.stdin.buffer.read()), -1)"
    )
    closed = os.open("/dev/null", os.O_RDONLY)
    try:
        for plan, said, status in (
            (Plan((b"nothing-here",), (PATH,)), "step EXEC: No such file or directory\n", 127),
            (Plan((b"true",), cwd=b"/nothing"), "step CWD: No such file or directory\n", 1),
            (
                Plan((b"true",), namespaces=(Join(closed, 0x40000000),)),
                "joining it: Invalid argument\n",
                1,
            ),
        ):
            joined = [b"joining it"] * len(plan.namespaces)
            words = (*sentences, *joined, *errors)
            done = subprocess.run(
                [sys.executable, "-c", code],
                input=plan._replace(words=words).encode(),
                capture_output=True,
                pass_fds=[closed],
                check=False,
            )
            assert (done.returncode, done.stderr.decode()) == (status, said)
    finally:
        os.close(closed)


def test_the_twin_in_python_enters_nothing() -> None:
    plan = Plan((b"true",), mode="enter")
    with pytest.raises(NsctlError, match="no last stage that could"):
        run_twin(plan, 9)


def test_who_reports_is_the_kernels_word() -> None:
    """A process that is no child of ours, and one that is but did not report, are not taken."""
    program = open_stage2()
    # Other tests may have left children that are theirs to wait for.
    before = _children()
    with target() as pid:
        pidfd = os.pidfd_open(pid)
        ours, theirs = scm.socketpair()
        scm.pass_credentials(ours)
        forged = (
            "import os, sys; os.fork() and os._exit(0);"
            "os.write(int(sys.argv[1]), bytes(12)); os.read(int(sys.argv[1]), 1)"
        )
        plan = Plan((b"sleep", b"1000"), (PATH,), mode="enter", go=theirs)
        plan = plan._replace(namespaces=(Join(pidfd, 0x20000000),))
        try:
            subprocess.run(
                [sys.executable, "-c", forged, str(theirs)], pass_fds=[theirs], check=True
            )
            assert select.select([ours], [], [], LIMIT)[0]
            stage = spawn_stage2(program, plan, theirs)
            os.close(theirs)
            moved: list[int] = []
            with pytest.raises(KernelRefusal, match="somebody else reported in its name"):
                session._follow(ours, stage, plan, moved.append, session._Wakeup())
            assert moved == []
        finally:
            os.close(ours)
            os.close(pidfd)
            os.close(program)
    # The command itself found nobody to give it its go.
    for child in _children() - before:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _children() -> set[int]:
    with open("/proc/thread-self/children") as file:
        return set(map(int, file.read().split()))


def test_filters_of_one_who_is_gone_are_not_read() -> None:
    program = open_stage2()
    with target() as pid:
        pidfd = os.pidfd_open(pid)
    try:
        with pytest.raises(OSError, match="No such process") as caught:
            readers.read_filters(program, pid, pidfd, spec_allow=False)
        assert caught.value.errno == errno.ESRCH
        # A number that is another's by now: the pidfd tells, whatever was attached to.
        with pytest.raises(OSError, match="No such process"):
            readers.read_filters(program, _neighbour(), pidfd, spec_allow=False)
    finally:
        os.close(pidfd)
        os.close(program)


def _neighbour() -> int:
    """A process that lives, and is no child's parent."""
    for child in children(os.getppid()):
        if child != os.getpid():
            return child
    return os.getppid()


def test_every_step_has_a_number_and_words() -> None:
    assert all(Failure(name, errno.EPERM).sentence for name in NUMBERS if name != "READY")
