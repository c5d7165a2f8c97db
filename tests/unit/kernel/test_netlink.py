"""Netlink messages: what a dump is made of, and what is no message."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import netlink
from nsctl.kernel.netlink import Dump, Message, NetlinkError

pytestmark = pytest.mark.unit

_DONE = struct.pack("=i", 0)


def message(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    raw = struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 1234) + body
    return raw + bytes(-len(raw) % 4)


@contextlib.contextmanager
def kernel(*answers: bytes) -> Iterator[int]:
    """A socket whose other end has answered already, whatever will be asked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for answer in answers:
            theirs.send(answer)
        ours.settimeout(0)
        yield ours.fileno()


@given(st.lists(st.tuples(st.integers(16, 200), st.binary(max_size=40)), max_size=6))
def test_messages_come_out_as_they_went_in(sent: list[tuple[int, bytes]]) -> None:
    raw = b"".join(message(kind, body) for kind, body in sent)
    assert list(netlink.messages(raw)) == [Message(kind, 0, body) for kind, body in sent]


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=6))
def test_attributes_come_out_as_they_went_in(sent: list[tuple[int, bytes]]) -> None:
    raw = b"".join(netlink.pack_attribute(kind, value) for kind, value in sent)
    assert list(netlink.each_attribute(raw)) == sent
    assert netlink.attributes(raw) == dict(sent)


@given(st.binary(max_size=200))
def test_whatever_comes_is_messages_or_refused(raw: bytes) -> None:
    with contextlib.suppress(NetlinkError):
        for each in netlink.messages(raw):
            netlink.attributes(each.body)


@given(st.binary(max_size=12))
def test_the_end_of_a_dump_is_an_error_number_or_refused(body: bytes) -> None:
    try:
        number = netlink.check(Message(netlink.NLMSG_DONE, 0, body))
    except NetlinkError:
        return
    assert 0 <= number <= 4095


def test_a_dump_is_all_messages_up_to_its_end() -> None:
    parts = message(20, b"one.") + message(netlink.NLMSG_NOOP) + message(20, b"two.")
    with kernel(parts, message(21, b"more") + message(netlink.NLMSG_DONE, _DONE)) as fd:
        found = netlink.dump(fd, 18, b"")
    assert [each.body for each in found.messages] == [b"one.", b"two.", b"more"]
    assert not found.interrupted
    assert netlink.rows(found, 20, bytes.upper) == [b"ONE.", b"TWO."]


def test_an_interrupted_dump_is_asked_for_again() -> None:
    first = message(20, b"old.", netlink.NLM_F_DUMP_INTR) + message(netlink.NLMSG_DONE, _DONE)
    second = message(20, b"new.") + message(netlink.NLMSG_DONE, _DONE)
    with kernel(first, second) as fd:
        found = netlink.dump(fd, 18, b"")
    assert found == Dump([Message(20, 0, b"new.")], interrupted=False)


def test_a_table_that_never_stays_is_given_and_said_to_have_changed() -> None:
    moving = message(netlink.NLMSG_DONE, _DONE, netlink.NLM_F_DUMP_INTR)
    with kernel(*[message(20, b"row.") + moving] * 4) as fd:
        found = netlink.dump(fd, 18, b"")
    assert found == Dump([Message(20, 0, b"row.")], interrupted=True)


def test_a_dump_that_found_no_room_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bytes | OSError] = [
        OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)),
        message(20, b"row.") + message(netlink.NLMSG_DONE, _DONE),
    ]

    def receive(_fd: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(netlink, "receive", receive)
    with kernel() as fd:
        assert netlink.dump(fd, 18, b"").messages == [Message(20, 0, b"row.")]
    assert not answers


def test_a_refusal_is_the_kernels_own_error() -> None:
    refusal = message(netlink.NLMSG_ERROR, struct.pack("=i", -errno.ENOENT) + bytes(16))
    with kernel(refusal) as fd, pytest.raises(FileNotFoundError):
        netlink.dump(fd, 20, b"")


def test_an_error_at_the_end_of_a_dump_is_one_too() -> None:
    end = message(netlink.NLMSG_DONE, struct.pack("=i", -errno.EPERM))
    with kernel(message(20, b"row.") + end) as fd, pytest.raises(PermissionError):
        netlink.dump(fd, 18, b"")


@pytest.mark.parametrize("cut", [1, 15, 17, 19])
def test_a_message_that_is_cut_short_is_refused(cut: int) -> None:
    with kernel(message(20, b"body")[:cut]) as fd, pytest.raises(NetlinkError, match="cut short"):
        netlink.dump(fd, 18, b"")


def test_a_kernel_that_does_not_answer_is_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(netlink, "_DEADLINE_MS", 1)
    with kernel() as fd, pytest.raises(TimeoutError):
        netlink.dump(fd, 18, b"")


def test_a_socket_of_ones_own_tells_of_the_loopback_interface() -> None:
    fd = netlink.open_socket(netlink.NETLINK_ROUTE)
    try:
        assert not os.get_inheritable(fd)
        found = netlink.dump(fd, 18, struct.pack("=BxHiII", 0, 0, 0, 0, 0))
    finally:
        os.close(fd)
    assert any(b"lo\0" in each.body for each in found.messages)
