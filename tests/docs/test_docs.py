"""The documentation against the code: what is there is described, and what is described runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl import __version__
from nsctl.cli.commands import COMMANDS
from support.users import clean_environment

pytestmark = pytest.mark.docs

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
TEXT_SUFFIXES = {".py", ".md", ".toml", ".sh", ".mk", ".c", ".h", ".json", ".txt", ".html", ".css"}

_FENCE = re.compile(r"^ {0,3}```(.*?)^ {0,3}```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\!)\[[^\]\[]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The names that headings of a page get."""
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def relative_links() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for link in _LINK.findall(prose(page)):
            if not re.match(r"[a-z]+:", link):
                yield str(page.relative_to(REPOSITORY)), link


def source_files() -> Iterator[Path]:
    top = ("src", "tests", "scripts", "bench", "docs", ".ci")
    for name in top:
        for file in (REPOSITORY / name).rglob("*"):
            if file.is_file() and (file.suffix in TEXT_SUFFIXES or file.parent.name == ".ci"):
                yield file
    for file in REPOSITORY.iterdir():
        if file.is_file() and (file.suffix in TEXT_SUFFIXES or file.name == "Makefile"):
            yield file


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_described(command: str) -> None:
    pages = [REPOSITORY / "README.md", REPOSITORY / "docs" / "commands.md"]
    text = "\n".join(page.read_text() for page in pages if page.exists())
    assert re.search(rf"\bnsctl {re.escape(command)}\b", text), (
        f"neither README.md nor docs/commands.md mentions 'nsctl {command}'"
    )


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for page, link in relative_links():
        path, _, anchor = link.partition("#")
        target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{page}: {link}")
    assert not broken


@pytest.mark.parametrize("script", ["scripts/tour.sh", "scripts/test.sh"])
def test_the_readmes_two_commands_exist(script: str) -> None:
    assert f"sh {script}" in (REPOSITORY / "README.md").read_text()
    done = subprocess.run(["sh", "-n", REPOSITORY / script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_changelog_has_an_entry_for_this_version() -> None:
    headings = _HEADING.findall((REPOSITORY / "CHANGELOG.md").read_text())
    assert any(__version__ in heading or "Unreleased" in heading for heading in headings)


def test_nothing_knows_where_this_checkout_lies() -> None:
    found = [
        str(file.relative_to(REPOSITORY))
        for file in source_files()
        if f"{REPOSITORY}/" in file.read_text(errors="replace")
    ]
    assert not found


def test_every_setting_of_the_tests_is_described() -> None:
    setting = re.compile(r"\bNSCTL_(?:TEST_[A-Z]+|VENV)\b")
    described = set(setting.findall((REPOSITORY / "CONTRIBUTING.md").read_text()))
    used = {
        name
        for directory in ("scripts", "tests/support", ".ci")
        for file in (REPOSITORY / directory).iterdir()
        if file.is_file()
        for name in setting.findall(file.read_text())
    }
    assert used - described == {"NSCTL_TEST_SESSION"}  # the mark of a session's processes


def examples() -> Iterator[tuple[str, str]]:
    """The commands of blocks that begin with ```console run."""
    for page in PAGES:
        for block in _FENCE.findall(page.read_text()):
            language, _, body = block.partition("\n")
            if language.split() == ["console", "run"]:
                for command in re.findall(r"^ *\$ (.+)$", body, re.MULTILINE):
                    yield str(page.relative_to(REPOSITORY)), command


def test_examples_that_are_marked_to_run_succeed(tmp_path: Path) -> None:
    programs = os.path.dirname(sys.executable)
    environment = clean_environment(str(tmp_path))
    for page, command in examples():
        done = subprocess.run(
            ["sh", "-euc", command],
            cwd=tmp_path,
            env={**environment, "PATH": f"{programs}:{environment['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"{page}: {command}\n{done.stderr.decode(errors='replace')}"
