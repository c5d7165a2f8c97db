"""`nsctl start`, `exec`, `logs`, `attach`, `wait`, `kill`, `inspect`, `cp` and `images` as typed."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl.report.schema import load_schema
from support.containers import make_root
from support.tiers import unmet_need
from support.users import Nsctl

pytestmark = pytest.mark.cli

_PREFIX = f"o{os.getpid()}"
_RUN_SOMETHING = {"exec", "start", "attach"}
"""Those that exit with a command's status, and say with 125 that there was none."""
_OF_ONE = ("start", "logs", "attach", "wait", "kill", "inspect", "stop", "rm")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A busybox root, where containers can be made at all."""
    reason = unmet_need("privileged" if os.geteuid() == 0 else "userns")
    if reason:
        pytest.skip(reason)
    base = tmp_path_factory.mktemp("root")
    for part in (base, *base.parents[:2]):
        part.chmod(0o755)
    return make_root(str(base / "root"))


@pytest.fixture
def name(nsctl: Nsctl) -> Iterator[str]:
    """The name of a container that is removed when the test ends."""
    made = f"{_PREFIX}-web"
    try:
        yield made
    finally:
        nsctl("rm", "-f", made)


def document(text: str, view: str) -> dict[str, Any]:
    """Valid JSON of a view, with nothing that could not be read."""
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    found: dict[str, Any] = json.loads(text)
    jsonschema.validate(found, load_schema(view))
    assert found["began"] <= found["ended"]
    assert found["completeness"] == []
    return found


@pytest.mark.parametrize(
    "words",
    [
        *((command,) for command in (*_OF_ONE, "exec", "cp")),
        *((command, "--no-such-option") for command in (*_OF_ONE, "exec", "cp", "images")),
        ("exec", "only-a-name"),
        ("exec", "--user", "x-y", "a", "true"),
        ("cp", "a:/x", "b:/y"),
        ("cp", "/x", "/y"),
        ("cp", "", "a:/x"),
        ("cp", "only-one"),
        ("logs", "--tail", "many", "a"),
        ("logs", "a", "b"),
        ("attach", "a", "b"),
        ("kill", "-s", "NONE", "a"),
        ("kill", "-s", "99", "a"),
        ("stop", "-t", "soon", "a"),
        ("images", "bogus"),
        ("images", "import"),
        ("images", "tag", "a"),
        ("images", "rm"),
        ("images", "prune", "a"),
        ("images", "--color", "green"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_sentence_and_exits_as_refused(
    nsctl: Nsctl, words: tuple[str, ...]
) -> None:
    done = nsctl(*words, check=125 if words[0] in _RUN_SOMETHING else 2)
    assert done.stdout == ""
    assert re.fullmatch(r"nsctl: [^\n]+\n( {7}[^\n]+\n)?", done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        *((command, f"{_PREFIX}-none") for command in _OF_ONE if command != "inspect"),
        ("exec", f"{_PREFIX}-none", "true"),
        ("cp", f"{_PREFIX}-none:/x", "."),
        ("images", "rm", f"{_PREFIX}-none"),
        ("images", "tag", f"{_PREFIX}-none", "x"),
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_named(nsctl: Nsctl, words: tuple[str, ...]) -> None:
    done = nsctl(*words, check=125 if words[0] in _RUN_SOMETHING else 2)
    assert done.stdout == ""
    assert re.fullmatch(rf"nsctl: [^\n]*{_PREFIX}-none[^\n]*\n( {{7}}[^\n]+\n)?", done.stderr)


def test_inspect_tells_of_those_that_are_there_beside_one_that_is_not(
    nsctl: Nsctl, root: str, name: str
) -> None:
    words = ("-e", "ESC=\x1b[31m", "--hostname", "h", root, "sleep", "1000")
    nsctl("run", "-d", "--name", name, *words, check=0)
    done = nsctl("inspect", name, f"{_PREFIX}-none", check=2)
    assert done.stderr.startswith(f"nsctl: cannot find container {_PREFIX}-none")
    assert "\x1b" not in done.stdout
    (row,) = document(done.stdout, "inspect")["containers"]
    assert (row["name"], row["state"], row["hostname"]) == (name, "running", "h")
    assert "ESC=\x1b[31m" in row["env"]


def test_the_life_of_one_in_the_background(
    nsctl: Nsctl, root: str, name: str, tmp_path: Path
) -> None:
    script = "echo out; echo err >&2; touch /done; read x; echo got $x; exit 3"
    made = nsctl("run", "-d", "-i", "--name", name, root, "sh", "-c", script, check=0)
    assert made.stdout == f"{name}\n"
    wait = "until test -e /done; do sleep 0.01; done; hostname; id -u"
    assert nsctl("exec", name, "sh", "-c", wait, check=0).stdout == f"{name}\n0\n"
    assert nsctl("exec", name, "sh", "-c", "exit 9", check=9).stdout == ""

    given = tmp_path / "given"
    given.write_text("text\n")
    nsctl("cp", str(given), f"{name}:/got", check=0)
    assert nsctl("exec", name, "cat", "/got", check=0).stdout == "text\n"
    nsctl("cp", f"{name}:/got", str(tmp_path / "back"), check=0)
    assert (tmp_path / "back").read_text() == "text\n"

    said = nsctl("logs", name, check=0)
    assert (said.stdout, said.stderr) == ("out\n", "err\n")
    attached = nsctl("attach", name, stdin=b"x\n", check=3)
    assert attached.stdout.endswith("got x\n")
    assert nsctl("wait", name, check=0).stdout == "3\n"
    assert nsctl("logs", "--tail", "1", name, check=0).stdout == "got x\n"
    stamped = nsctl("logs", "-t", "-f", name, check=0).stdout
    assert re.search(r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z out$", stamped)

    stopped = nsctl("cp", f"{name}:/got", str(tmp_path / "late"))
    assert stopped.returncode
    assert stopped.stderr.count("\n") <= 2

    assert nsctl("start", name, check=0).stdout == f"{name}\n"
    assert nsctl("exec", name, "cat", "/got", check=0).stdout == "text\n"
    nsctl("kill", "-s", "sigkill", name, check=0)
    assert nsctl("wait", name, check=0).stdout == "137\n"
    assert nsctl("kill", name).returncode


def test_an_image_is_imported_listed_tagged_run_and_removed(
    nsctl: Nsctl, root: str, tmp_path: Path
) -> None:
    archive, image = tmp_path / "root.tar", f"{_PREFIX}-image"
    with tarfile.open(archive, "w") as file:
        file.add(root, ".")
    try:
        assert nsctl("images", "import", str(archive), image, check=0).stdout == f"{image}\n"
        nsctl("images", "tag", image, f"{image}-too", check=0)
        found = document(nsctl("images", "-J", check=0).stdout, "images")["images"]
        (row,) = (row for row in found if image in row["names"])
        assert sorted(row["names"]) == [image, f"{image}-too"]
        listed = nsctl("images", check=0).stdout
        assert listed.startswith("NAME ")
        assert image in listed
        assert row["id"][:12] in nsctl("images", "-q", check=0).stdout.split("\n")
        assert nsctl("run", "--rm", image, "echo", "x", check=0).stdout == "x\n"
    finally:
        nsctl("images", "rm", f"{image}-too")
        nsctl("images", "rm", image)
    assert image not in nsctl("images", check=0).stdout
