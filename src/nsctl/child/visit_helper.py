"""The helper of `nsctl.child.visit`: enters namespaces, one after the other, and says what is there.

It enters UTS, IPC, time, cgroup and user namespaces, never mount or PID namespaces, so nobody
whose namespace is visited can name it or gives it files to read. What it may enter as it is, it enters
itself; where that takes the powers of another user namespace, a child of it does, which ends
afterwards. Nothing is written, received or attached to any place.

A request is one message: what to visit, then process ids, with descriptors of the namespace and of the
user namespace that owns it. The answer is messages: ``k`` and a name begin a text, ``c`` goes on
with it, ``e`` and an error number end the answer.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator

from nsctl.kernel import cgroup, cgroupns, mqueue, process, scm, unshare, uts
from nsctl.kernel.procfs import ProcFs
from nsctl.model.namespace import NamespaceType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MESSAGE_LIMIT = 1 << 16
KEY, CHUNK, END = b"k", b"c", b"e"
LIMITS = (
    *("kernel/shmmax", "kernel/shmall", "kernel/shmmni", "kernel/shm_rmid_forced", "kernel/sem"),
    *("kernel/msgmax", "kernel/msgmnb", "kernel/msgmni"),
    *("fs/mqueue/queues_max", "fs/mqueue/msg_max", "fs/mqueue/msgsize_max"),
)

_SYSVIPC = ("shm", "sem", "msg")
_CHUNK_SIZE = 1 << 15
_FILE_LIMIT = 1 << 26
_CLONE_NEWNS = NamespaceType.MNT.clone_flag
# What another user namespace's powers may mend.
_REFUSED = frozenset({errno.EPERM, errno.EACCES})

Text = tuple[str, bytes]


def _uts() -> Iterator[Text]:
    names = uts.names()
    yield "host", names.host
    yield "domain", names.domain


class _Helper:
    """Answers requests.

    Args:
        channel: descriptor of a SOCK_SEQPACKET socket to whoever asks.
        proc: where procfs is mounted.
        hierarchies: type and options of each mounted hierarchy of control groups, blank between.
    """

    def __init__(self, channel: int, proc: str, hierarchies: list[str]) -> None:
        self._channel = channel
        self._proc = ProcFs(proc)
        self._hierarchies = [line.partition(" ")[::2] for line in hierarchies]
        self._visits: dict[NamespaceType, Callable[[list[int]], Iterator[Text]]] = {
            NamespaceType.UTS: lambda _: _uts(),
            NamespaceType.IPC: lambda _: self._ipc(),
            NamespaceType.TIME: lambda _: self._time(),
            NamespaceType.CGROUP: self._cgroup,
        }
        self._before: dict[int, bytes] = {}
        self._own_cgroups = self._open_own("cgroup")

    def _open_own(self, name: str) -> int:
        try:
            return os.open(f"{self._proc.root}/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no such type, or no place in this procfs: that visit then says less
            return -1

    def serve(self) -> None:
        """Answer until the other end is closed."""
        while True:
            message = scm.recvmsg(self._channel, MESSAGE_LIMIT)
            if not message.data:
                return
            words = message.data.decode("ascii").split(" ")
            number = 0
            try:
                self._answer(NamespaceType(words[0]), message.fds, list(map(int, words[1:])))
            except OSError as error:
                number = error.errno or errno.EIO
            finally:
                scm.close_all(message.fds)
            scm.sendmsg(self._channel, END + b"%d" % number)

    def _answer(self, kind: NamespaceType, fds: tuple[int, ...], pids: list[int]) -> None:
        if kind is NamespaceType.USER:
            self._in_child(lambda: self._join_user(fds[0]), self._maps_of)
            return
        if kind is NamespaceType.CGROUP:
            self._before = self._cgroups_of(pids)
        try:
            unshare.setns(fds[0], kind.clone_flag)
        except OSError as error:
            if error.errno not in _REFUSED or len(fds) < 2:
                raise
            self._in_child(lambda: self._visit_as(kind, fds, pids))
            return
        self._send_all(self._visits[kind](pids))

    def _send_all(self, texts: Iterator[Text]) -> None:
        for name, text in texts:
            scm.sendmsg(self._channel, KEY + name.encode("ascii"))
            for start in range(0, len(text), _CHUNK_SIZE):
                scm.sendmsg(self._channel, CHUNK + text[start : start + _CHUNK_SIZE])

    def _in_child(
        self, work: Callable[[], None], look: Callable[[int], Iterator[Text]] | None = None
    ) -> None:
        """Do something in a child, which ends afterwards.

        Args:
            work: done by the child.
            look: done with the child's PID while it waits.

        Raises:
            OSError: what the child failed with.
        """
        reading, writing = os.pipe()
        waiting, going = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.close(going)
            _work(work, writing, waiting)
        os.close(writing)
        os.close(waiting)
        try:
            number = int(os.read(reading, 16) or b"%d" % errno.EIO)
            if number:
                raise OSError(number, os.strerror(number))
            if look is not None:
                self._send_all(look(child))
        finally:
            os.close(reading)
            os.close(going)
            os.waitpid(child, 0)

    def _join_user(self, user: int) -> None:
        unshare.setns(user, NamespaceType.USER.clone_flag)

    def _visit_as(self, kind: NamespaceType, fds: tuple[int, ...], pids: list[int]) -> None:
        """Visit with the powers of the owning user namespace."""
        self._join_user(fds[1])
        unshare.setns(fds[0], kind.clone_flag)
        if kind in {NamespaceType.IPC, NamespaceType.CGROUP}:
            # Mounting takes a mount namespace of that user namespace.
            unshare.unshare(_CLONE_NEWNS)
            scm.sendmsg(self._channel, KEY + b"mapped")
        self._send_all(self._visits[kind](pids))

    def _maps_of(self, pid: int) -> Iterator[Text]:
        """The maps of a child's user namespace, in the numbers of whoever reads them: ours."""
        for name in ("uid_map", "gid_map", "setgroups", "projid_map"):
            yield name, self._proc.read(f"{pid}/{name}")

    def _time(self) -> Iterator[Text]:
        # Whoever joined is in the namespace for its children too, and that is what it shows.
        yield "offsets", self._proc.read("self/timens_offsets")

    def _ipc(self) -> Iterator[Text]:
        for name in _SYSVIPC:
            try:
                yield name, self._proc.read(f"sysvipc/{name}", _FILE_LIMIT)
            except FileNotFoundError:  # a kernel without them, or a procfs of processes only
                continue
        try:
            directory = mqueue.open_all()
        except OSError as error:
            yield "refused", b"%d" % (error.errno or errno.EIO)
        else:
            try:
                yield "posix", b"".join(map(mqueue.encode, mqueue.listed(directory)))
            finally:
                os.close(directory)
        for name in LIMITS:
            try:
                yield f"limit:{name}", self._proc.read(f"sys/{name}")
            except FileNotFoundError:
                continue

    def _cgroups_of(self, pids: list[int]) -> dict[int, bytes]:
        """Where processes are, seen from our own cgroup namespace."""
        if self._own_cgroups >= 0:
            unshare.setns(self._own_cgroups, NamespaceType.CGROUP.clone_flag)
        return self._cgroup_files(pids)

    def _cgroup_files(self, pids: list[int]) -> dict[int, bytes]:
        found = {}
        for pid in pids:
            try:
                found[pid] = self._proc.read(f"{pid}/cgroup")
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def _cgroup(self, pids: list[int]) -> Iterator[Text]:
        """Where the namespace begins in each hierarchy: a path, or device and inode."""
        after = self._cgroup_files(pids)
        pairs = [
            (cgroup.parse(outside), cgroup.parse(after[pid]))
            for pid, outside in self._before.items()
            if pid in after
        ]
        for index, (fs_type, options) in enumerate(self._hierarchies):
            path = _derived(pairs, fs_type, options)
            if path is not None:
                yield f"path:{index}", path
                continue
            try:
                yield f"node:{index}", b"%d %d" % cgroupns.root_of(fs_type, options)
            except OSError as error:
                yield f"refused:{index}", b"%d" % (error.errno or errno.EIO)


def _derived(
    pairs: list[tuple[tuple[cgroup.Membership, ...], tuple[cgroup.Membership, ...]]],
    fs_type: str,
    options: str,
) -> bytes | None:
    """Where a namespace begins in one hierarchy, if processes tell."""
    for outside, inside in pairs:
        paths = {row.hierarchy: row.path for row in inside}
        for row in outside:
            if cgroup.is_of(row, fs_type, options) and row.hierarchy in paths:
                root = cgroupns.derive(row.path, paths[row.hierarchy])
                if root is not None:
                    return root
    return None


def _work(work: Callable[[], None], writing: int, waiting: int) -> NoReturn:
    """The child's part: do it, say how it went, wait to be let go."""
    unshare.set_parent_death_signal(signal.SIGKILL)
    number = errno.EIO
    try:
        work()
        number = 0
    except OSError as error:
        number = error.errno or errno.EIO
    finally:
        os.write(writing, b"%d" % number)
        os.read(waiting, 1)
        os._exit(0)


def main() -> None:
    """Serve on standard input; the arguments are the procfs and the hierarchies."""
    process.close_range(3)
    os.chdir("/")
    # Whoever it visits must not look into it.
    unshare.set_dumpable(False)
    _Helper(0, sys.argv[1], sys.argv[2:]).serve()
    os._exit(0)
