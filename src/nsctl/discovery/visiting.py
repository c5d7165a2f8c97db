"""Visiting the namespaces of one type in turn, and noting those that would not be visited."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable

from nsctl.child.visit import Hall
from nsctl.discovery.draft import Draft
from nsctl.discovery.members import Members
from nsctl.errors import refused
from nsctl.kernel import nsfs
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Gap, Part, PartState

_CAP_SYS_ADMIN = 21
_USER = TYPES.index(NamespaceType.USER)
_ASKED = 4


class Visits:
    """Visits namespaces for one step.

    Args:
        draft: the draft.
        part: what the step fills.
        what: it, in words ("host names"), for the note.
    """

    def __init__(self, draft: Draft, part: Part, what: str) -> None:
        self._draft = draft
        self._part = part
        self._what = what
        self._members = Members(draft)

    def each(
        self,
        kind: NamespaceType,
        inodes: Iterable[int],
        take: Callable[[int, Hall, int], None],
    ) -> None:
        """Visit namespaces.

        Args:
            kind: their type.
            inodes: which.
            take: called for each that could be visited, with its inode, what is there, and the
                inode of the user namespace that owns it (0 where it is not known).

        The others are noted, by cause.
        """
        lost = closed = silent = 0
        for ino in inodes:
            with self._members.open(kind, ino) as fd:
                if fd is None:
                    # What vanished meanwhile is not mentioned.
                    lost += not self._members.has_way(kind, ino)
                    continue
                hall, owner = self._visit(kind, ino, fd)
            if hall.error == 0:
                take(ino, hall, owner)
            elif hall.error in {errno.EPERM, errno.EACCES, errno.EINVAL}:
                closed += 1
            else:
                silent += 1
        word = kind.word
        self._draft.note_unopened(self._part, self._what, self._members.refused)
        admin = self._draft.reader.caps >> _CAP_SYS_ADMIN & 1
        self._note(lost, word, "nothing that can be opened leads to them", "")
        self._note(
            closed,
            word,
            "they cannot be entered: they belong to a user namespace further out"
            if admin
            else "they cannot be entered",
            "" if admin else "CAP_SYS_ADMIN",
        )
        self._note(silent, word, "the helper that visits them gave no answer", "")

    def _visit(self, kind: NamespaceType, ino: int, fd: int) -> tuple[Hall, int]:
        draft = self._draft
        pids = self._members.pids(kind, ino)[:_ASKED] if kind is NamespaceType.CGROUP else ()
        owner: int | None = None
        owner_ino = 0
        try:
            if kind is not NamespaceType.USER:
                try:
                    owner = nsfs.get_userns(fd)
                    owner_ino = nsfs.inode(owner)
                except OSError as error:  # it lies outside of what the reader may see
                    if not refused(error):
                        raise
            # Nobody can enter the user namespace that he is in.
            other = owner if owner_ino != draft.reader.ns[_USER] else None
            return draft.visitor.visit(kind, fd, other, pids), owner_ino
        finally:
            if owner is not None:
                os.close(owner)

    def _note(self, count: int, word: str, cause: str, needs: str) -> None:
        if count:
            plural = "s" if count > 1 else ""
            self._draft.gaps.append(
                Gap(
                    self._part,
                    "nsfs",
                    f"{self._what} of {count} {word} namespace{plural}",
                    PartState.PARTIAL,
                    cause,
                    needs,
                )
            )
