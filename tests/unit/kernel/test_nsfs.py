"""Namespaces answer questions about themselves, and nothing else is taken for one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nsctl.kernel import nsfs
from nsctl.kernel.procfs import parse_ns_link
from nsctl.model.namespace import TYPES, NamespaceType

pytestmark = pytest.mark.unit


@contextmanager
def opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", TYPES)
def test_each_of_the_callers_namespaces_says_its_type_and_inode(kind: NamespaceType) -> None:
    path = f"/proc/self/ns/{kind}"
    if not os.path.exists(path):
        pytest.skip(f"this kernel has no {kind.word} namespaces")
    with opened(path) as fd:
        assert nsfs.get_nstype(fd) is kind
        assert nsfs.inode(fd) == parse_ns_link(os.readlink(path))


@pytest.mark.parametrize("path", ["/dev/null", "/proc/self/status", "/proc/self"])
def test_what_is_no_namespace_is_refused_with_enotty(path: str) -> None:
    with opened(path) as fd, pytest.raises(OSError, match=r".+") as caught:
        nsfs.get_nstype(fd)
    assert caught.value.errno == errno.ENOTTY


def test_the_id_of_a_namespace_is_the_same_through_each_descriptor() -> None:
    with opened("/proc/self/ns/mnt") as one, opened("/proc/self/ns/mnt") as other:
        assert nsfs.get_id(one) == nsfs.get_id(other)


def test_the_id_of_what_is_no_namespace_is_unknown() -> None:
    with opened("/dev/null") as fd:
        assert nsfs.get_id(fd) is None


def test_the_owner_of_a_namespace_is_a_user_namespace_or_out_of_scope() -> None:
    with opened("/proc/self/ns/uts") as fd:
        try:
            owner = nsfs.get_userns(fd)
        except OSError as error:
            assert error.errno == errno.EPERM  # noqa: PT017  (either outcome is right)
            return
    try:
        assert nsfs.get_nstype(owner) is NamespaceType.USER
        assert nsfs.get_owner_uid(owner) >= 0
    finally:
        os.close(owner)


def test_only_namespaces_that_nest_have_a_parent() -> None:
    with opened("/proc/self/ns/net") as fd, pytest.raises(OSError, match=r".+") as caught:
        nsfs.get_parent(fd)
    assert caught.value.errno == errno.EINVAL
