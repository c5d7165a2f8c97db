"""Reaching a namespace through a process, which may vanish meanwhile, or a bind mount of it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from nsctl.discovery.draft import Draft
from nsctl.errors import refused, vanished
from nsctl.model.namespace import NS_LINKS, TYPES, NamespaceType

_ATTEMPTS = 8


class Members:
    """For each namespace the links that lead to it: process id and name below /proc/PID/ns.

    Attributes:
        refused: namespaces that could not be opened, though at least one way to them was there.
    """

    def __init__(self, draft: Draft) -> None:
        self.refused: set[tuple[NamespaceType, int]] = set()
        self._root = draft.proc.root
        self._dev = draft.dev
        self._namespaces = draft.namespaces
        self._ways = draft.ways
        self._kept = draft.kept
        self._listed = draft.lists is not None
        self._of: dict[tuple[NamespaceType, int], list[tuple[int, str]]] = {}
        columns = (*TYPES, NamespaceType.PID, NamespaceType.TIME)
        for task in draft.tasks:
            for kind, link, ino in zip(columns, NS_LINKS, task.ns, strict=True):
                if ino > 0:
                    links = self._of.setdefault((kind, ino), [])
                    if len(links) < _ATTEMPTS:
                        links.append((task.pid, link))

    @contextlib.contextmanager
    def open(self, kind: NamespaceType, ino: int) -> Iterator[int | None]:
        """Open a namespace through whichever member still has it, or whatever else holds it.

        Yields:
            A descriptor of exactly this namespace; None where nothing leads to it any more, or
            the kernel refused all that does.
        """
        fd = self._open(kind, ino)
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)

    def _open(self, kind: NamespaceType, ino: int) -> int | None:
        # A path may have been mounted over: what is opened must not block, and is checked.
        kept = self._kept.get((kind, ino))
        if kept is not None:
            return os.dup(kept)
        ways = [f"{self._root}/{pid}/ns/{link}" for pid, link in self._of.get((kind, ino), ())]
        ways += [f"{self._root}/{way}" for way in self._ways.get((kind, ino), ())]
        ways += map(os.fsdecode, self._namespaces[kind, ino].nsfs_paths)
        for path in ways:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if refused(error):
                    self.refused.add((kind, ino))
                elif not vanished(error):
                    raise
                continue
            status = os.fstat(fd)
            if status.st_ino == ino and status.st_dev == self._dev:
                self.refused.discard((kind, ino))
                return fd
            os.close(fd)  # the process moved on; this is another namespace, or another file
        return self._open_by_handle(kind, ino)

    def _open_by_handle(self, kind: NamespaceType, ino: int) -> int | None:
        """Open a namespace that the kernel's own lists told of, and nothing leads to."""
        ns_id = self._namespaces[kind, ino].ns_id
        if not self._listed or ns_id is None:
            return None
        from nsctl.kernel.nsfs_handle import handle, open_by_handle

        try:
            return open_by_handle(handle(ns_id, kind, ino))
        except OSError as error:
            # ESTALE stands for a namespace that is gone and for one that may not be opened.
            if error.errno in {errno.ESTALE, errno.EINVAL} or refused(error) or vanished(error):
                return None
            raise

    def has_way(self, kind: NamespaceType, ino: int) -> bool:
        """Tell whether anything that can be opened leads to a namespace, or did."""
        key = kind, ino
        known = self._namespaces[key].nsfs_paths
        return bool(self._of.get(key) or self._ways.get(key) or key in self._kept or known)

    def pids(self, kind: NamespaceType, ino: int) -> list[int]:
        """Process ids, lowest first, that are in a namespace; at most a handful."""
        return [pid for pid, link in self._of.get((kind, ino), ()) if link == kind]
