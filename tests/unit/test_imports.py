"""Start-up is a budget: what the first commands import is written down here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unit.proctree import ProcTree

pytestmark = pytest.mark.unit

# Each costs more than a millisecond that every call would pay.
FORBIDDEN = (
    "argparse",
    "asyncio",
    "base64",
    "ctypes",
    "dataclasses",
    "datetime",
    "difflib",
    "hashlib",
    "inspect",
    "json",
    "locale",
    "logging",
    "msgspec",
    "pathlib",
    "random",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "traceback",
    "zlib",
)
# Before anything else was imported: what the interpreter itself needs, and typing's own.
ALLOWED = {
    *("__future__", "_collections", "_functools", "_operator", "_sre", "_struct", "_typing"),
    *("collections", "contextlib", "copyreg", "enum", "errno", "fcntl", "functools"),
    *("importlib", "itertools", "keyword", "operator", "pwd", "re", "reprlib", "struct"),
    *("types", "typing", "warnings", "nsctl"),
}

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


def test_the_version_imports_no_more_than_it_needs() -> None:
    modules = imported("--version")
    assert not modules & set(FORBIDDEN)
    ours = {module for module in modules if module.startswith("nsctl")}
    assert ours == {"nsctl", "nsctl.cli", "nsctl.cli.commands", "nsctl.cli.main", "nsctl.errors"}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_ls_does_not_import(name: str, ls_modules: set[str]) -> None:
    assert name not in ls_modules


@pytest.fixture(scope="module")
def ls_modules(proc: Path) -> set[str]:
    return imported("ls", "--host-proc", str(proc))


def test_ls_imports_nothing_of_the_standard_library_that_is_not_listed_here(
    ls_modules: set[str],
) -> None:
    assert {module.partition(".")[0] for module in ls_modules} <= ALLOWED


def test_ls_loads_no_other_command(ls_modules: set[str]) -> None:
    commands = {module for module in ls_modules if module.startswith("nsctl.cli.")}
    assert commands == {
        *("nsctl.cli.commands", "nsctl.cli.common", "nsctl.cli.getopt", "nsctl.cli.ls"),
        *("nsctl.cli.ls_columns", "nsctl.cli.main"),
    }


def test_every_public_name_is_there_and_is_documented() -> None:
    import nsctl

    for name in nsctl.__all__:
        thing = getattr(nsctl, name)
        assert name == "__version__" or thing.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nsctl.nothing
