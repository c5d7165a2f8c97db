"""The last stage as an ordinary user runs it, in user namespaces of one id."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from nsctl.child.stage2 import object_path
from nsctl.model import capabilities
from nsctl.model.task import CapabilitySets
from support import last_stage
from support.users import OrdinaryUser

pytestmark = pytest.mark.userns

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(last_stage.__file__)))
NET_RAW = 1 << capabilities.NUMBERS["CAP_NET_RAW"]
DEFAULT = capabilities.DEFAULT

# Runs as the user; what a test adds to it leaves something in `result`.
PROGRAM = """
import json, os, signal, subprocess, sys
tests, twin, values = sys.argv[1], sys.argv[2] == "twin", json.loads(sys.argv[3])
sys.path.insert(0, tests)
from support.last_stage import *
from nsctl.child.plan import Filter, Plan
from nsctl.kernel import seccomp
from nsctl.model.task import CapabilitySets

def sets(name="sets"):
    return CapabilitySets(*values[name])

STATUS = Plan((b"cat", b"/proc/self/status"))
"""


@pytest.fixture(params=["c", "python"])
def twin(request: pytest.FixtureRequest) -> str:
    """Which last stage: stage2, or its twin."""
    if request.param == "c" and not object_path():
        pytest.skip(f"no stage2 for {os.uname().machine}")
    return "twin" if request.param == "python" else ""


def result(user: OrdinaryUser, twin: str, code: str, **values: Any) -> Any:
    """Run a program as the user and give what it made."""
    program = f"{PROGRAM}{code}\nprint(json.dumps(result))"
    done = user.python(program, TESTS, twin, json.dumps(values))
    return json.loads(done.stdout)


def root_with(mask: int) -> CapabilitySets:
    return CapabilitySets(0, mask, mask, mask, 0)


def sets_in(status: dict[str, str]) -> CapabilitySets:
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    return CapabilitySets(*(int(status[name], 16) for name in names))


def test_root_of_a_user_namespace_gets_what_the_plan_says(
    ordinary_user: OrdinaryUser, twin: str
) -> None:
    status = result(
        ordinary_user,
        twin,
        """
allowing = seccomp.compile_profile({"defaultAction": "SCMP_ACT_ALLOW"})
plan = STATUS._replace(
    mode="init", setsid=True, uid=0, gid=0, capabilities=sets(), umask=0o77,
    death_signal=signal.SIGKILL, filters=(Filter(allowing.program),), keyring=b"",
)
code, output = run(plan, "user=0", "pid", twin=twin)
result = fields(output)
""",
        sets=root_with(DEFAULT),
    )
    assert sets_in(status) == root_with(DEFAULT)
    assert status["Uid"].split("\t") == ["0"] * 4
    assert (status["Seccomp_filters"], status["NoNewPrivs"]) == ("1", "0")
    assert status["Umask"] == "0077"
    assert status["NSpid"].split("\t")[-1] == "2"


def test_a_user_who_is_not_root_inside_keeps_powers_until_the_plan_takes_them(
    ordinary_user: OrdinaryUser, twin: str
) -> None:
    wanted = CapabilitySets(NET_RAW, NET_RAW, NET_RAW, DEFAULT, NET_RAW)
    status = result(
        ordinary_user,
        twin,
        """
plan = STATUS._replace(capabilities=sets(), setsid=True)
result = fields(run(plan, "user=1000", twin=twin)[1])
""",
        sets=wanted,
    )
    assert status["Uid"].split("\t") == ["1000"] * 4
    assert sets_in(status) == wanted


def test_without_sets_in_the_plan_they_are_what_the_kernel_makes_of_them(
    ordinary_user: OrdinaryUser, twin: str
) -> None:
    code = 'result = fields(run(STATUS, "user=1000", twin=twin)[1])'
    status = result(ordinary_user, twin, code)
    assert sets_in(status)._replace(bounding=0) == CapabilitySets(0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "step"),
    [("uid=5", "UID"), ("gid=5", "GID"), ("groups=()", "GROUPS")],
)
def test_an_id_that_is_not_mapped_is_refused(
    ordinary_user: OrdinaryUser, twin: str, change: str, step: str
) -> None:
    code = f"""
failure, code = refusal(STATUS._replace({change}), "user=0", twin=twin)
result = failure.step, code
"""
    assert result(ordinary_user, twin, code) == [step, 125]


def test_a_user_without_any_right_runs_a_command(ordinary_user: OrdinaryUser, twin: str) -> None:
    code = """
plan = Plan((b"sh", b"-c", b"echo $A"), (b"A=b",), no_new_privs=True, setsid=True, keyring=b"")
result = run(plan, twin=twin)
"""
    assert result(ordinary_user, twin, code) == [0, "b\n"]


def test_its_own_user_cannot_change_the_executable_either(
    ordinary_user: OrdinaryUser, twin: str
) -> None:
    """Rootless, root inside owns the file."""
    code = """
result = []

def attempt(act):
    try:
        act()
        result.append("done")
    except OSError as error:
        result.append(error.strerror)

with running(Plan((b"cat",), mode="init", uid=0, gid=0), "user=0", "pid", twin=twin) as started:
    started.started()
    if twin:
        # The interpreter stays closed to everybody.
        attempt(lambda: os.open(f"/proc/{started.inner}/exe", os.O_RDONLY))
        sys.exit(print(json.dumps(result)))
    path = f"/proc/{started.inner}/exe"
    eventually(lambda: os.access(path, os.R_OK), "it stays closed")
    kept = os.open(path, os.O_RDONLY)
    attempt(lambda: os.open(path, os.O_RDWR))
os.fchmod(kept, 0o711)
attempt(lambda: os.fchmod(kept, 0o600))
writable = os.open(f"/proc/self/fd/{kept}", os.O_RDWR)
attempt(lambda: os.write(writable, b"x"))
"""
    seen = result(ordinary_user, twin, code)
    if twin:
        assert seen == ["Permission denied"]
    else:
        assert seen == ["Permission denied", "Operation not permitted", "Operation not permitted"]
