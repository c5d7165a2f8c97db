"""Namespaces in messages that nobody has read yet: SCM_RIGHTS of unix(7).

Which sockets have descriptors waiting their fdinfo says. These are peeked at, so that the message
stays; where a peek would be noticed (SO_PEEK_OFF, socket(7)) it is left alone. A peek reaches the
first message that holds descriptors: what lies behind it, and what was sent over connections that
nobody has accepted, is counted. Sockets in messages are looked into in turn, a few levels deep.
"""

from __future__ import annotations

from nsctl.discovery.draft import Draft, Place
from nsctl.discovery.foreign import SILENT, Asking
from nsctl.errors import refused, vanished
from nsctl.kernel.procfs import read_file
from nsctl.kernel.socketns import parse_scm_fds
from nsctl.model.part import Part, PartState

_WAITING = "{} descriptor{s} in unread messages"


def run(draft: Draft) -> None:
    """Look into every socket with descriptors waiting."""
    refusing: list[int] = []
    groups: list[tuple[int, list[Place]]] = []
    for ino, places in draft.sockets.items():
        unheard = draft.waiting is not None and ino not in draft.waiting
        if unheard or ino in draft.wordless:
            continue
        try:
            waiting = _waiting(draft, places[0])
        except OSError as error:
            if refused(error):
                refusing.append(places[0].pid)
            elif not vanished(error):
                raise
            continue
        if waiting:
            groups.append((ino, places))
    draft.note_refused(Part.INFLIGHT, "sockets", sorted(set(refusing)), PartState.PARTIAL)
    if not groups:
        return
    from nsctl.child.foreign_files import FileRequest

    asking = Asking(draft, Part.INFLIGHT, "socket with unread descriptor")
    requests = [
        FileRequest("messages", places[0].pid, places[0].tid, places[0].fd, ino)
        for ino, places in groups
    ]
    for index, answer in asking.ask(requests):
        asking.hold(answer, "inflight", groups[index][1])
        for _, ino in answer.facts:
            draft.unread_sockets.setdefault(ino, []).extend(groups[index][1])
    asking.note(
        {
            "offset": (_WAITING, "their reader would notice a peek (SO_PEEK_OFF is set)", ""),
            "behind": (_WAITING, "they lie behind other messages, and a peek sees the first", ""),
            "unaccepted": (_WAITING, "nobody has accepted their connection yet", ""),
            "closed": ("network namespaces of {} socket{s}", "in unread messages", "CAP_NET_ADMIN"),
            "deep": ("{} unread socket{s} in unread sockets", "they nest too deep", ""),
            "silent": ("{} socket{s} with unread descriptors", SILENT, ""),
        }
    )


def _waiting(draft: Draft, place: Place) -> int:
    """How many descriptors a socket has waiting."""
    thread = f"/task/{place.tid}" if place.tid else ""
    name = f"{draft.proc.root}/{place.pid}{thread}/fdinfo/{place.fd}"
    return parse_scm_fds(read_file(name))
