"""Podman without Podman: arguments of its monitors, and its databases."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines import podman
from nsctl.engines.boltdb import Damaged, Database
from nsctl.engines.podman import monitor_of
from nsctl.engines.podman_db import Record, bolt_records, sqlite_records
from support.boltdb import Writer
from unit.engines.machine import ALL, Machine
from unit.factories import ns, task

pytestmark = pytest.mark.unit

ID, OTHER, POD = "a" * 64, "b" * 64, "c" * 64
GRAPH = "/srv/moved/graph"


def conmon(container_id: str = ID, name: str = "web", *more: str) -> tuple[str, ...]:
    """The arguments that Podman 4.3 gives to conmon, shortened."""
    below = f"overlay-containers/{container_id}/userdata"
    return (
        *("/usr/bin/conmon", "--api-version", "1", "-c", container_id, "-u", container_id),
        *("-r", "/usr/bin/crun", "-b", f"{GRAPH}/{below}", "-p", f"/run/c/{below}/pidfile"),
        *("-n", name, "--exit-dir", "/run/libpod/exits", "--full-attach", "-s"),
        *("--runtime-arg", "--log-format=json", "--runtime-arg", "--root"),
        *("--exit-command", "/usr/bin/podman", "--exit-command-arg", "--root"),
        *("--exit-command-arg", "-n", "--exit-command-arg", "evil", *more),
    )


def test_a_monitors_arguments_tell_id_name_and_store() -> None:
    found = monitor_of(task(9), conmon())
    assert found is not None
    assert (found.id, found.name, found.graph, found.driver) == (ID, "web", GRAPH, "overlay")
    assert found.pid_file == f"/run/c/overlay-containers/{ID}/userdata/pidfile"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("/usr/bin/conmon",),
        ("conmon", "-c", ID, "-b"),
        # What brought a command into a container later.
        conmon(ID, "web", "-e"),
        # CRI-O's.
        tuple(word.replace("/usr/bin/podman", "/usr/bin/crio") for word in conmon()),
        # A bundle of another container.
        tuple(word.replace(f"/{ID}/", f"/{OTHER}/") for word in conmon()),
        tuple(word.replace(GRAPH, "") for word in conmon()),
    ],
)
def test_other_monitors_are_not_podmans(arguments: tuple[str, ...]) -> None:
    assert monitor_of(task(9), arguments) is None


@given(st.lists(st.sampled_from(conmon()) | st.text(max_size=5), max_size=12))
def test_any_arguments_are_read_without_complaint(words: list[str]) -> None:
    monitor_of(task(9), words)


def config(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "rootfsImageName": "bb:1",
        "createdTime": "2026-11-24T12:55:46Z",
        "labels": {"app": name},
        "spec": {"linux": {"namespaces": [{"type": "pid"}, {"type": "network"}]}},
        **more,
    }


def bolt(**containers: dict[str, Any]) -> bytes:
    """A BoltDB file of Podman with a pod, to which all belong that say so."""
    return Writer(fanout=3).file(
        {
            b"ctr": {
                key.encode(): {
                    b"config": json.dumps(value).encode(),
                    b"state": json.dumps({"state": 3, "pid": 60}).encode(),
                    b"dependencies": {},
                    **({b"pod-id": value["pod"].encode()} if "pod" in value else {}),
                }
                for key, value in containers.items()
            },
            b"pod": {POD.encode(): {b"config": b'{"name": "pod1"}', b"containers": {}}},
        }
    )


def sqlite(tmp_path: Path, **containers: dict[str, Any]) -> bytes:
    """An SQLite file with the tables that Podman's own source describes, and no more of each.

    This is constructed: no Podman that writes such files was at hand.
    """
    with contextlib.closing(sqlite3.connect(tmp_path / "db.sql")) as connection:
        for name, columns in (
            ("ContainerConfig", "Name TEXT UNIQUE NOT NULL, PodID TEXT, JSON TEXT NOT NULL"),
            ("ContainerState", "State INTEGER NOT NULL, ExitCode INTEGER, JSON TEXT NOT NULL"),
            ("PodConfig", "Name TEXT UNIQUE NOT NULL, JSON TEXT NOT NULL"),
        ):
            connection.execute(f"CREATE TABLE {name}(ID TEXT PRIMARY KEY NOT NULL, {columns})")
        connection.execute("INSERT INTO PodConfig VALUES (?, 'pod1', '{}')", (POD,))
        for key, value in containers.items():
            # Podman hands JSON over as bytes: a blob, whatever its column's type is.
            row = (key, value["name"], value.get("pod"), json.dumps(value).encode())
            connection.execute("INSERT INTO ContainerConfig VALUES (?, ?, ?, ?)", row)
            state = (key, 3, 0, json.dumps({"state": 3, "pid": 60}))
            connection.execute("INSERT INTO ContainerState VALUES (?, ?, ?, ?)", state)
        connection.commit()
    return (tmp_path / "db.sql").read_bytes()


def test_both_databases_say_the_same(tmp_path: Path) -> None:
    told = {ID: config("web", pod=POD), OTHER: config("db")}
    state = {"state": 3, "pid": 60}
    expected = {ID: Record(told[ID], state, "pod1"), OTHER: Record(told[OTHER], state, "")}
    assert bolt_records(Database(bolt(**told)).root) == expected
    assert sqlite_records(sqlite(tmp_path, **told)) == expected


def test_a_database_of_another_kind_is_told() -> None:
    with pytest.raises(Damaged, match="no bucket of containers"):
        bolt_records(Database(Writer().file({b"x": {}})).root)


def test_half_a_configuration_costs_that_container_only() -> None:
    data = bolt(**{ID: config("web"), OTHER: config("db")})
    half = data.replace(b'{"name": "web"', b'{"name": "web,')
    records = bolt_records(Database(half).root)
    assert records[ID].config == {}
    assert records[OTHER].config["name"] == "db"


def add_running(machine: Machine, database: bytes | None, *, uid: int = 0) -> Path:
    """A monitor and its child, and the store that the monitor tells of; the store's directory."""
    inodes = ns(mnt=900, user=902) if uid else None
    root = (
        machine.add(50, comm=b"conmon", words=conmon(), uid=uid, caps=ALL, inodes=inodes) / "root"
    )
    machine.add(60, ppid=50, comm=b"sleep", cgroup=f"0::/libpod_parent/libpod-{ID}\n".encode())
    graph = Path(f"{root}{GRAPH}")
    (graph / "libpod").mkdir(parents=True)
    if database is not None:
        (graph / "libpod/bolt_state.db").write_bytes(database)
    return graph


def test_a_running_container_is_its_monitors_child(machine: Machine) -> None:
    add_running(machine, bolt(**{ID: config("web", privileged=True), OTHER: config("db")}))
    survey = machine.survey()
    web, database = podman.containers(survey)
    assert (web.name, web.id, web.pid, web.state) == ("web", ID, 60, "running")
    assert web.cgroups == (f"/libpod_parent/libpod-{ID}",)
    assert (web.image, web.labels, web.pod) == ("bb:1", (("app", "web"),), "")
    assert dict(web.declared)["privileged"] == "yes"
    # It was running when the database was last written, and its process is another's by now.
    assert (database.name, database.pid, database.state) == ("db", 0, "exited")
    assert not survey.gaps


def test_the_newer_database_is_read_where_there_is_no_older(
    machine: Machine, tmp_path: Path
) -> None:
    graph = add_running(machine, None)
    place = tmp_path / "made"
    place.mkdir()
    (graph / "db.sql").write_bytes(sqlite(place, **{ID: config("web", pod=POD)}))
    survey = machine.survey()
    (web,) = podman.containers(survey)
    assert (web.name, web.pod, web.labels) == ("web", "pod1", (("app", "web"),))
    assert not survey.gaps
    (graph / "db.sql-wal").write_bytes(b"x")
    survey = machine.survey()
    podman.containers(survey)
    assert "write-ahead log" in survey.gaps[0].cause


def test_without_a_database_the_files_beside_it_tell_the_rest(machine: Machine) -> None:
    graph = add_running(machine, b"no database")
    (graph / "overlay-containers" / ID / "userdata").mkdir(parents=True)
    metadata = {"image-name": "bb:1", "name": "web", "created-at": 1795524946}
    rows = [
        {"id": ID, "names": ["web"], "metadata": json.dumps(metadata)},
        # CRI-O's, and one that is being built.
        {"id": OTHER, "metadata": json.dumps(metadata | {"pod-id": POD})},
        {"id": "d" * 64},
        None,
    ]
    (graph / "overlay-containers/containers.json").write_text(json.dumps(rows))
    annotations = {"io.kubernetes.cri-o.Created": "2026-11-24T12:55:46.25Z"}
    told = {"annotations": annotations, "linux": {"namespaces": [{"type": "ipc"}]}}
    place = graph / "overlay-containers" / ID / "userdata/config.json"
    place.write_text(json.dumps(told))
    survey = machine.survey()
    (web,) = podman.containers(survey)
    assert (web.name, web.image, web.pid, web.state) == ("web", "bb:1", 60, "running")
    assert web.created == pytest.approx(1795524946.25)
    assert (dict(web.declared)["ipc"], dict(web.declared)["pid"]) == ("own", "host")
    assert {gap.cause for gap in survey.gaps} == {
        "it has no valid meta page",
        "only the store's database has them, which cannot be read",
    }
    place.write_text('{"half')
    survey = machine.survey()
    assert podman.containers(survey)[0].created == 1795524946
    assert any("half written" in gap.cause or "half-written" in gap.cause for gap in survey.gaps)


def test_an_ordinary_user_speaks_for_his_own_only(machine: Machine) -> None:
    told = config("web")
    add_running(machine, bolt(**{ID: told, OTHER: config("db")}), uid=1000)
    # Root's process, which the database says is db's.
    machine.add(61, comm=b"sshd", cgroup=f"0::/libpod-{OTHER}\n".encode())
    survey = machine.survey()
    try:
        web, database = podman.containers(survey)
    finally:
        survey.close()
    assert (web.pid, web.user, web.vouched_by) == (60, 1000, 50)
    assert dict(web.declared)["user"] == "rootless"
    assert (database.pid, database.cgroups, database.user) == (0, (), 1000)
