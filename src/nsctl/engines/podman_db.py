"""What Podman's own database says of its containers: the only place for labels and pods.

``GRAPH/libpod/bolt_state.db`` is a BoltDB file, in which each container is a bucket; where there is
none, ``GRAPH/db.sql`` is an SQLite file (a choice since Podman 4.8). Both hold configuration and
state of a container as JSON. The file may be written to, or be another user's: `boltdb` and
`sqlitedb` read it without a lock and trust nothing in it.
"""

from __future__ import annotations

from nsctl.engines import boltdb, sqlitedb
from nsctl.engines.fields import Fields, is_id, parse, text
from nsctl.engines.state_files import View
from nsctl.engines.survey import Survey
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ENGINE = "podman"

_ATTEMPTS = 3


class Record(NamedTuple):
    """What a database says of one container.

    Attributes:
        config: its configuration.
        state: its state when Podman last wrote it.
        pod: name of its pod, "" where it is in none.
    """

    config: Fields
    state: Fields
    pod: str


Records = dict[str, Record]
"""Containers by id."""


def records_of(survey: Survey, view: View, graph: str) -> Records | None:
    """Read the database of a store.

    Args:
        survey: which reads, and takes notes.
        view: in whose view of the file system.
        graph: the store's directory.

    Returns:
        All its containers; None where there is no database, or one that cannot be read, which
        is noted.
    """
    for path, taken in (
        (f"{graph}/libpod/bolt_state.db", _from_bolt),
        (f"{graph}/db.sql", _from_sqlite),
    ):
        try:
            records = taken(lambda: survey.read(view, path, ENGINE, limit=boltdb.LIMIT))  # noqa: B023  (called at once)
        except (boltdb.Damaged, sqlitedb.Damaged) as error:
            survey.note(ENGINE, path, str(error))
            return None
        if records is None:
            continue
        if taken is _from_sqlite and survey.read(view, f"{path}-wal", ENGINE, limit=boltdb.LIMIT):
            survey.note(ENGINE, path, "what Podman changed last is still in its write-ahead log")
        return records
    return None


def _from_bolt(read: Callable[[], bytes | None]) -> Records | None:
    return boltdb.consistent(read, bolt_records)


def bolt_records(root: boltdb.Bucket) -> Records:
    """Take the containers out of a BoltDB file.

    Raises:
        boltdb.Damaged: it is not Podman's, or damaged.
    """
    top = root.buckets()
    if b"ctr" not in top:
        raise boltdb.Damaged("it has no bucket of containers")
    pods = {}
    if b"pod" in top:
        for key, bucket in top[b"pod"].buckets().items():
            pods[key] = text(_object(bucket.values().get(b"config")), "name")
    records = {}
    for key, bucket in top[b"ctr"].buckets().items():
        values = bucket.values()
        container_id = key.decode("ascii", "replace")
        if is_id(container_id):
            pod = pods.get(values.get(b"pod-id", b""), "")
            config, state = _object(values.get(b"config")), _object(values.get(b"state"))
            records[container_id] = Record(config, state, pod)
    return records


def _from_sqlite(read: Callable[[], bytes | None]) -> Records | None:
    data = read()
    for _ in range(_ATTEMPTS):
        if data is None:
            return None
        again = read()
        # Its pages are written to in place.
        if again == data:
            return sqlite_records(data)
        data = again
    raise sqlitedb.Damaged("it is being written to all the time")


def sqlite_records(data: bytes) -> Records:
    """Take the containers out of an SQLite file.

    Raises:
        sqlitedb.Damaged: it is not Podman's, or damaged.
    """
    database = sqlitedb.Database(data)
    # ID, Name, JSON
    pods = {row[0]: row[1] for row in database.table("PodConfig") if len(row) >= 3}
    # ID, State, ExitCode, JSON
    states = {row[0]: row[3] for row in database.table("ContainerState") if len(row) >= 4}
    records = {}
    # ID, Name, PodID, JSON
    for row in database.table("ContainerConfig"):
        container_id = row[0] if row else None
        if len(row) >= 4 and isinstance(container_id, str) and is_id(container_id):
            pod = pods.get(row[2])
            records[container_id] = Record(
                _object(row[3]),
                _object(states.get(container_id)),
                pod if isinstance(pod, str) else "",
            )
    return records


def _object(value: sqlitedb.Value) -> Fields:
    """A JSON object; {} for what is none, which costs what it would have told."""
    raw = value.encode("utf-8", "replace") if isinstance(value, str) else value
    try:
        return parse(raw) if isinstance(raw, bytes) else {}
    except ValueError:
        return {}
