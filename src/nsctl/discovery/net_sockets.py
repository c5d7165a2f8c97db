"""The sockets of every network namespace that is known so far, whosever they are.

Runs before sockets are asked for their namespaces, which it answers for all that are listed here;
those of namespaces that only such a question leads to come with `nsctl.discovery.late_sockets`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from nsctl.discovery.draft import Draft
from nsctl.discovery.netvisit import Visit, Visits, networks_of
from nsctl.kernel import procnet, sockdiag, sockdiag_local
from nsctl.kernel.netlink import NetlinkError
from nsctl.kernel.sockdiag import Protocol
from nsctl.model.network import Socket
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple

_Lister = Callable[[int], tuple[list[Socket], bool]]
# What a kernel says that cannot list sockets of a kind.
_UNLISTED = frozenset({errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES})


def _inet(protocol: Protocol) -> _Lister:
    return lambda fd: sockdiag.inet(fd, protocol)


class _Kind(NamedTuple):
    """Sockets of one kind.

    Attributes:
        name: in words, for the note.
        lister: asks the kernel.
        files: what says the same, below /proc/PID/net.
    """

    name: str
    lister: _Lister | None
    files: tuple[str, ...] = ()


_NETLINK = _Kind("netlink", sockdiag_local.netlinks, ("netlink",))
KINDS = (
    _Kind("TCP", _inet(sockdiag.TCP), ("tcp", "tcp6")),
    _Kind("UDP", _inet(sockdiag.UDP), ("udp", "udp6")),
    _Kind("UDP-Lite", _inet(sockdiag.UDPLITE), ("udplite", "udplite6")),
    _Kind("raw", _inet(sockdiag.RAW), ("raw", "raw6")),
    _Kind("ICMP", None, ("icmp", "icmp6")),
    _Kind("SCTP", _inet(sockdiag.SCTP)),
    _Kind("MPTCP", _inet(sockdiag.MPTCP)),
    _Kind("unix", sockdiag_local.unix, ("unix",)),
    _Kind("packet", sockdiag_local.packets, ("packet",)),
    _NETLINK,
    _Kind("vsock", sockdiag_local.vsocks),
    _Kind("XDP", sockdiag_local.xdps),
)
"""All that can be listed. What cannot (vsock without its module) is known by descriptors alone."""


def run(draft: Draft) -> None:
    """Read the sockets of all network namespaces that are known."""
    # What cannot be visited is tried again by the later step.
    read(draft, networks_of(draft)).note(again=True)


def read(draft: Draft, inodes: list[int]) -> Visits:
    """Read the sockets of some network namespaces.

    Returns:
        What could not be visited, to be noted.
    """
    files = [name for kind in KINDS for name in kind.files]
    visits = Visits(draft, Part.NET_SOCKETS, "sockets", _ALWAYS, files)
    reading = _Reading(visits)
    for ino in inodes:
        rows = reading.sockets(ino)
        if rows is None:
            continue
        draft.net_sockets[ino] = tuple(rows)
        draft.socket_nets.update((row.ino, ino) for row in rows if row.ino)
        draft.dumped.update(row.ino for row in rows)
        draft.wordless.update(row.ino for row in rows if row.family != "unix")
    for cause, count in reading.faults.items():
        draft.gaps.append(
            Gap(
                Part.NET_SOCKETS,
                "sock_diag",
                f"all sockets of {count} network namespace{'s' if count > 1 else ''}",
                PartState.PARTIAL,
                cause,
            )
        )
    return visits


# What the kernel does not list by sock_diag, and what tells whether there is anything to list.
_ALWAYS = ("icmp", "icmp6", *procnet.COUNTS)
# Sockets of the visit itself: for links and routes, and for other sockets.
_OWN = 2


def _is_idle(visit: Visit) -> bool:
    """Tell that nobody has a socket in a namespace: the kernel's own alone are for netlink.

    To list TCP and MPTCP the kernel looks through the connections of the whole host, which takes
    two milliseconds for each namespace, and most containers do not talk.
    """
    counts = [visit.files.get(name) for name in procnet.COUNTS]
    if visit.diag < 0 or visit.route < 0 or counts[0] is None or counts[1] is None:
        return False
    found = procnet.most_sockets((counts[0], counts[1]))
    return found is not None and found <= _OWN


class _Reading:
    """Reads one namespace after another, and learns which kinds the kernel lists."""

    def __init__(self, visits: Visits) -> None:
        self._visits = visits
        self._unlisted: set[str] = set()
        self.faults: dict[str, int] = {}

    def sockets(self, ino: int) -> list[Socket] | None:
        """All sockets of a namespace, None where it could not be read at all."""
        rows: list[Socket] = []
        with self._visits.visit(ino) as visit:
            if visit is None:
                return None
            lacking = self._by_kernel(visit, rows)
        # Once it is known which files must stand in, every visit brings them.
        if visit.direct and not lacking.keys() <= visit.files.keys():
            self._visits.files.update(lacking)
            with self._visits.visit(ino) as again:
                files = again.files if again else {}
        else:
            files = visit.files
        for name in lacking:
            rows += procnet.parse(name, files.get(name, b""))
        return rows

    def _by_kernel(self, visit: Visit, rows: list[Socket]) -> dict[str, None]:
        """Ask the kernel for each kind.

        Returns:
            The files that say what it does not.
        """
        lacking: dict[str, None] = {}
        for kind in KINDS if not _is_idle(visit) else (_NETLINK,):
            listed = visit.diag >= 0 and kind.lister and kind.name not in self._unlisted
            if not listed or not self._ask(kind, visit.diag, rows):
                lacking.update(dict.fromkeys(kind.files))
        return lacking

    def _ask(self, kind: _Kind, diag: int, rows: list[Socket]) -> bool:
        try:
            found, interrupted = kind.lister(diag) if kind.lister else ([], False)
        except NetlinkError as error:
            self._fault(f"{kind.name}: {error}")
            return False
        except OSError as error:
            if error.errno not in _UNLISTED:
                self._fault(f"{kind.name}: {error.strerror}")
            else:
                self._unlisted.add(kind.name)
            return False
        if interrupted:
            self._fault(f"{kind.name} sockets came and went while they were read")
        rows += found
        return True

    def _fault(self, cause: str) -> None:
        self.faults[cause] = self.faults.get(cause, 0) + 1
