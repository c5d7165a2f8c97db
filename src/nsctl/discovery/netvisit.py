"""Reaching network namespaces: netlink sockets of each, and files of its /proc/PID/net.

A socket stays in the namespace that it was made in. A helper makes those of other namespaces
(`nsctl.child.foreign_helper`), joining the user namespace that owns them where the reader has no
right otherwise; they are read here. Where that is refused the files below /proc/PID/net of a
process there say some of it: those anybody may read (proc_pid_net(5)).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence

from nsctl.discovery.draft import Draft
from nsctl.discovery.members import Members
from nsctl.errors import NsctlError, refused, vanished
from nsctl.kernel import netlink, nsfs
from nsctl.kernel.procfs import parse_ns_link, read_file
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.child.foreign_files import Answer

NET = TYPES.index(NamespaceType.NET)
_USER = TYPES.index(NamespaceType.USER)
CAP_SYS_ADMIN = 21
_FILE_LIMIT = 1 << 26
_MEMBERS = 3


class Visit(NamedTuple):
    """What reads one network namespace.

    Attributes:
        route: a NETLINK_ROUTE socket there, -1 where there is none.
        diag: a NETLINK_SOCK_DIAG socket there, -1 where there is none.
        files: what was asked for of the files below /proc/PID/net, and could be read.
    """

    route: int
    diag: int
    files: dict[str, bytes]

    @property
    def direct(self) -> bool:
        """The kernel answers; where not, only files of procfs do."""
        return self.route >= 0


class Visits:
    """Visits network namespaces, and keeps count of what could not be.

    Args:
        draft: the draft.
        part: what the visits fill.
        what: it, in words: "interfaces".
        files: names below /proc/PID/net that each visit needs.
        fallback: names of those that stand in where the kernel does not answer.
    """

    def __init__(
        self, draft: Draft, part: Part, what: str, files: Iterable[str], fallback: Sequence[str]
    ) -> None:
        self.files = dict.fromkeys(files)
        self.members = Members(draft)
        self._draft = draft
        self._part = part
        self._what = what
        self._fallback = fallback
        self._cut: dict[str, int] = {}
        self._missing: dict[str, int] = {}
        self._own = draft.reader.ns[NET] if draft.reader.ns else 0
        self._users = draft.reader.ns[_USER] if draft.reader.ns else 0
        self._admin = bool(draft.reader.caps >> CAP_SYS_ADMIN & 1)

    @contextlib.contextmanager
    def visit(self, ino: int) -> Iterator[Visit | None]:
        """Visit one.

        Yields:
            What reads it, closed afterwards; None where nothing does, which is counted.
        """
        with contextlib.ExitStack() as opened:
            yield self._visit(ino, opened)

    def _visit(self, ino: int, opened: contextlib.ExitStack) -> Visit | None:
        if ino == self._own:
            return self._here(opened)
        with self.members.open(NamespaceType.NET, ino) as fd:
            cause = "nothing that can be opened leads to it"
            if (NamespaceType.NET, ino) in self.members.refused:
                cause = "the kernel refuses to open it"
            elif fd is None and self.members.has_way(NamespaceType.NET, ino):
                return None  # what led to it is gone, and so is it
            if fd is not None:
                found = self._there(ino, fd, opened)
                if isinstance(found, Visit):
                    return found
                cause = found
        files = self._through_member(ino)
        told = self._cut if files else self._missing
        told[cause] = told.get(cause, 0) + 1
        return Visit(-1, -1, files) if files else None

    def _here(self, opened: contextlib.ExitStack) -> Visit:
        """The reader's own namespace."""
        route = netlink.open_socket(netlink.NETLINK_ROUTE)
        opened.callback(os.close, route)
        diag = -1
        with contextlib.suppress(OSError):  # without sock_diag the files are asked
            diag = netlink.open_socket(netlink.NETLINK_SOCK_DIAG)
            opened.callback(os.close, diag)
        self._draft.own_sockets.update(os.fstat(fd).st_ino for fd in (route, diag) if fd >= 0)
        return Visit(route, diag, _read_all(self.files, "/proc/thread-self/net"))

    def _there(self, ino: int, fd: int, opened: contextlib.ExitStack) -> Visit | str:
        """Let the helper make sockets there.

        Returns:
            What reads it, or why that cannot be had.
        """
        answer = self._ask(fd, -1) if self._admin else None
        if answer is None or answer.outcome == "refused":
            try:
                users = nsfs.get_userns(fd)
            except OSError as error:
                if not refused(error):
                    raise
                return self._refusal()
            try:
                if nsfs.inode(users) == self._users:  # there is no other to be joined first
                    return self._refusal()
                answer = self._ask(fd, users)
                if answer is not None and answer.fds:
                    self._draft.inside_ids[ino] = nsfs.inode(users)
            finally:
                os.close(users)
        if answer is None or not answer.fds:
            silent = answer is None or answer.outcome != "refused"
            return "the helper did not answer" if silent else self._refusal()
        from nsctl.child.foreign_files import DIAG, FIRST_FILE, ROUTE

        opened.callback(answer.close)
        by_number = dict(zip(answer.numbers, answer.fds, strict=False))
        route, diag = by_number.get(ROUTE, -1), by_number.get(DIAG, -1)
        self._draft.own_sockets.update(os.fstat(each).st_ino for each in (route, diag) if each >= 0)
        return Visit(
            route,
            diag,
            {
                name: _read(by_number[number])
                for number, name in enumerate(self.files, FIRST_FILE)
                if number in by_number
            },
        )

    def _refusal(self) -> str:
        return "the kernel refuses to join them" if self._admin else "only root may join them"

    def _ask(self, netns: int, users: int) -> Answer | None:
        from nsctl.child.foreign_files import NetRequest

        request = NetRequest(netns, users, tuple(self.files))
        try:
            foreign = self._draft.foreign
            answers = list(foreign.ask([request]))
            self._draft.own_sockets |= foreign.inos
        except (NsctlError, OSError):  # what did not answer is counted
            return None
        return answers[0]

    def _through_member(self, ino: int) -> dict[str, bytes]:
        """Read the files through a process there; {} where none could be asked."""
        for pid in self.members.pids(NamespaceType.NET, ino)[:_MEMBERS]:
            directory = f"{self._draft.proc.root}/{pid}"
            files = _read_all((*self.files, *self._fallback), f"{directory}/net")
            try:
                same = parse_ns_link(os.readlink(f"{directory}/ns/net")) == ino
            except OSError as error:
                if not (vanished(error) or refused(error)):
                    raise
                continue
            if same and files:
                return files
        return {}

    def note(self, *, again: bool = False) -> None:
        """Note what could not be read.

        Args:
            again: what could not be visited at all will be tried again, and noted then.
        """
        for cause, count in self._missing.items():
            if not again:
                self._gap(self._what, count, cause)
        for cause, count in self._cut.items():
            self._gap(f"all but what /proc/PID/net shows of {self._what}", count, cause)

    def _gap(self, what: str, count: int, cause: str) -> None:
        self._draft.gaps.append(
            Gap(
                self._part,
                self._draft.proc.root,
                f"{what} of {count} network namespace{'s' if count > 1 else ''}",
                PartState.PARTIAL,
                cause,
                "" if self._admin else "CAP_SYS_ADMIN",
            )
        )


def _read_all(names: Iterable[str], directory: str) -> dict[str, bytes]:
    found = {}
    for name in names:
        try:
            found[name] = read_file(f"{directory}/{name}", limit=_FILE_LIMIT)
        except OSError as error:
            if not (vanished(error) or refused(error)):
                raise
    return found


def _read(fd: int) -> bytes:
    """Read an open file of procfs whole."""
    chunks = []
    size = 0
    while size < _FILE_LIMIT and (chunk := os.read(fd, 1 << 17)):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def networks_of(draft: Draft) -> list[int]:
    """Inodes of all network namespaces that are known."""
    return [ino for kind, ino in draft.namespaces if kind is NamespaceType.NET]
