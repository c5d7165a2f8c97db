"""Shells complete nsctl's words: asked of the real ones, and of a snapshot full of hostile names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nsctl import host
from nsctl.cli.commands import COMMANDS
from nsctl.cli.completion import SCRIPTS
from nsctl.cli.words import DIRECTORIES, FILES, Candidate, complete
from support.terminal import on_terminal
from support.users import Nsctl, clean_environment
from unit.factories import container, snapshot, task

pytestmark = pytest.mark.cli

HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    "web;touch pwned",
    "web\ntouch pwned",
    "web pwned",
    "web\tpwned",
    "web\x1b[2J",
    "web'pwned",
    'web"pwned',
    "web&pwned",
    "web>pwned",
    "${pwned}",
    "~root",
    "*",
    "-rf",
    "=nsctl",
    "\N{RIGHT-TO-LEFT OVERRIDE}web",
)
CONTAINERS = (
    container("cache", full_id="3f2a9c00" * 8),
    container("twin", full_id="aa" * 32),
    container("twin", engine="podman", full_id="bb" * 32),
    container("4711", engine="podman", full_id="cc" * 32),
    container("guest@1000", engine="podman", full_id="dd" * 32)._replace(vouched_by=9),
    container("front", engine="cri", full_id="ee" * 32)._replace(pod="shop:till"),
    container("ours", engine="nsctl", full_id="ff" * 32),
    *(container(name, full_id=f"{n:064x}") for n, name in enumerate(HOSTILE)),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A snapshot with these containers."""
    path = str(tmp_path_factory.mktemp("saved") / "snapshot")
    host.save_snapshot(snapshot([task(1)], containers=CONTAINERS), path)
    return path


class Shell:
    """One shell, in an empty directory, with nsctl in its PATH."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        programs = os.path.dirname(sys.executable)
        if not os.access(os.path.join(programs, "nsctl"), os.X_OK):
            pytest.skip(f"nsctl is not installed beside {sys.executable}")
        plain = clean_environment(str(directory))
        self.environment = {**plain, "PATH": f"{programs}:{plain['PATH']}", "PS1": "READY> "}

    def offers(self, line: str) -> list[str]:
        """What the shell would insert or list at the end of a line."""
        ask = {"bash": self._bash, "zsh": self._zsh, "fish": self._fish}[self.name]
        answer = ask(line)
        assert answer.stderr == ""
        assert "pwned" not in os.listdir(self.directory)
        return [each.partition("\t")[0] for each in answer.stdout.split("\n") if each]

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )

    def _bash(self, line: str) -> subprocess.CompletedProcess[str]:
        # As Readline parts them: at blanks, before and behind ":" and "=", and before "@".
        words = re.findall(r"[:=]+|@?[^\s:=@]+|@", line)
        if line.endswith(" "):
            words.append("")
        script = """
            compopt() { :; }
            source <(nsctl completion bash)
            COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
            _nsctl
            printf '%s\\n' "${COMPREPLY[@]}"
        """
        return self._run("bash", "--norc", "--noprofile", "-c", script, "bash", line, *words)

    def _zsh(self, line: str) -> subprocess.CompletedProcess[str]:
        words = line.split()
        if line.endswith(" "):
            words.append("")
        script = """
            compdef() { : }
            compadd() { print -rl -- "${values[@]}" }
            _files() { : }
            source <(nsctl completion zsh)
            words=("$@") CURRENT=$# PREFIX=${@[-1]}
            _nsctl
            :
        """
        return self._run("zsh", "-f", "-c", script, "zsh", *words)

    def _fish(self, line: str) -> subprocess.CompletedProcess[str]:
        script = "nsctl completion fish | source; complete -C $argv[1]"
        return self._run("fish", "--no-config", "-c", script, line)

    def completes(self, line: str) -> str:
        """What nsctl's words are after TAB and Enter, as `<word><word>`, on a terminal."""
        set_up = {
            "bash": "",
            "zsh": "autoload -U compinit; compinit -D -u; ",
        }[self.name]
        set_up += (
            f"source <(nsctl completion {self.name}); nsctl() {{ printf '<%s>' \"$@\"; echo; }}"
        )
        start = {"bash": ("bash", "--norc", "--noprofile", "-i"), "zsh": ("zsh", "-f", "-i")}
        output = on_terminal(
            start[self.name],
            200,
            self.environment,
            errors=True,
            cwd=str(self.directory),
            typed=[
                (b"READY> ", set_up.encode() + b"\n"),
                (b"READY> ", line.encode() + b"\t\n"),
                (b"READY> ", b"exit\n"),
            ],
        )
        return output.decode().rpartition("\n<")[2].partition("\n")[0]


@pytest.fixture(params=sorted(SCRIPTS))
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    return Shell(str(request.param), tmp_path)


@pytest.fixture(params=["bash", "zsh"])
def interactive(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    return Shell(str(request.param), tmp_path)


def test_commands_come_first(shell: Shell) -> None:
    assert set(shell.offers("nsctl ")) == set(COMMANDS)
    assert set(shell.offers("nsctl --debug s")) >= {"show", "snapshot", "stop"}


def test_every_command_has_its_options_completed(nsctl: Nsctl) -> None:
    for command in COMMANDS:
        done = nsctl("completion", "--words", "2", "--", "nsctl", command, "--h")
        assert (done.returncode, done.stderr) == (0, ""), command
        assert "--help" in [line.partition("\t")[0] for line in done.stdout.split("\n")], command


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("nsctl ls --no", {"--noheadings", "--notruncate", "--nowrap"}),
        ("nsctl tree --b", {"--by"}),
        ("nsctl tree -J --by ", {"parent", "owner"}),
        ("nsctl ls -J -t ", {"net", "mnt", "user", "time"}),
        ("nsctl ls -nt u", {"user", "uts"}),
        ("nsctl tree --type net -t m", {"mnt"}),
        ("nsctl ls n", {"net"}),
        ("nsctl ls -t net -o W", {"WHOSE"}),
        ("nsctl ls -o NS,TYPE,W", {"NS,TYPE,WHOSE"}),
        ("nsctl ls -o +w", {"+whose"}),
        ("nsctl run --cap-add CAP_SYS_PT", {"CAP_SYS_PTRACE"}),
        ("nsctl completion f", {"fish"}),
        ("nsctl -J --color n", {"never"}),
    ],
)
def test_options_columns_and_types_are_offered_also_after_others(
    shell: Shell, line: str, some: set[str]
) -> None:
    assert set(shell.offers(line)) >= some


def test_targets_are_offered(shell: Shell, saved: str) -> None:
    begun = f"nsctl show -J --from {saved} "
    assert set(shell.offers(begun)) == {
        *("@host", "cache", "docker://twin", "podman://twin", "podman://4711", "guest@1000"),
        *("front", "pod/shop:till", "ours"),
    }
    assert shell.offers(begun + "ca") == ["cache"]
    assert shell.offers(begun + "3f2a9") == ["3f2a9c003f2a"]
    assert shell.offers(begun + "@") == ["@host"]
    assert shell.offers(begun + "pod/") == ["pod/shop:till", "pod/till"]
    assert shell.offers(begun + "pod/t") == ["pod/till"]
    assert shell.offers(begun + "pod/till/") == ["pod/till/front"]


def test_targets_are_offered_by_every_view(shell: Shell, saved: str) -> None:
    for view in ("ps", "net", "idmap", "time", "uts", "ipc", "cgroup", "pid 1 --in"):
        command, _, more = view.partition(" ")
        line = f"nsctl {command} --from {saved} {more}".rstrip(" ")
        assert shell.offers(f"{line} ca") == ["cache"], view


def test_what_doctor_looks_at_is_offered(shell: Shell) -> None:
    assert "userns" in shell.offers("nsctl doctor u")


def test_names_that_a_shell_could_run_are_never_offered(shell: Shell, saved: str) -> None:
    begun = f"nsctl show --from {saved} "
    for beginning in ("", "w", "$", "-- ", "-- w"):
        assert not {each for each in shell.offers(begun + beginning) if "pwned" in each}


def test_a_word_with_a_substitution_in_it_is_not_run(shell: Shell) -> None:
    for word in ("$(touch${IFS}pwned)", "`touch${IFS}pwned`", "'$(touch${IFS}pwned)"):
        shell.offers(f"nsctl show {word}")


@pytest.mark.parametrize(
    ("before", "word", "whole"),
    [
        (("stop",), "", "ours"),
        (("stop", "-t", "3", "other"), "", "ours"),
        (("rm", "-f"), "o", "ours"),
        (("run", "--network"), "c", "container:ours"),
        (("run",), "--pid=container:", "--pid=container:ours"),
    ],
)
def test_only_our_own_are_offered_where_only_they_can_be_meant(
    monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...], word: str, whole: str
) -> None:
    monkeypatch.setattr(host, "take_snapshot", lambda *_, **__: snapshot([], containers=CONTAINERS))
    assert [each.word for each in complete(before, word)] == [whole]


def test_a_command_that_is_run_is_no_affair_of_ours() -> None:
    assert complete(["run", "/srv", "ls"], "-") == [Candidate(FILES)]
    assert complete(["run"], "/s") == [Candidate(DIRECTORIES)]


def test_nothing_is_said_of_errors(shell: Shell) -> None:
    for line in ("nsctl nothing ", "nsctl show --from /nonexistent c", "nsctl ls --nothing ="):
        shell.offers(line)


@pytest.mark.parametrize("words", [(), ("x", "--", "nsctl", ""), ("9", "--", "nsctl", "")])
def test_a_question_that_makes_no_sense_is_a_usage_error(
    nsctl: Nsctl, words: tuple[str, ...]
) -> None:
    done = nsctl("completion", "--words", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--words" in done.stderr


@pytest.mark.parametrize(
    ("word", "whole"),
    [
        ("cac", "cache"),
        ("@h", "@host"),
        ("guest@", "guest@1000"),
        ("podman://tw", "podman://twin"),
        ("pod/shop:t", "pod/shop:till"),
        ("pod/shop:till/f", "pod/shop:till/front"),
        ("--col", "--color"),
        ("--color=nev", "--color=never"),
    ],
)
def test_a_word_on_a_terminal_becomes_whole(
    interactive: Shell, saved: str, word: str, whole: str
) -> None:
    line = f"nsctl show --from {saved} {word}"
    assert interactive.completes(line) == f"show><--from><{saved}><{whole}>"


def test_files_are_completed_by_the_shell(interactive: Shell) -> None:
    (interactive.directory / "moment.snapshot").touch()
    assert interactive.completes("nsctl diff mom") == "diff><moment.snapshot>"
    assert interactive.completes("nsctl ls --from mom") == "ls><--from><moment.snapshot>"
    assert interactive.completes("nsctl ls --from=mom") == "ls><--from=moment.snapshot>"


def test_files_are_completed_by_fish(tmp_path: Path) -> None:
    shell = Shell("fish", tmp_path / "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "moment.snapshot").touch()
    for begun in ("nsctl diff ", "nsctl ls --from "):
        assert shell.offers(f"{begun}{tmp_path}/mom") == [f"{tmp_path}/moment.snapshot"]
    line = f"nsctl ls --from={tmp_path}/mom"
    assert shell.offers(line) == [f"--from={tmp_path}/moment.snapshot"]
