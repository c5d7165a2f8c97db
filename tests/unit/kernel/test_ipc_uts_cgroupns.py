"""Kernel text of IPC objects, names of a UTS namespace, roots of cgroup namespaces."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import mqueue, sysvipc, uts
from nsctl.kernel.cgroupns import derive
from nsctl.model.contents import PosixQueue
from support.examples import Mutations

pytestmark = pytest.mark.unit

SHM = (
    b"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid "
    b"     atime      dtime      ctime                   rss                  swap\n"
    b" 908066076          2   600                  4096  4321  4399      3  1000  1001     0     0 "
    b"1700000000          0 1700000001                  4096                     0\n"
    b"-889275714          7  1644            4294967296     0     0      0     0     0     0     0 "
    b"         0          0 1700000002                     0                     0\n"
)
SEM = (
    b"       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
    b"         0          1   666          9  1000  1000  1000  1000          0 1700000000\n"
)
MSG = (
    b"       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      "
    b"stime      rtime      ctime\n"
    b"        17          3   622         100          5    12     0     1     2     3     4 "
    b"1700000000          0 1700000001\n"
)


def test_shared_memory_is_understood_with_its_key_as_unsigned_bits() -> None:
    first, second = sysvipc.parse_shm(SHM)
    assert (first.key, first.id, first.size, first.attaches) == (908066076, 2, 4096, 3)
    assert (first.creator, first.last, first.resident) == (4321, 4399, 4096)
    assert (first.rights.mode, first.rights.uid, first.rights.gid) == (0o600, 1000, 1001)
    assert (second.key, second.rights.mode) == (0xCAFEBABE, 0o1644)
    assert second.size == 4 << 30


def test_semaphores_and_messages_are_understood() -> None:
    (sem,) = sysvipc.parse_sem(SEM)
    assert (sem.id, sem.members, sem.rights.mode, sem.changed) == (1, 9, 0o666, 1700000000)
    (msg,) = sysvipc.parse_msg(MSG)
    assert (msg.id, msg.size, msg.messages, msg.sender) == (3, 100, 5, 12)
    assert (msg.rights.cuid, msg.rights.cgid, msg.sent) == (3, 4, 1700000000)


def test_a_table_of_another_form_is_refused_and_an_empty_one_is_empty() -> None:
    assert sysvipc.parse_shm(b"") == ()
    assert sysvipc.parse_shm(SHM.split(b"\n", maxsplit=1)[0] + b"\n") == ()
    with pytest.raises(ValueError, match="no column"):
        sysvipc.parse_sem(MSG)
    with pytest.raises(ValueError, match="not a number for each heading"):
        sysvipc.parse_shm(SHM + b" 1 2\n")


def test_damaged_tables_are_understood_or_refused_with_a_sentence(mutations: Mutations) -> None:
    for raw in mutations([SHM, SEM, MSG]):
        for parse in (sysvipc.parse_shm, sysvipc.parse_sem, sysvipc.parse_msg):
            with contextlib.suppress(ValueError):
                parse(raw)
        sysvipc.parse_attached(raw, frozenset())


MAPS = (
    b"7f0000000000-7f0000001000 rw-s 00000000 00:01 2                          /SYSV361f961c (deleted)\n"
    b"7f0000001000-7f0000002000 r--s 00000000 00:01 2                          /SYSV361f961c (deleted)\n"
    b"7f0000002000-7f0000003000 rw-s 00000000 00:01 9                          /SYSV00000000 (deleted)\n"
    b"7f0000003000-7f0000004000 rw-s 00000000 08:01 2                          /SYSV00000000 (deleted)\n"
    b"7f0000004000-7f0000005000 rw-s 00000000 00:01 5                          /memfd:SYSV00000000 (deleted)\n"
    b"7f0000005000-7f0000006000 rw-p 00000000 00:00 0 \n"
)


def test_attached_segments_are_those_on_the_kernels_own_mount_by_their_inode() -> None:
    found = sysvipc.parse_attached(MAPS, frozenset({os.makedev(0, 1)}))
    assert found == {2: 2, 9: 1}


def test_the_mount_of_shared_memory_is_learnt_from_a_memory_file() -> None:
    fd = os.memfd_create("x")
    try:
        assert os.fstat(fd).st_dev in sysvipc.devices()
    finally:
        os.close(fd)


counts = st.one_of(st.none(), st.integers(0, 2**31))
queues = st.builds(
    lambda name, mode, uid, gid, known: PosixQueue(name, mode, uid, gid, *known),
    st.binary(min_size=1, max_size=255),
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.one_of(st.just((None, None, None)), st.tuples(*[st.integers(0, 2**31)] * 3)),
)


@given(st.lists(queues))
def test_queues_are_told_to_another_process_whatever_they_are_called(
    rows: list[PosixQueue],
) -> None:
    assert mqueue.decode(b"".join(map(mqueue.encode, rows))) == rows


def test_the_names_of_the_uts_namespace_are_those_that_uname_says() -> None:
    names = uts.names()
    assert os.fsdecode(names.host) == os.uname().nodename
    assert names.domain


component = st.binary(min_size=1, max_size=4).filter(
    lambda raw: b"/" not in raw and b"\n" not in raw and b"\0" not in raw and raw != b".."
)
path = st.lists(component, max_size=4).map(lambda parts: b"/" + b"/".join(parts))


@given(path, path)
def test_the_root_is_what_both_paths_of_one_group_differ_by(root: bytes, inside: bytes) -> None:
    outside = root.rstrip(b"/") + inside
    found = derive(outside if outside == b"/" else outside.rstrip(b"/") or b"/", inside)
    assert found == root


def test_a_group_outside_of_either_namespace_tells_nothing() -> None:
    assert derive(b"/a/b", b"/../b") is None
    assert derive(b"/../x", b"/") is None
    assert derive(b"/a/b", b"/c") is None
    assert derive(b"/ab", b"/b") is None
