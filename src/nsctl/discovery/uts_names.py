"""Host and domain name of every UTS namespace, asked from inside it (uts_namespaces(7))."""

from __future__ import annotations

from nsctl.child.visit import Hall
from nsctl.discovery.draft import Draft
from nsctl.discovery.visiting import Visits
from nsctl.kernel import uts
from nsctl.model.contents import UtsNames
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Part

_UTS = NamespaceType.UTS


def run(draft: Draft) -> None:
    """Read the names of every UTS namespace."""
    own = draft.reader.ns[TYPES.index(_UTS)]
    inodes = [ino for kind, ino in draft.namespaces if kind is _UTS]
    if own in inodes:
        _put(draft, own, uts.names())

    def take(ino: int, hall: Hall, _: int) -> None:
        _put(draft, ino, UtsNames(hall.texts["host"], hall.texts["domain"]))

    others = [ino for ino in inodes if ino != own]
    Visits(draft, Part.UTS_NAMES, "host names").each(_UTS, others, take)


def _put(draft: Draft, ino: int, names: UtsNames) -> None:
    draft.namespaces[_UTS, ino] = draft.namespaces[_UTS, ino]._replace(names=names)
