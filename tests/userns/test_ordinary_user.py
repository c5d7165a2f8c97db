from __future__ import annotations

import os

import pytest

from support.users import OrdinaryUser

pytestmark = pytest.mark.userns

STATUS = """
import os, sys
with open("/proc/self/status") as file:
    lines = dict(line.split(":\\t", 1) for line in file.read().split("\\n") if ":\\t" in line)
print(os.getresuid(), os.getresgid(), int(lines["CapEff"], 16), int(lines["CapPrm"], 16))
"""


def test_the_ordinary_user_is_not_root_and_has_no_capability(ordinary_user: OrdinaryUser) -> None:
    done = ordinary_user.python(STATUS)
    uid, gid = ordinary_user.uid, ordinary_user.gid
    assert uid != 0
    assert done.stdout == f"{(uid, uid, uid)} {(gid, gid, gid)} 0 0\n"


def test_the_ordinary_user_has_a_home_and_a_runtime_directory(ordinary_user: OrdinaryUser) -> None:
    code = "import os; print(os.getcwd(), os.environ['HOME'], os.environ['XDG_RUNTIME_DIR'])"
    home, runtime = ordinary_user.home, ordinary_user.runtime_dir
    assert ordinary_user.python(code).stdout == f"{home} {home} {runtime}\n"
    for directory in (home, runtime):
        status = os.stat(directory)
        assert (status.st_uid, status.st_mode & 0o777) == (ordinary_user.uid, 0o700)


def test_the_callers_environment_does_not_reach_the_ordinary_user(
    ordinary_user: OrdinaryUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSCTL_SURPRISE", "1")
    code = "import os; print('NSCTL_SURPRISE' in os.environ)"
    assert ordinary_user.python(code).stdout == "False\n"


def test_the_ordinary_user_can_make_a_user_namespace(ordinary_user: OrdinaryUser) -> None:
    done = ordinary_user.run("unshare", "--user", "--map-root-user", "id", "-u", check=0)
    assert done.stdout == "0\n"


def test_a_command_of_the_ordinary_user_reads_its_input_and_keeps_its_bytes(
    ordinary_user: OrdinaryUser,
) -> None:
    done = ordinary_user.run("cat", stdin=b"a\r\n\xff", check=0)
    assert done.stdout == "a\r\n\udcff"
