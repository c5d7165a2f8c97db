"""Podman's containers and pods, root's and everybody's, without Podman.

There is no daemon. Each running container has a monitor, conmon, whose arguments (conmon(8)) tell
the id, the name and where its store is, wherever that was moved to. What a store's database says
besides, labels, pods and what was asked for, is `nsctl.engines.podman_db`'s to read. Where it
cannot be read, names, images and creation times still come from the files beside it, and the note
says what is not known.

GRAPH below is podman(1)'s ``--root``: ``GRAPH/DRIVER-containers/containers.json`` is the storage
library's list of containers, ``GRAPH/DRIVER-containers/ID/userdata/config.json`` what the runtime
was given.
"""

from __future__ import annotations

import os

from nsctl.engines.conmon import conmon_of, first_process
from nsctl.engines.fields import (
    Fields,
    below,
    flag,
    is_id,
    number,
    pairs,
    parse,
    parse_rows,
    parse_toml,
    seconds,
    text,
)
from nsctl.engines.oci_spec import of_config
from nsctl.engines.state_files import View
from nsctl.engines.survey import Survey
from nsctl.model.container import Container
from nsctl.model.record import NamedTuple
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nsctl.engines.podman_db import Record
    from nsctl.model.storage import DataRoot

ENGINE = "podman"
DEFAULT_GRAPH = "/var/lib/containers/storage"
_CONFIG = "/etc/containers/storage.conf"

_DRIVERS = ("overlay", "vfs", "btrfs", "zfs")
# libpod's ContainerStatus, as podman-inspect(1) writes each.
_STATES = (
    *("unknown", "created", "initialized", "running", "stopped", "paused", "exited"),
    *("removing", "stopping"),
)
_ALIVE = frozenset({"initialized", "running", "paused", "stopping"})
_SHARED = {
    "pidNsCtr": "pid",
    "netNsCtr": "net",
    "ipcNsCtr": "ipc",
    "utsNsCtr": "uts",
    "userNsCtr": "user",
    "cgroupNsCtr": "cgroup",
    "mountNsCtr": "mnt",
}


class Monitor(NamedTuple):
    """What the arguments of one conmon tell.

    Attributes:
        task: its process.
        id: the container's.
        name: the container's.
        graph: where the store is.
        driver: the storage driver, a part of paths there.
        pid_file: where the container's process id is.
    """

    task: Task
    id: str
    name: str
    graph: str
    driver: str
    pid_file: str


class Store(NamedTuple):
    """One place where containers are kept.

    Attributes:
        view: in whose view of the file system.
        graph: its directory there.
        driver: the storage driver, "" where not known yet.
        monitors: of its running containers, by id.
    """

    view: View
    graph: str
    driver: str
    monitors: dict[str, Monitor]


def containers(survey: Survey) -> list[Container]:
    """List the containers of all stores that monitors tell of, and of root's usual one.

    Args:
        survey: the processes that were seen.

    Returns:
        One row a container, those that do not run too; infra containers of pods are containers.
    """
    return [row for store in _stores(survey) for row in _rows(survey, store)]


# --- Where they are ------------------------------------------------------------------------------


def monitor_of(task: Task, arguments: Iterable[str]) -> Monitor | None:
    """Read the arguments of a conmon.

    Args:
        task: its process.
        arguments: its command line, the program's name first.

    Returns:
        What they tell; None for one that is not Podman's (CRI-O's), or watches a command that was
        brought into a container later.
    """
    conmon = conmon_of(task, arguments)
    if conmon is None or not conmon.ends_with.startswith("podman"):
        return None
    # GRAPH/DRIVER-containers/ID/userdata
    graph, _, inner = conmon.bundle.removesuffix(f"/{conmon.id}/userdata").rpartition("/")
    driver = inner.removesuffix("-containers")
    if (
        not graph
        or not driver
        or conmon.bundle != f"{graph}/{driver}-containers/{conmon.id}/userdata"
    ):
        return None
    return Monitor(task, conmon.id, conmon.name, graph, driver, conmon.pid_file)


def _stores(survey: Survey) -> Iterator[Store]:
    found: dict[tuple[int, str, str, int], Store] = {}
    for task in survey.named("conmon"):
        monitor = monitor_of(task, survey.command(task))
        view = survey.view_of(task) if monitor is not None else None
        if monitor is None or view is None:
            continue
        # Of two who tell of one place, a stranger must not speak for root.
        key = (view.mntns, monitor.graph, view.trust.kind, view.trust.uid)
        store = found.setdefault(key, Store(view, monitor.graph, monitor.driver, {}))
        store.monitors.setdefault(monitor.id, monitor)
    yield from found.values()
    host = survey.host_view()
    if host is not None:
        for graph in dict.fromkeys((_configured(survey, host), DEFAULT_GRAPH)):
            if (host.mntns, graph, "host", 0) not in found:
                yield Store(host, graph, "", {})


def _configured(survey: Survey, host: View) -> str:
    """Where root's store is by configuration (containers-storage.conf(5))."""
    raw = survey.read(host, _CONFIG, ENGINE) or b""
    # Most do not move it; the reader of the format takes time to import.
    if b"graphroot" not in raw:
        return DEFAULT_GRAPH
    try:
        graph = text(below(parse_toml(raw), "storage"), "graphroot")
    except ValueError as error:
        survey.note(ENGINE, _CONFIG, str(error))
        return DEFAULT_GRAPH
    return os.path.normpath(graph) if graph.startswith("/") else DEFAULT_GRAPH


# --- What is there -------------------------------------------------------------------------------


def _rows(survey: Survey, store: Store) -> Iterator[Container]:
    from nsctl.engines.podman_db import records_of

    records = records_of(survey, store.view, store.graph)
    if records is None:
        yield from _rows_without_database(survey, store)
        return
    names = {key: text(record.config, "name") for key, record in records.items()}
    for container_id, record in records.items():
        yield _row(survey, store, container_id, record, names)
    for container_id, monitor in store.monitors.items():
        if container_id not in records:  # made, or removed, since the database was read
            yield _row_of_files(survey, store, container_id, monitor, {})


def _row(
    survey: Survey, store: Store, container_id: str, record: Record, names: Mapping[str, str]
) -> Container:
    config = record.config
    monitor = store.monitors.get(container_id)
    first = _first(survey, store, container_id, monitor, number(record.state, "pid"))
    status = number(record.state, "state")
    said = _STATES[status] if status < len(_STATES) else "unknown"
    if first is None:
        said = "exited" if said in _ALIVE - {"initialized"} else said
    elif said not in _ALIVE:
        said = "running"
    return survey.row(
        Container(
            name=text(config, "name") or (monitor.name if monitor else container_id[:12]),
            engine=ENGINE,
            id=container_id,
            image=text(config, "rootfsImageName") or text(config, "rootfs"),
            state=said,
            created=seconds(text(config, "createdTime")),
            pod=record.pod,
            labels=pairs(config, "labels"),
            declared=_declared(config, names, is_rootless=store.view.trust.kind == "user"),
        ),
        _speaker(store, monitor),
        first,
    )


def _declared(
    config: Fields, names: Mapping[str, str], *, is_rootless: bool
) -> tuple[tuple[str, str], ...]:
    """What was asked for; for an ordinary user "host" would be Podman's own user namespace."""
    said = dict(of_config(below(config, "spec")))
    if is_rootless and said["user"] == "host":
        said["user"] = "rootless"
    for key, kind in _SHARED.items():
        if other := text(config, key):
            said[kind] = f"container:{names.get(other) or other}"
    said["privileged"] = "yes" if flag(config, "privileged") else "no"
    return tuple(said.items())


def _speaker(store: Store, monitor: Monitor | None) -> Task | None:
    """Whose word a row is: its own monitor's, or whose view the store was found in."""
    return monitor.task if monitor is not None else store.view.by


def _first(
    survey: Survey, store: Store, container_id: str, monitor: Monitor | None, said: int
) -> Task | None:
    """Find a container's first process: its monitor's only child, or what files say of it.

    Without a monitor of its own the process must be in the container's control group: the number
    may be another process's by now, maybe that of the monitor in whose view the store was found.
    """
    group = f"libpod-{container_id}"
    if monitor is not None:
        file = monitor.pid_file
        return first_process(survey, store.view, monitor.task, file, group, ENGINE)
    first = survey.process(said, store.view.by, cgroup=group) if said else None
    return first if first is not None and group.encode() in (first.cgroup or b"") else None


# --- Without -------------------------------------------------------------------------------------


def _rows_without_database(survey: Survey, store: Store) -> Iterator[Container]:
    listed = _listed(survey, store)
    unknown = listed.keys() | store.monitors.keys()
    if not unknown:
        return
    survey.note(
        ENGINE,
        f"labels, pods' names and states of {len(unknown)} containers in {store.graph}",
        "only the store's database has them, which cannot be read",
    )
    for container_id in sorted(unknown):
        yield _row_of_files(survey, store, container_id, store.monitors.get(container_id), listed)


def _listed(survey: Survey, store: Store) -> dict[str, Fields]:
    """What the storage library's list says of each of Podman's containers, by id."""
    for driver in (store.driver,) if store.driver else _DRIVERS:
        path = f"{store.graph}/{driver}-containers/containers.json"
        raw = survey.read(store.view, path, ENGINE)
        if raw is None:
            continue
        try:
            found = parse_rows(raw)
        except ValueError as error:
            survey.note(ENGINE, path, str(error))
            continue
        rows = ((text(row, "id"), _metadata(row)) for row in found)
        # Others keep containers there too: CRI-O's are in pods, those being built have no name.
        return {
            key: told
            for key, told in rows
            if is_id(key) and "name" in told and "pod-id" not in told
        }
    return {}


def _metadata(row: Fields) -> Fields:
    try:
        return parse(text(row, "metadata").encode())
    except ValueError:
        return {}


def _row_of_files(
    survey: Survey,
    store: Store,
    container_id: str,
    monitor: Monitor | None,
    listed: dict[str, Fields],
) -> Container:
    told = listed.get(container_id, {})
    driver = store.driver or "overlay"
    path = f"{store.graph}/{driver}-containers/{container_id}/userdata/config.json"
    config = survey.read_json(store.view, path, ENGINE) or {}
    notes = below(config, "annotations")
    created = seconds(text(notes, "io.kubernetes.cri-o.Created"))
    sandbox = text(notes, "io.kubernetes.cri-o.SandboxID")
    infra = store.monitors.get(sandbox or container_id)
    declared = of_config(config, (os.path.dirname(store.graph), store.graph)) if config else ()
    return survey.row(
        Container(
            name=monitor.name if monitor else text(told, "name"),
            engine=ENGINE,
            id=container_id,
            image=text(told, "image-name"),
            created=created or float(number(told, "created-at")),
            pod=_pod_of(infra),
            declared=declared,
        ),
        _speaker(store, monitor),
        _first(survey, store, container_id, monitor, 0),
    )


def _pod_of(infra: Monitor | None) -> str:
    """What a pod's infra container tells of it: the beginning of its id, for want of its name."""
    name = infra.name if infra is not None else ""
    return name.removesuffix("-infra") if name.endswith("-infra") else ""


def data_roots(survey: Survey) -> Iterator[DataRoot]:
    """The stores that monitors tell of, and root's usual one; see `nsctl.engines.docker`."""
    from nsctl.engines.roots import root_of

    for store in _stores(survey):
        yield root_of(ENGINE, store.view, store.graph, None)
