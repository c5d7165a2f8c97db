"""The helper of `nsctl.child.foreign_files`: looks at what descriptors of other processes are.

It runs with nothing imported but what it needs, answers one message of requests at a time, and is
killed when it does not: closing a duplicate of a file may ask a hostile file system, which never
answers (a process that has exchanged the file meanwhile chooses which). So what is neither a
socket, nor a namespace, nor the tun device is never closed here, but by the end of the process.

A request is a line: what is asked, then numbers. An answer is lines ``INDEX WORD NUMBER`` of the
requests' indices; a word ended by "+" says that the next descriptor of the message belongs to it.

It also makes netlink sockets in other network namespaces, and opens files of procfs there; both
stay in the namespace that they were made in, whoever reads them.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import struct
import sys
from collections.abc import Iterator

from nsctl.child.foreign_words import DONE, MESSAGE_LIMIT, MORE
from nsctl.kernel import netlink, pidfd, scm, socketns, statx
from nsctl.kernel.libc import syscall

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_AF_VSOCK = 40
_SOCKADDR_VM = struct.Struct("=HHII")
_FLUSH_FDS = 64
_FLUSH_BYTES = 1 << 14
# As deep as the kernel once let unix sockets travel in each other, and enough of them.
_DEPTH = 4
_SOCKETS = 64
_PEEK_SIZE = 1 << 20
_GONE = frozenset({errno.ESRCH, errno.EBADF, errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_REFUSED = frozenset({errno.EPERM, errno.EACCES})


class _Changed(Exception):
    """The number is another file's by now."""


class _Answers:
    """Collects answers and sends them in messages of bounded size."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._lines: list[bytes] = []
        self._size = 0
        self._fds: list[int] = []

    def add(self, index: int, word: str, number: int = 0, fd: int = -1) -> None:
        """Add one line; a descriptor is closed once it is sent."""
        line = b"%d %s%s %d\n" % (index, word.encode(), b"+" if fd >= 0 else b"", number)
        self._lines.append(line)
        self._size += len(line)
        if fd >= 0:
            self._fds.append(fd)
        if self._size >= _FLUSH_BYTES or len(self._fds) >= _FLUSH_FDS:
            self.send(MORE)

    def send(self, mark: bytes) -> None:
        """Send what was collected."""
        scm.sendmsg(self._channel, mark + b"".join(self._lines), tuple(self._fds))
        scm.close_all(tuple(self._fds))
        self._lines, self._size, self._fds = [], 0, []


class _Helper:
    """Answers requests.

    Args:
        channel: descriptor of a SOCK_SEQPACKET socket to whoever asks.
        dev: device of nsfs.
    """

    def __init__(self, channel: int, dev: int) -> None:
        self._channel = channel
        self._answers = _Answers(channel)
        self._dev = dev
        self._seen: set[int] = set()
        # Opened before another mount namespace is entered, where /proc is another's.
        self._own = self._directory("/proc/self/fd")
        self._info = self._directory("/proc/self/fdinfo")
        self._proc = self._directory("/proc")
        self._pidfd: tuple[int, int, int] = (0, 0, -1)

    @staticmethod
    def _directory(path: str) -> int:
        try:
            return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # /proc is not mounted, or another PID namespace's
            return -1

    def serve(self) -> None:
        """Answer until the other end is closed."""
        while message := scm.recvmsg(self._channel, MESSAGE_LIMIT):
            if not message.data:
                return
            fds = iter(message.fds)
            for index, line in enumerate(message.data.split(b"\n")):
                self._answer(index, line.split(b" "), fds)
            self._answers.send(DONE)
            scm.close_all(message.fds)

    def _answer(self, index: int, words: list[bytes], fds: Iterator[int]) -> None:
        try:
            if words[0] == b"bind":
                self._bind(index, next(fds), bytes.fromhex(words[1].decode()))
                return
            if words[0] == b"net":
                users = next(fds) if words[1] == b"1" else -1
                self._net(index, next(fds), users, words[2:])
                return
            pid, tid, number, ino = map(int, words[1:])
            fd = pidfd.pidfd_getfd(self._process(pid, tid), number)
            if words[0] == b"tun":
                self._tun(index, fd)
            elif words[0] == b"socket":
                self._socket(index, fd, ino)
            elif words[0] == b"describe":
                self._describe(index, fd, ino)
            else:
                self._messages(index, fd, ino)
        except _Changed:
            self._answers.add(index, "gone")
        except OSError as error:
            word = "refused" if error.errno in _REFUSED else "failed"
            self._answers.add(index, "gone" if error.errno in _GONE else word, error.errno or 0)

    def _process(self, pid: int, tid: int) -> int:
        """A pidfd of a process or thread; that of the last one is kept."""
        if self._pidfd[:2] != (pid, tid):
            if self._pidfd[2] >= 0:
                os.close(self._pidfd[2])
            self._pidfd = (0, 0, -1)
            opened = os.pidfd_open(tid or pid, os.O_EXCL if tid else 0)  # PIDFD_THREAD
            self._pidfd = (pid, tid, opened)
        return self._pidfd[2]

    def _tun(self, index: int, fd: int) -> None:
        kind = statx.file_kind(fd)
        if not stat.S_ISCHR(kind.mode) or kind.rdev != socketns.TUN_DEVICE:
            raise _Changed
        try:
            self._netns(index, socketns.tun_netns(fd))
        except OSError as error:
            if error.errno != errno.EBADFD:  # attached to no device
                self._answers.add(
                    index, "closed" if error.errno in _REFUSED else "failed", error.errno or 0
                )
        os.close(fd)

    def _socket(self, index: int, fd: int, ino: int) -> None:
        kind = statx.file_kind(fd)
        if not stat.S_ISSOCK(kind.mode):
            raise _Changed
        if kind.ino == ino:
            self._socket_netns(index, fd)
        else:
            self._answers.add(index, "gone")
        os.close(fd)

    def _socket_netns(self, index: int, fd: int) -> None:
        try:
            self._netns(index, socketns.socket_netns(fd))
        except OSError as error:
            word = "closed" if error.errno in _REFUSED else "failed"
            self._answers.add(index, word, error.errno or 0)

    def _netns(self, index: int, fd: int) -> None:
        """Answer with a network namespace, and its descriptor when it is seen for the first time."""
        ino = os.fstat(fd).st_ino
        if ino in self._seen:
            os.close(fd)
            self._answers.add(index, "net", ino)
        else:
            self._seen.add(ino)
            self._answers.add(index, "net", ino, fd)

    def _bind(self, index: int, mntns: int, path: bytes) -> None:
        syscall("setns", mntns, _CLONE_NEWNS)
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        kind = statx.file_kind(place)
        if kind.dev != self._dev or self._own < 0:
            raise _Changed
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        self._answers.add(index, "ns", kind.ino, os.open(str(place), flags, dir_fd=self._own))
        os.close(place)

    def _net(self, index: int, netns: int, users: int, names: list[bytes]) -> None:
        """Answer with sockets of a network namespace, and files below its /proc/PID/net.

        Whoever joins a user namespace first, to have a right to the network, cannot come back: a
        child does it.
        """
        if users < 0:
            self._open_net(index, netns, names)
            return
        self._answers.send(MORE)
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            if status:
                raise OSError(errno.ECHILD, os.strerror(errno.ECHILD))
            return
        try:
            try:
                syscall("setns", users, _CLONE_NEWUSER)
                self._open_net(index, netns, names)
            except OSError as error:
                word = "refused" if error.errno in _REFUSED else "failed"
                self._answers.add(index, word, error.errno or 0)
            self._answers.send(MORE)
        except BaseException:  # noqa: BLE001  (the parent tells of it, the child only ends)
            os._exit(1)
        os._exit(0)

    def _open_net(self, index: int, netns: int, names: list[bytes]) -> None:
        syscall("setns", netns, _CLONE_NEWNET)
        for number, protocol in enumerate((netlink.NETLINK_ROUTE, netlink.NETLINK_SOCK_DIAG)):
            try:
                self._answers.add(index, "opened", number, netlink.open_socket(protocol))
            except OSError as error:
                # A kernel without sock_diag: the files say some of it.
                if error.errno not in {errno.EPROTONOSUPPORT, *_REFUSED}:
                    raise
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        for number, name in enumerate(names, 2):
            try:
                fd = os.open(b"self/net/" + name, flags, dir_fd=self._proc)
            except FileNotFoundError:
                continue
            self._answers.add(index, "opened", number, fd)

    def _describe(self, index: int, fd: int, ino: int) -> None:
        """Answer with what a socket is that the kernel does not list."""
        kind = statx.file_kind(fd)
        if not stat.S_ISSOCK(kind.mode) or kind.ino != ino:
            raise _Changed
        told = scm.describe(fd)
        facts = {
            "domain": told.domain,
            "type": told.type,
            "protocol": told.protocol,
            "listening": int(told.listening),
        }
        if told.domain == _AF_VSOCK:
            for prefix, name in (("", scm.name_of(fd)), ("peer-", scm.name_of(fd, peer=True))):
                if len(name) >= _SOCKADDR_VM.size:
                    _, _, port, cid = _SOCKADDR_VM.unpack_from(name)
                    facts |= {f"{prefix}port": port, f"{prefix}cid": cid}
        for word, number in facts.items():
            self._answers.add(index, f"={word}", number)
        self._socket_netns(index, fd)
        os.close(fd)

    def _messages(self, index: int, fd: int, ino: int) -> None:
        """Peek at the first message with descriptors in a unix socket, and those in it."""
        kind = statx.file_kind(fd)
        if not stat.S_ISSOCK(kind.mode):
            raise _Changed
        if kind.ino != ino:
            os.close(fd)
            raise _Changed
        queue = [(fd, 0)]
        looked = 0
        while queue:
            current, depth = queue.pop()
            looked += 1
            if depth > _DEPTH or looked > _SOCKETS:
                self._answers.add(index, "deep")
                continue
            queue += [(inner, depth + 1) for inner in self._peek(index, current)]
            os.close(current)

    def _peek(self, index: int, fd: int) -> list[int]:
        """Answer with what the first message of one socket holds.

        Returns:
            The unix sockets among it, still open.
        """
        if scm.peek_offset(fd) >= 0:
            self._answers.add(index, "offset", self._waiting(fd))
            return []
        try:
            message = scm.recvmsg(fd, _PEEK_SIZE, scm.MSG_PEEK | scm.MSG_DONTWAIT)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOTCONN}:
                if behind := self._waiting(fd):
                    self._answers.add(index, "unaccepted", behind)
            elif error.errno != errno.EAGAIN:
                raise
            return []
        behind = self._waiting(fd) - len(message.fds)
        if behind > 0:
            self._answers.add(index, "behind", behind)
        scm.close_all(message.pidfds)
        return [each for each in message.fds if self._is_unix(index, each)]

    def _waiting(self, fd: int) -> int:
        """How many descriptors lie in a socket's unread messages, 0 where that is not told."""
        if self._info < 0:
            return 0
        info = os.open(str(fd), os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._info)
        try:
            return socketns.parse_scm_fds(os.read(info, 4096))
        finally:
            os.close(info)

    def _is_unix(self, index: int, fd: int) -> bool:
        """Answer with what a descriptor from a message keeps, and close it unless it is unix."""
        kind = statx.file_kind(fd)
        if kind.dev == self._dev:
            self._answers.add(index, "ns", kind.ino, fd)
        elif stat.S_ISSOCK(kind.mode):
            self._answers.add(index, "=socket", kind.ino)
            self._socket_netns(index, fd)
            if scm.is_unix(fd):
                return True
            os.close(fd)
        elif stat.S_ISCHR(kind.mode) and kind.rdev == socketns.TUN_DEVICE:
            self._tun(index, fd)
        return False


def main() -> None:
    """Serve on standard input; the argument is the device of nsfs."""
    # What hangs must keep neither the caller's pipes open nor its directory busy.
    syscall("close_range", 3, 0xFFFFFFFF, 0)
    os.chdir("/")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _Helper(0, int(sys.argv[1])).serve()
    os._exit(0)  # nothing is to be flushed, and taking an interpreter down costs 5 ms
