"""unshare as an ordinary user, against the installed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.unshare_cases import same_end, same_situation
from support.unsharing import ANYBODY, ENDS, REFUSED, link, peer
from support.users import Nsctl, OrdinaryUser

pytestmark = pytest.mark.userns


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("bin")
    for above in (directory, *directory.parents[:2]):
        if above.stat().st_uid == os.getuid():
            above.chmod(0o755)
    return link(directory)


@pytest.mark.parametrize("options", ANYBODY, ids=" ".join)
def test_a_program_begins_as_with_the_original(
    ordinary_user: OrdinaryUser, ours: str, options: tuple[str, ...]
) -> None:
    same_situation(ordinary_user.run, peer(), ours, options)


@pytest.mark.parametrize("words", [*REFUSED, *ENDS], ids=" ".join)
def test_it_ends_as_the_original_ends(
    ordinary_user: OrdinaryUser, ours: str, words: tuple[str, ...]
) -> None:
    same_end(ordinary_user.run, peer(), ours, words)


def test_what_nsctl_refuses_before_the_program_runs_is_125(
    ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    for words in (("--nosuch",), ("-T", "--boottime=x", "true"), ("-m", "true")):
        done = nsctl("unshare", *words, user=ordinary_user)
        assert done.returncode == 125
        assert done.stderr.count("\n") <= 2
        assert done.stderr.startswith("nsctl: ")
    assert nsctl("unshare", "nosuch", user=ordinary_user).returncode == 127
    assert nsctl("unshare", "/etc/passwd", user=ordinary_user).returncode == 126


def test_descriptors_and_input_are_handed_on(ordinary_user: OrdinaryUser, ours: str) -> None:
    reading, writing = os.pipe()
    try:
        code = f"import os; os.write({writing}, b'fd'); os.write(1, os.read(0, 9))"
        process = ordinary_user.start(
            ours, "-r", sys.executable, "-c", code, stdin=subprocess.PIPE, pass_fds=(writing,)
        )
        output, errors = process.communicate(b"words\n", timeout=60)
        assert (output, errors, process.returncode) == (b"words\n", b"", 0)
        assert os.read(reading, 10) == b"fd"
    finally:
        os.close(reading)
        os.close(writing)


def test_the_environment_is_the_caller_s_own_or_what_is_asked_for(
    ordinary_user: OrdinaryUser, ours: str
) -> None:
    def told(*options: str, **env: str) -> set[str]:
        whole = {f"{key}={value}" for key, value in env.items()}
        words = [*sorted(whole), ours, *options, "/usr/bin/env"]
        return set(ordinary_user.run("env", "-i", *words, check=0).stdout.split("\n")) - {""}

    # Not even LC_CTYPE, which Python sets for itself in the C locale.
    assert told(A="1", PATH="/usr/bin") == {"A=1", "PATH=/usr/bin"}
    assert told("--clear-env", A="1") == set()
    assert told("--whitelist-env", "B,C,NONE", A="1", B="2", C="3") == {"B=2", "C=3"}


def test_a_login_shell_is_begun_where_no_program_is_named(
    ordinary_user: OrdinaryUser, ours: str
) -> None:
    for command in (peer(), ours):
        done = ordinary_user.run("env", "SHELL=/bin/sleep", command, "-r")
        assert "-sleep: missing operand" in done.stderr


def test_a_script_without_an_interpreter_is_the_shell_s(
    ordinary_user: OrdinaryUser, ours: str
) -> None:
    script = Path(ordinary_user.home) / "script"
    ordinary_user.run("sh", "-c", "echo 'echo $# $1' > script; chmod 755 script", check=0)
    for command in (peer(), ours):
        assert ordinary_user.run(command, "-r", str(script), "a b", check=0).stdout == "1 a b\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_where_that_is_asked_for(
    ordinary_user: OrdinaryUser, ours: str, number: signal.Signals
) -> None:
    script = 'trap "echo got; exit 3" TERM INT; echo ready; while :; do sleep 0.05; done'
    process = ordinary_user.start(ours, "-r", "--forward-signals", "sh", "-c", script)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            assert process.stdout.readline() == b"got\n"
            assert process.wait(60) == 3
        finally:
            process.kill()


def test_the_waiting_parent_does_not_end_before_its_child(
    ordinary_user: OrdinaryUser, ours: str
) -> None:
    script = "echo ready; read line; exit 4"
    process = ordinary_user.start(ours, "-rf", "sh", "-c", script, stdin=subprocess.PIPE)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
            process.communicate(b"\n", timeout=60)
            assert process.returncode == 4
        finally:
            process.kill()


@pytest.mark.parametrize("options", [("-rfp",), ("-r",), ("-r", "-S", "0")])
def test_the_child_ends_with_its_parent_where_that_is_asked_for(
    ordinary_user: OrdinaryUser, ours: str, options: tuple[str, ...]
) -> None:
    reading, writing = os.pipe()
    process = ordinary_user.start(
        ours,
        *options,
        "--kill-child",
        "sh",
        "-c",
        "echo ready; exec sleep 600",
        pass_fds=(writing,),
    )
    os.close(writing)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.kill()
            process.wait()
            # The child held the other end: nobody is left who could write.
            assert os.read(reading, 1) == b""
        finally:
            process.kill()
            os.close(reading)
