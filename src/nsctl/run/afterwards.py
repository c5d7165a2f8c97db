"""What is asked of a container that was started: its end, its output, its configuration."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from nsctl.engines import own
from nsctl.errors import NsctlError, UnknownTarget, UsageError
from nsctl.model import capabilities
from nsctl.run import garbage
from nsctl.run.log import CURRENT, Reader, Record
from nsctl.run.spec import from_json
from nsctl.run.store import Store, default_store, find, hold, opened

_LOOK_SECONDS = 0.1
_UNKNOWN = -1


def kill(target: str, number: int, store: Store | None = None) -> None:
    """Send a signal to a container's first process, which passes it on to the command.

    Args:
        target: its name, id, or the beginning of its id.
        number: of the signal.
        store: where it is kept; the caller's own by default.

    Raises:
        UnknownTarget: there is none.
        UsageError: it does not run.
    """
    store = store or default_store()
    with opened(store) as containers:
        state = find(containers, target)
    pidfd = garbage.open_process(state)
    if pidfd < 0:
        raise UsageError(f"{state.name} does not run")
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def wait(target: str, store: Store | None = None) -> int:
    """Wait for a container's end.

    Args:
        target: its name, id, or the beginning of its id.
        store: where it is kept; the caller's own by default.

    Returns:
        Its exit status, 128 and the signal's number for one that was killed; at once for one that
        has ended already.

    Raises:
        UnknownTarget: there is none.
        UsageError: it was never started.
        NsctlError: nobody saw how it ended.
    """
    from nsctl.run import attach

    store = store or default_store()
    with opened(store) as containers:
        state = find(containers, target)
        if state.status == "created":
            raise UsageError(f"{state.name} was never started", f"nsctl start {state.name}")
        pidfd = garbage.open_process(state)
        status = _UNKNOWN
        if pidfd >= 0:
            try:
                # Of one that is removed at its end only whoever is attached learns how it ended.
                told = attach.end_of(containers, state)
                status = _UNKNOWN if told is None else told
                garbage.await_end(pidfd, float("inf"))
            finally:
                os.close(pidfd)
        if status == _UNKNOWN:
            status = _recorded(containers, state, store)
    if status == _UNKNOWN:
        raise NsctlError("wait for", state.name, "it has ended, and nobody saw its exit status")
    return status


def _recorded(containers: int, state: own.State, store: Store) -> int:
    """The exit status in the state of a container that has ended, once it is settled."""
    try:
        handle = hold(containers, state.id)
    except UnknownTarget:
        return _UNKNOWN
    if handle is None:
        raise NsctlError("wait for", state.name, "another nsctl is working on it")
    with handle:
        status = handle.state.exit_status
        garbage.settle(handle, containers, store)
    return status


def logs(target: str, store: Store | None = None, *, follow: bool = False) -> Iterator[Record]:
    """Read what a container in the background has said.

    Args:
        target: its name, id, or the beginning of its id.
        store: where it is kept; the caller's own by default.
        follow: go on until it ends.

    Yields:
        Records, oldest first.

    Raises:
        UnknownTarget: there is none.
        UsageError: it ran in the foreground, and has no log.
    """
    store = store or default_store()
    with opened(store) as containers:
        state = find(containers, target)
    from_foreground = not state.spec.get("detach")
    if from_foreground and not os.path.exists(f"{state.storage}/{CURRENT}"):
        raise UsageError(
            f"{state.name} has no log: it was started in the foreground",
            "what it said went to whoever started it",
        )
    reader = Reader(state.storage)
    try:
        while True:
            runs = follow and _runs(state, store)
            yield from reader.read()
            if not runs:
                return
    finally:
        reader.close()


def _runs(state: own.State, store: Store) -> bool:
    """Wait a little, or until a container ends; whether there may be more in its log."""
    pidfd = garbage.open_process(state)
    if pidfd >= 0:
        try:
            garbage.await_end(pidfd, _LOOK_SECONDS)
            return True
        finally:
            os.close(pidfd)
    # What came last is in the log when its monitor has let go of it.
    with opened(store) as containers:
        try:
            handle = hold(containers, state.id, 0)
        except NsctlError:
            return False
        if handle is None:
            time.sleep(_LOOK_SECONDS)
            return True
        handle.__exit__()
    return False


def inspect(target: str, store: Store | None = None) -> dict[str, Any]:
    """Tell everything that is known of a container, in JSON's types.

    Args:
        target: its name, id, or the beginning of its id.
        store: where it is kept; the caller's own by default.

    Returns:
        See the schema ``inspect.json``.

    Raises:
        UnknownTarget: there is none.
    """
    store = store or default_store()
    with opened(store) as containers:
        state = find(containers, target)
    spec = from_json(state.spec)
    pidfd = garbage.open_process(state)
    runs = pidfd >= 0
    if runs:
        os.close(pidfd)
    status = state.status if runs or state.status != "running" else "stopped"
    return {
        "name": state.name,
        "id": state.id,
        "engine": own.ENGINE,
        "state": status,
        "created": state.created,
        "pid": state.pid if runs else None,
        "exit_status": state.exit_status
        if status == "stopped" and state.exit_status >= 0
        else None,
        "image": spec.image or spec.rootfs,
        "rootfs": spec.rootfs,
        "argv": list(spec.argv),
        "env": spec.environment(state.name),
        "cwd": spec.cwd,
        "user": {"uid": spec.uid, "gid": spec.gid, "groups": list(spec.groups)},
        "hostname": spec.hostname or state.name,
        "namespaces": {kind: str(choice) for kind, choice in spec.namespaces.items()},
        "clocks": {"boottime": spec.boottime, "monotonic": spec.monotonic},
        "mounts": [mount._asdict() for mount in spec.mounts],
        "read_only": spec.read_only,
        "masked": list(spec.masked),
        "read_only_paths": list(spec.read_only_paths),
        "capabilities": capabilities.names(spec.sets[3] if spec.sets else spec.capabilities),
        "seccomp": _filter_in_words(seccomp=spec.seccomp, profile=spec.seccomp_profile),
        "no_new_privs": spec.no_new_privs,
        "init": spec.init,
        "terminal": spec.terminal,
        "detached": spec.detach,
        "remove": spec.remove,
        "limits": dict(spec.limits),
        "ids": {"first": state.ids, "count": state.id_count} if state.id_count else None,
        "storage": state.storage,
        "log": f"{state.storage}/{CURRENT}" if spec.detach else None,
        "cgroups": list(state.cgroup_dirs),
    }


def _filter_in_words(*, seccomp: bool, profile: str) -> str:
    if not seccomp:
        return "unconfined"
    return "profile" if profile else "default"
