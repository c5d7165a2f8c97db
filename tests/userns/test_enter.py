"""An ordinary user enters what is his own, and is told why he may not enter the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

import pytest

from support.containers import make_root
from support.entering import target
from support.last_stage import eventually, fields
from support.users import Nsctl, OrdinaryUser

pytestmark = pytest.mark.userns

OWN = ("--user", "--map-root-user", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")


def prefix(user: OrdinaryUser) -> Sequence[str]:
    ids = (f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups")
    return ("setpriv", *ids) if user.drops else ()


@pytest.fixture
def own(ordinary_user: OrdinaryUser) -> Iterator[int]:
    with target(namespaces=OWN, prefix=prefix(ordinary_user)) as pid:
        yield pid


def test_his_own_container_with_its_powers(
    own: int, ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    done = nsctl("enter", str(own), "cat", "/proc/self/status", user=ordinary_user, check=0)
    found = fields(done.stdout)
    with open(f"/proc/{own}/status") as file:
        wanted = fields(file.read())
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"):
        assert found[name] == wanted[name], name
    assert found["Uid"] == "0\t0\t0\t0"
    shown = nsctl("enter", str(own), "readlink", "/proc/self/ns/pid", user=ordinary_user, check=0)
    assert shown.stdout == f"{os.readlink(f'/proc/{own}/ns/pid')}\n"


def test_his_own_container_of_ours_with_the_filter_that_it_was_given(
    ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    root = make_root(f"{ordinary_user.home}/root")
    name = "entered-by-its-owner"
    words = ("run", "-d", "--name", name, "-e", "A=b c", "-w", "/etc", root, "sleep", "1000")
    nsctl(*words, user=ordinary_user, check=0)
    try:
        shown = nsctl(
            "enter",
            name,
            "sh",
            "-c",
            "cat /proc/self/status; echo $A; pwd; unshare -m true",
            user=ordinary_user,
        )
        found = fields(shown.stdout)
        assert (found["Seccomp"], found["Seccomp_filters"], found["NoNewPrivs"]) == ("2", "1", "1")
        assert shown.stdout.endswith("\nb c\n/etc\n")
        assert "Operation not permitted" in shown.stderr
        first = nsctl("containers", "--own", "-J", user=ordinary_user, check=0).stdout
        (pid,) = [row["pid"] for row in json.loads(first)["containers"] if row["name"] == name]
        refused = nsctl("enter", str(pid), "true", user=ordinary_user)
        assert refused.returncode == 125
        assert "--filters declared" in refused.stderr
    finally:
        nsctl("rm", "-f", name, user=ordinary_user, check=0)
        shutil.rmtree(root)


def test_a_user_that_is_not_mapped_there_is_refused(
    own: int, ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    done = nsctl("enter", str(own), "-S", "7", "true", user=ordinary_user)
    assert done.returncode == 125
    assert "cannot become user 7" in done.stderr


def test_a_container_without_a_mapped_root_is_entered_as_who_is_there(
    ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    plain = ("--user", "--map-current-user", "--mount")
    with target(namespaces=plain, prefix=prefix(ordinary_user)) as pid:
        done = nsctl("enter", str(pid), "cat", "/proc/self/status", user=ordinary_user, check=0)
    found = fields(done.stdout)
    assert found["Uid"].split("\t")[0] == str(ordinary_user.uid)
    assert found["CapEff"] == "0000000000000000"


def test_a_sandbox_of_bubblewrap_whose_namespaces_are_an_outer_ones(
    ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("needs bwrap (Debian: bubblewrap)")
    words = ["bwrap", "--unshare-all", "--die-with-parent", "--dev-bind", "/", "/"]
    words += ["--proc", "/proc", "--info-fd", "1", "sleep", "1000"]
    with subprocess.Popen(
        [*prefix(ordinary_user), *words], stdout=subprocess.PIPE, text=True
    ) as sandbox:
        try:
            assert sandbox.stdout is not None
            text = ""
            while "}" not in text:
                text += sandbox.stdout.readline()
            pid = int(text.partition('"child-pid": ')[2].split(",")[0].split("\n")[0])
            eventually(lambda: _inner(pid) != 0, "bubblewrap did not start its command")
            inner = _inner(pid)
            shown = nsctl(
                "enter",
                str(inner),
                "sh",
                "-c",
                "readlink /proc/self/ns/user; id -u",
                user=ordinary_user,
                check=0,
            )
            assert shown.stdout == (
                f"{os.readlink(f'/proc/{inner}/ns/user')}\n{ordinary_user.uid}\n"
            )
        finally:
            sandbox.kill()


def _inner(pid: int) -> int:
    """The command below bubblewrap's own first process."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        for child in file.read().split():
            with open(f"/proc/{child}/comm") as name:
                if name.read() == "sleep\n":
                    return int(child)
    return 0


def test_ones_own_process_is_entered_without_any_namespace(ordinary_user: OrdinaryUser) -> None:
    code = (
        "import os, subprocess, sys; pid = os.getpid();"
        "sys.exit(subprocess.run([sys.executable, '-m', 'nsctl', 'enter', str(pid),"
        " 'id', '-u']).returncode)"
    )
    assert ordinary_user.python(code).stdout == f"{ordinary_user.uid}\n"
