"""The one door to system calls."""

from __future__ import annotations

import errno
import os

import pytest

from nsctl.kernel.libc import syscall

pytestmark = pytest.mark.unit


def test_a_call_returns_what_the_kernel_returned() -> None:
    pidfd = syscall("pidfd_open", os.getpid(), 0)
    try:
        assert os.readlink(f"/proc/self/fd/{pidfd}").startswith("anon_inode:[pidfd")
    finally:
        os.close(pidfd)


def test_a_refusal_carries_its_errno_and_the_kernels_words() -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        syscall("pidfd_open", -1, 0)
    assert caught.value.errno == errno.EINVAL


def test_a_name_that_no_table_has_is_a_mistake_and_not_a_refusal() -> None:
    with pytest.raises(KeyError):
        syscall("pidfd_opne", 1, 0)


def test_every_kind_of_argument_reaches_the_kernel() -> None:
    # openat2(-100, path, how, size): no descriptor comes of a size of 0.
    with pytest.raises(OSError, match="Invalid argument"):
        syscall("openat2", -100, b"/", None, 0)
