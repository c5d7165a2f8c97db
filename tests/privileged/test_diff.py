"""A real namespace, made, joined, left and destroyed between snapshots of the host."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl.kernel.procfs import parse_ns_link
from support.users import Nsctl, clean_environment
from support.world import WAIT

pytestmark = pytest.mark.privileged


class Stage:
    """Processes that a test starts and ends, each ready when it is started."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._all: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str) -> int:
        process = subprocess.Popen(
            (*command, *WAIT),
            env=clean_environment(self._home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._all.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    def end(self, pid: int) -> None:
        for process in self._all:
            if process.pid == pid:
                process.communicate(b"\n")

    def end_all(self) -> None:
        for process in self._all:
            if process.returncode is None:
                process.communicate(b"\n")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(str(tmp_path))
    with contextlib.ExitStack() as stack:
        stack.callback(made.end_all)
        yield made


def inode(pid: int, kind: str) -> int:
    return parse_ns_link(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))


def change_of(nsctl: Nsctl, ino: int, *files: str, kind: str = "net") -> dict[str, Any] | None:
    """What a comparison says of one namespace, if anything.

    Its number may be another one's by now, of another type.
    """
    rows = json.loads(nsctl("diff", "-J", *files, check=0).stdout)["changes"]
    found: list[dict[str, Any]] = [row for row in rows if (row["ns"], row["type"]) == (ino, kind)]
    assert len(found) <= 1
    return found[0] if found else None


def pids(side: dict[str, Any]) -> list[int]:
    return [process["pid"] for process in side["processes"]]


def test_the_life_of_a_namespace_is_told_from_moment_to_moment(
    nsctl: Nsctl, stage: Stage, tmp_path: Path
) -> None:
    files = iter(str(tmp_path / f"moment-{number}") for number in range(10))

    def save() -> str:
        path = next(files)
        nsctl("snapshot", path, check=0)
        return path

    unborn = save()
    maker = stage.start("unshare", "-n")
    net = inode(maker, "net")
    made = save()
    row = change_of(nsctl, net, unborn, made)
    assert row is not None
    assert (row["change"], row["type"], pids(row["came"])) == ("new", "net", [maker])
    assert row["whose"]["pid"] == maker

    guest = stage.start("nsenter", "-t", str(maker), "-n")
    hold = f'exec 7</proc/{maker}/ns/net; exec "$@"'
    keeper = stage.start("sh", "-c", hold, "sh")
    joined = save()
    row = change_of(nsctl, net, made, joined)
    assert row is not None
    assert (row["change"], pids(row["came"]), pids(row["went"])) == ("changed", [guest], [])
    assert [(h["kind"], h["pid"]) for h in row["came"]["holders"]] == [("fd", keeper)]

    stage.end(guest)
    row = change_of(nsctl, net, joined)
    assert row is not None
    assert (row["change"], pids(row["came"]), pids(row["went"])) == ("changed", [], [guest])

    stage.end(maker)
    held = save()
    row = change_of(nsctl, net, joined, held)
    assert row is not None
    assert (row["change"], sorted(pids(row["went"]))) == ("changed", sorted([guest, maker]))
    assert row["whose"]["was"] is True

    stage.end(keeper)
    row = change_of(nsctl, net, held)
    assert row is not None
    assert (row["change"], row["seen"], pids(row["went"])) == ("gone", "before", [])
    assert [(h["kind"], h["pid"]) for h in row["went"]["holders"]] == [("fd", keeper)]
    assert change_of(nsctl, net, unborn) is None


def test_who_moves_is_told_where_it_left_and_where_it_came(
    nsctl: Nsctl, stage: Stage, tmp_path: Path
) -> None:
    host = inode(stage.start("env"), "uts")
    mover = stage.start("sh", "-c", 'echo ready; read line; exec unshare -u "$@"', "sh")
    before = str(tmp_path / "before")
    nsctl("snapshot", before, check=0)
    process = stage._all[-1]
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"ready\n"
    row = change_of(nsctl, inode(mover, "uts"), before, kind="uts")
    assert row is not None
    assert (row["change"], pids(row["came"])) == ("new", [mover])
    assert row["came"]["processes"][0]["moved"] is True
    row = change_of(nsctl, host, before, kind="uts")
    assert row is not None
    assert mover in pids(row["went"])
    said = nsctl("diff", before, check=0).stdout
    assert f"-sh[{mover}]" in said
    assert f"+sh[{mover}]" in said


def test_a_bind_mount_that_holds_a_namespace_comes_and_goes(
    nsctl: Nsctl, stage: Stage, tmp_path: Path
) -> None:
    maker = stage.start("unshare", "-u")
    uts = inode(maker, "uts")
    place = tmp_path / "held"
    place.touch()
    before = str(tmp_path / "before")
    nsctl("snapshot", before, check=0)
    script = f'mount --bind /proc/{maker}/ns/uts {place}; exec "$@"'
    binder = stage.start("unshare", "-m", "sh", "-c", script, "sh")
    row = change_of(nsctl, uts, before, kind="uts")
    assert row is not None
    (holder,) = row["came"]["holders"]
    assert (holder["kind"], holder["path"]) == ("bind", str(place))
    assert holder["mntns"] == inode(binder, "mnt")
    after = str(tmp_path / "after")
    nsctl("snapshot", after, check=0)
    stage.end(binder)
    row = change_of(nsctl, uts, after, kind="uts")
    assert row is not None
    assert [each["kind"] for each in row["went"]["holders"]] == ["bind"]
