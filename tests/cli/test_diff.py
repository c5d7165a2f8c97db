"""`nsctl diff` as a person and a script use it, in a world where nothing else happens."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl.report.schema import load_schema
from support.users import Nsctl
from support.world import WAIT, World, skip_without_worlds, world

pytestmark = pytest.mark.cli


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world in which one process waits."""
    skip_without_worlds()
    with world(str(tmp_path_factory.mktemp("quiet")), [("plain", WAIT)]) as made:
        yield made


@contextlib.contextmanager
def running(quiet: World, *command: str) -> Iterator[None]:
    """Somebody in the world, as long as the block lasts."""
    process = subprocess.Popen(
        (*quiet.prefix, *command, *WAIT),
        env=quiet.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.communicate(b"\n")


def saved(quiet: World, directory: Path, name: str) -> str:
    path = str(directory / name)
    quiet.nsctl("snapshot", path)
    return path


def document(quiet: World, *arguments: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(quiet.nsctl("diff", "-J", *arguments).stdout)
    assert violations(loaded) == []
    return loaded


def violations(loaded: dict[str, Any]) -> list[str]:
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(load_schema("diff"))
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(loaded)]


def text(quiet: World, *arguments: str) -> str:
    return quiet.nsctl("diff", *arguments).stdout.decode()


def test_nothing_that_happened_is_nothing_to_tell(quiet: World, tmp_path: Path) -> None:
    a, b = saved(quiet, tmp_path, "a"), saved(quiet, tmp_path, "b")
    for files in ((a, b), (a,)):
        found = document(quiet, *files)
        assert (found["changes"], found["boot"]) == ([], "same")
        assert (found["processes"]["came"], found["processes"]["went"]) == ([], [])
    assert "No namespace came, went or changed hands." in text(quiet, a, b)


def test_what_came_is_told_with_who_is_in_it(quiet: World, tmp_path: Path) -> None:
    before = saved(quiet, tmp_path, "before")
    with running(quiet, "unshare", "-n", "-u"):
        said = text(quiet, before)
        (line,) = [row for row in said.split("\n") if row.startswith("NEW")]
        assert re.fullmatch(r"NEW +sh\[(\d+)\] +net uts +\+sh\[\1\]", line)
        listed = text(quiet, "--list", before)
        assert len(re.findall(r"^NEW +sh\[\d+\] +(?:net|uts) +\d+ \+sh", listed, re.MULTILINE)) == 2
        found = document(quiet, before)
        kinds = {row["type"]: row["change"] for row in found["changes"] if not row["host"]}
        assert kinds == {"net": "new", "uts": "new"}
        after = saved(quiet, tmp_path, "after")
    found = document(quiet, after, before)
    kinds = {row["type"]: row["change"] for row in found["changes"] if not row["host"]}
    assert kinds == {"net": "gone", "uts": "gone"}
    assert "EARLIER" in text(quiet, after, before)
    assert re.search(r"^GONE .*-sh\[\d+\]$", text(quiet, after), re.MULTILINE)


def test_what_merely_ran_among_the_hosts_is_counted_and_listed_on_demand(
    quiet: World, tmp_path: Path
) -> None:
    before = saved(quiet, tmp_path, "before")
    with running(quiet, "env"):
        said = text(quiet, before)
        assert "No namespace came, went or changed hands." in said
        assert "Besides, 1 process came and 0 went" in said
        assert re.search(
            r"^CHANGED +host +all eight +\+sh\[\d+\]$", text(quiet, "-a", before), re.MULTILINE
        )
        hosts = document(quiet, before)["changes"]
        assert {row["type"] for row in hosts if row["host"]} == {
            "mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time",
        }  # fmt: skip


def test_a_descriptor_that_holds_a_namespace_is_a_change(quiet: World, tmp_path: Path) -> None:
    before = saved(quiet, tmp_path, "before")
    with running(quiet, "sh", "-c", 'exec 7</proc/self/ns/uts; exec "$@"', "sh"):
        assert re.search(r"^CHANGED +host +uts +\+fd sh\[\d+\]$", text(quiet, before), re.MULTILINE)


def test_lines_fit_the_terminal_and_colour_marks_words(quiet: World, tmp_path: Path) -> None:
    before = saved(quiet, tmp_path, "before")
    with running(quiet, "unshare", "-n"):
        for columns in (40, 80, 200):
            command = (sys.executable, "-m", "nsctl", "diff", before)
            output = quiet.terminal(columns, *command, env={"TERM": "xterm"}).decode()
            assert "\x1b[32mNEW\x1b[0m" in output
            plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
            assert all(len(line) <= columns for line in plain.split("\n")), columns


def test_hostile_names_stay_harmless(quiet: World, tmp_path: Path) -> None:
    before = saved(quiet, tmp_path, "before")
    name = r"\x1b[31mX\x0a\xff"
    code = (
        "import ctypes,os,sys; ctypes.CDLL(None).prctl(15, b'\\x1b[31mX\\n\\xff', 0, 0, 0);"
        "ctypes.CDLL(None).unshare(0x40000000);"
        "print('ready', flush=True); sys.stdin.readline(); os._exit(0)"
    )
    with running(quiet, sys.executable, "-c", code):
        output = quiet.nsctl("diff", before).stdout
        assert b"\x1b" not in output
        assert name.encode() in output
        (new,) = [row for row in document(quiet, before)["changes"] if row["change"] == "new"]
        assert new["came"]["processes"][0]["comm_raw"] == "1b5b33316d580aff"


def test_another_boot_is_said_first_and_nothing_is_compared_by_number(
    quiet: World, tmp_path: Path
) -> None:
    before = saved(quiet, tmp_path, "before")
    raw = Path(before).read_bytes()
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    other = tmp_path / "other"
    other.write_bytes(raw.replace(boot, b"00000000-0000-4000-8000-000000000000"))
    assert "They are of different boots" in text(quiet, str(other), before).split("\n")[1]
    found = document(quiet, str(other), before)
    assert (found["boot"], found["changes"], found["names"]) == ("other", [], [])
    assert found["processes"]["compared"] is False


def test_strict_fails_where_something_was_not_read(nsctl: Nsctl, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    nsctl("snapshot", path, check=0)
    loaded = json.loads(nsctl("diff", "-J", path, check=0).stdout)
    lacking = loaded["completeness"] or loaded["before"]["completeness"]
    assert nsctl("diff", "--strict", path).returncode == (3 if lacking else 0)


def test_files_that_cannot_be_compared_are_refused_with_a_sentence(
    nsctl: Nsctl, tmp_path: Path
) -> None:
    absent = nsctl("diff", str(tmp_path / "absent"), check=1)
    assert "No such file" in absent.stderr
    path = tmp_path / "a"
    path.write_text("{}")
    assert "no saved snapshot, or damaged" in nsctl("diff", str(path), check=1).stderr
    assert nsctl("diff").returncode == 2
