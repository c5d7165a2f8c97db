"""An ordinary user debugs what is his own, and is told why he may not debug the rest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.entering import target
from support.users import Nsctl, OrdinaryUser

pytestmark = pytest.mark.userns

OWN = ("--user", "--map-root-user", "--mount", "--pid", "--net", "--fork", "--kill-child")
SHARES = "nsctl: its user namespace is shared too: your power over it comes from there\n"


def prefix(user: OrdinaryUser) -> Sequence[str]:
    ids = (f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups")
    return ("setpriv", *ids) if user.drops else ()


@pytest.fixture
def own(ordinary_user: OrdinaryUser) -> Iterator[int]:
    with target(namespaces=OWN, prefix=prefix(ordinary_user)) as pid:
        yield pid


@pytest.fixture
def lone(ordinary_user: OrdinaryUser, nsctl: Nsctl) -> Iterator[str]:
    """A container of his own that holds one static program."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox (Debian: busybox-static)")
    root = Path(ordinary_user.home) / "lone"
    root.mkdir()
    root.chmod(0o755)
    shutil.copy(busybox, root / "httpd")
    name = "debugged-by-its-owner"
    words = ("--read-only", "--init=false", str(root), "/httpd", "-f", "-p", "8080")
    nsctl("run", "-d", "--name", name, *words, user=ordinary_user, check=0)
    try:
        yield name
    finally:
        nsctl("rm", "-f", name, user=ordinary_user, check=0)


def test_his_own_container_with_the_host_s_tools(
    lone: str, ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    if shutil.which("ss") is None or shutil.which("strace") is None:
        pytest.skip("needs ss (iproute2), strace")
    script = (
        "ss -Htlnp; ls /target; touch /target/x 2>&1; "
        "strace -o /tmp/t -p 1 2>/tmp/said & until grep -qs attached /tmp/said; do :; done; "
        "kill -INT $!; wait; cat /tmp/said"
    )
    done = nsctl("debug", lone, "sh", "-c", script, user=ordinary_user)
    assert done.stderr == SHARES
    assert '("httpd",pid=1,' in done.stdout
    assert "\nhttpd\n" in done.stdout
    assert "Read-only file system" in done.stdout
    assert "Process 1 attached" in done.stdout


def test_with_net_alone_and_nothing_is_left(
    own: int, ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    script = "readlink /proc/self/ns/net /proc/self/ns/mnt; echo /proc/[0-9]*; setsid sleep 1000 &"
    done = nsctl("debug", str(own), "-s", "net", "sh", "-c", script, user=ordinary_user, check=0)
    network, mounts, processes = done.stdout.split("\n")[:3]
    assert network == os.readlink(f"/proc/{own}/ns/net")
    assert processes.startswith("/proc/1 /proc/2")
    _is_gone(mounts)


def test_with_pid_shared_nothing_is_left_either(
    own: int, ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    script = "readlink /proc/self/ns/mnt; setsid sleep 1000 &"
    done = nsctl("debug", str(own), "sh", "-c", script, user=ordinary_user, check=0)
    _is_gone(done.stdout.strip())


def _is_gone(mounts: str) -> None:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            assert os.readlink(f"/proc/{pid}/ns/mnt") != mounts
        except OSError:
            continue


def test_restricted_is_without_power_where_nobody_is_not_mapped(
    own: int, ordinary_user: OrdinaryUser, nsctl: Nsctl
) -> None:
    words = ("debug", "-p", "restricted", str(own), "grep", "CapEff", "/proc/self/status")
    done = nsctl(*words, user=ordinary_user, check=0)
    assert done.stdout == "CapEff:\t0000000000000000\n"
    assert "is not mapped there" in done.stderr
