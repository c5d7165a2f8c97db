"""Processes and namespaces that come and go while they are looked at are no error."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import pytest

from support.world import WAIT, World, skip_without_worlds, world

pytestmark = pytest.mark.cli

STORM = 5000
LOOKS = 20
# Short-lived processes, every second one with namespaces of its own, until this ends.
_STORM = f"""
import contextlib, os, select, sys
print(1, flush=True)
for number in range({STORM}):
    if select.select([0], [], [], 0)[0]:
        break
    command = ("unshare", "-Uru", "true") if number % 2 else ("true",)
    os.posix_spawnp(command[0], command, os.environ)
    with contextlib.suppress(ChildProcessError):
        while number % 8 == 0 and os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
            pass
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def stormy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world in which processes come and go."""
    skip_without_worlds()
    actors = [
        ("calm", ("unshare", "-n", *WAIT)),
        ("storm", (sys.executable, "-I", "-c", _STORM)),
    ]
    with world(str(tmp_path_factory.mktemp("stormy")), actors) as made:
        yield made


def last_pid(stormy: World) -> int:
    """The number that a process is given now."""
    return int(stormy.run("sh", "-c", "echo $$").stdout)


def test_a_storm_of_processes_makes_no_error_and_no_half_read_row(stormy: World) -> None:
    calm = stormy.pids["calm"][0]
    before = last_pid(stormy)
    for _ in range(LOOKS):
        done = stormy.nsctl("ls", "-Jl")
        found = json.loads(done.stdout)
        # Nothing that vanished is reported as unreadable; what is outside the world may be.
        assert not any(re.search("[0-9] process", row["object"]) for row in found["completeness"])
        for row in found["namespaces"]:
            assert row["nprocs"] == len(set(row["processes"]))
            if row["nprocs"]:
                assert row["pid"] == min(row["processes"])
                assert row["path"] == f"/proc/{row['pid']}/ns/{row['type']}"
                assert row["command"]
                # A zombie is nobody's, and in these two alone.
                assert row["whose"] or row["type"] in {"pid", "user"}
        (row,) = [row for row in found["namespaces"] if row["pid"] == calm]
        assert (row["type"], row["processes"]) == ("net", [calm])
    assert last_pid(stormy) - before > 10 * LOOKS, "there was no storm"


def test_in_a_storm_the_other_views_are_whole_too(stormy: World) -> None:
    calm = stormy.pids["calm"][0]
    for _ in range(3):
        found = json.loads(stormy.nsctl("matrix", "-J").stdout)
        assert found["unreadable"] == []
        (group,) = [group for group in found["groups"] if calm in group["pids"]]
        assert group["cells"]["net"]["is"] == "own"
        for group in found["groups"]:
            assert all(cell["is"] != "unreadable" for cell in group["cells"].values())
        for view in (("tree",), ("show", str(calm)), ("matrix",), ()):
            assert stormy.nsctl(*view).stderr == b""


def test_in_a_storm_text_and_a_saved_snapshot_are_whole_too(
    stormy: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("saved") / "snapshot")
    for _ in range(3):
        stormy.nsctl("snapshot", path)
        assert (
            stormy.nsctl("ls", "--from", path).stdout == stormy.nsctl("ls", "--from", path).stdout
        )
        for line in (
            stormy.nsctl("ls", "-lnr", "-o", "NS,TYPE,NPROCS").stdout.decode().split("\n")[:-1]
        ):
            number, kind, count = line.split(" ")
            assert number.isdecimal()
            assert kind
            assert count.isdecimal()
