"""Open descriptors of namespaces, and what may lead to some, from the kernel's own tables."""

from __future__ import annotations

from nsctl.discovery import descriptors
from nsctl.discovery.draft import Draft, Place
from nsctl.kernel import lists
from nsctl.model.namespace import TYPES, Holder
from nsctl.model.part import Part

_TYPE_OF_FLAG = {kind.clone_flag: kind for kind in TYPES}
_SOCKETS = frozenset({Part.SOCKETS, Part.INFLIGHT, Part.NET_SOCKETS})


def run(draft: Draft) -> None:
    """Sort the open files into what they are."""
    if draft.lists is None:
        return
    draft.waiting = set()
    own = {draft.reader.pid, draft.helper_pid}
    wants_sockets = bool(_SOCKETS & draft.parts)
    # Threads may share a table that is not their first thread's; it is read once.
    tables: dict[tuple[int, int], int] = {}
    for kind, pid, tid, fd, table, ino, type_, net in draft.lists.files:
        if pid in own or tables.setdefault((pid, table), tid) != tid:
            continue
        place = Place(pid, fd, tid if tid != pid else 0)
        if kind == lists.NAMESPACE:
            if type_ in _TYPE_OF_FLAG:
                thread = f"task/{tid}/" if place.tid else ""
                holder = Holder("fd", pid=pid, fd=fd, tid=place.tid)
                draft.hold(_TYPE_OF_FLAG[type_], ino, holder, f"{pid}/{thread}fd/{fd}")
        elif kind == lists.TUN:
            draft.tuns.append(place)
        elif kind == lists.RING:
            draft.rings.append(place)
        elif wants_sockets:
            draft.sockets.setdefault(ino, []).append(place)
            # Where the kernel does not list namespaces, those of sockets are to be opened.
            if draft.lists.spaces:
                draft.socket_nets[ino] = net
            if type_:
                draft.waiting.add(ino)
    # Their sockets are all asked, as the kernel's lists do not have them.
    before = set(draft.sockets)
    descriptors.look(draft, draft.unlisted)
    draft.waiting.update(draft.sockets.keys() - before)
