"""`nsctl doctor userns` where each refusal that an ordinary user can meet is made for real."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from nsctl.report.schema import load_schema
from support.users import Nsctl, OrdinaryUser

pytestmark = pytest.mark.userns

DOCTOR = (sys.executable, "-m", "nsctl", "doctor", "userns", "-J")

_FILTER = """
import os, sys
from nsctl.kernel import cbpf, process, seccomp
from nsctl.kernel.cbpf import Instruction
kind, action, *command = sys.argv[1:]
UNSHARE = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
NEWUSER, ALLOW = 0x10000000, 0x7FFF0000
number = Instruction(0x20, 0, 0, 0)
flags = Instruction(0x20, 0, 0, 16)
refuse = Instruction(0x06, 0, 0, int(action, 16))
allow = Instruction(0x06, 0, 0, ALLOW)
rows = {
    "all": [number, Instruction(0x15, 0, 1, UNSHARE), refuse, allow],
    "flag": [number, Instruction(0x15, 0, 3, UNSHARE), flags,
             Instruction(0x45, 0, 1, NEWUSER), refuse, allow],
    "equal": [number, Instruction(0x15, 0, 3, UNSHARE), flags,
              Instruction(0x15, 0, 1, NEWUSER), refuse, allow],
}[kind]
process.set_no_new_privs()
seccomp.load(seccomp.Filter(cbpf.assemble(rows), 0, ()))
os.execv(command[0], command)
"""

_DEPTH = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for level in range(40):
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(0x10000000):
        break
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
assert level > 20, level
os.execv(sys.argv[1], sys.argv[1:])
"""


def answer(output: str) -> dict[str, Any]:
    """The document, which must fit its schema."""
    found: dict[str, Any] = json.loads(output)
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(load_schema("doctor-userns"))
    assert [error.message for error in validator.iter_errors(found)] == []
    return found


def blocking(found: dict[str, Any]) -> list[str]:
    """The switches that it says refused."""
    return [row["name"] for row in found["switches"] if row["state"] == "blocks"]


def inside(user: OrdinaryUser, script: str) -> dict[str, Any]:
    """Ask in a user namespace, after a script that ends with "$@"."""
    command = ("unshare", "-Ur", "sh", "-euc", script, "sh", *DOCTOR)
    return answer(user.run(*command, check=0).stdout)


def test_where_nothing_forbids_it_nothing_is_blamed(
    nsctl: Nsctl, ordinary_user: OrdinaryUser
) -> None:
    found = answer(nsctl("doctor", "userns", "-J", user=ordinary_user, check=0).stdout)
    assert (found["can"], found["made"], found["error"], found["cause"]) == (True, True, None, None)
    assert found["user"] == {"uid": ordinary_user.uid, "gid": ordinary_user.gid}
    assert blocking(found) == []
    text = nsctl("doctor", "userns", user=ordinary_user, check=0).stdout
    assert f"(uid {ordinary_user.uid}) can make user namespaces here" in text
    for row in found["switches"]:
        if row["state"] == "absent":
            assert row["words"] == "not present here"


def test_a_limit_of_zero_is_named_with_the_command_that_lifts_it(
    ordinary_user: OrdinaryUser,
) -> None:
    found = inside(ordinary_user, 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"')
    assert (found["error"], found["cause"]["id"]) == ("ENOSPC", "max_user_namespaces")
    assert found["cause"]["allow"].startswith("sysctl -w user.max_user_namespaces=")
    assert blocking(found) == ["user.max_user_namespaces"]


def test_a_limit_of_a_namespace_further_out_is_told_from_ones_own(
    ordinary_user: OrdinaryUser,
) -> None:
    script = (
        'mkfifo "$HOME/go"; unshare -Ur sh -euc \'read line <"$HOME/go"; exec "$@"\' sh "$@" & '
        'exec 3>"$HOME/go"; echo 0 >/proc/sys/user/max_user_namespaces; '
        'echo go >&3; exec 3>&-; rm "$HOME/go"; wait'
    )
    found = inside(ordinary_user, script)
    assert (found["error"], found["cause"]["id"]) == ("ENOSPC", "further-out")
    assert "user.max_user_namespaces of a user namespace further out" in found["cause"]["words"]


def test_too_many_levels_are_told(ordinary_user: OrdinaryUser) -> None:
    done = ordinary_user.run(sys.executable, "-I", "-c", _DEPTH, *DOCTOR, check=0)
    found = answer(done.stdout)
    assert (found["error"], found["cause"]["id"]) == ("ENOSPC", "further-out")
    assert "33rd level" in found["cause"]["words"]


def test_who_has_no_number_in_his_own_namespace_is_told_so(ordinary_user: OrdinaryUser) -> None:
    found = answer(ordinary_user.run("unshare", "-U", *DOCTOR, check=0).stdout)
    assert (found["error"], found["cause"]["id"]) == ("EPERM", "unmapped")
    assert blocking(found) == ["ids"]


@pytest.mark.parametrize("kind", ["all", "flag", "equal"])
@pytest.mark.parametrize(
    ("action", "error"),
    [("50001", "EPERM"), ("50026", "ENOSYS"), ("50016", "EINVAL"), ("80000000", "SIGSYS")],
)
def test_a_filter_is_blamed_whatever_it_answers_and_however_it_tells_calls_apart(
    ordinary_user: OrdinaryUser, kind: str, action: str, error: str
) -> None:
    done = ordinary_user.run(sys.executable, "-c", _FILTER, kind, action, *DOCTOR, check=0)
    found = answer(done.stdout)
    assert (found["can"], found["error"]) == (False, error)
    assert found["cause"]["id"] == "seccomp"
    assert blocking(found) == ["seccomp"]


def test_only_root_asks_for_somebody_else(nsctl: Nsctl, ordinary_user: OrdinaryUser) -> None:
    done = nsctl("doctor", "userns", "--user", "0", user=ordinary_user, check=2)
    assert "only root" in done.stderr
    own = str(ordinary_user.uid)
    assert nsctl("doctor", "userns", "--user", own, user=ordinary_user, check=0).stdout
    assert "goes with userns" in nsctl("doctor", "--user", "0", check=2).stderr
    assert "no user" in nsctl("doctor", "userns", "--user", "no-such-user", check=2).stderr


def test_a_command_that_meets_the_refusal_explains_it_alike(ordinary_user: OrdinaryUser) -> None:
    root = f"{ordinary_user.home}/empty-root"
    ordinary_user.run("mkdir", "-p", f"{root}/bin", check=0)
    run = (sys.executable, "-m", "nsctl", "run", "--rm", root, "true")
    done = ordinary_user.run(sys.executable, "-c", _FILTER, "flag", "50001", *run, check=125)
    assert (
        "cannot make a user namespace: a seccomp filter of this process refuses the call (EPERM)"
        in done.stderr
    )
    assert "start it without that filter" in done.stderr
