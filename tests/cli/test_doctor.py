"""`nsctl doctor` says what there is, in text and in JSON, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nsctl.report.schema import load_schema
from support.terminal import on_terminal
from support.tiers import unmet_need
from support.users import Nsctl, clean_environment

pytestmark = pytest.mark.cli

SECTIONS = ("rights", "kernel", "sources", "engines")


def document(nsctl: Nsctl, status: int = 0) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(nsctl("doctor", "-J", check=status).stdout)
    return loaded


def violations(loaded: dict[str, Any]) -> list[str]:
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(load_schema("doctor"))
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(loaded)]


def test_every_answer_has_a_section_and_the_document_fits_its_schema(nsctl: Nsctl) -> None:
    loaded = document(nsctl)
    assert violations(loaded) == []
    keys = [(answer["section"], answer["id"]) for answer in loaded["answers"]]
    assert len(keys) == len({name for _, name in keys})
    assert list(dict.fromkeys(section for section, _ in keys)) == list(SECTIONS)
    assert loaded["works"] is True


def test_what_fails_has_a_cause_and_no_probe_fails_by_its_own_fault(nsctl: Nsctl) -> None:
    for answer in document(nsctl)["answers"]:
        assert answer["state"] != "unknown", answer
        if answer["state"] in {"missing", "refused"}:
            assert answer["cause"], answer
        if answer["needs"]:
            assert answer["needs"] in answer["remedy"], answer


def test_the_user_and_the_note_are_the_same_as_elsewhere(nsctl: Nsctl) -> None:
    (user,) = [each for each in document(nsctl)["answers"] if each["id"] == "user"]
    assert f"effective uid {os.geteuid()}" in user["cause"]
    said = nsctl("doctor", check=0).stdout
    matrix = json.loads(nsctl("matrix", "-J", check=0).stdout)
    assert bool(matrix["completeness"]) <= ("Not read:" in said)


def test_lines_fit_the_terminal_and_say_all(nsctl: Nsctl) -> None:
    command = (sys.executable, "-m", "nsctl", "doctor")
    words = {
        columns: re.sub(
            r"\x1b\[[0-9;]*m",
            "",
            on_terminal(
                command, columns, clean_environment(nsctl.home, {"TERM": "xterm"})
            ).decode(),
        )
        for columns in (40, 80, 200)
    }
    for columns, output in words.items():
        assert all(len(line) <= columns for line in output.split("\n")), columns
    # Nothing is cut: only the breaks between words differ.
    assert words[80].split()[:60] == words[200].split()[:60]


def test_without_a_procfs_it_says_so_and_fails(nsctl: Nsctl) -> None:
    reason = unmet_need("privileged" if os.geteuid() == 0 else "userns")
    if reason:
        pytest.skip(reason)
    user = ("-r",) if os.geteuid() else ()
    script = 'mount -t tmpfs none /proc && exec "$@"'
    command = ("unshare", *user, "-m", "sh", "-c", script, "sh", sys.executable, "-m", "nsctl")
    for option in ((), ("-J",)):
        done = subprocess.run(
            (*command, "doctor", *option),
            env=clean_environment(nsctl.home),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (1, b"")
        if option:
            loaded = json.loads(done.stdout)
            assert violations(loaded) == []
            assert loaded["works"] is False
        else:
            assert b"nsctl cannot work here." in done.stdout


def test_looking_leaves_the_mounts_as_they_were(nsctl: Nsctl) -> None:
    before = Path("/proc/self/mountinfo").read_bytes()
    nsctl("doctor", check=0)
    assert Path("/proc/self/mountinfo").read_bytes() == before
    left = {name for name in os.listdir("/tmp") if name in {"lower", "upper", "work", "all"}}
    assert not left
