"""What /proc/PID tells of a process's confinement besides its credentials.

Sources: proc_pid_status(5), proc_pid_limits(5), proc_pid_attr(5), proc_pid_syscall(5).
"""

from __future__ import annotations

import os

from nsctl.kernel.procfs import read_file
from nsctl.model.record import NamedTuple

LIMITS: tuple[bytes, ...] = (
    b"Max cpu time",
    b"Max file size",
    b"Max data size",
    b"Max stack size",
    b"Max core file size",
    b"Max resident set",
    b"Max processes",
    b"Max open files",
    b"Max locked memory",
    b"Max address space",
    b"Max file locks",
    b"Max pending signals",
    b"Max msgqueue size",
    b"Max nice priority",
    b"Max realtime priority",
    b"Max realtime timeout",
)
"""The names of the kernel's table, each at the place of its RLIMIT_* number."""

UNLIMITED = 0xFFFFFFFFFFFFFFFF

_NAME_WIDTH = 26


class Extra(NamedTuple):
    """Lines of status that few need.

    Attributes:
        state: one letter.
        tracer: PID of who traces it, 0 for nobody.
        umask: its umask.
        threads: how many it has.
        mitigated: a filter forced the processor's mitigations on it.
    """

    state: str
    tracer: int
    umask: int
    threads: int
    mitigated: bool


def parse_extra(raw: bytes) -> Extra:
    """Parse those lines of /proc/PID/status.

    Args:
        raw: the whole file.

    Returns:
        What they say; a line that the kernel lacks is as if it said nothing.

    Raises:
        ValueError: a line of another form.
    """
    lines: dict[bytes, bytes] = {}
    for line in raw.split(b"\n"):
        key, _, value = line.partition(b":\t")
        lines.setdefault(key, value)
    return Extra(
        state=lines.get(b"State", b"")[:1].decode("ascii", "replace"),
        tracer=int(lines.get(b"TracerPid", b"0")),
        umask=int(lines.get(b"Umask", b"0022"), 8),
        threads=int(lines.get(b"Threads", b"1")),
        mitigated=b"force" in lines.get(b"Speculation_Store_Bypass", b""),
    )


def parse_limits(raw: bytes) -> dict[int, tuple[int, int]]:
    """Parse /proc/PID/limits.

    Args:
        raw: the whole file: a line of names, then one line a resource.

    Returns:
        Soft and hard limit by RLIMIT_* number; `UNLIMITED` for none.

    Raises:
        ValueError: a value is neither a number nor "unlimited".
    """
    found = {}
    for line in raw.split(b"\n")[1:]:
        name = line[:_NAME_WIDTH].rstrip(b" ")
        if name in LIMITS:
            values = [word for word in line[_NAME_WIDTH:].split(b" ") if word][:2]
            if len(values) != 2:
                raise ValueError("a line of limits has not two values")
            found[LIMITS.index(name)] = (_value(values[0]), _value(values[1]))
    return found


def _value(word: bytes) -> int:
    return UNLIMITED if word == b"unlimited" else int(word)


def parse_syscall(raw: bytes) -> int | None:
    """Parse /proc/PID/syscall.

    Args:
        raw: the file's line.

    Returns:
        Number of the call that the process waits in; -1 where it waits in none; None for a
        process that runs.

    Raises:
        ValueError: a line of another form.
    """
    word = raw.split(b" ")[0].removesuffix(b"\n")
    return None if word == b"running" else int(word)


def read_label(dir_fd: int) -> bytes:
    """Read the security label of a process (attr/current).

    Args:
        dir_fd: descriptor of /proc/PID.

    Returns:
        The label as its module writes it, b"" where no module gives one.

    Raises:
        OSError: anything but that.
    """
    try:
        return read_file("attr/current", dir_fd).rstrip(b"\n\0")
    except OSError as error:
        import errno

        # EINVAL: no module has labels; ENOENT: the kernel has no attr at all.
        if error.errno in {errno.EINVAL, errno.ENOENT}:
            return b""
        raise


def thread_ids(dir_fd: int) -> list[int]:
    """List the threads of a process.

    Args:
        dir_fd: descriptor of /proc/PID.
    """
    fd = os.open("task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return sorted(int(name) for name in os.listdir(fd))
    finally:
        os.close(fd)
