"""What an ordinary user is refused is named with the capability that it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from support.users import Nsctl, OrdinaryUser

pytestmark = pytest.mark.userns


def answers(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(done.stdout)["answers"]}


def test_what_is_refused_is_named_with_its_capability(
    nsctl: Nsctl, ordinary_user: OrdinaryUser
) -> None:
    found = answers(nsctl("doctor", "-J", user=ordinary_user, check=0))
    expected = {
        "cap-sys-ptrace": "CAP_SYS_PTRACE",
        "new-namespaces": "CAP_SYS_ADMIN",
        "clock-offsets": "CAP_SYS_ADMIN",
        "mount-namespace-list": "CAP_SYS_ADMIN",
        "listmount-foreign": "CAP_SYS_ADMIN",
        "socket-namespaces": "CAP_NET_ADMIN",
        "overlay": "CAP_SYS_ADMIN",
        "idmapped-mounts": "CAP_SYS_ADMIN",
    }
    for name, capability in expected.items():
        if found[name]["state"] == "missing":
            continue  # this kernel has it for nobody
        assert (found[name]["state"], found[name]["needs"]) == ("refused", capability), name
        assert capability in found[name]["remedy"]


def test_an_ordinary_user_is_told_what_works_without_privileges(
    nsctl: Nsctl, ordinary_user: OrdinaryUser
) -> None:
    found = answers(nsctl("doctor", "-J", user=ordinary_user, check=0))
    for name in ("user", "namespace-types", "user-namespace", "seccomp", "sealed-memfd"):
        assert found[name]["state"] == "ok", found[name]
    assert f"effective uid {ordinary_user.uid}" in found["user"]["cause"]


def in_user_namespace(user: OrdinaryUser, script: str) -> dict[str, dict[str, Any]]:
    doctor = (sys.executable, "-m", "nsctl", "doctor", "-J")
    return answers(user.run("unshare", "-Ur", "sh", "-euc", script, "sh", *doctor, check=0))


def test_capabilities_that_count_elsewhere_only_are_not_called_enough(
    ordinary_user: OrdinaryUser,
) -> None:
    found = in_user_namespace(ordinary_user, 'exec "$@"')
    assert found["new-namespaces"]["state"] == "ok"
    assert found["user-namespace-of-caller"]["state"] == "partial"
    refused = found["socket-namespaces"]
    assert refused["state"] == "refused"
    assert "another user namespace" in refused["remedy"]


def test_the_switch_that_forbids_user_namespaces_is_named(ordinary_user: OrdinaryUser) -> None:
    script = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"'
    found = in_user_namespace(ordinary_user, script)
    for name in ("user-namespace", "overlay-userxattr"):
        assert found[name]["state"] == "refused"
        assert "ENOSPC" in found[name]["cause"]
        assert "user.max_user_namespaces is 0" in found[name]["remedy"]


def test_no_new_privileges_is_told(ordinary_user: OrdinaryUser) -> None:
    doctor = (sys.executable, "-m", "nsctl", "doctor", "-J")
    found = answers(ordinary_user.run("setpriv", "--no-new-privs", *doctor, check=0))
    assert (found["no-new-privs"]["state"], found["no-new-privs"]["cause"]) == ("partial", "on")
