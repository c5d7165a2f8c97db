"""What an ordinary user may not enter or debug, because it is somebody else's."""

from __future__ import annotations

import subprocess

import pytest

from support.entering import target
from support.users import Nsctl, OrdinaryUser

pytestmark = pytest.mark.privileged


def test_who_may_not_enter_is_told_the_cause(ordinary_user: OrdinaryUser, nsctl: Nsctl) -> None:
    with target() as pid:
        done = nsctl("enter", str(pid), "true", user=ordinary_user)
        assert done.returncode == 125
        assert "its namespaces may not even be looked at" in done.stderr
        assert "Traceback" not in done.stderr


def test_who_may_not_debug_is_told_the_cause(ordinary_user: OrdinaryUser, nsctl: Nsctl) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            done = nsctl("debug", str(process.pid), "true", user=ordinary_user, check=125)
        finally:
            process.kill()
    assert "may not even be looked at" in done.stderr
    with ordinary_user.start("sleep", "1000") as other:
        try:
            done = nsctl("debug", str(other.pid), "true", user=ordinary_user, check=125)
        finally:
            other.kill()
    assert "in your own user namespace" in done.stderr
