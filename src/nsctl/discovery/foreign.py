"""What steps share that ask a helper about other processes' descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from nsctl.discovery.draft import Draft, Place
from nsctl.errors import NsctlError, translate
from nsctl.kernel import nsfs
from nsctl.model.namespace import TYPES, Holder, HolderKind, NamespaceType
from nsctl.model.part import Gap, Part, PartState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.child.foreign_files import Answer, FileRequest

SILENT = "a file system did not answer in time"
_FOREIGN_NUMBERS = "this procfs is of another PID namespace"


class Asking:
    """Asks about descriptors, and keeps count of what could not be answered.

    Args:
        draft: the draft.
        part: what the answers fill.
        what: what is asked about, in words: "socket".
    """

    def __init__(self, draft: Draft, part: Part, what: str) -> None:
        self._draft = draft
        self._part = part
        self._what = what
        self._refused: list[int] = []
        self._counts: dict[str, int] = {}
        self._populated: set[tuple[NamespaceType, int]] | None = None

    def ask(self, requests: Sequence[FileRequest]) -> Iterator[tuple[int, Answer]]:
        """Ask the helper.

        Yields:
            The index of a request and its answer, whose descriptors are closed after its turn.
            After an error the rest is left out, and counted.
        """
        if not self._draft.own_numbers:
            if requests:
                self._counts[_FOREIGN_NUMBERS] = len(requests)
            return
        index = -1
        try:
            for index, answer in enumerate(self._draft.foreign.ask(requests)):
                try:
                    self._count(requests[index], answer)
                    yield index, answer
                finally:
                    answer.close()
        except (NsctlError, OSError) as error:
            told = translate(error, "ask", self._what) if isinstance(error, OSError) else error
            self._counts[told.cause] = len(requests) - index - 1

    def hold(self, answer: Answer, kind: HolderKind, places: Sequence[Place]) -> None:
        """Note what a descriptor keeps alive.

        Args:
            answer: what was found.
            kind: what kind of holder the descriptor is.
            places: all descriptors of the same file.
        """
        keys = {(NamespaceType.NET, ino) for ino in answer.nets}
        for fd in answer.fds:
            key = nsfs.get_nstype(fd), nsfs.inode(fd)
            keys.add(key)
            if not self._is_populated(key):
                self._draft.keep(*key, fd)
        for key in keys:
            for place in places:
                self._draft.hold(*key, Holder(kind, pid=place.pid, fd=place.fd, tid=place.tid))

    def _is_populated(self, key: tuple[NamespaceType, int]) -> bool:
        """Tell whether a process is in a namespace."""
        if self._populated is None:
            distinct = {task.ns[: len(TYPES)] for task in self._draft.tasks}
            self._populated = {
                (kind, ino) for ns in distinct for kind, ino in zip(TYPES, ns, strict=True)
            }
        return key in self._populated

    def _count(self, request: FileRequest, answer: Answer) -> None:
        if answer.outcome == "refused":
            self._refused.append(request.pid)
        elif answer.outcome and answer.outcome != "gone":
            known = answer.outcome in {"offset", "unaccepted", "behind"}
            count = answer.missed if known else 1
            cause = answer.outcome
            if cause == "failed":
                cause = os.strerror(answer.missed)
            self._counts[cause] = self._counts.get(cause, 0) + count

    def note(self, objects: dict[str, tuple[str, str, str]]) -> None:
        """Note all that could not be answered.

        Args:
            objects: by outcome the object, with ``{}`` for its count and ``{s}`` for the plural, the cause and
                the capability that would mend it; other causes are told as they are.
        """
        unique = sorted(set(self._refused))
        self._draft.note_refused(self._part, f"{self._what}s", unique, PartState.PARTIAL)
        for outcome, count in self._counts.items():
            told = objects.get(outcome, (f"{{}} {self._what}{{s}}", outcome, ""))
            name, cause, needs = told
            self._draft.gaps.append(
                Gap(
                    self._part,
                    self._draft.proc.root,
                    name.format(count, s="s" if count > 1 else ""),
                    PartState.PARTIAL,
                    cause,
                    needs,
                )
            )
