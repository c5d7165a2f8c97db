"""Containers as an ordinary user: one id, root inside, nobody more outside."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from support.containers import make_root
from support.users import OrdinaryUser

pytestmark = pytest.mark.userns

# Runs what its arguments say in a store of its own, and prints what came of it as JSON.
_DRIVER = """
import json, os, sys
from support.containers import Box, namespaces
from nsctl.errors import NsctlError
from nsctl.model.container import Container
from nsctl.run import lifecycle

box = Box.at(sys.argv[1])
answers = []
try:
    for call, arguments, asked in json.loads(sys.argv[2]):
        try:
            if call == "namespaces":
                found = namespaces(box.state(arguments[0]).pid if arguments else "self")
            elif call == "list":
                found = [(row.name, row.state) for row in lifecycle.list_containers(box.store)]
            elif call in ("remove", "stop"):
                found = getattr(lifecycle, call)(*arguments, box.store, **asked)
            elif call == "describe":
                found = lifecycle.describe(box.spec(*arguments, **asked), box.store)
            else:
                found = getattr(box, call)(*arguments, **asked)
            answers.append(list(found) if isinstance(found, (tuple, list)) else found)
        except NsctlError as error:
            answers.append(["error", error.sentence, error.hint])
finally:
    box.clear()
    answers.append(box.left_over())
print(json.dumps(answers))
"""
_TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KINDS = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")


class User:
    """Calls on containers, made by the ordinary user."""

    def __init__(self, user: OrdinaryUser, base: str) -> None:
        self._user = user
        self.base = base
        self.uid = user.uid

    def do(self, *calls: tuple[str, list[str], dict[str, Any]]) -> list[Any]:
        code = f"import sys; sys.path.insert(0, {_TESTS!r})\n{_DRIVER}"
        done = self._user.python(code, self.base, json.dumps(calls))
        assert done.stderr == ""
        answers: list[Any] = json.loads(done.stdout)
        left = answers.pop()
        assert left == []
        return answers


@pytest.fixture
def user(ordinary_user: OrdinaryUser) -> Iterator[User]:
    base = f"{ordinary_user.home}/box"
    os.mkdir(base, 0o700)
    make_root(f"{base}/root")
    if ordinary_user.drops:
        os.chown(base, ordinary_user.uid, ordinary_user.gid)
        for directory, names, files in os.walk(f"{base}/root"):
            for name in ("", *names, *files):
                os.lchown(os.path.join(directory, name), ordinary_user.uid, ordinary_user.gid)
    try:
        yield User(ordinary_user, base)
    finally:
        shutil.rmtree(base)


def test_a_user_gets_a_container_in_all_eight_namespaces(user: User) -> None:
    inside, outside = user.do(
        ("detach", ["sleep", "1000"], {"name": "web"}),
        ("namespaces", ["web"], {}),
        ("namespaces", [], {}),
    )[1:]
    assert [kind for kind in KINDS if inside[kind] == outside[kind]] == []


def test_its_root_is_the_user_and_nobody_more(user: User) -> None:
    ((status, output),) = user.do(
        (
            "run",
            [
                (
                    "id -u; echo $(cat /proc/self/uid_map); cat /proc/self/setgroups; touch /x /etc/y;"
                    "grep CapEff /proc/self/status; cut -d. -f1 /proc/uptime; hostname; ls /sys/class/net;"
                    "echo $(ls /proc/1/fd); cat /proc/keys; (echo x >/proc/sys/kernel/hostname) 2>&1"
                )
            ],
            {"name": "web", "boottime": 10**18},
        ),
    )
    lines = output.split("\n")
    assert status == 0 or "Read-only" in lines[-2]
    assert lines[:4] == ["0", f"0 {user.uid} 1", "deny", "CapEff:\t00000000a80425fb"]
    assert int(lines[4]) >= 10**9
    assert lines[5:8] == ["web", "lo", "0 1 2"]
    assert not os.path.exists(f"{user.base}/root/x")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "user"])
def test_a_user_can_share_what_is_the_hosts(user: User, kind: str) -> None:
    rootfs = {"rootfs": "/"} if kind == "mnt" else {}
    _, inside, outside = user.do(
        ("detach", ["/bin/sleep", "1000"], {"name": "c", "namespaces": {kind: "host"}, **rootfs}),
        ("namespaces", ["c"], {}),
        ("namespaces", [], {}),
    )
    assert [other for other in KINDS if inside[other] == outside[other]] == [kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_can_share_another_containers_together_with_its_user_namespace(
    user: User, kind: str
) -> None:
    rootfs = {"rootfs": "/"} if kind == "mnt" else {}
    asked = {"name": "c", "namespaces": {kind: "container:a"}, **rootfs}
    _, _, inside, other = user.do(
        ("detach", ["sleep", "1000"], {"name": "a"}),
        ("detach", ["/bin/sleep", "1000"], asked),
        ("namespaces", ["c"], {}),
        ("namespaces", ["a"], {}),
    )
    assert {one for one in KINDS if inside[one] == other[one]} == {kind, "user"}


def test_what_a_user_cannot_have_is_refused_with_a_reason(user: User) -> None:
    answers = user.do(
        ("run", ["true"], {"namespaces": {"user": "host"}}),
        ("run", ["true"], {"namespaces": {"user": "private", "net": "container:a"}}),
        ("run", ["true"], {"namespaces": {"net": "container:a", "pid": "container:b"}}),
        ("run", ["true"], {"rootfs": "/"}),
    )
    assert [answer[0] for answer in answers] == ["error"] * 4
    assert "user namespace of its own" in answers[0][1]


def test_a_users_containers_are_listed_stopped_and_removed(user: User) -> None:
    answers = user.do(
        ("detach", ["sleep", "1000"], {"name": "web"}),
        ("list", [], {}),
        ("stop", ["web"], {"grace": 0.5}),
        ("list", [], {}),
        ("remove", ["web"], {}),
        ("list", [], {}),
    )
    assert [answers[1], answers[3], answers[5]] == [[["web", "running"]], [["web", "stopped"]], []]


def test_processes_in_the_hosts_pid_namespace_end_with_their_container(user: User) -> None:
    marker = "1000.4711"
    _, (_, before), _, (_, after) = user.do(
        (
            "detach",
            ["sh", "-c", f"setsid sleep {marker} & sleep 1000"],
            {"name": "web", "namespaces": {"pid": "host"}},
        ),
        ("run", [f"ps | grep -c '[s]leep {marker}$'"], {"namespaces": {"pid": "host"}}),
        ("remove", ["web"], {"force": True}),
        ("run", [f"ps | grep -c '[s]leep {marker}$'"], {"namespaces": {"pid": "host"}}),
    )
    assert (before, after) == ("1\n", "0\n")


def test_a_dry_run_names_what_an_ordinary_user_does(user: User) -> None:
    (steps,) = user.do(("describe", ["true"], {"namespaces": {"pid": "host", "net": "host"}}))
    text = "\n".join(steps)
    assert f"a user namespace in which 0 is {user.uid} outside, 1 ids" in text
    assert "bind the host's /proc on /proc" in text
    assert "control group" not in text
