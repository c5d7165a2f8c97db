"""Network namespaces of sockets and of tun devices, which stay where they were made.

A socket counts where its process is in another network namespace than it: one that is in the same
is told by the process itself. What it is asked by duplicating it (pidfd_getfd(2)) does nothing to
it; no option is set, no data is read.
"""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.discovery.foreign import SILENT, Asking
from nsctl.model.namespace import TYPES, NamespaceType
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
    groups = list(draft.sockets.items())
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
    tuns.note(
        {
            "closed": ("network namespaces of {} tun device{s}", _CLOSED, "CAP_NET_ADMIN"),
            "silent": ("network namespaces of {} tun device{s}", SILENT, ""),
        }
    )
