"""Executables that nobody can overwrite, made without privileges."""

from __future__ import annotations

import fcntl
import os
import subprocess

import pytest

from nsctl.kernel import executable

pytestmark = pytest.mark.unit

SCRIPT = b"#!/bin/sh\necho ran\n"


def program() -> bytes:
    with open("/bin/true", "rb") as file:
        return file.read()


def test_a_sealed_copy_can_be_executed_and_not_changed() -> None:
    fd = executable.sealed_copy("nsctl-test", program())
    try:
        assert subprocess.run([executable.path_of(fd)], check=False).returncode == 0
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        assert seals & executable.SEALS == executable.SEALS
        assert os.fstat(fd).st_mode & 0o7777 == 0o511
        assert not os.get_inheritable(fd)
        for act in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 0)):
            with pytest.raises(PermissionError):
                act()
    finally:
        os.close(fd)


def test_a_private_copy_has_no_name_and_no_writer() -> None:
    fd = executable.private_copy(program())
    try:
        assert subprocess.run([executable.path_of(fd)], check=False).returncode == 0
        assert os.fstat(fd).st_nlink == 0
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"x")
    finally:
        os.close(fd)


def test_a_private_copy_needs_a_place_where_files_can_be_executed() -> None:
    with pytest.raises(OSError, match="No such file"):
        executable.private_copy(program(), ("/nothing-there",))
    with pytest.raises(OSError, match="Permission denied"):
        executable.private_copy(program(), ())


def test_data_is_read_from_its_start_and_cannot_be_executed() -> None:
    fd = executable.data_memfd("nsctl-test", SCRIPT)
    try:
        assert os.read(fd, 100) == SCRIPT
        assert not os.get_inheritable(fd)
        if os.fstat(fd).st_mode & 0o111 == 0:  # MFD_NOEXEC_SEAL: since 6.3
            with pytest.raises(PermissionError):
                subprocess.run([executable.path_of(fd)], check=False)
    finally:
        os.close(fd)


def test_the_own_executable_is_the_one_that_runs() -> None:
    assert executable.own_executable().startswith(b"\x7fELF")
