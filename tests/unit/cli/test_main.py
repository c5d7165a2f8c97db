"""Which command is meant, and what becomes of an error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from nsctl import __version__
from nsctl.cli.commands import COMMANDS, Command
from nsctl.cli.main import main
from nsctl.errors import Incomplete, KernelRefusal, NsctlError, UnknownTarget, UsageError
from support.users import clean_environment
from unit.proctree import ProcTree

pytestmark = pytest.mark.unit

Install = Callable[..., list[list[str]]]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Adds a command "boom" that raises something; the words that it gets are listed."""

    def add(raised: BaseException | None = None, refused: int | None = None) -> list[list[str]]:
        calls: list[list[str]] = []

        def run(words: list[str]) -> int:
            calls.append(words)
            if raised is not None:
                raise raised
            return 0

        module = ModuleType("boom_module")
        module.main = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "boom_module", module)
        monkeypatch.setitem(COMMANDS, "boom", Command("boom_module", "", refused))
        monkeypatch.delenv("NSCTL_DEBUG", raising=False)
        return calls

    return add


Capture = pytest.CaptureFixture[str]


# --- Which command


@pytest.mark.parametrize("words", [["-V"], ["--version"], ["--debug", "--version"]])
def test_the_version_is_told(words: list[str], capsys: Capture) -> None:
    assert main(words) == 0
    assert capsys.readouterr() == (f"nsctl {__version__}\n", "")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_the_help_names_every_command(word: str, capsys: Capture) -> None:
    assert main([word]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("matix", "did you mean matrix?"),
        ("snapshots", "did you mean snapshot?"),
        ("qqqq", "`nsctl --help` lists the commands"),
    ],
)
def test_an_unknown_command_is_a_mistake_of_usage_with_its_near_misses(
    word: str, hint: str, capsys: Capture
) -> None:
    assert main([word]) == 2
    assert capsys.readouterr() == ("", f"nsctl: there is no command '{word}'\n       {hint}\n")


def test_an_unknown_command_reaches_the_terminal_escaped(capsys: Capture) -> None:
    assert main(["\x1b[2J\n"]) == 2
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert shown.count("\n") == 2


def test_a_command_gets_its_words_and_its_status_is_ours(install: Install) -> None:
    calls = install()
    assert main(["boom", "-x", "--", "--debug"]) == 0
    assert calls == [["-x", "--", "--debug"]]


def test_every_command_can_be_loaded_and_has_a_main() -> None:
    code = (
        "import importlib\n"
        "from nsctl.cli.commands import COMMANDS\n"
        "for command in COMMANDS.values():\n"
        "    assert callable(importlib.import_module(command.module).main), command\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


# --- What becomes of an error

REPORT = "run it again with --debug and report what it prints"


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (
            NsctlError("read", "/x", "it is gone", "look"),
            1,
            "cannot read /x: it is gone\n       look",
        ),
        (UsageError("no such column"), 2, "no such column"),
        (UnknownTarget("find", "TARGET x", "nothing"), 2, "cannot find TARGET x: nothing"),
        (Incomplete("show", "all", "a gap"), 3, "cannot show all: a gap"),
        (KernelRefusal("open", "a\nb\x1b", "no"), 1, "cannot open a\\x0ab\\x1b: no"),
        (
            PermissionError(13, "Permission denied", "/etc/shadow"),
            1,
            "cannot use /etc/shadow: Permission denied (EACCES)",
        ),
        (
            ValueError("odd\nvalue"),
            1,
            "cannot finish: nsctl has a fault (ValueError: odd\\x0avalue)\n       " + REPORT,
        ),
    ],
)
def test_an_error_is_one_sentence_and_a_status(
    install: Install, capsys: Capture, error: Exception, status: int, told: str
) -> None:
    install(error)
    assert main(["boom"]) == status
    assert capsys.readouterr() == ("", f"nsctl: {told}\n")


@pytest.mark.parametrize(
    "error", [NsctlError("a", "b", "c"), ValueError("x"), OSError(2, "No such file")]
)
@pytest.mark.parametrize("words", [["--debug", "boom"], ["boom", "--debug"]])
def test_debug_adds_the_traceback(
    install: Install, capsys: Capture, error: Exception, words: list[str]
) -> None:
    calls = install(error)
    main(words)
    assert calls == [[]]
    shown = capsys.readouterr().err
    assert shown.startswith("nsctl: ")
    assert "Traceback (most recent call last):\n" in shown
    assert f"\n{type(error).__module__}.".removesuffix("builtins.") in shown
    assert "raise raised" in shown


def test_a_traceback_is_escaped_like_everything_else(install: Install, capsys: Capture) -> None:
    install(ValueError("\x1b[2J"))
    main(["--debug", "boom"])
    assert "\x1b" not in capsys.readouterr().err


def test_the_environment_can_ask_for_tracebacks(
    install: Install, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(NsctlError("a", "b", "c"))
    monkeypatch.setenv("NSCTL_DEBUG", "1")
    main(["boom"])
    assert "Traceback" in capsys.readouterr().err


def test_a_command_that_runs_another_refuses_with_a_status_of_its_own(
    install: Install, capsys: Capture
) -> None:
    for error in (UsageError("no"), ValueError("x"), OSError(2, "No such file")):
        install(error, refused=125)
        assert main(["boom"]) == 125
    assert "Traceback" not in capsys.readouterr().err


def test_the_words_of_another_command_are_left_alone(install: Install) -> None:
    calls = install(refused=125)
    main(["boom", "--debug", "root", "sh", "--debug"])
    main(["--debug", "boom", "root", "--debug"])
    assert calls == [["root", "sh", "--debug"], ["root", "--debug"]]


def test_an_interrupt_ends_with_130_and_says_nothing(install: Install, capsys: Capture) -> None:
    install(KeyboardInterrupt())
    assert main(["boom"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("code", "status"), [(None, 0), (0, 0), (2, 2)])
def test_a_parsers_exit_is_the_status(install: Install, code: int | None, status: int) -> None:
    install(SystemExit(code))
    assert main(["boom"]) == status


# --- Streams that do not take what is written


def run(shell: str, *words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run nsctl with redirections; its status and what reached the two pipes."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "nsctl", *words],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment("/", env),
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def proc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A /proc that shows more than any buffer holds."""
    tree = ProcTree(tmp_path_factory.mktemp("proc"))
    tree.reader()
    tree.add(1, ppid=0)
    for pid in range(100, 400):
        tree.add(pid, tuple(range(pid * 10, pid * 10 + 10)), comm=b"x" * 15)
    return tree.root


FULL = "nsctl: cannot write standard output: No space left on device (ENOSPC)\n"
CLOSED = "nsctl: cannot write standard output: Bad file descriptor (EBADF)\n"


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("show", "--help")])
def test_a_full_device_is_told_and_fails(words: tuple[str, ...]) -> None:
    assert run(">/dev/full", *words) == (1, "", FULL)


def test_a_device_that_is_full_half_way_is_told_once(proc: Path) -> None:
    assert run(">/dev/full", "matrix", "--host-proc", str(proc)) == (1, "", FULL)


def test_a_closed_standard_output_is_told_and_fails() -> None:
    assert run(">&-", "--version") == (1, "", CLOSED)


def test_a_closed_standard_error_takes_nothing_and_changes_no_status() -> None:
    assert run("2>&-", "--version") == (0, f"nsctl {__version__}\n", "")
    assert run("2>&-", "nothing")[0] == 2
    assert run("2>/dev/full", "nothing")[0] == 2


def test_nothing_at_all_may_be_open() -> None:
    assert run("<&- >&- 2>&-", "--version")[0] == 1


def test_a_file_that_is_opened_does_not_become_a_closed_standard_stream(proc: Path) -> None:
    status, output, _ = run("<&-", "ls", "--host-proc", str(proc))
    assert status == 0
    assert " NS TYPE " in output


def test_a_reader_that_goes_away_ends_it_quietly(proc: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "nsctl", "matrix", "--host-proc", str(proc)],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=clean_environment("/"),
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_what_the_output_cannot_encode_is_escaped() -> None:
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    status, _, errors = run("", "größe", env=env)
    assert status == 2
    assert errors.isascii()
