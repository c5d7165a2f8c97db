"""This host: opens its sources, wires the engines into discovery, and keeps saved snapshots.

The archive is imported when a file is touched: decoding strictly costs 30 ms of start-up.
"""

from __future__ import annotations

from collections.abc import Iterable

from nsctl.discovery.draft import ContainerSource
from nsctl.discovery.take import take
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot


def take_snapshot(parts: Iterable[Part] = tuple(Part), *, proc_root: str = "/proc") -> Snapshot:
    """Take a snapshot of this host.

    Args:
        parts: what to read, everything by default; the rest is marked "not asked".
        proc_root: where the host's procfs is mounted.

    Returns:
        The snapshot; what could not be read is in its ``gaps``.

    Raises:
        KernelRefusal: the procfs cannot be read at all.
    """
    wanted = frozenset(parts)
    return take(
        wanted, proc_root=proc_root, sources=_sources() if Part.CONTAINERS in wanted else {}
    )


def _sources() -> dict[str, ContainerSource]:
    """All engines that discovery can ask, by name."""
    from nsctl.engines import own

    return dict(own.sources())


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
