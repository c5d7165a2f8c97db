"""Views of a procfs that hides processes, and of another one than that at /proc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.users import ORDINARY_UID, OrdinaryUser, clean_environment
from support.world import WAIT, World, world

pytestmark = pytest.mark.privileged

AS_USER = ("setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups")
NSCTL = (sys.executable, "-m", "nsctl")


@pytest.fixture(scope="module")
def hiding(
    ordinary_user: OrdinaryUser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, str]]:
    """A world whose procfs hides other users' processes, and another such procfs in it."""
    # The ordinary user must be able to use the environment that nsctl is tested in.
    assert ordinary_user.uid == ORDINARY_UID
    actors = [
        ("roots", ("unshare", "-u", *WAIT)),
        ("theirs", (*AS_USER, "unshare", "-Uru", *WAIT)),
    ]
    with world(str(tmp_path_factory.mktemp("hiding")), actors) as made:
        script = (
            "mount -t tmpfs none /mnt && mkdir /mnt/proc && chmod 755 /mnt /mnt/proc && "
            "mount -t proc -o hidepid=2 proc /mnt/proc && mount -o remount,hidepid=2 /proc"
        )
        made.run("sh", "-c", script)
        yield made, "/mnt/proc"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_procfs_that_hides_processes_is_no_error_and_is_said(
    hiding: tuple[World, str], elsewhere: bool
) -> None:
    made, other = hiding
    source = ("--host-proc", other) if elsewhere else ()
    theirs, roots = made.pids["theirs"][0], made.pids["roots"][0]
    for view in (("ls",), ("matrix",), (), ("tree",), ("show", str(theirs)), ("show", "@host")):
        done = made.run(*AS_USER, *NSCTL, *view, *source)
        text = (done.stdout + done.stderr).decode()
        assert "Not read: " in text
        assert "processes of other users" in text
        assert "CAP_SYS_PTRACE" in text
        made.run(*AS_USER, *NSCTL, *view, *source, "--strict", check=3)
    done = made.run(*AS_USER, *NSCTL, "matrix", "-J", *source)
    found = json.loads(done.stdout)
    assert found["host"]["basis"] == "caller"
    assert roots not in found["unreadable"]
    pids = [pid for group in found["groups"] for pid in group["pids"]]
    assert pids == [theirs]
    assert found["groups"][0]["cells"]["user"]["is"] == "own"
    done = made.run(*AS_USER, *NSCTL, "show", str(roots), *source, check=2)
    assert done.stdout == b""
    assert f"nsctl: cannot find process {roots}: ".encode() in done.stderr
    # Whoever may look at all of them is shown all of them.
    done = made.run(*NSCTL, "matrix", "-J", *source)
    found = json.loads(done.stdout)
    assert found["host"]["basis"] == "pid1"
    assert {pid for group in found["groups"] for pid in group["pids"]} == {theirs, roots}
    objects = [row["object"] for row in found["completeness"]]
    assert "processes of other users" not in objects


def test_the_hosts_procfs_can_be_looked_at_from_inside_a_container(tmp_path: Path) -> None:
    """In a PID namespace of its own, with the host's procfs mounted somewhere."""
    place = tmp_path / "proc"
    place.mkdir()
    actor = subprocess.Popen(
        ("unshare", "-u", *WAIT),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment(str(tmp_path)),
    )
    with actor:
        try:
            assert actor.stdout is not None
            assert actor.stdout.readline()
            for view in (("ls", "-Jl"), ("matrix", "-J")):
                script = 'mount --rbind /proc "$1" && shift && exec unshare -mpf --mount-proc "$@"'
                command = (*NSCTL, *view, "--host-proc", str(place))
                done = subprocess.run(
                    ("unshare", "-m", "sh", "-c", script, "sh", str(place), *command),
                    env=clean_environment(str(tmp_path)),
                    capture_output=True,
                    check=True,
                    timeout=60,
                )
                found = json.loads(done.stdout)
                assert found["read_from"] == [str(place)]
                if "matrix" in view:
                    (group,) = [group for group in found["groups"] if actor.pid in group["pids"]]
                    assert group["cells"]["uts"]["is"] == "own"
                    assert group["cells"]["pid"]["is"] == "host"
                else:
                    number = os.stat(f"/proc/{actor.pid}/ns/uts").st_ino
                    (row,) = [row for row in found["namespaces"] if row["ns"] == number]
                    assert (row["pid"], row["nprocs"]) == (actor.pid, 1)
        finally:
            actor.communicate(timeout=30)
