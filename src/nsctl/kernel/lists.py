"""The kernel's own lists of tasks, open files, namespaces and their bind mounts, as they lie there.

BPF programs walk them (native/nsctl.bpf.c, whose structures are unpacked here) and write records to
arrays, which are read here and gone afterwards. Numbers of processes are those of the initial PID
namespace, user ids those of the initial user namespace.
"""

from __future__ import annotations

import _thread
import errno
import mmap
import os
import struct
from collections.abc import Callable, Sequence

from nsctl.errors import Suppressed
from nsctl.kernel import bpf
from nsctl.kernel.bpf_object import Packed, shipped
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

NAMESPACE, SOCKET, TUN, RING = range(1, 5)
"""Kinds of files: of a namespace, a socket of another network namespace than its process is in or
with descriptors waiting, a tun device, an io_uring."""

SOME_FILES = 1
ALL_SOCKETS = 2

PF_EXITING = 0x4
PF_WQ_WORKER = 0x20
PF_KTHREAD = 0x200000
GROUPS = 32
"""Supplementary groups that a record holds; more are to be asked for elsewhere."""

_RUN = struct.Struct("=16I")
_KIND = 14 * 4
_KINDS = 9
"""Eight types and the bind mounts, each a list of its own."""
_TASK = struct.Struct("=IIIIQIIII40sIIQQ16s")
_CREDENTIALS = struct.Struct("=84sI128sI4x528s")
_IDENTITY = struct.Struct("=8I5Q3I")
_FILE = struct.Struct("=4IQQII")
_SPACE = struct.Struct("=Q6I")
_BIND = struct.Struct("=QQ4I")
_RECORDS = (_TASK, _CREDENTIALS, _FILE, _SPACE, _BIND)
_NAME = struct.Struct("=16sQ")
_PAGE = mmap.PAGESIZE
_ROOM = 4096
_TRIES = 4
# Seconds after which it is looked whether a thread is still there.
_PATIENCE = 0.5

# As the kernel spells a task's state (fs/proc/array.c), by the number of its highest bit.
_LETTERS = "RSDTtXZPI"
_REPORTED = 0x7F
_IDLE = 0x402
_UNINTERRUPTIBLE = 0x2
_RTLOCK_WAIT, _FROZEN = 0x1000, 0x8000


class TaskRecord(NamedTuple):
    """One process, or a thread that is elsewhere than its first one.

    Attributes:
        pid: thread id.
        tgid: process id.
        ppid: parent's process id.
        flags: PF_* bits.
        start: nanoseconds since boot.
        state: bits of its state.
        exit_state: those since it ended.
        threads: number of threads.
        euid: effective user id.
        ns: ten inodes of 32 bits, in the order of NS_LINKS, 0 for none.
        childless: inode of the PID namespace for children that nothing was ever in, else 0.
        has_table: it has a table of descriptors; a thread: one of its own.
        css_set: what all tasks of the same control groups share.
        cgroup: what all tasks of the same control group (version 2) share.
        comm: name, ended by NUL.
    """

    pid: int
    tgid: int
    ppid: int
    flags: int
    start: int
    state: int
    exit_state: int
    threads: int
    euid: int
    ns: bytes
    childless: int
    has_table: int
    css_set: int
    cgroup: int
    comm: bytes


class Identity(NamedTuple):
    """What a process may do.

    Attributes:
        ids: real, effective, saved and file-system user id, then group ids.
        caps: inheritable, permitted, effective, bounding and ambient set.
        flags: PFA_* bits, of which the lowest is no_new_privs.
        seccomp: mode.
        filters: number of filters, 2**32 - 1 where the kernel does not count them.
    """

    ids: tuple[int, ...]
    caps: tuple[int, ...]
    flags: int
    seccomp: int
    filters: int


class CredentialsRecord(NamedTuple):
    """What a process may do, and its numbers.

    Attributes:
        identity: what `unpack_identity` takes; most processes have one that others have too.
        groups: number of supplementary groups.
        gids: the first `GROUPS` of them, 32 bits each.
        levels: number of PID namespaces that it has a number in.
        numbers: struct upid for each of them, outermost first.
    """

    identity: bytes
    groups: int
    gids: bytes
    levels: int
    numbers: bytes


def unpack_identity(raw: bytes) -> Identity:
    """Take a record's identity apart."""
    row = _IDENTITY.unpack(raw)
    return Identity(row[:8], row[8:13], *row[13:])


class FileRecord(NamedTuple):
    """One open file that keeps a namespace, or may lead to one.

    Attributes:
        kind: `NAMESPACE`, `SOCKET`, `TUN` or `RING`.
        pid: process id.
        tid: thread id; another than `pid` for a table of the thread's own.
        fd: its number.
        table: what all threads with the same table share.
        ino: inode of the file.
        type: of a namespace, its CLONE_NEW* bit; of a socket, whether descriptors may wait in it.
        net: of a socket, inode of its network namespace.
    """

    kind: int
    pid: int
    tid: int
    fd: int
    table: int
    ino: int
    type: int
    net: int


class SpaceRecord(NamedTuple):
    """One namespace.

    Attributes:
        id: its 64-bit id.
        type: its CLONE_NEW* bit.
        inum: inode.
        owner: inode of the user namespace that owns it, 0 for none.
        parent: inode of its parent (user and PID namespaces), 0 for none.
        uid: of a user namespace, its creator's.
        refs: references to it; 0 for one that is being taken down.
    """

    id: int
    type: int
    inum: int
    owner: int
    parent: int
    uid: int
    refs: int


class BindRecord(NamedTuple):
    """One bind mount of a namespace.

    Attributes:
        unique: 64-bit id of the mount.
        mntns_id: 64-bit id of the mount namespace that has it.
        mntns: inode of that.
        id: the mount's number, used again.
        type: CLONE_NEW* bit of the namespace that is mounted.
        inum: inode of that.
    """

    unique: int
    mntns_id: int
    mntns: int
    id: int
    type: int
    inum: int


class Lists(NamedTuple):
    """What the kernel's lists held.

    Attributes:
        tasks: `TaskRecord`s as plain tuples, by process id: there are many.
        credentials: for each of `tasks` a `CredentialsRecord`, likewise; () where not asked.
        files: `FileRecord`s, likewise, by process id and descriptor.
        spaces: namespaces, `SpaceRecord`s as plain tuples; empty where this kernel does not list
            them.
        earlier: ids of those that were there already before tasks were looked at.
        walked: of how many types `spaces` has all.
        binds: bind mounts of namespaces; None where this kernel does not list them.
        level: how deep the caller's PID namespace lies, 0 for the initial one.
    """

    tasks: Sequence[tuple[Any, ...]]
    credentials: Sequence[tuple[Any, ...]]
    files: Sequence[tuple[int, ...]]
    spaces: Sequence[tuple[int, ...]]
    earlier: frozenset[int]
    walked: int
    binds: Sequence[BindRecord] | None
    level: int


class _Run(NamedTuple):
    """What the programs are asked, and what came of it: struct run."""

    tasks: int = 0
    files: int = 0
    spaces: int = 0
    binds: int = 0
    task_room: int = 0
    file_room: int = 0
    space_room: int = 0
    bind_room: int = 0
    want_files: int = 0
    want_credentials: int = 0
    own_fd: int = 0
    level: int = 0
    walked: int = 0
    binds_walked: int = 0
    kind: int = 0
    missed: int = 0


def read(
    processes: int,
    *,
    files: int = 0,
    credentials: bool = False,
    packed: Packed | None = None,
) -> Lists:
    """Walk the lists.

    Args:
        processes: about how many there are.
        files: 0 for none, `SOME_FILES`, or `ALL_SOCKETS` to list sockets wherever they belong.
        credentials: read them too.
        packed: other programs than those of the package.

    Returns:
        What they held.

    Raises:
        OSError: the kernel does not load or run the programs: EPERM without CAP_BPF and
            CAP_PERFMON, EINVAL where its structures lack a field that is needed, ENOSYS without
            bpf(2), ENOENT without BTF, ENOSPC where there was no end of the lists.
        ValueError: the packed programs are damaged.
    """
    with Walk(processes, credentials=credentials, packed=packed) as walk:
        return walk.read(files)


class _Thread:
    """Something that a thread does meanwhile.

    Args:
        work: what; whatever it raises is raised again by `wait`.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._id = 0
        self._error: Exception | None = None
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:  # no more threads are to be had
            self._run()

    def _run(self) -> None:
        self._id = _thread.get_native_id()
        try:
            self._work()
        except (OSError, ValueError) as error:
            self._error = error
        finally:
            self._ended.release()

    def wait(self) -> None:
        """Wait for the end of it.

        Raises:
            OSError: as it raised; ENOSYS where the thread is gone, as a filter for system calls
                makes it (SECCOMP_RET_KILL_THREAD, seccomp(2)).
            ValueError: as it raised.
        """
        while not self._ended.acquire(timeout=_PATIENCE):
            if self._id and not os.path.exists(f"/proc/self/task/{self._id}"):
                # It may have ended in the ordinary way just now.
                if self._ended.acquire(blocking=False):
                    break
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._ended.release()
        if self._error is not None:
            raise self._error


class Walk:
    """A walk of the lists, made by a thread while its caller does other things; a context manager.

    The kernel takes longer to check the programs than /proc takes to list its processes. The thread
    is in the kernel most of the time. It loads the programs at once, walks when it is told to, and
    ends.

    Args:
        processes: about how many there are.
        credentials: read them too.
        packed: other programs than those of the package.

    Attributes:
        credentials: as given.
    """

    def __init__(
        self, processes: int, *, credentials: bool = False, packed: Packed | None = None
    ) -> None:
        most = processes + processes // 4 + 256
        self.credentials = credentials
        self._room = (most, most if credentials else 1, _ROOM, 2 * most + _ROOM, _ROOM)
        self._packed = packed
        self._programs: _Programs | None = None
        self._want: _Run | None = None
        self._counts: _Counts | None = None
        self._has_begun = False
        self._may_walk = _thread.allocate_lock()
        self._may_walk.acquire()
        self._maker = _thread.get_ident()
        self._thread = _Thread(self._work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything, once the thread has ended."""
        if not self._has_begun:
            self._has_begun = True
            self._let_go()
        with Suppressed(OSError, ValueError):  # whoever reads is told
            self._thread.wait()
        if self._programs is not None:
            self._programs.close()
            self._programs = None

    def _let_go(self) -> None:
        if self._may_walk.locked():
            self._may_walk.release()

    def _work(self) -> None:
        self._packed = self._packed or shipped()
        self._programs = _Programs(self._packed, self._room)
        if _thread.get_ident() != self._maker:
            self._may_walk.acquire()
        if self._want is not None:
            self._counts = self._programs.walk_all(self._want)

    def begin(self, files: int) -> None:
        """Walk, as soon as the programs are loaded; what is listed is what there is from now on.

        Args:
            files: as for `read` of this module.
        """
        if not self._has_begun:
            self._has_begun = True
            self._want = _Run(want_files=files, want_credentials=self.credentials)
            self._let_go()

    def read(self, files: int | None = None) -> Lists:
        """Wait for the end of what was begun, or walk.

        Args:
            files: as for `begin`; None for the walk that was begun.

        Returns:
            What the lists held.

        Raises:
            OSError: as `read` of this module.
            ValueError: likewise.
        """
        if files is not None:
            self.begin(files)
        self._thread.wait()
        if files is not None and self._want is not None and files != self._want.want_files:
            self._want, self._counts = self._want._replace(want_files=files), None
        for _ in range(_TRIES):
            if self._programs is None or self._want is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            counts = self._counts or self._programs.walk_all(self._want)
            self._counts = None
            pairs = list(zip(counts, self._room, strict=True))
            if all(count <= place for count, place in pairs):
                return self._programs.unpack(self._want)
            self._programs.close()
            self._programs = None
            tasks, held, opened, spaces, binds = (max(2 * n, old) for n, old in pairs)
            self._room = tasks, held, opened, spaces, binds
            self._programs = _Programs(self._packed or shipped(), self._room)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


_Counts = tuple[int, int, int, int, int]


class _Programs:
    """The programs, loaded, and their arrays.

    Args:
        packed: the programs.
        room: how many records of each kind there is room for.
    """

    def __init__(self, packed: Packed, room: _Counts) -> None:
        self._packed = packed
        self._room = room
        self._fds: list[int] = []
        self._arrays: list[mmap.mmap] = []
        self._before = 0
        self._earlier: frozenset[int] = frozenset()
        self._ran = _Run()
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of them."""
        while self._arrays:
            self._arrays.pop().close()
        while self._fds:
            os.close(self._fds.pop())

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd

    def _load(self) -> None:
        programs = self._packed.programs
        types = self._keep(bpf.load_types(self._packed.types))
        attach_id = self._find(types, programs["tasks"].attach_to)
        values = self._learn(types)
        sizes = [_RUN.size, *(record.size for record in _RECORDS)]
        maps = [
            self._keep(bpf.create_array(size, count))
            for size, count in zip(sizes, (1, *self._room), strict=True)
        ]
        for fd, size, count in zip(maps, sizes, (1, *self._room), strict=True):
            self._arrays.append(mmap.mmap(fd, -(-size * count // _PAGE) * _PAGE))

        def load_spaces() -> None:
            self._spaces = self._keep(
                bpf.load(programs["spaces"], types=types, maps=maps, values=values)
            )
            self._look_before()

        # Each takes milliseconds to check, and there may be a second processor.
        spaces = _Thread(load_spaces)
        try:
            self._tasks = self._keep(
                bpf.load(
                    programs["tasks"], types=types, maps=maps, values=values, attach_id=attach_id
                )
            )
        finally:
            spaces.wait()

    def _find(self, types: int, function: bytes) -> int:
        """Ask the kernel for the number of one of its functions."""
        asking = bpf.load(self._packed.programs["number"], types=types, flags=bpf.F_SLEEPABLE)
        try:
            _, answer = _NAME.unpack(bpf.run(asking, _NAME.pack(function, 0)))
        finally:
            os.close(asking)
        if not 0 < answer < 1 << 31:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return int(answer)

    def _learn(self, types: int) -> tuple[int, ...]:
        """Let the kernel tell where in its structures each field lies."""
        programs = self._packed.programs
        count = 1 + max(
            (number for program in programs.values() for _, number in program.patches), default=0
        )
        # Of structures whose names share a place in its table the kernel remembers the one that it
        # was asked for last, so the other order finds what the last run left there.
        asked = programs["offsets"]
        if os.getpid() & 1:
            asked = asked._replace(relocations=bpf.reverse(asked.relocations))
        asking = bpf.load(asked, types=types, flags=bpf.F_SLEEPABLE)
        try:
            answers = bpf.run(asking, bpf.UNKNOWN.to_bytes(4, "little") * count)
        finally:
            os.close(asking)
        return struct.unpack(f"={count}I", answers)

    def _look_before(self) -> None:
        """Note which namespaces there are before tasks are looked at."""
        self._arrays[0][: _RUN.size] = _RUN.pack(*_Run())
        self._walk(_KINDS - 1)
        self._before = _Run(*_RUN.unpack_from(self._arrays[0])).spaces
        self._earlier = frozenset(space[0] for space in self._unpack_spaces(self._before))

    def _walk(self, kinds: int = _KINDS) -> None:
        """Walk each list of namespaces, and the one of bind mounts."""
        for kind in range(kinds):
            struct.pack_into("=I", self._arrays[0], _KIND, kind)
            bpf.run(self._spaces)

    def walk_all(self, want: _Run) -> _Counts:
        """Walk tasks with their files, and namespaces again.

        Returns:
            How many records of each kind there would have been, with room for all.
        """
        own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            run = self._arrays[0]
            run[: _RUN.size] = _RUN.pack(*want._replace(own_fd=own))
            bpf.iterate(self._tasks)
            self._walk()
        finally:
            os.close(own)
        self._ran = ran = _Run(*_RUN.unpack_from(run))
        held = ran.tasks if want.want_credentials else 0
        return ran.tasks, held, ran.files, max(self._before, ran.spaces), ran.binds

    def unpack(self, want: _Run) -> Lists:
        """Unpack what was found, all of which had room."""
        ran, (_, tasks, credentials, files, _, binds) = self._ran, self._arrays
        return Lists(
            tasks=list(_TASK.iter_unpack(tasks[: ran.tasks * _TASK.size])),
            credentials=list(_CREDENTIALS.iter_unpack(credentials[: ran.tasks * _CREDENTIALS.size]))
            if want.want_credentials
            else (),
            files=list(_FILE.iter_unpack(files[: ran.files * _FILE.size])),
            spaces=self._unpack_spaces(ran.spaces),
            earlier=self._earlier,
            walked=ran.walked,
            binds=[
                BindRecord._make(row) for row in _BIND.iter_unpack(binds[: ran.binds * _BIND.size])
            ]
            if ran.binds_walked
            else None,
            level=ran.level,
        )

    def _unpack_spaces(self, count: int) -> list[tuple[int, ...]]:
        size = min(count, self._room[3]) * _SPACE.size
        return list(_SPACE.iter_unpack(self._arrays[4][:size]))


def state_letter(state: int, exit_state: int) -> str:
    """Spell a task's state as proc_pid_stat(5) does.

    Args:
        state: bits of its state.
        exit_state: those since it ended.
    """
    shown = (state | exit_state) & _REPORTED
    if state & _IDLE == _IDLE:
        return "I"
    if state & (_RTLOCK_WAIT | _FROZEN):
        shown = _UNINTERRUPTIBLE
    return _LETTERS[shown.bit_length()]
