"""State on disk: whole or not at all, one name each, one worker at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nsctl.engines import own
from nsctl.errors import AmbiguousTarget, NsctlError, UnknownTarget, UsageError
from nsctl.kernel.procfs import ProcFs
from nsctl.run import garbage, lifecycle
from nsctl.run import store as stores
from nsctl.run.ids import IdPool
from nsctl.run.store import Store

pytestmark = pytest.mark.unit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    pool = IdPool(directory=str(tmp_path / "ids"))
    return Store(str(tmp_path / "state"), str(tmp_path / "storage"), pool)


def _state(name: str, number: int, **fields: Any) -> own.State:
    spec: dict[str, object] = {"rootfs": "/r", "namespaces": {"pid": "host"}, "detach": True}
    return own.State(
        id=f"{number:032x}", name=name, status="created", created=1.5, boot_id="b", spec=spec
    )._replace(**fields)


def _add(store: Store, *states: own.State) -> None:
    with stores.opened(store, create=True) as containers:
        for state in states:
            stores.add(containers, state).__exit__()


def test_containers_are_found_by_name_id_and_beginning(store: Store) -> None:
    _add(store, _state("web", 0xA1 << 120), _state("db", 0xA2 << 120), _state("a1", 0xB << 120))
    with stores.opened(store) as containers:
        assert stores.find(containers, "web").name == "web"
        assert stores.find(containers, f"{0xA2 << 120:032x}").name == "db"
        # A name counts before the beginning of an id.
        assert stores.find(containers, "a1").name == "a1"
        assert stores.find(containers, "a2").name == "db"
        with pytest.raises(AmbiguousTarget, match=r"web .*db|db .*web"):
            stores.find(containers, "a")
        with pytest.raises(UnknownTarget) as caught:
            stores.find(containers, "wob")
    assert "web" in caught.value.hint


def test_two_containers_never_have_one_name(store: Store) -> None:
    _add(store, _state("web", 1))
    with stores.opened(store) as containers, pytest.raises(UsageError, match="web already"):
        stores.add(containers, _state("web", 2))
    assert len(lifecycle.list_containers(store)) == 1


def test_only_one_works_on_a_container_at_a_time(store: Store) -> None:
    _add(store, _state("web", 1))
    with stores.opened(store) as containers:
        first = stores.hold(containers, f"{1:032x}")
        assert first is not None
        with first:
            assert stores.hold(containers, f"{1:032x}", 0) is None
            first.update(status="stopped")
        second = stores.hold(containers, f"{1:032x}", 0)
        assert second is not None
        with second:
            assert second.state.status == "stopped"
            garbage.clear(second, containers, store)
        with pytest.raises(UnknownTarget):
            stores.hold(containers, f"{1:032x}")


@pytest.mark.parametrize("status", ["creating", "starting", "removing"])
def test_what_was_begun_and_left_is_removed_by_the_next_command(store: Store, status: str) -> None:
    storage = stores.container_storage(store, f"{1:032x}")
    _add(store, _state("web", 1, status=status, storage=storage))
    os.makedirs(f"{storage}/upper")
    assert lifecycle.list_containers(store) == []
    assert not os.path.exists(storage)
    assert os.listdir(f"{store.state}/containers") == []


def test_one_that_somebody_works_on_is_left_alone(store: Store) -> None:
    with stores.opened(store, create=True) as containers:
        with stores.add(containers, _state("web", 1, status="starting")):
            assert [row.state for row in lifecycle.list_containers(store)] == ["starting"]
        assert lifecycle.list_containers(store) == []


def test_one_of_another_boot_has_ended(store: Store) -> None:
    _add(store, _state("web", 1, status="running", pid=os.getpid(), start=1, boot_id="other"))
    assert [(row.state, row.pid) for row in lifecycle.list_containers(store)] == [("stopped", 0)]


def test_a_process_that_began_at_another_time_is_not_the_containers(store: Store) -> None:
    _add(
        store,
        _state("web", 1, status="running", pid=os.getpid(), start=1, boot_id=garbage.boot_id()),
    )
    assert garbage.open_process(_state("x", 1, pid=os.getpid(), start=1)) == -1
    assert [(row.state, row.pid) for row in lifecycle.list_containers(store)] == [("stopped", 0)]
    # It was not harmed either.
    os.kill(os.getpid(), 0)


def test_what_was_cut_off_before_it_had_a_state_is_removed(store: Store) -> None:
    _add(store, _state("web", 1))
    unfinished = Path(store.state, "containers", ".new-2")
    unfinished.mkdir()
    (unfinished / "lock").touch()
    (unfinished / ".state.json").write_text("half")
    orphan = Path(stores.container_storage(store, "3"), "upper")
    orphan.mkdir(parents=True)
    assert [row.name for row in lifecycle.list_containers(store)] == ["web"]
    assert not unfinished.exists()
    assert not orphan.parent.exists()


def test_a_store_that_does_not_exist_is_empty_and_stays_so(store: Store) -> None:
    assert lifecycle.list_containers(store) == []
    assert not os.path.exists(store.state)
    with pytest.raises(UnknownTarget):
        lifecycle.stop("web", store)


@pytest.mark.parametrize(
    "damage",
    [b"", b"[]", b"{", b'{"version": 9}', b"\xff\xfe", b"[" * 100_000, b'{"version": 1}'],
)
def test_a_damaged_state_is_one_sentence(store: Store, damage: bytes) -> None:
    _add(store, _state("web", 1))
    Path(store.state, "containers", f"{1:032x}", "state.json").write_bytes(damage)
    with pytest.raises(NsctlError, match="container state"):
        own.containers((store.state,))


@pytest.mark.parametrize(
    "field",
    [
        {"pid": "1"},
        {"pid": True},
        {"status": "dancing"},
        {"spec": []},
        {"name": None},
        {"cgroup_dirs": [1]},
        {"more": 1},
        {"created": float("inf")},
        {"created": float("nan")},
        {"created": 10**400},
        {"pid": -2},
        {"mnt_ns_id": 1 << 64},
        {"name": "a/b"},
        {"name": "web@0"},
        {"name": "\x1b[2J"},
        {"name": "\ud800"},
        {"id": ".."},
        {"id": "\ud800" * 32},
        {"cgroup": "/\ud800"},
        {"spec": {"namespaces": {"pid": "\ud800"}}},
        {"version": "\x1b" * 1000},
    ],
)
def test_a_state_with_a_wrong_field_is_damaged(field: dict[str, Any]) -> None:
    fields = json.loads(own.encode(_state("web", 1))) | field
    with pytest.raises(NsctlError) as caught:
        own.decode(json.dumps(fields).encode(), "x")
    assert len(caught.value.sentence) < 100
    assert caught.value.sentence.isprintable()


def test_a_state_comes_back_as_it_was() -> None:
    state = _state("web", 1, pid=7, cgroup_dirs=("/a", "/b\udcff"), exit_status=3)
    assert own.decode(own.encode(state), "x") == state


def test_hostile_files_in_a_state_directory_are_no_states(store: Store) -> None:
    _add(store, _state("web", 1))
    place = Path(store.state, "containers", f"{1:032x}", "state.json")
    makers: list[Callable[[], None]] = [
        lambda: place.symlink_to("/etc/passwd"),
        lambda: os.mkfifo(place),
        place.mkdir,
    ]
    for make in makers:
        place.unlink()
        make()
        with pytest.raises(NsctlError):
            own.containers((store.state,))
    place.rmdir()
    place.write_bytes(own.encode(_state("web", 2)))
    with pytest.raises(NsctlError, match="belongs to another"):
        own.containers((store.state,))


def test_a_row_says_what_was_declared() -> None:
    row = own.to_container(_state("web", 1, cgroup="/nsctl/web-1"), running=False)
    assert (row.engine, row.image, row.declared) == ("nsctl", "/r", (("pid", "host"),))
    assert row.cgroups == ("/nsctl/web-1",)


def test_another_users_state_is_believed_for_his_processes_only(tmp_path: Path) -> None:
    os.makedirs(tmp_path / "7")
    fields = " ".join(["7 (sh) S 1"] + ["0"] * 17 + ["4711"] + ["0"] * 30)
    (tmp_path / "7" / "stat").write_text(fields)
    status = "Uid:\t1000\t1000\t1000\t1000\nGid:\t1\t1\t1\t1\n"
    status += "".join(f"Cap{name}:\t0\n" for name in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
    (tmp_path / "7" / "status").write_text(status)
    proc = ProcFs(str(tmp_path))
    state = _state("web", 1, pid=7, start=4711)
    assert own.is_running(state, 1000, "b", proc)
    assert own.is_running(state, 0, "b", proc)
    assert not own.is_running(state, 1001, "b", proc)
    assert not own.is_running(state, 1000, "c", proc)
    assert not own.is_running(state._replace(start=4712), 1000, "b", proc)
    assert not own.is_running(state._replace(pid=8), 1000, "b", proc)


def test_an_ordinary_users_store_is_at_home_or_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999_001)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    monkeypatch.setenv("HOME", "/home/u")
    found = stores.default_store()
    assert found.state == "/tmp/nsctl-3999999001"
    assert found.storage == "/home/u/.local/share/nsctl"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/5")
    assert stores.default_store()[:2] == ("/run/user/5/nsctl", "/data/nsctl")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for an unknown uid
    with pytest.raises(UsageError, match="no home directory"):
        stores.default_store()


def test_a_container_that_cannot_be_recorded_leaves_no_descriptor(store: Store) -> None:
    with stores.opened(store, create=True) as containers:
        before = os.listdir("/proc/self/fd")
        os.mkdir(f"{1:032x}", dir_fd=containers)
        os.close(os.open(f"{1:032x}/x", os.O_CREAT | os.O_WRONLY, dir_fd=containers))
        with pytest.raises(NsctlError, match="cannot record container web"):
            stores.add(containers, _state("web", 1))
        assert os.listdir("/proc/self/fd") == before


def test_what_cannot_be_removed_stops_nothing_else(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stuck = _state("stuck", 1, status="removing", storage=str(tmp_path / "file" / "x" / "y"))
    others = [_state(f"gone{number}", number, status="removing") for number in (2, 3)]
    _add(store, stuck, *others)
    with pytest.raises(NsctlError, match="cannot remove container stuck"):
        lifecycle.list_containers(store)
    assert [row.name for row in own.containers((store.state,))] == ["stuck"]
    with pytest.raises(NsctlError, match="cannot remove container stuck"):
        lifecycle.list_containers(store)
    with pytest.raises(UnknownTarget, match="container web"):
        lifecycle.stop("web", store)
