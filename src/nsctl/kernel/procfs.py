"""/proc, read through directory descriptors: which files there are and how each line parses.

The root is a parameter, so that every parser is tested on files. A directory descriptor of
/proc/PID stays bound to that one process: when its number is used again, reads fail instead of
answering for another (proc(5)). Kernel text is split on blanks and newlines only, because
Python's own splitting also cuts at bytes that a hostile name may contain.

Sources: proc_pid_stat(5), proc_pid_status(5), proc_pid_cgroup(5), user_namespaces(7),
time_namespaces(7), namespaces(7).
"""

from __future__ import annotations

import os

from nsctl.model.namespace import ABSENT, NS_LINKS, UNREADABLE, IdExtent, TimeOffsets
from nsctl.model.record import NamedTuple
from nsctl.model.task import CapabilitySets, Credentials

CLOCK_TICKS = 100
"""USER_HZ: the unit of every time in /proc (time(7))."""

PF_KTHREAD = 0x00200000
COMMAND_LIMIT = 8192
"""Bytes of a command line that are read; a process may make its own as long as it likes."""

_READ_SIZE = 4096
_MORE_SIZE = 65536
_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC
_NS_PATHS = tuple(f"ns/{link}" for link in NS_LINKS)
# 64-bit nanoseconds in clock ticks, rounded up: where the counting of a start time wraps.
_START_WRAP = -(-(1 << 64) * CLOCK_TICKS // 1_000_000_000)


class ProcStat(NamedTuple):
    """What proc_pid_stat(5) says, as far as it is used.

    Attributes:
        pid: process id.
        comm: command name, raw bytes.
        state: one letter.
        ppid: parent's process id, 0 where it has none here.
        kernel: a kernel thread.
        threads: number of threads; 1 for a zombie, more for a zombie whose threads live on.
        start: clock ticks since boot as the reader's time namespace shows them.
    """

    pid: int
    comm: bytes
    state: str
    ppid: int
    kernel: bool
    threads: int
    start: int


class ProcStatus(NamedTuple):
    """What proc_pid_status(5) says, as far as it is used."""

    nspids: tuple[int, ...]
    credentials: Credentials


def parse_stat(raw: bytes) -> ProcStat:
    """Parse /proc/PID/stat.

    Args:
        raw: the file's one line.

    Returns:
        Its fields. A start before the reader's time namespace began to count is negative: the
        kernel prints it as an unsigned number that has wrapped.

    Raises:
        ValueError: the line is not whole.
    """
    opening, closing = raw.find(b"("), raw.rfind(b")")
    if opening < 0 or closing < opening:
        raise ValueError("no command name in stat")
    # Nothing behind the start is used, and there is as much again.
    fields = raw[closing + 2 :].split(b" ", 20)
    if len(fields) < 20:
        raise ValueError("stat line cut short")
    if len(fields[0]) != 1:
        raise ValueError("stat has no state")
    start = int(fields[19])
    return ProcStat(
        int(raw[:opening]),
        raw[opening + 1 : closing],
        fields[0].decode("ascii"),
        int(fields[1]),
        int(fields[6]) & PF_KTHREAD != 0,
        int(fields[17]),
        start - _START_WRAP if start > _START_WRAP // 2 else start,
    )


def parse_status(raw: bytes) -> ProcStatus:
    """Parse /proc/PID/status.

    Args:
        raw: the whole file. The kernel escapes newlines in its Name line, so that a name
            cannot pose as another line.

    Returns:
        Process ids in nested PID namespaces, and credentials in the reader's numbers.

    Raises:
        ValueError: a line that must be there is missing or is not what it should be.
    """
    lines: dict[bytes, bytes] = {}
    for line in raw.split(b"\n"):
        key, colon, value = line.partition(b":\t")
        if colon and key not in lines:
            lines[key] = value
    try:
        uids, gids = _integers(lines[b"Uid"]), _integers(lines[b"Gid"])
        caps = CapabilitySets(
            inheritable=int(lines[b"CapInh"], 16),
            permitted=int(lines[b"CapPrm"], 16),
            effective=int(lines[b"CapEff"], 16),
            bounding=int(lines[b"CapBnd"], 16),
            ambient=int(lines.get(b"CapAmb", b"0"), 16),
        )
    except KeyError as error:
        missing = error.args[0].decode("ascii")
        raise ValueError(f"status has no line {missing}") from None
    if len(uids) != 4 or len(gids) != 4:
        raise ValueError("status has not four user and group ids")
    nnp, seccomp = lines.get(b"NoNewPrivs"), lines.get(b"Seccomp")
    filters = lines.get(b"Seccomp_filters")
    return ProcStatus(
        nspids=_integers(lines.get(b"NSpid", b"")),
        credentials=Credentials(
            uids=(uids[0], uids[1], uids[2], uids[3]),
            gids=(gids[0], gids[1], gids[2], gids[3]),
            groups=_integers(lines.get(b"Groups", b"")),
            caps=caps,
            no_new_privs=None if nnp is None else int(nnp) != 0,
            seccomp=None if seccomp is None else int(seccomp),
            seccomp_filters=None if filters is None else int(filters),
        ),
    )


def _integers(value: bytes) -> tuple[int, ...]:
    return tuple(int(word) for word in value.replace(b"\t", b" ").split(b" ") if word)


def parse_id_map(raw: bytes) -> tuple[IdExtent, ...]:
    """Parse a uid_map or gid_map (user_namespaces(7)).

    Args:
        raw: the whole file, up to 340 lines of three numbers.

    Returns:
        Its extents, ``outside`` in the numbers of whoever opened the file.

    Raises:
        ValueError: a line that has not three numbers.
    """
    extents = []
    for line in raw.split(b"\n"):
        if not line:
            continue
        numbers = _integers(line)
        if len(numbers) != 3:
            raise ValueError("a line of an id map has not three numbers")
        extents.append(IdExtent(*numbers))
    return tuple(extents)


def parse_timens_offsets(raw: bytes) -> TimeOffsets:
    """Parse /proc/PID/timens_offsets (time_namespaces(7)).

    Args:
        raw: the whole file: clock, seconds (may be negative) and nanoseconds a line.

    Returns:
        The two offsets in nanoseconds.

    Raises:
        ValueError: a line of another form, or none: the file of a zombie is empty.
    """
    offsets: dict[bytes, int] = {}
    for line in raw.split(b"\n"):
        if not line:
            continue
        words = [word for word in line.split(b" ") if word]
        if len(words) != 3 or words[0] not in {b"monotonic", b"boottime"}:
            raise ValueError("a line of timens_offsets has not a clock and two numbers")
        offsets[words[0]] = int(words[1]) * 1_000_000_000 + int(words[2])
    if len(offsets) != 2:
        raise ValueError("timens_offsets has not two clocks")
    return TimeOffsets(offsets[b"monotonic"], offsets[b"boottime"])


def parse_ns_link(link: str) -> int:
    """Parse the text of a link below /proc/PID/ns, "net:[4026531840]".

    Returns:
        The inode.

    Raises:
        ValueError: a text of another form.
    """
    opening = link.find(":[")
    if opening < 0 or not link.endswith("]"):
        raise ValueError(f"not the link of a namespace: {link!r}")
    return int(link[opening + 2 : -1])


def parse_fdinfo_mount(raw: bytes) -> int:
    """Parse the mount id out of /proc/PID/fdinfo/FD (proc_pid_fdinfo(5)).

    Returns:
        The mount that the descriptor was opened through.

    Raises:
        ValueError: there is no such line.
    """
    for line in raw.split(b"\n"):
        if line.startswith(b"mnt_id:"):
            return int(line[7:])
    raise ValueError("fdinfo has no mnt_id")


def parse_fdinfo_ino(raw: bytes) -> int:
    """Parse the inode number out of /proc/PID/fdinfo/FD (proc_pid_fdinfo(5), since 5.14).

    Returns:
        The number as the kernel has it in memory; 0 where it does not say.

    Raises:
        ValueError: the line holds no number.
    """
    for line in raw.split(b"\n"):
        if line.startswith(b"ino:"):
            return int(line[4:])
    return 0


class ProcFs:
    """One mounted procfs.

    Args:
        root: where it is mounted, "/proc" unless another host's is looked at.
    """

    def __init__(self, root: str = "/proc") -> None:
        self.root = root

    def pids(self) -> list[int]:
        """All process ids, ascending.

        Raises:
            OSError: the root cannot be listed.
        """
        return sorted(int(name) for name in os.listdir(self.root) if name.isdecimal())

    def numbered(self) -> dict[int, int]:
        """All process ids, ascending, and the inode of each directory.

        The inode is another one once the number is another process's; it may also become another
        one by itself.

        Raises:
            OSError: the root cannot be listed.
        """
        with os.scandir(self.root) as entries:
            found = [(int(one.name), one.inode()) for one in entries if one.name.isdecimal()]
        return dict(sorted(found))

    def open(self, pid: int | str) -> int:
        """Open /proc/PID as a directory.

        Returns:
            A descriptor which the caller closes.

        Raises:
            OSError: ENOENT when there is no such process.
        """
        return os.open(f"{self.root}/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def read(self, name: str, limit: int = 1 << 20) -> bytes:
        """Read a file directly below the root ("uptime", "sys/kernel/random/boot_id")."""
        return read_file(f"{self.root}/{name}", limit=limit)


def read_file(name: str, dir_fd: int | None = None, limit: int = 1 << 20) -> bytes:
    """Read a file of procfs whole.

    Args:
        name: path, relative to ``dir_fd`` where that is given.
        dir_fd: descriptor of a directory.
        limit: bytes after which reading stops.

    Returns:
        Its content, at most ``limit`` bytes.

    Raises:
        OSError: ESRCH or ENOENT when the process is gone, EACCES when it may not be read.
    """
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        # A short read is not the end: seq_file stops where the next record does not fit.
        data = os.read(fd, min(limit, _READ_SIZE))
        if not data:
            return data
        chunks, size = [data], len(data)
        while size < limit and (chunk := os.read(fd, min(_MORE_SIZE, limit - size))):
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def read_record(name: str, dir_fd: int | None = None, limit: int = 1 << 20) -> bytes:
    """Read a file of /proc/PID that the kernel writes in one piece: stat, status, cgroup, cmdline.

    Args:
        name: the file.
        dir_fd: descriptor of /proc/PID, None where the name is a whole path.
        limit: bytes after which reading stops.

    Returns:
        Its content, at most ``limit`` bytes. Only a read that fills the buffer is followed by
        another: these files are no lists of records, of which a read ends where the next does not
        fit (seq_file's single_open, and proc_pid_cmdline(5)).

    Raises:
        OSError: as `read_file`.
    """
    fd = os.open(name, _READ_ONLY, dir_fd=dir_fd)
    try:
        data = os.read(fd, _READ_SIZE)
        while data and len(data) < limit and not len(data) % _READ_SIZE:
            more = os.read(fd, _READ_SIZE)
            if not more:
                break
            data += more
        return data[:limit]
    finally:
        os.close(fd)


def count_threads() -> int:
    """Count the threads of this process, those that Python knows nothing of included.

    Raises:
        OSError: there is no procfs.
    """
    return len(os.listdir("/proc/self/task"))


def read_children(root: str, pid: int) -> list[int] | None:
    """Read which children a process's threads have (proc_pid_task_tid_children(5)).

    Args:
        root: where the procfs is mounted.
        pid: the process.

    Returns:
        Their process ids, in the kernel's order; one may be missing while another ends. None in a
        kernel without that file (CONFIG_PROC_CHILDREN), and where it may not be read.
    """
    found: list[int] = []
    try:
        for tid in os.listdir(f"{root}/{pid}/task"):
            raw = read_file(f"{root}/{pid}/task/{tid}/children")
            found += [int(word) for word in raw.split(b" ") if word]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return found


def read_ns_links(
    dir_fd: int, known: dict[tuple[str, ...], tuple[int, ...]] | None = None
) -> tuple[int, ...]:
    """Read all links below /proc/PID/ns.

    Args:
        dir_fd: descriptor of /proc/PID.
        known: what links were read before and the inodes in them, which is added to: most
            processes share all their namespaces with others.

    Returns:
        Inodes in the order of `NS_LINKS`; `ABSENT` where a link does not exist (a process that
        ends or has ended, a PID namespace before its first process, a kernel without the type),
        `UNREADABLE` for all where the process may not be read: the kernel makes the same check
        for each.

    Raises:
        OSError: anything but those; ESRCH when the process is gone.
    """
    readlink = os.readlink
    try:
        links = tuple([readlink(path, dir_fd=dir_fd) for path in _NS_PATHS])
    except (FileNotFoundError, PermissionError):
        return _read_some_links(dir_fd)
    inodes = known.get(links) if known else None
    if inodes is None:
        inodes = tuple(map(parse_ns_link, links))
        if known is not None:
            known[links] = inodes
    return inodes


def _read_some_links(dir_fd: int) -> tuple[int, ...]:
    """As `read_ns_links`, link by link."""
    inodes = []
    for link in NS_LINKS:
        try:
            inodes.append(parse_ns_link(os.readlink(f"ns/{link}", dir_fd=dir_fd)))
        except FileNotFoundError:
            inodes.append(ABSENT)
        except PermissionError:
            return (UNREADABLE,) * len(NS_LINKS)
    return tuple(inodes)
