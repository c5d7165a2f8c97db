"""The snapshot while it is being taken: what steps read from and write to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from nsctl.kernel.procfs import CLOCK_TICKS, ProcFs
from nsctl.model.container import Container
from nsctl.model.mount import Mount
from nsctl.model.namespace import Namespace, NamespaceId, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Reader, Reference
from nsctl.model.task import Task

_CAP_SYS_PTRACE = 19
_TICK = 1_000_000_000 // CLOCK_TICKS

ContainerSource = Callable[[], Iterable[Container]]
"""What an engine is to discovery: something that lists containers."""


class Draft:
    """A snapshot in the making.

    Args:
        proc: the procfs that is read.
        parts: what was asked for, with everything that it needs.
        sources: engines, by name; handed in so that discovery need not know them.
    """

    def __init__(
        self, proc: ProcFs, parts: frozenset[Part], sources: dict[str, ContainerSource]
    ) -> None:
        self.proc = proc
        self.parts = parts
        self.sources = sources
        self.reader = Reader(0, 0, 0, ())
        self.boottime_offset = 0
        self.reference = Reference("caller", 0, ())
        self.tasks: list[Task] = []
        self.namespaces: dict[tuple[NamespaceType, int], Namespace] = {}
        self.dev = 0
        self.containers: list[Container] = []
        self.mounts: dict[int, tuple[Mount, ...]] = {}
        self.users: dict[int, str] = {}
        self.gaps: list[Gap] = []

    def add_namespace(self, kind: NamespaceType, ino: int) -> None:
        """Note that a namespace exists, if that is news."""
        if (kind, ino) not in self.namespaces:
            self.namespaces[kind, ino] = Namespace(NamespaceId(kind, self.dev, ino))

    def start_of(self, shown: int) -> int:
        """Turn a start time as this procfs shows it into one of the initial time namespace.

        Args:
            shown: clock ticks, as `nsctl.kernel.procfs.parse_stat` gives them.
        """
        return shown - self.boottime_offset // _TICK

    def cure(self) -> tuple[str, str]:
        """Why the kernel refuses to let a process be looked into, and the capability to mend it.

        Returns:
            A cause in words, and "CAP_SYS_PTRACE", or "" where the reader has that already.
        """
        if self.reader.caps >> _CAP_SYS_PTRACE & 1:
            return "the kernel refuses although CAP_SYS_PTRACE is held", ""
        return "they belong to other users or have more powers", "CAP_SYS_PTRACE"

    def note_unopened(
        self, part: Part, what: str, namespaces: Collection[tuple[NamespaceType, int]]
    ) -> None:
        """Note how many namespaces could not be asked, if any, though they are there.

        Args:
            part: which part lacks what they would have said.
            what: it, in words.
            namespaces: those.
        """
        if namespaces:
            count = len(namespaces)
            self.gaps.append(
                Gap(
                    part,
                    self.proc.root,
                    f"{what} of {count} namespace{'s' if count > 1 else ''}",
                    PartState.PARTIAL,
                    "the kernel refuses to open them",
                    self.cure()[1],
                )
            )

    def note_refused(self, part: Part, what: str, pids: list[int], state: PartState) -> None:
        """Note of which processes something may not be read, if there are any.

        Args:
            part: which part lacks it.
            what: it, in words: "namespaces".
            pids: the processes.
            state: how much of it is lacking.
        """
        if not pids:
            return
        count = "1 process" if len(pids) == 1 else f"{len(pids)} processes"
        named = f" ({', '.join(map(str, pids))})" if len(pids) <= 3 else ""
        cause, needs = self.cure()
        self.gaps.append(
            Gap(
                part,
                self.proc.root,
                f"{what} of {count}{named}",
                state,
                cause,
                needs,
                tuple(pids),
            )
        )


class Step(NamedTuple):
    """One step of discovery; its module is imported when the step runs.

    Attributes:
        module: name below nsctl.discovery; its ``run(draft)`` does the work.
        fills: the part that it fills, or None for what every snapshot has.
        needs: parts that must have been filled before.
    """

    module: str
    fills: Part | None
    needs: tuple[Part, ...]
