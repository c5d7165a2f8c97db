"""Refusals of user namespaces that it takes root to make: a changed root, however it hides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.users import Nsctl, OrdinaryUser, clean_environment

pytestmark = pytest.mark.privileged

DOCTOR = (sys.executable, "-m", "nsctl", "doctor", "userns", "-J")


def in_chroot(home: str, *chroot: str) -> dict[str, Any]:
    """Ask in a root directory that is the root of a mount of everything."""
    script = 'mount --make-rprivate / && mount --rbind / /mnt && exec chroot "$@"'
    command = ["unshare", "-m", "sh", "-euc", script, "sh", *chroot, "/mnt", *DOCTOR]
    raw = subprocess.check_output(command, env=clean_environment(home), timeout=60)
    found: dict[str, Any] = json.loads(raw)
    return found


def test_a_changed_root_is_proved_by_going_back_for_who_may(nsctl: Nsctl) -> None:
    found = in_chroot(nsctl.home)
    assert (found["error"], found["cause"]["id"]) == ("EPERM", "chroot")
    assert "back in the mount namespace's own root it works" in found["cause"]["words"]


def test_a_changed_root_is_told_to_an_ordinary_user_by_what_lies_outside(
    ordinary_user: OrdinaryUser,
) -> None:
    who = f"{ordinary_user.uid}:{ordinary_user.gid}"
    found = in_chroot(ordinary_user.home, f"--userspec={who}", "--groups=")
    assert (found["error"], found["cause"]["id"]) == ("EPERM", "chroot")
    (row,) = [row for row in found["switches"] if row["state"] == "blocks"]
    assert row["name"] == "chroot"


def test_root_asks_for_another_user(nsctl: Nsctl, ordinary_user: OrdinaryUser) -> None:
    words = ("doctor", "userns", "-J", "--user", str(ordinary_user.uid))
    found = json.loads(nsctl(*words, check=0).stdout)
    assert found["user"] == {"uid": ordinary_user.uid, "gid": ordinary_user.uid}
    assert found["can"]


def test_without_a_procfs_and_devices_it_is_still_told(nsctl: Nsctl, tmp_path: Path) -> None:
    script = 'mount --make-rprivate / && mount --bind / "$1" && shift && exec chroot "$@"'
    root = tmp_path / "root"
    root.mkdir()
    places = (Path(__file__), Path(sys.executable), Path(sys.prefix))
    if {os.stat(place).st_dev for place in places} != {os.stat("/").st_dev}:
        pytest.skip("needs the checkout and its Python on the root file system")
    command = ["unshare", "-m", "sh", "-euc", script, "sh", str(root), str(root), *DOCTOR]
    done = subprocess.run(
        command, env=clean_environment(nsctl.home), capture_output=True, check=True, timeout=60
    )
    found = json.loads(done.stdout)
    assert found["cause"]["id"] == "chroot"
