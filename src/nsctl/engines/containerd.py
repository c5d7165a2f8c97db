"""containerd's containers, in all of its namespaces but Docker's and Kubernetes': ctr(8), nerdctl.

The shims say where the bundles are (`nsctl.engines.shims`); the names of images, labels and times
are only in containerd's database (`meta.db`), which is read as it lies. What is in the database
and has no process is a container too; where no shim lives, containerd's own arguments and
configuration (containerd-config.toml(5)) tell where that is.
"""

from __future__ import annotations

import re
import struct

from nsctl.engines import boltdb, oci_spec
from nsctl.engines import shims as containerd_shims
from nsctl.engines.fields import Fields, clean, pairs, parse, parse_toml, text
from nsctl.engines.roots import root_of
from nsctl.engines.shims import KUBERNETES, MOBY, Shim
from nsctl.engines.survey import Survey, View, option
from nsctl.model.container import Container
from nsctl.model.record import NamedTuple
from nsctl.model.storage import DataRoot
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ENGINE = "containerd"

_STATE = "/run/containerd"
_ROOT = "/var/lib/containerd"
_CONFIG = "/etc/containerd/config.toml"
_BUNDLES = "io.containerd.runtime.v2.task"
_DATABASE = "io.containerd.metadata.v1.bolt/meta.db"
_TASKS = re.compile(r"(/.*)/io\.containerd\.runtime\.v2\.task/[^/]+/[^/]+")
# Fields of google.protobuf.Any, each of a length that is told before it.
_ANY_TYPE, _ANY_VALUE = 0x0A, 0x12
_VARINT_BITS = 35
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
        spec: its OCI configuration, as containerd packed it.
    """

    image: str = ""
    created: float = 0.0
    labels: tuple[tuple[str, str], ...] = ()
    spec: bytes = b""


class Found(NamedTuple):
    """A container of which there is a bundle, or of which the database tells.

    Attributes:
        namespace: containerd's namespace.
        id: its id there.
        by: its shim, or the daemon; None where that is gone.
        first: its first process, None where that is not there.
        config: its OCI configuration, {} where not read.
        record: what the database says.
        directories: containerd's own, in which it keeps what it mounts into containers: its root
            and its state.
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


class _Place:
    """A directory of bundles: one of containerd's namespaces, as one shim or daemon sees it.

    Attributes:
        view: whose view of the file system.
        state: containerd's directory of state, in which that of bundles is.
        namespace: containerd's.
        by: whose word it is: any shim's, else the daemon's, None for a file of the host.
        root: containerd's directory of what lasts, "" where not known.
        shims: of its containers, by process id.
    """

    def __init__(
        self, view: View, state: str, namespace: str, by: Task | None, root: str = ""
    ) -> None:
        self.view = view
        self.state = state
        self.namespace = namespace
        self.by = by
        self.root = root
        self.shims: dict[int, Shim] = {}

    @property
    def path(self) -> str:
        """Of the directory."""
        return f"{self.state}/{_BUNDLES}/{self.namespace}"


_Records = dict[str, dict[str, Record]]
"""What a database says of containers, by namespace and id."""


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
    databases = _Databases(survey, engine)
    result: list[Found] = []
    places = _places(survey, wanted, engine, databases)
    for place in places:
        names = survey.list(place.view, place.path, engine)
        root = place.root = place.root or _root(survey, place, names, engine)
        records = databases.of(place.view, root).get(place.namespace, {})
        for container_id in names:
            bundle = f"{place.path}/{container_id}"
            by, first = _first(survey, place, bundle, container_id, engine)
            if by is None and first is None:
                continue
            config = containerd_shims.config(survey, place.view, bundle, engine)
            record = records.pop(container_id, Record())
            directories = (root, place.state)
            result.append(
                Found(
                    *(place.namespace, container_id, by, first),
                    *(config, record, directories, place.view),
                )
            )
    for place in places:
        # What had no bundle anywhere.
        records = databases.of(place.view, place.root).get(place.namespace, {})
        for container_id, record in records.items():
            config, directories = _unpacked(record.spec), (place.root, place.state)
            result.append(
                Found(
                    *(place.namespace, container_id, place.by, None),
                    *(config, record, directories, place.view),
                )
            )
        records.clear()
    return result


def _places(
    survey: Survey, wanted: Callable[[str], bool], engine: str, databases: _Databases
) -> list[_Place]:
    """Directories of bundles that shims work in, of daemons, and those at the default place."""
    places: dict[tuple[str, int, int, str], _Place] = {}

    def place(view: View, state: str, namespace: str, by: Task | None, root: str = "") -> _Place:
        is_host = by is None or view.trust.kind == "host"
        key = (state, view.mntns, 0 if is_host or by is None else by.ns[1], namespace)
        if key not in places:
            places[key] = _Place(view, state, namespace, by, root)
        places[key].root = places[key].root or root
        return places[key]

    for shim in containerd_shims.shims(survey):
        state, found, _ = shim.bundle.rpartition(f"/{_BUNDLES}/")
        if wanted(shim.namespace) and found:
            place(shim.view, state, shim.namespace, shim.task).shims[shim.task.pid] = shim
    # Where there is no shim, nothing runs.
    for view, state, root, by in () if survey.running_only else _daemons(survey, engine):
        names = {*survey.list(view, f"{state}/{_BUNDLES}", engine), *databases.of(view, root)}
        for namespace in sorted(names):
            if wanted(namespace):
                place(view, state, namespace, by, root)
    return list(places.values())


def _daemons(survey: Survey, engine: str) -> Iterable[tuple[View, str, str, Task | None]]:
    """Where living daemons keep state and what lasts, and the host's usual places."""
    for task in survey.named("containerd"):
        view = survey.view_of(task)
        if view is not None:
            arguments = survey.command(task)
            told = _configured(survey, task, view, option(arguments, "--config", "-c"), engine)
            state = option(arguments, "--state") or text(told, "state") or _STATE
            root = option(arguments, "--root") or text(told, "root") or _ROOT
            yield view, survey.path_of(task, state), survey.path_of(task, root), task
    host = survey.host_view()
    if host is not None:
        yield host, _STATE, _ROOT, None


def _configured(survey: Survey, task: Task, view: View, path: str, engine: str) -> Fields:
    """Read what a daemon's configuration says, as far as it moves its directories."""
    place = survey.path_of(task, path) if path else _CONFIG
    raw = survey.read(view, place, engine) or b""
    # Most are about plugins alone; the reader of the format takes time to import.
    if b"root" not in raw and b"state" not in raw:
        return {}
    try:
        return parse_toml(raw)
    except ValueError as error:
        survey.note(engine, place, str(error))
        return {}


def _first(
    survey: Survey, place: _Place, bundle: str, container_id: str, engine: str
) -> tuple[Task | None, Task | None]:
    """Find a container's shim and first process, the shim's child."""
    pid = containerd_shims.init_pid(survey, place.view, bundle, engine)
    if not pid:
        return None, None
    task = survey.numbered(pid, place.by)
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


class _Databases:
    """Reads each database once.

    Args:
        survey: the processes that were seen.
        engine: on whose behalf, for the note.
    """

    def __init__(self, survey: Survey, engine: str) -> None:
        self._survey = survey
        self._engine = engine
        self._read: dict[tuple[int, str, int, str], _Records] = {}

    def of(self, view: View, root: str) -> _Records:
        """What the database of a containerd says of its containers."""
        if self._survey.running_only:
            return {}
        key = (view.mntns, *view.trust, root)
        if key not in self._read:
            self._read[key] = _records(self._survey, view, root, self._engine)
        return self._read[key]


def _records(survey: Survey, view: View, root: str, engine: str) -> _Records:
    path = f"{root}/{_DATABASE}"

    def read() -> bytes | None:
        return survey.read(view, path, engine, limit=boltdb.LIMIT)

    def take(top: boltdb.Bucket) -> _Records:
        version = top.find(b"v1")
        found: _Records = {}
        for key, namespace in version.buckets().items() if version is not None else ():
            bucket = namespace.find(b"containers")
            below_it = bucket.buckets() if bucket is not None else {}
            found[_text(key)] = {_text(name): _record(value) for name, value in below_it.items()}
        return found

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
        spec=values.get(b"spec", b""),
    )


def _unpacked(packed: bytes) -> Fields:
    """Read a configuration that is packed as protobuf's ``Any``: a type's name, then JSON.

    Returns:
        It; {} for what is none.
    """
    place = 0
    while place < len(packed):
        tag, place = packed[place], place + 1
        size, shift = 0, 0
        while place < len(packed) and shift < _VARINT_BITS:
            byte, place = packed[place], place + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if tag == _ANY_VALUE:
            try:
                return parse(packed[place : place + size])
            except ValueError:
                return {}
        if tag != _ANY_TYPE:
            return {}
        place += size
    return {}


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


def data_roots(survey: Survey) -> Iterable[DataRoot]:
    """What living daemons keep, and the host's usual place; see `nsctl.engines.docker`.

    A daemon that Docker started keeps no layers, and is Docker's.
    """
    for view, _, root, by in _daemons(survey, ENGINE):
        parent = survey.row_of(by.ppid) if by is not None else None
        if parent is None or parent.comm != b"dockerd":
            yield root_of(ENGINE, view, root, by)
