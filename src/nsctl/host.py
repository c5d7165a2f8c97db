"""This host: opens its sources, wires the engines into discovery, and keeps saved snapshots.

The archive is imported when a file is touched: decoding strictly costs 30 ms of start-up.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable

from nsctl.discovery.draft import ContainerSource, Draft
from nsctl.discovery.take import take
from nsctl.model.container import Container
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.engines.survey import Survey


def take_snapshot(
    parts: Iterable[Part] = tuple(Part), *, proc_root: str = "/proc", ask_daemons: bool = False
) -> Snapshot:
    """Take a snapshot of this host.

    Args:
        parts: what to read, everything by default; the rest is marked "not asked".
        proc_root: where the host's procfs is mounted.
        ask_daemons: ask the engines' daemons for what their state on disk does not tell of their
            containers, which may take a second where one hangs.

    Returns:
        The snapshot; what could not be read is in its ``gaps``.

    Raises:
        KernelRefusal: the procfs cannot be read at all.
    """
    wanted = frozenset(parts)
    if Part.CONTAINERS not in wanted:
        return take(wanted, proc_root=proc_root)
    surveyor = _Surveyor()
    answers = surveyor.answers if ask_daemons else None
    return take(wanted, proc_root=proc_root, sources=_sources(surveyor), answers=answers)


def engine_names() -> tuple[str, ...]:
    """Name the engines whose containers a snapshot lists, each once."""
    names = dict.fromkeys(source.partition(" ")[0] for source in _sources(_Surveyor()))
    return tuple(name for name in names if name != "by_cgroup")


# In this order: of what two of them tell, the first is heard. The last knows the least.
_ENGINES = ("docker", "cri", "containerd", "podman", "crio", "lxc", "nspawn", "oci", "by_cgroup")
# Without any of these there is nobody to ask.
_DAEMONS = ("dockerd", "podman")


def _sources(surveyor: _Surveyor) -> dict[str, ContainerSource]:
    """All engines that discovery can ask, by name."""
    from nsctl.engines import own

    found: dict[str, ContainerSource] = {}
    for name, source in own.sources().items():
        found[name] = _unsurveyed(source)
    for name in _ENGINES:
        found[name] = surveyor.source(name)
    return found


def _unsurveyed(source: Callable[[], Iterable[Container]]) -> ContainerSource:
    """An engine that needs no processes to find its containers."""
    return lambda _draft: source()


class _Surveyor:
    """Makes one survey for all engines, and gives each engine's module its turn."""

    def __init__(self) -> None:
        self._survey: Survey | None = None

    def source(self, name: str) -> ContainerSource:
        """The engine of a module below nsctl.engines, which is imported when it is asked."""

        def ask(draft: Draft) -> list[Container]:
            try:
                return self._list(name, draft)
            finally:
                if name == _ENGINES[-1]:
                    self._of(draft).close()

        return ask

    def answers(self, draft: Draft) -> list[Container]:
        """What daemons say, where one may be running and its numbers are the reader's own."""
        if not draft.own_numbers or not self._of(draft).named(*_DAEMONS):
            return []
        return self._list("answers", draft)

    def _list(self, name: str, draft: Draft) -> list[Container]:
        module = importlib.import_module(f"nsctl.engines.{name}")
        list_containers: Callable[[Survey], list[Container]] = module.containers
        survey = self._of(draft)
        noted = len(survey.gaps)
        try:
            return list_containers(survey)
        finally:
            draft.gaps.extend(survey.gaps[noted:])

    def _of(self, draft: Draft) -> Survey:
        if self._survey is None:
            from nsctl.engines.survey import Survey

            shift = draft.start_of(0)
            self._survey = Survey(draft.proc, draft.tasks, draft.reference, draft.reader, shift)
        return self._survey


def save_snapshot(snapshot: Snapshot, path: str) -> None:
    """Write a snapshot to a file of mode 0600, whole or not at all.

    Raises:
        KernelRefusal: the file cannot be written.
    """
    from nsctl.archive import snapshots

    snapshots.save(snapshot, path)


def load_snapshot(path: str) -> Snapshot:
    """Read a saved snapshot, trusting nothing in it.

    Raises:
        KernelRefusal: the file cannot be read.
        ArchiveError: it is damaged, no snapshot, or of another version.
    """
    from nsctl.archive import snapshots

    return snapshots.load(path)
