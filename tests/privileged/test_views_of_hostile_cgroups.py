"""A service named by its control group is named by whoever made the directory."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.users import Nsctl, clean_environment
from support.world import WAIT

pytestmark = pytest.mark.privileged

# The kernel refuses a newline; everything else may stand in the name of a directory.
NAME = b"nsctl-test-\x1b[31m\xe2\x80\xaered\xff\t\\x41)\r.service"
SHOWN = "nsctl-test-\\x1b[31m\\xe2\\x80\\xaered\\xff\\x09A)\\x0d.service"


def systemds_hierarchy() -> str | None:
    """Where the hierarchy is mounted that systemd names services in: version 1's, else version 2."""
    found: dict[str, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.rstrip("\n").split(" ")
            kind, _, options = fields[fields.index("-") + 1 :][:3]
            if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
                found.setdefault(kind, fields[4])
    return found.get("cgroup", found.get("cgroup2"))


@pytest.fixture
def service(tmp_path: Any) -> Iterator[int]:
    """A process with a UTS namespace of its own, in a control group with such a name."""
    hierarchy = systemds_hierarchy()
    if hierarchy is None:
        pytest.skip("no hierarchy of control groups is mounted that services are named in")
    directory = os.fsencode(hierarchy) + b"/" + NAME
    try:
        os.mkdir(directory)
    except PermissionError as error:
        pytest.skip(f"control groups cannot be made here ({error.strerror})")
    try:
        process = subprocess.Popen(
            ("unshare", "-u", *WAIT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment(str(tmp_path)),
        )
        with process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline()
                with open(directory + b"/cgroup.procs", "w", encoding="ascii") as file:
                    file.write(str(process.pid))
                yield process.pid
            finally:
                process.communicate(timeout=30)
    finally:
        os.rmdir(directory)


def test_a_hostile_name_of_a_service_is_escaped(service: int, nsctl: Nsctl) -> None:
    for locale in ("C", "C.UTF-8"):
        for view in (("matrix",), ("ls",), ("tree", "--by", "owner"), ("show", str(service)), ()):
            done = nsctl(*view, env={"LC_ALL": locale}, check=0)
            assert all(line.isprintable() for line in done.stdout.split("\n"))
            assert "\u202e" not in done.stdout
            # systemd's own escapes are undone before ours are made.
            assert SHOWN in done.stdout
    found = json.loads(nsctl("matrix", "-J", check=0).stdout)
    (group,) = [group for group in found["groups"] if service in group["pids"]]
    assert group["whose"]["kind"] == "service"
    assert "\ufffd" in group["whose"]["name"]
    assert bytes.fromhex(group["whose"]["name_raw"]) == NAME.replace(b"\\x41", b"A")
    (card,) = json.loads(nsctl("show", "-J", str(service), check=0).stdout)["targets"]
    assert NAME in bytes.fromhex(card["cgroup_raw"])
