"""Called by the name of nsenter, nsctl does what nsenter(1) does, told by running both."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.entering import target
from support.users import ORDINARY_UID, OrdinaryUser, clean_environment

pytestmark = pytest.mark.cli

SHOWN = (
    "readlink /proc/self/ns/*; grep -E '^(Cap|Secc|Sig[BIC]|Uid|Gid|Groups|NoNew|NSpid|NSsid)' "
    "/proc/self/status; pwd; ls -l /proc/self/fd | wc -l; env | sort | grep -v ^_="
)
FLAGS = (
    "-a",
    "--all",
    "-m -p",
    "-n",
    "-n -u",
    "-m",
    "-p -F",
    "-aF",
    "-a -r",
    "-a -w",
    "-m -r/",
    "-m --root=/",
    "-m --wd=/tmp",
    "-a -S 5 -G 6",
    "-a --setuid=7",
    "-a -G 7",
    "-n --preserve-credentials",
    "-u -i -C -T",
    "--mou --ut",
    "--net=/proc/{pid}/ns/net -u",
    "-n/proc/{pid}/ns/net",
)
ENDS = (
    "-n sh -c 'exit 7'",
    "-p sh -c 'exit 7'",
    "-p sh -c 'kill -TERM $$'",
    "-n sh -c 'kill -TERM $$'",
    "-n nothing-has-this-name",
    "-n /etc/passwd",
    "-S x -n true",
    "--net=/nothing/here true",
    "--net=/etc/passwd true",
    "-w -W/ -n true",
    "-n -U true",
)


@pytest.fixture(scope="module")
def link() -> Iterator[str]:
    if shutil.which("nsenter") is None:
        pytest.skip("needs nsenter (Debian: util-linux)")
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    directory.chmod(0o755)
    program = directory / "nsenter"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom nsctl.cli.main import entry\nsys.exit(entry())\n"
    )
    program.chmod(0o755)
    yield str(program)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def pid() -> Iterator[int]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with target() as started:
        yield started


def both(link: str, words: str, *command: str, **options: object) -> list[tuple[int, str]]:
    """Run a shell's command line with the original and with ours."""
    results = []
    for program in ("/usr/bin/nsenter", link):
        done = subprocess.run(
            ["sh", "-c", f'{program} {words} "$@"', "sh", *command],
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment("/"),
            **options,  # type: ignore[call-overload]
        )
        results.append((done.returncode, done.stdout + done.stderr))
    return results


def without_numbers(text: str) -> str:
    """The numbers of processes are given one after the other; how many there are counts."""
    return re.sub(
        r"^(NS[a-z]+:)(.*)$",
        lambda line: line[1] + re.sub(r"[1-9]\d*", "N", line[2]),
        text,
        flags=re.MULTILINE,
    )


@pytest.mark.privileged
@pytest.mark.parametrize("flags", FLAGS)
def test_a_command_finds_what_it_finds_with_the_original(link: str, pid: int, flags: str) -> None:
    original, ours = both(link, f"-t {pid} {flags.format(pid=pid)} --", "sh", "-c", SHOWN)
    assert original[0] == 0
    assert (original[0], without_numbers(original[1])) == (ours[0], without_numbers(ours[1]))


@pytest.mark.privileged
@pytest.mark.parametrize("words", ENDS)
def test_it_ends_and_complains_as_the_original_does(link: str, pid: int, words: str) -> None:
    original, ours = both(link, f"-t {pid} {words}")
    assert ours[0] == original[0]
    if "-U" not in words:  # since 2.41 all of the target's are joined at once
        assert ours[1] == original[1]


@pytest.mark.privileged
def test_signals_that_were_ignored_stay_so_and_descriptors_are_passed_on(
    link: str, pid: int
) -> None:
    code = (
        "import os, signal, subprocess, sys;"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        # What the interpreter itself ignores cannot be told from what its parent did.
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL);"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL);"
        "fd = os.open('/etc', os.O_RDONLY); os.set_inheritable(fd, True);"
        "os.execv(sys.argv[1], [sys.argv[1], '-t', sys.argv[2], '-n', 'sh', '-c',"
        " f'grep SigIgn /proc/self/status; readlink /proc/self/fd/{fd}'])"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code, program, str(pid)], capture_output=True, check=True
        ).stdout
        for program in ("/usr/bin/nsenter", link)
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].endswith(b"\n/etc\n")


@pytest.mark.privileged
def test_without_a_fork_the_command_takes_the_place_of_nsenter(link: str, pid: int) -> None:
    with subprocess.Popen(
        [link, "-t", str(pid), "-n", "sh", "-c", "echo $$"], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.read() == f"{running.pid}\n"


@pytest.mark.privileged
def test_options_of_newer_versions_than_the_one_that_is_installed(link: str, pid: int) -> None:
    def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run([link, *words], capture_output=True, text=True, check=check)

    pidfd = os.pidfd_open(pid)
    inode = os.fstat(pidfd).st_ino
    os.close(pidfd)
    net = os.readlink(f"/proc/{pid}/ns/net")
    show = ("readlink", "/proc/self/ns/net")
    assert run("-t", f"{pid}:{inode}", "-n", *show).stdout == f"{net}\n"
    refused = run("-t", f"{pid}:{inode + 1}", "-n", "true", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    with open(f"/proc/{pid}/environ", "rb") as file:
        wanted = sorted(file.read().split(b"\0")[:-1])
    done = run("-t", str(pid), "-n", "-e", "env", "-0")
    assert sorted(os.fsencode(done.stdout).split(b"\0")[:-1]) == wanted
    assert run("-t", str(pid), "-n", "-S", "follow", "-G", "follow", "id", "-u").stdout == "0\n"
    none = run("-t", str(pid), "true", check=False)
    assert (none.returncode, none.stderr) == (1, "nsenter: no namespace specified\n")
    assert "--net-socket" in run("--help").stdout
    assert "2.42" in run("--version").stdout


@pytest.mark.privileged
def test_a_sockets_network_and_a_parents_user_namespace(link: str) -> None:
    code = (
        "import ctypes, socket, time;"
        "ctypes.CDLL(None).unshare(0x40000000); kept = socket.socket();"
        "print(kept.fileno(), __import__('os').readlink('/proc/self/ns/net'), flush=True);"
        "ctypes.CDLL(None).unshare(0x40000000); time.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            fd, net = holder.stdout.readline().split()
            done = subprocess.run(
                [link, "-t", str(holder.pid), "-N", fd, "readlink", "/proc/self/ns/net"],
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout == f"{net}\n"
        finally:
            holder.kill()
    with target(namespaces=("--user", "--map-root-user")) as inner:
        done = subprocess.run(
            [link, "-t", str(inner), "--user-parent", "true"],
            capture_output=True,
            text=True,
            check=False,
        )
        # The parent is the caller's own, which cannot be entered again.
        assert done.stderr == (
            "nsenter: reassociate to namespace 'ns/user' failed: Invalid argument\n"
        )


def test_an_ordinary_user_enters_his_own_and_is_refused_others(
    link: str, ordinary_user: OrdinaryUser
) -> None:
    prefix: tuple[str, ...] = ()
    if ordinary_user.drops:
        ids = (f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups")
        prefix = ("setpriv", *ids)
    namespaces = ("--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")
    with target(namespaces=namespaces, prefix=prefix) as pid:
        for words in ("-a", "-U", "-U -m", "-U --preserve-credentials", "-a -S 0 -G 0", "-m"):
            results = [
                ordinary_user.run(
                    program, "-t", str(pid), *words.split(), "--", "sh", "-c", SHOWN, cwd="/"
                )
                for program in ("/usr/bin/nsenter", link)
            ]
            shown = [without_numbers(one.stdout) for one in results]
            assert shown[0] == shown[1], words
            assert results[0].returncode == results[1].returncode
        kept = ordinary_user.run(
            link,
            "-t",
            str(pid),
            "-U",
            "--preserve-credentials",
            "--keep-caps",
            "grep",
            "CapAmb",
            "/proc/self/status",
            check=0,
        )
        assert kept.stdout != "CapAmb:\t0000000000000000\n"
    refused = [
        ordinary_user.run(program, "-t", str(os.getppid()), "-n", "true")
        for program in ("/usr/bin/nsenter", link)
    ]
    assert refused[0].returncode == refused[1].returncode == 1
