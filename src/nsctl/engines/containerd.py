"""containerd's containers, in all of its namespaces but Docker's and Kubernetes': ctr(8), nerdctl.

The shims say where the bundles are (`nsctl.engines.shims`); the names of images, labels and times
are only in containerd's database (`meta.db`), which is read as it lies. What is in the database
and has no process is a container too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from nsctl.engines import boltdb, oci_spec
from nsctl.engines import shims as containerd_shims
from nsctl.engines.fields import Fields, clean, pairs
from nsctl.engines.shims import KUBERNETES, MOBY, Shim
from nsctl.engines.survey import Survey, View
from nsctl.model.container import Container
from nsctl.model.task import Task

ENGINE = "containerd"

_STATE = "/run/containerd/io.containerd.runtime.v2.task"
_ROOT = "/var/lib/containerd"
_DATABASE = "io.containerd.metadata.v1.bolt/meta.db"
_TASKS = re.compile(r"(/.*)/io\.containerd\.runtime\.v2\.task/[^/]+/[^/]+")
_TIME = struct.Struct(">BqiH")
_EPOCH = 62_135_596_800  # seconds from the year 1, where Go begins to count, to 1970
_NANO = 1e9
_PROC_PATH = re.compile(r"path:/proc/([0-9]{1,10})/ns/[a-z]+")


class Record(NamedTuple):
    """What the database says of a container.

    Attributes:
        image: name of its image.
        created: seconds since the epoch, 0 unknown.
        labels: key and value pairs, sorted.
    """

    image: str = ""
    created: float = 0.0
    labels: tuple[tuple[str, str], ...] = ()


class Found(NamedTuple):
    """A container of which there is a bundle.

    Attributes:
        namespace: containerd's namespace.
        id: its id there.
        by: its shim, None where that is gone.
        first: its first process, None where that is not there.
        config: its OCI configuration, {} where not read.
        record: what the database says.
        directories: containerd's own, in which it keeps what it mounts into containers.
        view: in whose view of the file system all of that is.
    """

    namespace: str
    id: str
    by: Task | None
    first: Task | None
    config: Fields
    record: Record
    directories: tuple[str, ...]
    view: View


class _Place(NamedTuple):
    """A directory of bundles: one of containerd's namespaces, as one shim sees it."""

    view: View
    path: str
    namespace: str
    shims: dict[int, Shim]


def containers(survey: Survey) -> list[Container]:
    """List the containers of all containerds that can be found.

    Args:
        survey: the processes that were seen.

    Returns:
        Their rows; what could not be read is noted.
    """
    all_found = found(survey, lambda namespace: namespace not in {MOBY, KUBERNETES}, ENGINE)
    owners = {each.first.pid: _name(each) for each in all_found if each.first is not None}
    rows = []
    for each in all_found:
        declared = oci_spec.of_config(each.config, each.directories) if each.config else ()
        row = Container(
            name=_name(each),
            engine=ENGINE,
            id=each.id,
            image=each.record.image,
            created=each.record.created,
            labels=each.record.labels or pairs(each.config, "annotations"),
            declared=tuple(
                (key, _named(survey, value, each.by, owners)) for key, value in declared
            ),
            scope=each.namespace,
        )
        rows.append(survey.row(row, each.by, each.first))
    return rows


def _name(found_one: Found) -> str:
    """nerdctl(8) keeps the name in a label; a container of ctr(8) has its id only."""
    known = {**dict(pairs(found_one.config, "annotations")), **dict(found_one.record.labels)}
    return known.get("nerdctl/name") or clean(found_one.id)


def _named(survey: Survey, value: str, by: Task | None, owners: Mapping[int, str]) -> str:
    task = process_of(survey, value, by)
    return f"container:{owners[task.pid]}" if task is not None and task.pid in owners else value


def process_of(survey: Survey, value: str, by: Task | None) -> Task | None:
    """Find the process whose namespace a configuration means by a path; None for other values."""
    match = _PROC_PATH.fullmatch(value)
    return survey.numbered(int(match[1]), by) if match else None


def found(survey: Survey, wanted: Callable[[str], bool], engine: str) -> list[Found]:
    """Find all containers with a bundle, and those that the databases tell of besides.

    Args:
        survey: the processes that were seen.
        wanted: tells which of containerd's namespaces are asked for.
        engine: on whose behalf, for the note.
    """
    result: list[Found] = []
    for place in _places(survey, wanted, engine):
        names = survey.list(place.view, place.path, engine)
        if not names:
            continue
        root = _root(survey, place, names, engine)
        records = _records(survey, place, root, engine)
        state = place.path.rpartition("/io.containerd.runtime.v2.task/")[0]
        for container_id in names:
            bundle = f"{place.path}/{container_id}"
            by, first = _first(survey, place, bundle, container_id, engine)
            if by is None and first is None:
                continue
            config = containerd_shims.config(survey, place.view, bundle, engine)
            result.append(
                Found(
                    place.namespace,
                    container_id,
                    by,
                    first,
                    config,
                    records.pop(container_id, Record()),
                    (root, state),
                    place.view,
                )
            )
        any_shim = next(iter(place.shims.values()), None)
        by = any_shim.task if any_shim is not None else None
        result += [
            Found(place.namespace, container_id, by, None, {}, record, (), place.view)
            for container_id, record in records.items()
        ]
    return result


def _places(survey: Survey, wanted: Callable[[str], bool], engine: str) -> Iterable[_Place]:
    """Directories of bundles that shims work in, and those at the default place."""
    places: dict[tuple[str, int, int, str], _Place] = {}
    for shim in containerd_shims.shims(survey):
        if not wanted(shim.namespace) or not shim.bundle:
            continue
        path = shim.bundle.rpartition("/")[0]
        is_host = shim.view.trust.kind == "host"
        key = (path, shim.view.mntns, 0 if is_host else shim.task.ns[1], shim.namespace)
        if key not in places:
            places[key] = _Place(shim.view, path, shim.namespace, {})
        places[key].shims[shim.task.pid] = shim
    host = survey.host_view()
    if host is not None:
        for namespace in survey.list(host, _STATE, engine):
            path = f"{_STATE}/{namespace}"
            key = (path, host.mntns, 0, namespace)
            if wanted(namespace) and key not in places:
                places[key] = _Place(host, path, namespace, {})
    return places.values()


def _first(
    survey: Survey, place: _Place, bundle: str, container_id: str, engine: str
) -> tuple[Task | None, Task | None]:
    """Find a container's shim and first process, the shim's child."""
    pid = containerd_shims.init_pid(survey, place.view, bundle, engine)
    if not pid:
        return None, None
    any_shim = next(iter(place.shims.values()), None)
    task = survey.numbered(pid, any_shim.task if any_shim is not None else None)
    if task is None:
        return None, None
    shim = place.shims.get(task.ppid)
    by = shim.task if shim is not None else None
    if by is None and place.view.trust.kind != "host":
        return None, None
    return by, survey.process(pid, by, cgroup=container_id)


def _root(survey: Survey, place: _Place, names: Iterable[str], engine: str) -> str:
    """Where containerd keeps its database: each bundle has a link to a directory there."""
    for name in names:
        match = _TASKS.fullmatch(survey.read_link(place.view, f"{place.path}/{name}/work", engine))
        if match is not None:
            return match[1]
    return _ROOT


def _records(survey: Survey, place: _Place, root: str, engine: str) -> dict[str, Record]:
    """Read what the database says of a namespace's containers."""
    path = f"{root}/{_DATABASE}"

    def read() -> bytes | None:
        return survey.read(place.view, path, engine, limit=boltdb.LIMIT)

    def take(top: boltdb.Bucket) -> dict[str, Record]:
        bucket = top.find(b"v1", place.namespace.encode("utf-8", "surrogateescape"), b"containers")
        below_it = bucket.buckets() if bucket is not None else {}
        return {_text(key): _record(value) for key, value in below_it.items()}

    try:
        return boltdb.consistent(read, take) or {}
    except boltdb.Damaged as error:
        survey.note(engine, path, str(error))
        return {}


def _record(bucket: boltdb.Bucket) -> Record:
    values = bucket.values()
    labels = bucket.find(b"labels")
    return Record(
        image=_text(values.get(b"image", b"")),
        created=_time(values.get(b"createdat", b"")),
        labels=tuple(
            sorted((_text(key), _text(value)) for key, value in labels.values().items())
            if labels is not None
            else ()
        ),
    )


def _time(raw: bytes) -> float:
    """Take a time apart as Go's time.Time.MarshalBinary writes one; 0 for what is none."""
    if len(raw) < _TIME.size:
        return 0.0
    version, seconds, nanoseconds, _ = _TIME.unpack_from(raw)
    if version not in {1, 2} or not 0 <= nanoseconds < _NANO:
        return 0.0
    since: float = seconds - _EPOCH + nanoseconds / _NANO
    return max(since, 0.0)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
