"""What a file is without asking its file system, and whether threads share a table."""

from __future__ import annotations

import os
import socket
import stat
import threading

import pytest

from nsctl.kernel import kcmp, pidfd
from nsctl.kernel.statx import file_kind

pytestmark = pytest.mark.unit


def test_a_file_is_told_from_what_the_kernel_has_in_memory() -> None:
    null = os.open("/dev/null", os.O_PATH)
    namespace = os.open("/proc/self/ns/uts", os.O_RDONLY)
    try:
        kind = file_kind(null)
        assert stat.S_ISCHR(kind.mode)
        assert kind.rdev == (1, 3)
        status = os.fstat(namespace)
        assert (file_kind(namespace).ino, file_kind(namespace).dev) == (
            status.st_ino,
            status.st_dev,
        )
        with socket.socket(socket.AF_UNIX) as sock:
            assert stat.S_ISSOCK(file_kind(sock.fileno()).mode)
            assert file_kind(sock.fileno()).ino == os.fstat(sock.fileno()).st_ino
    finally:
        os.close(null)
        os.close(namespace)


def test_threads_share_their_table_and_processes_do_not() -> None:
    ended, started = threading.Event(), threading.Event()
    tids: list[int] = []

    def wait() -> None:
        tids.append(threading.get_native_id())
        started.set()
        ended.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    child = os.posix_spawn("/bin/sh", ["sh", "-c", "read line"], {})
    try:
        started.wait()
        assert kcmp.files_order(os.getpid(), tids[0]) == 0
        order = kcmp.files_order(os.getpid(), child)
        assert order in {-1, 1}
        assert kcmp.files_order(child, os.getpid()) == -order
    except OSError as error:
        pytest.skip(f"needs kcmp: {error.strerror}")
    finally:
        ended.set()
        thread.join()
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_descriptor_of_the_own_process_is_duplicated() -> None:
    own = os.pidfd_open(os.getpid())
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        fd = pidfd.pidfd_getfd(own, namespace)
        try:
            assert os.fstat(fd).st_ino == os.fstat(namespace).st_ino
            assert not os.get_inheritable(fd)
        finally:
            os.close(fd)
        try:
            fd = pidfd.open_pid_for_children(own)
        except OSError as error:
            pytest.skip(f"needs PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE: {error.strerror}")
        try:
            assert os.fstat(fd).st_ino == os.stat("/proc/self/ns/pid_for_children").st_ino
        finally:
            os.close(fd)
    finally:
        os.close(own)
        os.close(namespace)
