"""The two ends of a socket in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.network import Socket
from nsctl.report.endpoints import local_text, peer_text, unix_text
from nsctl.report.escape import seen

pytestmark = pytest.mark.unit


def inet6(local: bytes, port: int, *, only: bool | None = None) -> Socket:
    return Socket("inet6", "tcp", "stream", "LISTEN", local, port, b"::", 0, v6_only=only)


@pytest.mark.parametrize(
    ("socket", "local", "peer"),
    [
        (Socket("inet", "tcp", "stream", "ESTAB", b"10.0.0.1", 80, b"10.0.0.2", 5), "10.0.0.1:80", "10.0.0.2:5"),
        (Socket("inet", "udp", "dgram", "UNCONN", b"0.0.0.0", 53, b"0.0.0.0", 0), "0.0.0.0:53", "-"),
        (inet6(b"::", 80, only=False), "*:80", "-"),
        (inet6(b"::", 80, only=True), "[::]:80", "-"),
        (Socket("inet", "raw", "raw", "UNCONN", b"0.0.0.0", 1), "0.0.0.0:icmp", "-"),
        (Socket("unix", "unix", "stream", "ESTAB", b"", -1, peer_port=7), "-", "#7"),
        (Socket("unix", "unix", "stream", "ESTAB", b"/a", -1, peer=b"\0b"), "/a", "@b"),
        (Socket("packet", "packet", "raw", "UNCONN", b"", 0x0800), "ip:*", "-"),
        (Socket("packet", "packet", "raw", "UNCONN", b"", 0x1234), "0x1234:*", "-"),
        (Socket("netlink", "netlink", "raw", "UNCONN", b"route", 0), "route:kernel", "-"),
        (Socket("vsock", "vsock", "stream", "LISTEN", b"*", 99, b"", -1), "*:99", "-"),
        (Socket("vsock", "vsock", "stream", "ESTAB", b"3", 99, b"2", 5), "3:99", "2:5"),
        (Socket("xdp", "xdp", "raw", "UNCONN", b"", 2), "*:q2", "-"),
        (Socket("alg", "alg", "seqpacket", "UNCONN", b"", -1), "*:*", "-"),
    ],
)  # fmt: skip
def test_an_end_is_written_as_ss_writes_it(socket: Socket, local: str, peer: str) -> None:
    assert (local_text(socket), peer_text(socket)) == (local, peer)


def test_a_scoped_address_names_its_interface() -> None:
    assert local_text(inet6(b"fe80::1", 22), b"eth\x1b") == "[fe80::1]%eth\\x1b:22"


@given(st.binary(max_size=110))
def test_a_unix_name_can_be_seen_and_an_abstract_one_told(name: bytes) -> None:
    text = unix_text(name)
    assert seen(text)
    assert text.startswith("@") == name.startswith(b"\0")
