"""Containers of bare runc(8) and crun(1), which no engine made.

Neither leaves a process, so only the state says that there is a container: for runc
``ROOT/ID/state.json``, for crun ``ROOT/ID/status`` with ``config.json`` beside it. ROOT is
``/run/runc`` and ``/run/crun``, for ordinary users the same below their XDG_RUNTIME_DIR, and where
``--root`` moved it, as far as somebody who waits for the container says so: a runtime in the
foreground, or a monitor that was told how to call it. A state in some other place names nobody.

Engines use the same runtimes and the same places; what an engine's own module tells, discovery
leaves out here, because it asks this one later. What only the state tells of an engine's container
is told under the engine's name, as far as its annotations name the engine.
"""

from __future__ import annotations

import os

from nsctl.engines.fields import Fields, below, number, pairs, seconds, text, texts
from nsctl.engines.oci_spec import Declared, of_config, of_runc_state
from nsctl.engines.state_files import Trust, View
from nsctl.engines.survey import Survey, option, options
from nsctl.errors import refused, vanished
from nsctl.kernel import nsfs
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RUNTIMES = ("runc", "crun")
USERS = "/run/user"

# What runc accepts in an id besides letters and digits; crun's rules are as narrow.
_IN_IDS = str.maketrans("", "", "_+-.")
_UID_DIGITS = 10
_MNT = TYPES.index(NamespaceType.MNT)
_STATE_LIMIT = 1 << 20
_MANAGER = "io.container.manager"
_MANAGERS = {"libpod": "podman", "cri-o": "cri"}
_SHORT = 12
_START_PIPE = "exec.fifo"


class Root(NamedTuple):
    """A directory of states.

    Attributes:
        view: in whose view of the file system.
        path: of the directory there.
        runtime: whose it is.
        owner: the user whose it is, 0 for root.
    """

    view: View
    path: str
    runtime: str
    owner: int


class State(NamedTuple):
    """What one state says.

    Attributes:
        pid: first process, in the writer's numbers.
        start: that process's start in clock ticks.
        created: seconds since the epoch.
        image: the root file system.
        labels: annotations of the configuration.
        declared: what was asked for.
    """

    pid: int
    start: int
    created: float
    image: str
    labels: tuple[tuple[str, str], ...]
    declared: Declared


def containers(survey: Survey) -> list[Container]:
    """List the containers in all states that can be found.

    Args:
        survey: the processes that were seen.

    Returns:
        One row a container, those that do not run too.
    """
    found: list[Container] = []
    read: set[tuple[int, str, str, int]] = set()
    for root in _roots(survey):
        # Of two who tell of one place, a stranger must not speak for root.
        key = (root.view.mntns, root.path, root.view.trust.kind, root.view.trust.uid)
        if key not in read:
            read.add(key)
            found += _rows(survey, root)
    return found


# --- Where they are ------------------------------------------------------------------------------


def _roots(survey: Survey) -> Iterator[Root]:
    for view in _places(survey):
        yield from (Root(view, f"/run/{runtime}", runtime, 0) for runtime in RUNTIMES)
        yield from _users(survey, view)
    reader = survey.reader
    if reader.uid and (mine := os.environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        view = _own_view(survey)
        yield from (Root(view, f"{mine}/{runtime}", runtime, reader.uid) for runtime in RUNTIMES)
    for task in survey.named(*RUNTIMES, "conmon"):
        view_of_it = survey.view_of(task)
        if view_of_it is not None:
            yield from _told(survey, task, view_of_it)


def _users(survey: Survey, view: View) -> Iterator[Root]:
    """Those of ordinary users; only root reads those of others."""
    for name in survey.list(view, USERS, "oci"):
        is_uid = name.isascii() and name.isdigit() and len(name) <= _UID_DIGITS
        uid = int(name) if is_uid else 0
        if not uid or survey.reader.uid not in {0, uid}:
            continue
        # What lies further in may be a file system of his own making.
        theirs = view if survey.reader.uid else view._replace(trust=Trust("user", uid))
        for runtime in set(survey.list(view, f"{USERS}/{name}", "oci")).intersection(RUNTIMES):
            yield Root(theirs, f"{USERS}/{name}/{runtime}", runtime, uid)


def _places(survey: Survey) -> Iterator[View]:
    """The host's file system, and the reader's where that is another."""
    host = survey.host_view()
    if host is not None:
        yield host
    if survey.reader.ns[_MNT] != survey.reference.ns[_MNT] and survey.proc.root == "/proc":
        yield _own_view(survey)


def _own_view(survey: Survey) -> View:
    return View("/", Trust("host", 0), None, survey.reader.ns[_MNT])


def _told(survey: Survey, task: Task, view: View) -> Iterator[Root]:
    """Where somebody who waits for a container says that its state is."""
    arguments = survey.command(task)
    if not arguments:
        return
    if task.comm == b"conmon":
        runtime = os.path.basename(option(arguments, "-r", "--runtime"))
        arguments = tuple(options(arguments, "--runtime-arg"))
    else:
        runtime = task.comm.decode("ascii")
    path = option(arguments, "--root", "-root")
    if runtime in RUNTIMES and path:
        owner = 0 if view.trust.kind == "host" else view.trust.uid
        yield Root(view, os.path.normpath(survey.path_of(task, path)), runtime, owner)
    elif runtime in RUNTIMES and view.trust.kind == "user":
        runtime_dir = survey.environ(task).get("XDG_RUNTIME_DIR", "")
        if runtime_dir.startswith("/"):
            yield Root(view, f"{os.path.normpath(runtime_dir)}/{runtime}", runtime, view.trust.uid)


# --- What is there -------------------------------------------------------------------------------


def _rows(survey: Survey, root: Root) -> Iterator[Container]:
    for name in survey.list(root.view, root.path, root.runtime):
        plain = name.translate(_IN_IDS)
        if plain.isascii() and plain.isalnum():
            read = _read_runc if root.runtime == "runc" else _read_crun
            state = read(survey, root, name)
            if state is not None:
                yield _row(survey, root, name, state)


def _row(survey: Survey, root: Root, container_id: str, state: State) -> Container:
    by = root.view.by
    first = survey.process(state.pid, by, start=state.start, cgroup=container_id)
    # Anybody can write of any process; only one in a user namespace that he made is his.
    mine = root.owner in {0, survey.reader.uid}
    if first is not None and not mine and not _is_of_user(survey, first, root.owner):
        first = None
    engine = _MANAGERS.get(dict(state.labels).get(_MANAGER, ""), root.runtime)
    row = survey.row(
        Container(
            name=container_id if engine == root.runtime else container_id[:_SHORT],
            engine=engine,
            id=container_id,
            image=state.image,
            state="created" if first is not None and _waits(survey, root, container_id) else "",
            created=state.created,
            labels=state.labels,
            declared=state.declared,
        ),
        by,
        first,
    )
    if root.owner and by is None:
        # Nobody else vouches for a file of his; what he says of control groups is not believed.
        return row._replace(
            user=root.owner,
            cgroups=row.cgroups if mine else (),
            vouched_by=0 if mine or first is None else first.pid,
        )
    return row


def _waits(survey: Survey, root: Root, name: str) -> bool:
    """Whether a container waits to be started: its first process waits at a pipe of that name."""
    return _START_PIPE in survey.list(root.view, f"{root.path}/{name}", root.runtime)


def _is_of_user(survey: Survey, task: Task, uid: int) -> bool:
    """Whether a process lives in a user namespace that an ordinary user made."""
    try:
        fd = os.open(f"{survey.proc.root}/{task.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if vanished(error) or refused(error):
            return False
        raise
    try:
        return nsfs.get_owner_uid(fd) == uid
    except OSError as error:
        if refused(error):
            return False
        raise
    finally:
        os.close(fd)


def _read_runc(survey: Survey, root: Root, name: str) -> State | None:
    path = f"{root.path}/{name}/state.json"
    fields = survey.read_json(root.view, path, "runc", limit=_STATE_LIMIT, owner=root.owner)
    return runc_state(fields, name) if fields is not None else None


def runc_state(fields: Fields, name: str) -> State | None:
    """Take runc's state.json apart.

    Args:
        fields: the file.
        name: of the directory that it lies in.

    Returns:
        What it says; None where it belongs to another container.
    """
    if text(fields, "id") != name:
        return None
    config = below(fields, "config")
    labels = (label.partition("=") for label in texts(config, "labels"))
    return State(
        pid=number(fields, "init_process_pid"),
        start=number(fields, "init_process_start"),
        created=seconds(text(fields, "created")),
        image=text(config, "rootfs"),
        # runc adds where the bundle is to the configuration's annotations.
        labels=tuple(sorted((key, value) for key, _, value in labels if key != "bundle")),
        declared=of_runc_state(config),
    )


def _read_crun(survey: Survey, root: Root, name: str) -> State | None:
    place = f"{root.path}/{name}"
    status = survey.read_json(
        root.view, f"{place}/status", "crun", limit=_STATE_LIMIT, owner=root.owner
    )
    if status is None:
        return None
    config = survey.read_json(
        root.view, f"{place}/config.json", "crun", limit=_STATE_LIMIT, owner=root.owner
    )
    return crun_state(status, config or {})


def crun_state(status: Fields, config: Fields) -> State:
    """Take crun's two files apart.

    Args:
        status: the file of that name.
        config: the configuration, {} where it could not be read.
    """
    return State(
        pid=number(status, "pid"),
        start=number(status, "process-start-time"),
        created=seconds(text(status, "created")),
        image=text(status, "rootfs"),
        labels=pairs(config, "annotations"),
        declared=of_config(config) if config else (),
    )
