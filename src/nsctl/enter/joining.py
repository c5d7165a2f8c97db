"""Which namespaces are joined, and in how many calls: setns(2).

All of a process's are joined by one call on its pidfd, the user namespace included, so that they
are of one and the same process whatever becomes of its number.
"""

from __future__ import annotations

import os

from nsctl.child.plan import Join
from nsctl.enter.request import Request
from nsctl.errors import KernelRefusal, Vanished, translate
from nsctl.kernel.procfs import read_ns_links
from nsctl.model.namespace import ABSENT, TYPES, UNREADABLE, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.targets.live import HeldNamespace, Process


class Joining(NamedTuple):
    """What is joined.

    Attributes:
        calls: in their order.
        kinds: all types that are entered and are not the caller's own namespaces.
        own_kinds: types that were asked for and are the caller's own already.
    """

    calls: tuple[Join, ...]
    kinds: frozenset[NamespaceType]
    own_kinds: frozenset[NamespaceType] = frozenset()

    def has(self, kind: NamespaceType) -> bool:
        """Whether a type is entered, be it the caller's own already."""
        return kind in self.kinds or kind in self.own_kinds


def joining_of(request: Request) -> Joining:
    """Find what a request joins.

    Args:
        request: what is asked for.

    Returns:
        The calls.

    Raises:
        Vanished: the target has ended.
        KernelRefusal: its namespaces may not be read.
    """
    given = [(one.fd, one.type) for one in request.given]
    if isinstance(request.target, HeldNamespace):
        given.insert(0, (request.target.fd, request.target.type))
    own = _links_of_caller()
    calls, kinds, same = [], set(), set()
    replaced = {kind for _, kind in given}
    if request.process is not None:
        theirs = _links_of(request.process)
        mask = 0
        for place, kind in enumerate(TYPES):
            if kind in replaced or not (request.kinds is None or kind in request.kinds):
                continue
            if theirs[place] == ABSENT:
                continue  # this kernel has no such type
            if theirs[place] == own[place]:
                same.add(kind)
                continue
            mask |= kind.clone_flag
            kinds.add(kind)
        if mask:
            calls.append(Join(request.process.pidfd, mask))
    for fd, kind in given:
        if os.fstat(fd).st_ino == own[TYPES.index(kind)]:
            same.add(kind)
            continue
        calls.append(Join(fd, kind.clone_flag))
        kinds.add(kind)
    # The user namespace first among those that are named one by one: it may give the rights.
    calls.sort(key=lambda join: join.flags != NamespaceType.USER.clone_flag)
    return Joining(tuple(calls), frozenset(kinds), frozenset(same))


def _links_of_caller() -> tuple[int, ...]:
    import os

    fd = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return read_ns_links(fd)
    finally:
        os.close(fd)


def _links_of(process: Process) -> tuple[int, ...]:
    try:
        links = read_ns_links(process.proc)
    except OSError as error:
        raise translate(error, "enter", f"process {process.pid}") from error
    if UNREADABLE in links:
        raise KernelRefusal(
            "enter",
            f"process {process.pid}",
            "its namespaces may not even be looked at",
            "it is another user's, or has powers that you lack: become root (CAP_SYS_PTRACE)",
        )
    if links[TYPES.index(NamespaceType.MNT)] == ABSENT:
        raise Vanished("enter", f"process {process.pid}", "it has ended")
    return links
