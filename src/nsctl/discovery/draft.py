"""The snapshot while it is being taken: what steps read from and write to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from nsctl.kernel.procfs import ProcFs
from nsctl.model.container import Container
from nsctl.model.namespace import Namespace, NamespaceId, NamespaceType
from nsctl.model.part import Gap, Part
from nsctl.model.snapshot import Reader, Reference
from nsctl.model.task import Task

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
        self.users: dict[int, str] = {}
        self.gaps: list[Gap] = []

    def add_namespace(self, kind: NamespaceType, ino: int) -> None:
        """Note that a namespace exists, if that is news."""
        if (kind, ino) not in self.namespaces:
            self.namespaces[kind, ino] = Namespace(NamespaceId(kind, self.dev, ino))

    def holds(self, capability: int) -> bool:
        """Tell whether the reader has a capability, by its number, in its effective set."""
        return bool(self.reader.caps >> capability & 1)


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
