"""`nsctl net` as an ordinary user: one's own containers whole, of others what may be known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.users import Nsctl, OrdinaryUser

pytestmark = pytest.mark.userns

_CODE = """
import os, socket, sys
os.system("ip link set lo up 2>/dev/null; ip link add va type veth peer name vb 2>/dev/null")
tcp = socket.socket(); tcp.bind(("0.0.0.0", 8080)); tcp.listen()
abstract = socket.socket(socket.AF_UNIX); abstract.bind(b"\\0own"); abstract.listen()
print(os.stat("/proc/self/ns/net").st_ino, tcp.fileno(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def container(ordinary_user: OrdinaryUser) -> Iterator[tuple[int, int]]:
    """A network of the user's own: its inode, and the descriptor of a listening socket there."""
    process = ordinary_user.start(
        "unshare", "-Urn", sys.executable, "-I", "-c", _CODE, stdin=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the user's own network could not be made"
        ino, fd = map(int, line.split(b" "))
        yield ino, fd
    finally:
        process.communicate(timeout=30)


def tell(nsctl: Nsctl, user: OrdinaryUser, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(nsctl("net", "-J", *words, user=user, check=0).stdout)
    return found


def test_ones_own_network_is_read_through_its_user_namespace(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, container: tuple[int, int]
) -> None:
    ino, fd = container
    (row,) = tell(nsctl, ordinary_user, f"net:[{ino}]")["net"]
    assert row["source"] == "rtnetlink"
    links = {link["ifname"]: link for link in row["interfaces"]}
    assert "LOOPBACK" in links["lo"]["flags"]
    if "va" in links:  # where ip(8) is, and the kernel has veth
        assert links["va"]["peer"]["ifname"] == "vb"
    listening = {each["netid"]: each for each in row["sockets"] if each["listening"]}
    assert set(listening) == {"tcp", "u_str"}
    tcp = listening["tcp"]
    assert (tcp["local_port"], [owner["fd"] for owner in tcp["owners"]]) == (8080, [fd])
    # Root inside, the user outside: ids are the reader's.
    assert tcp["uid"] == ordinary_user.uid


def test_the_view_says_what_it_lacks(
    nsctl: Nsctl, ordinary_user: OrdinaryUser, container: tuple[int, int]
) -> None:
    shown = nsctl("net", user=ordinary_user, check=0).stdout
    assert f"net:[{container[0]}]" in shown
    assert "0.0.0.0:8080" in shown
    assert "Traceback" not in shown
