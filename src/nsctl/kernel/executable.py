"""Executables that nobody who meets their process can overwrite.

A process's executable is open to whoever shares its PID namespace, as /proc/PID/exe, and stays so
when it is started again from there ("#!/proc/self/exe", CVE-2019-5736). Hence the forms here: a
sealed memfd, a private copy without a name, a read-only clone of the mount. Sources:
memfd_create(2), fcntl(2) on seals, Documentation/userspace-api/mfd_noexec.rst, open_tree(2),
mount_setattr(2).
"""

from __future__ import annotations

import errno
import fcntl
import os

_MFD_CLOEXEC = 0x1
_MFD_ALLOW_SEALING = 0x2
_MFD_NOEXEC_SEAL = 0x8
_MFD_EXEC = 0x10

_F_SEAL_EXEC = 0x20
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
"""The seals that every sealed file has; the one against chmod where the kernel knows it."""

_MODE = 0o511  # executed by any user of any namespace, read by its owner alone

_PRIVATE_PLACES = ("/run", "/dev/shm", "/tmp", "/var/tmp")  # noqa: S108  (files without a name)


def _memfd(name: str, flags: int) -> int:
    """Make a memfd with the newest flags that the kernel knows (MFD_EXEC since 6.3)."""
    try:
        return os.memfd_create(name, _MFD_CLOEXEC | _MFD_ALLOW_SEALING | flags)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, _MFD_CLOEXEC | _MFD_ALLOW_SEALING)


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def data_memfd(name: str, content: bytes) -> int:
    """Put bytes into a memfd that cannot be executed, for a process to read from its start.

    Args:
        name: shown in /proc.
        content: what to read.

    Returns:
        A descriptor at offset 0, close-on-exec.

    Raises:
        OSError: the call's errno.
    """
    fd = _memfd(name, _MFD_NOEXEC_SEAL)
    try:
        _write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def sealed_copy(name: str, content: bytes) -> int:
    """Put an executable into a sealed memfd.

    Args:
        name: shown in /proc.
        content: the ELF file.

    Returns:
        A descriptor for execveat(2), close-on-exec: the file can be neither written, cut, grown
        nor made anything but executable, by nobody.

    Raises:
        OSError: EACCES where vm.memfd_noexec=2 refuses executable ones.
    """
    fd = _memfd(name, _MFD_EXEC)
    try:
        _write(fd, content)
        os.fchmod(fd, _MODE)
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS | _F_SEAL_EXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)  # F_SEAL_EXEC: since 6.3
    except BaseException:
        os.close(fd)
        raise
    return fd


def private_copy(content: bytes, places: tuple[str, ...] = _PRIVATE_PLACES) -> int:
    """Put an executable into a file that has no name and never had one.

    It may be overwritten once it no longer runs, but nobody else ever executes it.

    Args:
        content: the ELF file.
        places: directories to try, as long as their file system lets files be executed.

    Returns:
        A descriptor for execveat(2), read-only and close-on-exec.

    Raises:
        OSError: no place will do; the errno is the last one's.
    """
    refusal = OSError(errno.EACCES, os.strerror(errno.EACCES))
    for place in places:
        try:
            if not os.statvfs(place).f_flag & os.ST_NOEXEC:
                return _nameless(place, content)
        except OSError as error:
            refusal = error
    raise refusal


def _nameless(place: str, content: bytes) -> int:
    # With O_EXCL no link to it can be made later (open(2)).
    writable = os.open(place, os.O_TMPFILE | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o700)
    try:
        _write(writable, content)
        os.fchmod(writable, _MODE)
        # What is open for writing anywhere cannot be executed (ETXTBSY).
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writable)


def read_only_clone(path: str = "/proc/self/exe") -> int:
    """Clone the mount of an executable as one that is attached nowhere, read-only.

    While a descriptor of the clone is open, whoever can reach that one and make a user namespace
    can clear the flag: close it before anybody hostile runs; the process that was executed from it
    does not need it.

    Args:
        path: the executable; by default the caller's own.

    Returns:
        A descriptor for execveat(2), close-on-exec.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, EINVAL for a file of another mount namespace.
    """
    from nsctl.kernel.mount import (
        AT_FDCWD,
        MOUNT_ATTR_RDONLY,
        OPEN_TREE_CLONE,
        mount_setattr,
        open_tree,
    )

    fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
    try:
        mount_setattr(fd, attr_set=MOUNT_ATTR_RDONLY)
    except BaseException:
        os.close(fd)
        raise
    return fd


def own_executable() -> bytes:
    """Read the file that the calling process executes."""
    with open("/proc/self/exe", "rb") as file:
        return file.read()


def path_of_own(fd: int) -> str:
    """Name an open executable for posix_spawn(3), whose child has it until it is executed."""
    return f"/proc/self/fd/{fd}"


def path_of(fd: int) -> str:
    """Name an open executable of the caller, so that a child executes it without inheriting it.

    Args:
        fd: of the caller; the child may have closed it.

    Returns:
        A path that holds as long as the caller lives and keeps the descriptor.
    """
    # /proc may be of an outer PID namespace, in which the caller has another number.
    return f"/proc/{os.readlink('/proc/self')}/fd/{fd}"
