"""The same command line for unshare(1) and for nsctl by its name, and what a program sees then."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

KINDS = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")

# Says whatever of its situation does not differ between two runs.
PROBE = """
for kind in mnt pid net ipc uts user cgroup time pid_for_children time_for_children; do
    outer=$1; case $kind in mnt) ;; *) shift;; esac; outer=$1
    [ "$(readlink /proc/self/ns/$kind)" = "$outer" ] && echo $kind host || echo $kind own
done
echo "ids $(id -u) $(id -g) $(id -G)"
cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
cat /proc/self/timens_offsets 2>/dev/null
grep -E '^(Cap|NoNewPrivs|Seccomp|SigIgn|SigBlk|Groups|Uid|Gid|Umask)' /proc/self/status
grep -c . /proc/self/mountinfo
grep ' / / ' /proc/self/mountinfo | cut -d' ' -f7- | sed 's/[0-9]*//g'
grep ' - proc ' /proc/self/mountinfo | cut -d' ' -f4-6
grep binfmt_misc /proc/self/mountinfo | cut -d' ' -f4-6
echo "pid $$ $PPID" | sed 's/[0-9][0-9][0-9]*/many/g'
pwd
env | grep -v -e '^_=' -e '^SHLVL=' -e '^PWD=' | sort
ls /proc/self/fd | wc -l
hostname
umask
"""


def arguments() -> list[str]:
    """What the probe is given: its own links, in its order."""
    kinds = (*KINDS, "pid_for_children", "time_for_children")
    return [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]


def link(directory: Path) -> str:
    """Make a link named unshare that leads to the installed nsctl."""
    script = os.path.join(os.path.dirname(sys.executable), "nsctl")
    if not os.access(script, os.X_OK):
        pytest.skip(f"nsctl is not installed beside {sys.executable}")
    path = directory / "unshare"
    path.symlink_to(script)
    return str(path)


def peer() -> str:
    """The installed unshare."""
    found = shutil.which("unshare")
    if found is None:
        pytest.skip("needs unshare (Debian: util-linux)")
    return found


ANYBODY = [
    ("-U",),
    ("-r",),
    ("-c",),
    ("-Ur", "-m"),
    ("-rf", "-p"),
    ("-rfp", "--mount-proc"),
    ("-rn",),
    ("-ru", "-i"),
    ("-rC",),
    ("-rT",),
    ("-rT", "--boottime", "86400"),
    ("-rT", "--boottime=86400", "--monotonic", "-5"),
    ("-rmpf", "--mount-proc=/proc"),
    ("-rmuinpCUTf",),
    ("-rm", "--propagation", "slave"),
    ("-rm", "--propagation=shared"),
    ("-rm", "--propagation", "unchanged"),
    ("-rm", "--propagation=private"),
    ("-U", "--map-user=7"),
    ("-U", "--map-group=8"),
    ("--map-user=7", "--map-group=8"),
    ("--map-user=nobody",),
    ("-U", "--setgroups", "deny"),
    ("-r", "--keep-caps"),
    ("-c", "--keep-caps"),
    ("-c", "--keep-caps", "-f"),
    ("-f",),
    ("-rf", "--kill-child"),
    ("-rf", "--kill-child=SIGTERM"),
    ("-rf", "--kill-child=TERM", "-p"),
    ("-r", "-w", "/usr"),
    ("-r", "--wd=/proc"),
    ("-r", "-S", "0"),
    ("-rm", "--fork", "--user", "--net"),
    ("--map-root", "--pid", "--fork"),
    (),
]
"""Command lines that the peer and nsctl must treat alike, whoever runs them."""

ROOT = [
    ("-m",),
    ("-muinpCTf",),
    ("-fp", "--mount-proc"),
    ("-S", "1000", "-G", "1001"),
    ("-G", "5"),
    ("-T", "--monotonic", "100", "-f"),
    ("-U", "--setgroups", "allow"),
]
"""The same for root alone."""

RANGES = [
    ("-U", "--map-users=100000,0,65536"),
    ("-U", "--map-users=100000,0,65536", "--map-groups=100000,0,65536"),
    ("--map-users=100000,0,65536", "--map-groups=100000,0,65536", "-r"),
    ("--map-users=100000,0,65536", "--map-groups=100000,0,65536", "-c"),
    ("--map-users=100000,0,65536", "--map-groups=100000,0,65536", "--map-user=5", "-S", "5"),
    ("-mU", "--map-users=100000,0,100", "--map-groups=100000,0,100", "-S", "7", "-G", "7"),
    ("--map-users=auto", "--map-groups=auto"),
]
"""Ranges of subordinate ids, which begin at 100000 and are 65536. Installed ones before 2.39 read
OUTSIDE,INSIDE,COUNT, have newuidmap write the maps of root too, and leave out the last id of "auto"
beside a single one; how 2.42 puts those together is told in tests/unit/unshare."""

REFUSED = [
    ("--boottime", "5", "true"),
    ("--setgroups", "maybe", "true"),
    ("--propagation", "sideways", "true"),
    ("--kill-child=NOSUCH", "true"),
    ("-S", "x", "true"),
    ("--nosuch", "true"),
    ("-U", "--map-users=1", "true"),
    ("-r", "--setgroups=deny", "true"),
    ("-R", "/nowhere/at/all", "true"),
    ("-w", "/nowhere/at/all", "true"),
    ("-rT", "--boottime", "-99999999999", "true"),
    ("--map-group=0", "--setgroups=allow", "true"),
    ("--", "/nowhere/at/all"),
    ("-f", "/nowhere/at/all"),
    ("/etc/passwd",),
    ("nosuchprogramatall",),
]
"""Command lines that end with the same exit status, whoever runs them."""

ENDS = [
    ("-f", "sh", "-c", "exit 42"),
    ("sh", "-c", "exit 43"),
    ("-rfp", "sh", "-c", "exit 7"),
    ("-f", "sh", "-c", "kill -TERM $$"),
    ("-rfp", "--kill-child", "sh", "-c", "exit 9"),
]
"""Programs that end in many ways."""
