"""Saved networks come back as they were, and a hostile file makes no view of them fail."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.archive import snapshots
from nsctl.cli.main import main
from nsctl.errors import ArchiveError
from nsctl.model.namespace import NamespaceType
from nsctl.model.network import (
    Address,
    Interface,
    Neighbour,
    Network,
    NextHop,
    Route,
    Socket,
    SocketOwner,
)
from nsctl.model.part import Part, PartState
from nsctl.relate.network import NEEDS
from unit.factories import HOST, container, ns, snapshot, task

pytestmark = pytest.mark.unit

NET = HOST[NamespaceType.NET]
WEB = 501
OWNERS = (SocketOwner(20, 6), SocketOwner(20, 7, 21, "ioring"), SocketOwner(10, 3))
SOCKETS = (
    Socket("inet6", "tcp", "stream", "LISTEN", b"::", 80, b"::", 0, 3, 1, 5, 900, 0, 7, v6_only=False, owners=OWNERS),
    Socket("inet", "tcp", "stream", "TIME-WAIT", b"127.0.0.1", 80, b"127.0.0.1", 5),
    Socket("unix", "unix", "stream", "LISTEN", b"\0a\x1b[31m\xff", -1, b"", 8, ino=901, owners=OWNERS[:1]),
    Socket("packet", "packet", "raw", "UNCONN", b"", 3, device=3, ino=902),
    Socket("netlink", "netlink", "raw", "UNCONN", b"route", 0, ino=903),
    Socket("vsock", "vsock", "stream", "LISTEN", b"*", 99, ino=904),
)  # fmt: skip
WHOLE = snapshot(
    [task(10, comm=b"dockerd"), task(20, ns(net=WEB, mnt=77), comm=b"nginx")],
    containers=[container("web", pid=20, start=200)],
)._replace(
    parts=dict.fromkeys(Part, PartState.READ),
    networks={
        NET: Network(
            (
                Interface(2, b"docker0", "bridge", flags=("UP",)),
                Interface(5, b"veth\x1b\xff", "veth", master=2, link=3, link_nsid=0),
                Interface(6, b"tap0", "tun", users=OWNERS[2:]),
            ),
            (Route("inet", "default", "unicast", "main", "boot", "", hops=(NextHop("10.0.0.1", 2),)),),
            nsids={0: WEB},
        ),
        WEB: Network(
            (
                Interface(
                    3, b"eth0", "veth", "", "UP", ("UP", "LOWER_UP"), 1500, "ether", "02:00", "ff:ff",
                    (b"other",), 0, 5, 1,
                    (Address("inet", "10.0.0.2", 32, "global", "10.0.0.3", "", b"eth0", ("dynamic",)),),
                ),
            ),
            (
                Route("inet6", "::/0", "blackhole", "1000", "4", "", "::1", "::2", 5, 1,
                      (NextHop("", 3, 2, ("onlink",)), NextHop("fe80::1", 9)), (("mtu", 5),), "low", 4),
            ),
            (Neighbour("inet", "10.0.0.3", 3, "02:01", ("STALE",), router=True),),
            {1: NET},
            "proc",
        ),
    },
    sockets={NET: SOCKETS[3:], WEB: SOCKETS},
    socket_cgroups={7: "/docker/\x1b"},
)  # fmt: skip
DOCUMENT = snapshots.encode(WHOLE)
VIEWS = (
    ["net"],
    ["net", "-a"],
    ["net", "-s", "-a"],
    ["net", "-J"],
    ["net", "web", "-a", "-o", "+FDS,CGROUP,DEV,USER"],
)


def test_networks_come_back_as_they_were_saved() -> None:
    back = snapshots.decode(DOCUMENT, "x")
    assert (back.networks, back.sockets) == (WHOLE.networks, WHOLE.sockets)
    assert set(NEEDS) <= back.parts.keys()


_RAW = st.binary(max_size=8)
_NUMBER = st.integers(0, 1 << 40)


def _socket(**fields: Any) -> Socket:
    return Socket(protocol="tcp", type="stream", state="ESTAB", **fields)


_OWNERS = st.tuples(_NUMBER, _NUMBER, _NUMBER).map(lambda numbers: SocketOwner(*numbers))
_SOCKETS = st.fixed_dictionaries(
    {
        "family": st.sampled_from(["inet", "unix"]),
        "local": _RAW,
        "local_port": st.integers(-1, 1 << 32),
        "peer": _RAW,
        "ino": _NUMBER,
        "uid": st.none() | _NUMBER,
        "cgroup": st.integers(0, (1 << 64) - 1),
        "v6_only": st.none() | st.booleans(),
        "owners": st.lists(_OWNERS, max_size=3).map(tuple),
    }
).map(lambda fields: _socket(**fields))


@given(st.lists(_SOCKETS, max_size=4))
def test_any_sockets_come_back_as_they_were_saved(sockets: list[Socket]) -> None:
    made = WHOLE._replace(sockets={WEB: tuple(sockets)})
    assert snapshots.decode(snapshots.encode(made), "x").sockets == made.sockets


def shown(data: bytes, view: list[str]) -> tuple[int, str, str]:
    """Run a view of a file; its exit status and what it printed."""
    fd = os.memfd_create("snapshot")
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            status = main([*view, "--from", f"/proc/self/fd/{fd}"])
    finally:
        os.close(fd)
    texts = []
    for stream in streams:
        stream.flush()
        buffer = stream.buffer
        assert isinstance(buffer, io.BytesIO)
        texts.append(buffer.getvalue().decode())
    return status, texts[0], texts[1]


def test_every_view_shows_a_whole_file() -> None:
    for view in VIEWS:
        status, output, errors = shown(DOCUMENT, view)
        assert status == 0, (view, errors)
        assert "\x1b" not in output
        assert "eth0" in output or "nginx[20]" in output, view


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value of a document stands."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


OTHERS: tuple[Any, ...] = (None, -1, 501, 1 << 63, 1e308, "\x1b[2J\n", "inet", [])


def test_no_view_of_a_hostile_file_ends_in_a_fault_or_writes_to_the_terminal() -> None:
    document = json.loads(DOCUMENT)
    fields = type(WHOLE)._fields
    views = itertools.cycle(VIEWS)
    for field in ("networks", "sockets", "socket_cgroups"):
        index = fields.index(field)
        for path in places(document["snapshot"][index]):
            for value in OTHERS:
                changed = copy.deepcopy(document)
                here: Any = changed["snapshot"]
                whole = (index, *path)
                for key in whole[:-1]:
                    here = here[key]
                here[whole[-1]] = value
                data = json.dumps(changed).encode()
                with contextlib.suppress(ArchiveError):
                    snapshots.decode(data, "x")
                    status, output, errors = shown(data, next(views))
                    assert "fault" not in errors, (whole, value, errors)
                    assert status in {0, 1, 2}, (whole, value)
                    assert "\x1b" not in output + errors, (whole, value)
