"""Containers of an ordinary user who was given ranges of ids in /etc/subuid and /etc/subgid."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.containers import make_root

pytestmark = pytest.mark.privileged

UID = 65534  # it needs a name, as for newuidmap(1)
_TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_DRIVER = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from support.containers import Box
from nsctl.errors import NsctlError
from nsctl.run import lifecycle
box = Box.at(sys.argv[2])
pool = box.pool._replace(subordinate=("/etc/subuid", "/etc/subgid"))
box.store = box.store._replace(pool=pool)
answers = []
for script, asked in json.loads(sys.argv[3]):
    try:
        if asked.pop("dry", False):
            answers.append(lifecycle.describe(box.spec("sh", "-c", script, **asked), box.store))
        elif asked.pop("remove_it", False):
            lifecycle.remove(script, box.store, force=True)
            answers.append("")
        else:
            answers.append(box.run(script, **asked).output)
    except NsctlError as error:
        answers.append(error.sentence)
print(json.dumps([answers, box.left_over()]))
"""


class User(NamedTuple):
    """Nobody, with a range or without one."""

    base: Path

    def do(self, *calls: tuple[str, dict[str, Any]], line: str = f"{UID}:300000:5000") -> list[Any]:
        """Run scripts in containers, where the two files say this, and give what they print."""
        files = self.base / "subid"
        files.write_text(f"root:100000:65536\n{line}\n")
        bind = 'mount --bind $0 /etc/subuid && mount --bind $0 /etc/subgid && exec "$@"'
        become = ("setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups")
        words = (sys.executable, "-c", _DRIVER, _TESTS, str(self.base / "box"), json.dumps(calls))
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", bind, str(files), *become, *words],
            capture_output=True,
            check=False,
            cwd="/",
            env={"PATH": os.environ["PATH"], "HOME": str(self.base / "box")},
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        answers, left = json.loads(done.stdout)
        assert left == []
        return list(answers)


@pytest.fixture
def user(tmp_path: Path) -> User:
    if shutil.which("newuidmap") is None:
        pytest.skip("needs newuidmap (Debian: uidmap)")
    for part in (tmp_path, *tmp_path.parents[:2]):
        part.chmod(0o755)
    base = tmp_path / "box"
    base.mkdir()
    make_root(str(base / "root"))
    os.chown(base, UID, UID)
    for directory, names, files in os.walk(base / "root"):
        for name in ("", *names, *files):
            os.lchown(os.path.join(directory, name), UID, UID)
    return User(tmp_path)


def test_the_range_follows_the_user_and_other_ids_mean_something(user: User) -> None:
    script = (
        "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups | tr -s ' ';"
        "mkdir -m 700 /d && echo x >/d/f && chown -R 7:8 /d && ls -lnd /d | tr -s ' ' | cut -d' ' -f3,4"
    )
    output, groups, steps = user.do(
        (script, {}),
        ("id -u; id -g; id -G", {"uid": 5, "gid": 6, "groups": [6, 9]}),
        ("true", {"dry": True}),
    )
    maps = f" 0 {UID} 1\n 1 300000 5000\n"
    assert output == f"{maps}{maps}allow\n7 8\n"
    assert groups == "5\n6\n6 9\n"
    command = f"--map-users=0:{UID}:1 --map-users=1:300000:5000"
    assert any(command in step for step in steps)


def test_what_other_ids_wrote_is_removed_with_the_container(user: User) -> None:
    script = "mkdir -p /d/e && echo x >/d/e/f && chmod 700 /d && chown -R 7:8 /d"
    storage = user.base / "box" / "storage"
    user.do(("echo x >/f; chown 7 /f; mkdir -m 0 /d; chown 8 /d", {"name": "gone"}))
    assert list((storage / "containers").iterdir()) == []
    user.do((script, {"name": "web", "remove": False}), ("web", {"remove_it": True}))
    assert list((storage / "containers").iterdir()) == []


def test_a_user_beyond_the_range_and_one_without_a_range_are_refused(user: User) -> None:
    (beyond,) = user.do(("id", {"uid": 5001}))
    assert "means nothing" in beyond
    (without,) = user.do(("id", {"uid": 1}), line="someone:300000:5000")
    assert "means nothing" in without
    (alone,) = user.do(("cat /proc/self/uid_map | tr -s ' '", {}), line="someone:300000:5000")
    assert alone == f" 0 {UID} 1\n"


def test_a_range_that_the_programs_refuse_is_one_sentence_and_leaves_nothing(user: User) -> None:
    (refused,) = user.do(("true", {}), line=f"{UID}:4294967290:5000")
    assert refused == "cannot map your subordinate ids: newuidmap refused"
