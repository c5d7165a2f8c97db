"""`nsctl snapshot FILE` and `--from FILE`: the same views as live, and no file that breaks them."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.users import Nsctl, clean_environment
from support.world import World

pytestmark = pytest.mark.cli

TEXT_VIEWS = [
    ("ls",),
    ("ls", "-r"),
    ("ls", "-l", "-n"),
    ("ls", "-Towner"),
    ("ls", "-Tparent", "-t", "pid"),
    ("ls", "--output-all", "-r"),
    ("ls", "-p", "1"),
    ("matrix",),
    ("tree",),
    ("tree", "--by", "owner"),
    ("tree", "-t", "pid"),
]


@pytest.fixture
def saved(known_world: World, tmp_path: Path) -> str:
    """A snapshot of the known world."""
    path = str(tmp_path / "saved")
    known_world.nsctl("snapshot", path)
    return path


def test_each_view_of_a_saved_snapshot_is_that_of_the_live_host(
    known_world: World, saved: str
) -> None:
    for view in TEXT_VIEWS:
        live, later = known_world.nsctl(*view), known_world.nsctl(*view, "--from", saved)
        texts = [known_world.less_askers(done.stdout.decode()) for done in (live, later)]
        assert texts[0] == texts[1], view
        assert later.stderr == live.stderr
    for name in ("plain", "all", "grave", "hidden"):
        pid = known_world.pids[name][-1]
        cards = [
            known_world.nsctl("show", str(pid), *source).stdout
            for source in ((), ("--from", saved))
        ]
        live_card, later_card = (re.sub(rb"  up [0-9dhms ]+\n", b"\n", card) for card in cards)
        assert later_card == live_card


def test_json_of_a_saved_snapshot_is_the_same_each_time_and_in_its_moment(
    known_world: World, saved: str
) -> None:
    for view in (("ls", "-J"), ("matrix", "-J"), ("tree", "-J"), ("show", "1", "-J"), ("-J",)):
        first = known_world.nsctl(*view, "--from", saved).stdout
        assert first == known_world.nsctl(*view, "--from", saved).stdout
        document = json.loads(first)
        assert document["began"] == json.loads(Path(saved).read_bytes())["snapshot"][0]


def test_a_saved_snapshot_can_be_looked_at_elsewhere(
    known_world: World, saved: str, nsctl: Nsctl
) -> None:
    for view in TEXT_VIEWS:
        inside = known_world.nsctl(*view, "--from", saved).stdout.decode()
        assert nsctl(*view, "--from", saved, check=0).stdout == inside


def test_a_file_is_saved_for_its_owner_alone_and_replaced_whole(
    nsctl: Nsctl, tmp_path: Path
) -> None:
    path = tmp_path / "saved"
    path.write_text("something else")
    path.chmod(0o644)
    before = path.stat().st_ino
    done = nsctl("snapshot", str(path), check=0)
    assert done.stdout.startswith(f"{path}: ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_ino != before
    assert json.loads(path.read_bytes())["format"] == "nsctl-snapshot"
    assert os.listdir(tmp_path) == ["saved"]
    # It may lie where the command is started.
    done = nsctl("snapshot", "here", check=0)
    os.unlink(os.path.join(nsctl.home, "here"))


def test_what_is_no_regular_file_is_not_replaced(nsctl: Nsctl, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "nowhere").symlink_to("absent")
    for name in ("fifo", "directory", "link", "nowhere"):
        mode = (tmp_path / name).lstat().st_mode
        done = nsctl("snapshot", str(tmp_path / name), check=1)
        assert re.fullmatch(r"nsctl: cannot save a snapshot to [^\n]*\n", done.stderr)
        assert (tmp_path / name).lstat().st_mode == mode
    assert sorted(os.listdir(tmp_path)) == ["directory", "fifo", "link", "nowhere"]


def test_a_directory_that_is_not_there_is_said(nsctl: Nsctl, tmp_path: Path) -> None:
    done = nsctl("snapshot", str(tmp_path / "none" / "saved"), check=1)
    assert re.fullmatch(r"nsctl: cannot save a snapshot to [^\n]*No such file[^\n]*\n", done.stderr)
    assert done.stdout == ""


@pytest.fixture
def bad(saved: str, tmp_path: Path) -> Iterator[Path]:
    """Files that are no snapshots."""
    whole = Path(saved).read_bytes()
    document = json.loads(whole)
    files = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "binary": bytes(range(256)) * 10,
        "newer": json.dumps({**document, "version": 99}).encode(),
        "future": json.dumps({"format": "nsctl-snapshot", "version": 99, "more": {}}).encode(),
        "foreign": json.dumps({"format": "other", "version": 1}).encode(),
        "json": b"[1, 2, 3]",
        "fields": json.dumps({**document, "snapshot": document["snapshot"][:8]}).encode(),
        "types": json.dumps({**document, "snapshot": document["snapshot"][::-1]}).encode(),
        "deep": b"[" * 200_000,
        "escape\x1b[31m": b"{",
    }
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "fifo")
    (folder / "directory").mkdir()
    (folder / "loop").symlink_to("loop")
    yield folder


def test_a_file_that_is_no_snapshot_gets_one_sentence(bad: Path, nsctl: Nsctl) -> None:
    names = [*os.listdir(bad), "absent"]
    assert len(names) == 15
    for name in names:
        done = nsctl("ls", "--from", str(bad / name), check=1)
        assert done.stdout == ""
        assert re.fullmatch(r"nsctl: cannot load [\x20-\x7e]*\n( {7}[\x20-\x7e]*\n)?", done.stderr)
        assert "Traceback" not in done.stderr
    done = nsctl("ls", "--from", str(bad / "newer"), check=1)
    assert "version 99" in done.stderr
    for view in (("matrix",), ("show", "@host"), ("tree",), ()):
        assert nsctl(*view, "--from", str(bad / "cut"), check=1).stdout == ""


def test_a_saved_snapshot_knows_no_paths_and_no_other_procfs(saved: str, nsctl: Nsctl) -> None:
    for words in (("show", "/proc/self/ns/net"), ("ls", "--host-proc", "/proc/")):
        done = nsctl(*words, "--from", saved, check=2)
        assert done.stderr.startswith("nsctl: ")
        assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_no_file(nsctl: Nsctl, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: the kernel refuses the same write."""
    words = [sys.executable, "-m", "nsctl", "snapshot", str(tmp_path / "saved")]
    command = f"ulimit -f 1; trap '' XFSZ; exec {shlex.join(words)}"
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        check=False,
        cwd=nsctl.home,
        # Python would keep half of what it compiles under this limit, for everybody after it.
        env=clean_environment(nsctl.home),
        timeout=60,
    )
    assert done.returncode == 1
    assert re.fullmatch(
        rb"nsctl: cannot save a snapshot to [^\n]*File too large[^\n]*\n", done.stderr
    )
    assert os.listdir(tmp_path) == []
