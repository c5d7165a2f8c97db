"""Messages with descriptors, and a peek that takes nothing."""

from __future__ import annotations

import os
import socket

import pytest

from nsctl.kernel import scm

pytestmark = pytest.mark.unit


def test_a_peek_leaves_the_message_and_what_is_in_it() -> None:
    ours, theirs = scm.socketpair()
    sent = os.open("/dev/null", os.O_RDONLY)
    try:
        scm.sendmsg(ours, b"hello", (sent, sent))
        for flags in (scm.MSG_PEEK | scm.MSG_DONTWAIT, scm.MSG_PEEK, 0):
            message = scm.recvmsg(theirs, 100, flags)
            assert (message.data, len(message.fds), message.truncated) == (b"hello", 2, False)
            assert all(os.fstat(fd).st_ino == os.fstat(sent).st_ino for fd in message.fds)
            assert not any(os.get_inheritable(fd) for fd in message.fds)
            scm.close_all(message.fds)
        with pytest.raises(BlockingIOError):
            scm.recvmsg(theirs, 100, scm.MSG_DONTWAIT)
    finally:
        scm.close_all((ours, theirs, sent))


def test_a_message_that_does_not_fit_is_said_to_be_cut() -> None:
    ours, theirs = scm.socketpair()
    try:
        scm.sendmsg(ours, b"hello")
        message = scm.recvmsg(theirs, 2)
        assert (message.data, message.fds, message.truncated) == (b"he", (), True)
    finally:
        scm.close_all((ours, theirs))


def test_the_end_of_a_connection_is_empty_and_sending_into_it_raises_no_signal() -> None:
    ours, theirs = scm.socketpair()
    os.close(ours)
    try:
        assert scm.recvmsg(theirs, 10).data == b""
        with pytest.raises(BrokenPipeError):
            scm.sendmsg(theirs, b"x")
    finally:
        os.close(theirs)


def test_kind_and_peek_offset_of_a_socket_are_told() -> None:
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as inet:
        assert scm.is_unix(unix.fileno())
        assert not scm.is_unix(inet.fileno())
        assert scm.peek_offset(unix.fileno()) == -1
        unix.setsockopt(socket.SOL_SOCKET, 42, 3)
        assert scm.peek_offset(unix.fileno()) == 3
