"""Network namespaces of sockets and of tun devices, which stay where they were made.

A socket counts where its process is in another network namespace than it: one that is in the same
is told by the process itself. What it is asked by duplicating it (pidfd_getfd(2)) does nothing to
it; no option is set, no data is read.
"""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.discovery.foreign import SILENT, Asking
from nsctl.model.namespace import TYPES, Holder, NamespaceType
from nsctl.model.part import Part

_NET = TYPES.index(NamespaceType.NET)
_CLOSED = "the kernel tells them to who administers their network"


def run(draft: Draft) -> None:
    """Ask every socket and every tun device."""
    if not draft.sockets and not draft.tuns:
        return
    from nsctl.child.foreign_files import FileRequest

    networks = {task.pid: task.ns[_NET] for task in draft.tasks}
    sockets = Asking(draft, Part.SOCKETS, "socket")
    _hold_listed(draft, networks)
    groups = [each for each in draft.sockets.items() if each[0] not in draft.socket_nets]
    requests = [
        FileRequest("socket", places[0].pid, places[0].tid, places[0].fd, ino)
        for ino, places in groups
    ]
    for index, answer in sockets.ask(requests):
        elsewhere = [
            place for place in groups[index][1] if networks.get(place.pid) not in answer.nets
        ]
        if answer.nets and elsewhere:
            sockets.hold(answer, "socket", elsewhere)
    sockets.note(
        {
            "closed": ("network namespaces of {} socket{s}", _CLOSED, "CAP_NET_ADMIN"),
            "silent": ("network namespaces of {} socket{s}", SILENT, ""),
        }
    )
    tuns = Asking(draft, Part.SOCKETS, "tun device")
    for index, answer in tuns.ask([FileRequest("tun", p.pid, p.tid, p.fd) for p in draft.tuns]):
        tuns.hold(answer, "tun", [draft.tuns[index]])
        draft.tun_nets[draft.tuns[index]] = answer.nets
    tuns.note(
        {
            "closed": ("network namespaces of {} tun device{s}", _CLOSED, "CAP_NET_ADMIN"),
            "silent": ("network namespaces of {} tun device{s}", SILENT, ""),
        }
    )


def _hold_listed(draft: Draft, networks: dict[int, int]) -> None:
    """Note what the lists of sockets tell already, where they were read: nobody need be asked."""
    for ino, net in draft.socket_nets.items():
        for place in draft.sockets.get(ino, ()):
            if networks.get(place.pid) != net:
                holder = Holder("socket", pid=place.pid, fd=place.fd, tid=place.tid)
                draft.hold(NamespaceType.NET, net, holder)
