"""What is done with containers: create, start, run, stop, remove, list, and describe beforehand."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

from nsctl.child.relay import TERMINAL, Streams
from nsctl.engines import own
from nsctl.errors import NsctlError, UnknownTarget, UsageError
from nsctl.model import capabilities
from nsctl.model.container import Container
from nsctl.model.namespace import NamespaceType
from nsctl.mounting.step import describe_all
from nsctl.run import garbage, ids, plan
from nsctl.run.garbage import collect
from nsctl.run.layout import check_others, layout_of, others_of
from nsctl.run.spec import Spec, checked, from_json, to_json
from nsctl.run.start import FINAL_STEPS, OnStep, begin
from nsctl.run.store import (
    Handle,
    Store,
    add,
    container_place,
    container_storage,
    default_store,
    find,
    hold,
    locked,
    new_id,
    opened,
)

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""

_LOCK_SECONDS = 15.0
_LOOK_SECONDS = 0.5

_RECORD = "record the container"
_MONITOR = "start its monitor, which does what follows, keeps its log and sees its end"


def _nothing(_step: str) -> None:
    """Where nobody wants to be told of steps."""


def check_profile(profile: object) -> None:
    """See that a seccomp profile can be compiled.

    Raises:
        UsageError: it cannot.
    """
    from nsctl.kernel import seccomp

    seccomp.compile_profile(profile, capabilities.DEFAULT)


def _tidy(store: Store) -> None:
    """Remove what killed commands left.

    What cannot be removed is no reason to refuse something else; `list_containers` tells of it.
    """
    with contextlib.suppress(NsctlError):
        collect(store)


def create(spec: Spec, store: Store | None = None, *, on_step: OnStep = _nothing) -> Container:
    """Make a container without starting it.

    Args:
        spec: what is asked for.
        store: where it is kept; the caller's own by default.
        on_step: told each step before it is done.

    Returns:
        Its row.

    Raises:
        UsageError: it asks for something that cannot be.
        NsctlError: it cannot be made.
    """
    store = store or default_store()
    _tidy(store)
    with opened(store, create=True) as containers:
        on_step(_RECORD)
        with _record(spec, store, containers) as handle:
            handle.update(status="created")
            return own.to_container(handle.state, running=False)


def run(
    spec: Spec,
    store: Store | None = None,
    *,
    streams: Sequence[int] = (0, 1, 2),
    on_step: OnStep = _nothing,
    alone: bool = False,
) -> int | Container:
    """Make a container and run it.

    Args:
        spec: what is asked for.
        store: where it is kept; the caller's own by default.
        streams: the caller's standard streams, for a container in the foreground.
        on_step: told each step before it is done.
        alone: this program is nsctl's own, so that while it has one thread a helper may be forked
            from it, which is quicker than starting one.

    Returns:
        The exit status of one in the foreground; the row of a detached one, which runs.

    Raises:
        UsageError: it asks for something that cannot be.
        nsctl.child.report.Failure: its command cannot be executed; ``exit_status`` says how.
        NsctlError: it cannot be made. Nothing of it is left.
    """
    store = store or default_store()
    _tidy(store)
    with opened(store, create=True) as containers:
        on_step(_RECORD)
        with _record(spec, store, containers) as handle:
            try:
                return _run(handle, containers, store, streams, on_step, alone=alone)
            except BaseException:
                # A container that never ran is nothing to keep; one that ran is dealt with.
                if handle.state.status == "creating":
                    garbage.clear(handle, containers, store)
                raise


def start(
    target: str,
    store: Store | None = None,
    *,
    streams: Sequence[int] = (0, 1, 2),
    on_step: OnStep = _nothing,
    alone: bool = False,
) -> int | Container:
    """Run a container that was created, or has ended, with the changes it made before.

    Args:
        target: its name, id, or the beginning of its id.
        store: where it is kept; the caller's own by default.
        streams: the caller's standard streams, for a container in the foreground.
        on_step: told each step before it is done.
        alone: this program is nsctl's own, so that while it has one thread a helper may be forked
            from it, which is quicker than starting one.

    Returns:
        As `run` does.

    Raises:
        UsageError: it runs.
        NsctlError: there is none, or it cannot be started.
    """
    store = store or default_store()
    _tidy(store)
    with opened(store) as containers:
        state = find(containers, target)
        handle = hold(containers, state.id, 0)
        if handle is None:
            raise UsageError(f"{state.name} is being worked on by another nsctl")
        with handle:
            if handle.state.status == "running":
                raise UsageError(f"{state.name} runs already")
            before = handle.state
            try:
                return _run(handle, containers, store, streams, on_step, alone=alone)
            except BaseException:
                if handle.state.status in {before.status, "starting"}:
                    garbage.end(handle)
                    handle.update(status=before.status, pid=0, start=0)
                raise


def is_detached(target: str, store: Store | None = None) -> bool:
    """Tell whether a container is one that runs in the background.

    Raises:
        UnknownTarget: there is none.
    """
    with opened(store or default_store()) as containers:
        return bool(find(containers, target).spec.get("detach"))


def _run(
    handle: Handle,
    containers: int,
    store: Store,
    fds: Sequence[int],
    on_step: OnStep,
    *,
    alone: bool,
) -> int | Container:
    spec = from_json(handle.state.spec)
    if spec.detach:
        from nsctl.run import monitor

        on_step(_MONITOR)
        monitor.start(handle, containers, store, on_step)
        return own.to_container(handle.state, running=True, boot_id=handle.state.boot_id)
    streams = Streams(fds)
    master = -1
    if not spec.is_private(NamespaceType.MNT):
        master = _borrow_terminal(streams)
    try:
        running = begin(handle, containers, store, streams, on_step, alone=alone)
    except BaseException:
        if master >= 0:
            os.close(master)
        raise
    if master >= 0:
        streams.attach(master)
    try:
        try:
            status = running.wait()
        finally:
            running.abandon()
    finally:
        if spec.remove:
            garbage.clear(handle, containers, store)
        else:
            garbage.end(handle)
            garbage.note(handle, status="stopped", pid=0, start=0)
    if not spec.remove:
        garbage.note(handle, exit_status=status)
    return status


def _borrow_terminal(streams: Streams) -> int:
    """Make a terminal of the caller's devpts, for a container that mounts none of its own.

    Returns:
        Its master; -1 where none of the streams is a terminal.
    """
    if TERMINAL not in streams.kinds:
        return -1
    master, terminal = os.openpty()
    streams.inside = [
        terminal if kind == TERMINAL else fd
        for kind, fd in zip(streams.kinds, streams.inside, strict=True)
    ]
    streams.hand_over(terminal)
    return master


def describe(
    spec: Spec, store: Store | None = None, *, streams: Sequence[int] = (0, 1, 2)
) -> list[str]:
    """Say what `run` would do, without doing it.

    Args:
        spec: what is asked for.
        store: where the container would be kept; the caller's own by default.
        streams: the caller's standard streams, for a container in the foreground.

    Returns:
        One text a step, in the order of `run`; a command that does much the same stands on a
        line of its own below it, where there is one.

    Raises:
        UsageError: it asks for something that cannot be.
        NsctlError: another container that it names does not run.
    """
    store = store or default_store()
    wanted = checked(spec, os.geteuid())
    state = _new_state(wanted, store)
    if _has_range(wanted, store):
        state = state._replace(ids=ids.peek(store.pool), id_count=store.pool.size)
    if spec.detach:
        from nsctl.run.attached import kinds_of

        kinds = kinds_of(terminal=spec.terminal, interactive=spec.interactive)
    else:
        given = Streams(streams)
        given.close()
        kinds = given.kinds
    with opened(store) as containers, others_of(wanted, containers) as others:
        layout = layout_of(wanted, state, others, kinds, store.pool)
    steps = plan.plan(wanted, layout)
    texts = [
        _RECORD,
        *([_MONITOR] if spec.detach else []),
        *describe_all(steps.prepare),
        *describe_all(steps.build),
    ]
    return [*texts, *FINAL_STEPS]


def _new_state(spec: Spec, store: Store) -> own.State:
    container_id = new_id()
    name = spec.name or f"c-{os.urandom(4).hex()}"
    group = f"/nsctl/{name}-{container_id[:12]}" if ids.can_allot(store.pool) else ""
    return own.State(
        id=container_id,
        name=name,
        status="creating",
        created=time.time(),
        boot_id=garbage.boot_id(),
        spec=to_json(spec),
        storage=container_storage(store, container_id),
        cgroup=group,
    )


def _has_range(spec: Spec, store: Store) -> bool:
    return spec.is_private(NamespaceType.USER) and ids.can_allot(store.pool)


def _record(spec: Spec, store: Store, containers: int) -> Handle:
    """Record a new container, with a range of ids where it gets one."""
    wanted = checked(spec, os.geteuid())
    check_others(wanted, containers)
    state = _new_state(wanted, store)
    made: list[Handle] = []
    with locked(containers):
        if wanted.is_private(NamespaceType.MNT) and not os.path.isdir(wanted.rootfs):
            raise UsageError(f"the root file system {wanted.rootfs} has just been removed")
        if not _has_range(wanted, store):
            return add(containers, state)

        def record(first: int) -> None:
            known = state._replace(ids=first, id_count=store.pool.size)
            made.append(add(containers, known))

        try:
            ids.reserve(store.pool, container_place(store, state.id), record)
        except BaseException:
            for handle in made:
                with handle:
                    garbage.clear(handle, containers, store)
            raise
    return made[0]


def stop(target: str, store: Store | None = None, *, grace: float = GRACE) -> None:
    """End a container: SIGTERM to its first process, which passes it on, then SIGKILL.

    Args:
        target: its name, id, or the beginning of its id.
        store: where it is kept; the caller's own by default.
        grace: seconds between the two.

    Raises:
        UnknownTarget: there is none.
        NsctlError: it cannot be ended. That it has ended already is no error.
    """
    store = store or default_store()
    _tidy(store)
    with opened(store) as containers:
        state = find(containers, target)

        def end(pidfd: int) -> None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            if not garbage.await_end(pidfd, grace):
                garbage.kill(pidfd)

        # Its starter, or --rm, may remove it.
        with (
            contextlib.suppress(UnknownTarget),
            _taken("stop", state, containers, end) as handle,
        ):
            garbage.settle(handle, containers, store)


def _taken(what: str, state: own.State, containers: int, end: Callable[[int], None]) -> Handle:
    """Take a container's lock, having ended it: also one that somebody else is just starting.

    Raises:
        UnknownTarget: it is gone.
        NsctlError: another command does not let go of it.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        pidfd = garbage.open_process(state)
        if pidfd >= 0:
            try:
                end(pidfd)
            finally:
                os.close(pidfd)
        handle = hold(containers, state.id, _LOOK_SECONDS)
        if handle is not None:
            return handle
        if time.monotonic() >= deadline:
            raise NsctlError(what, state.name, "another nsctl is working on it")
        # Whoever holds it may have begun to run it.
        state = find(containers, state.id)


def remove(target: str, store: Store | None = None, *, force: bool = False) -> None:
    """Remove a container and the changes it made.

    Args:
        target: its name, id, or the beginning of its id.
        store: where it is kept; the caller's own by default.
        force: end it first, without grace, where it runs.

    Raises:
        UnknownTarget: there is none.
        UsageError: it runs, and is not to be ended.
        NsctlError: it cannot be removed.
    """
    store = store or default_store()
    _tidy(store)
    with opened(store) as containers:
        state = find(containers, target)

        def end(pidfd: int) -> None:
            if not force:
                raise UsageError(f"{state.name} runs", f"stop it first: nsctl stop {state.name}")
            garbage.kill(pidfd)

        # Its starter may remove it.
        with (
            contextlib.suppress(UnknownTarget),
            _taken("remove", state, containers, end) as handle,
        ):
            garbage.clear(handle, containers, store)


def list_containers(store: Store | None = None) -> list[Container]:
    """List the containers of a store, by name, in whatever state they are.

    Args:
        store: which; the caller's own by default.

    Returns:
        Their rows.

    Raises:
        NsctlError: a state is damaged, or what a killed command left cannot be removed.
    """
    store = store or default_store()
    collect(store)
    return own.containers((store.state,))
