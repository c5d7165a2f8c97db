"""Answers of rtnetlink about the ids of network namespaces."""

from __future__ import annotations

import contextlib
import errno
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import netlink, rtnetlink

pytestmark = pytest.mark.unit


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 1234) + body


def attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


OTHERS = st.lists(
    st.tuples(st.integers(4, 100), st.binary(max_size=12)).map(lambda pair: attribute(*pair)),
    max_size=4,
).map(b"".join)


@given(st.integers(-1, (1 << 31) - 1), OTHERS, OTHERS)
def test_the_id_is_found_among_other_attributes(number: int, before: bytes, after: bytes) -> None:
    found = attribute(rtnetlink.NETNSA_NSID, struct.pack("=i", number))
    answer = message(rtnetlink.RTM_NEWNSID, bytes(4) + before + found + after)
    assert rtnetlink.parse_nsid(answer) == number


@given(st.sampled_from([errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP]))
def test_a_refusal_raises_its_errno(number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        rtnetlink.parse_nsid(message(netlink.NLMSG_ERROR, struct.pack("=i", -number) + bytes(16)))
    assert caught.value.errno == number


def test_an_answer_cut_anywhere_is_refused() -> None:
    whole = message(
        rtnetlink.RTM_NEWNSID, bytes(4) + attribute(rtnetlink.NETNSA_NSID, bytes(4)) + bytes(8)
    )
    assert rtnetlink.parse_nsid(whole) == 0
    for end in range(len(whole)):
        with pytest.raises(ValueError, match="cut short"):
            rtnetlink.parse_nsid(whole[:end])


def test_the_id_is_not_read_from_beyond_the_messages_end() -> None:
    body = bytes(4) + attribute(rtnetlink.NETNSA_NSID, struct.pack("=i", 7))
    short = struct.pack("=IHHII", 20, rtnetlink.RTM_NEWNSID, 0, 0, 0) + body
    with pytest.raises(ValueError, match="without an id"):
        rtnetlink.parse_nsid(short)


KINDS = st.sampled_from([0, netlink.NLMSG_ERROR, 3, rtnetlink.RTM_NEWNSID]) | st.integers(0, 65535)


@given(st.binary(max_size=64) | st.builds(message, KINDS, st.binary(max_size=48)))
def test_arbitrary_answers_parse_or_are_refused(answer: bytes) -> None:
    with contextlib.suppress(ValueError, OSError):
        assert -(1 << 31) <= rtnetlink.parse_nsid(answer) < 1 << 31


def test_the_kernel_answers_about_the_callers_own_namespace() -> None:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        with rtnetlink.NetnsIds() as ids:
            assert ids.of(fd) >= -1
    finally:
        os.close(fd)


def test_the_kernel_refuses_what_is_no_network_namespace() -> None:
    fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
    try:
        with rtnetlink.NetnsIds() as ids, pytest.raises(OSError, match=r".+"):
            ids.of(fd)
    finally:
        os.close(fd)
