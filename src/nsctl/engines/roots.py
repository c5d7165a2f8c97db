"""Data roots of engines: what `data_roots` of each engine's module gives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from nsctl.engines import own
from nsctl.engines.state_files import View
from nsctl.errors import NsctlError
from nsctl.model.storage import DataRoot
from nsctl.model.task import Task

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def root_of(engine: str, view: View, path: str, daemon: Task | None) -> DataRoot:
    """Name a data root.

    Args:
        engine: whose it is.
        view: in whose view of the file system.
        path: of the directory there.
        daemon: that uses it, None where none is known to live.
    """
    user = view.trust.uid if view.trust.kind == "user" else 0
    pid = view.by.pid if view.by is not None else 0
    return DataRoot(engine, path.rstrip("/") or "/", pid, daemon.pid if daemon else 0, user)


def own_roots() -> Iterator[DataRoot]:
    """Where containers of ours keep their changes: root's, and the caller's."""
    uid = os.geteuid()
    places = {0: own.directory_of(0)}
    places.setdefault(uid, own.directory_of(uid, os.environ.get("XDG_RUNTIME_DIR", "")))
    for user, place in places.items():
        # What is not there, not to be read, or damaged is the list of containers' to tell.
        with contextlib.suppress(NsctlError, OSError):
            above, _ = own.open_directory(place)
            try:
                directory = os.open("containers", _DIRECTORY, dir_fd=above)
            finally:
                os.close(above)
            try:
                for container_id in own.container_ids(directory):
                    with contextlib.suppress(NsctlError, OSError):
                        storage = own.read_state(directory, container_id).storage
                        if storage:
                            yield DataRoot(own.ENGINE, os.path.dirname(storage), 0, 0, user)
            finally:
                os.close(directory)
