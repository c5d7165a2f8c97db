"""Start-up is a budget: what the first commands import is written down here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nsctl.cli.commands import COMMANDS
from support.imports import BUDGETS, DEAR, STANDARD
from unit.proctree import ProcTree

pytestmark = pytest.mark.unit

CODE = """
import sys
before = set(sys.modules)
sys.stdout.reconfigure(line_buffering=True)
words = sys.argv[1:]
import nsctl
if words != ["-"]:
    from nsctl.cli.main import main
    status = main(words)
    assert status == 0, status
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""


def imported(*words: str) -> set[str]:
    """All modules that a command imports in an interpreter of its own; "-" for the package."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", CODE, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rstrip("\n").rpartition("\n")[2].split(" "))


@pytest.fixture(scope="module")
def proc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = ProcTree(tmp_path_factory.mktemp("proc"))
    tree.reader()
    tree.add(1, ppid=0)
    return tree.root


def test_the_package_alone_imports_nothing() -> None:
    assert imported("-") <= {"nsctl", "__future__"}


@pytest.mark.parametrize("name", BUDGETS)
def test_a_command_imports_those_modules_of_nsctl_that_are_written_down(name: str) -> None:
    budget = BUDGETS[name]
    modules = imported(*budget.words)
    assert {module for module in modules if module.partition(".")[0] == "nsctl"} == budget.modules


@pytest.mark.parametrize("name", BUDGETS)
def test_a_command_begins_with_nothing_of_the_standard_library_that_is_not_written_down(
    name: str,
) -> None:
    modules = {module.partition(".")[0] for module in imported(*BUDGETS[name].words)}
    assert modules - {"nsctl"} <= STANDARD


@pytest.fixture(scope="module")
def ls_modules(proc: Path) -> set[str]:
    return imported("ls", "-o", "NS,TYPE,NPROCS,PID,USER,HELD,COMMAND", "--host-proc", str(proc))


@pytest.mark.parametrize("name", sorted(DEAR))
def test_a_list_of_namespaces_does_not_import(name: str, ls_modules: set[str]) -> None:
    assert name not in ls_modules


def test_a_list_of_namespaces_loads_no_other_command(ls_modules: set[str]) -> None:
    commands = {module for module in ls_modules if module.startswith("nsctl.cli.")}
    assert commands == {
        *("nsctl.cli.commands", "nsctl.cli.common", "nsctl.cli.getopt", "nsctl.cli.ls"),
        *("nsctl.cli.ls_columns", "nsctl.cli.main"),
    }


def test_the_table_is_of_commands_that_there_are() -> None:
    assert {budget.words[0] for budget in BUDGETS.values()} - {"--version"} <= set(COMMANDS)


def test_every_public_name_is_there_and_is_documented() -> None:
    import nsctl

    for name in nsctl.__all__:
        thing = getattr(nsctl, name)
        assert name == "__version__" or thing.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nsctl.nothing
