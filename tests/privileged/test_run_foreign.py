"""State directories of other users, forged to take root's processes, or to stop root's commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl.engines import own, own_of_others
from nsctl.errors import NsctlError
from nsctl.kernel.procfs import ProcFs, parse_stat
from nsctl.model.container import Container
from nsctl.run import garbage, lifecycle
from support.containers import Box, box_in

pytestmark = pytest.mark.privileged

UID = 3_999_999_001  # nobody's


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with box_in(tmp_path) as made:
        yield made


def forge(place: Path, number: int = 1, uid: int = UID, **fields: Any) -> str:
    """A state directory of an ordinary user with one container in it."""
    state = own.State(
        id=f"{number:032x}",
        name="web",
        status="running",
        created=1.0,
        boot_id=garbage.boot_id(),
        spec={},
    )._replace(**fields)
    directory = place / "containers" / state.id
    directory.mkdir(parents=True)
    (directory / "lock").touch()
    (directory / "state.json").write_bytes(own.encode(state))
    give(place, uid)
    return str(place)


def give(place: Path, uid: int) -> None:
    place.chmod(0o700)
    for path in (place, *place.rglob("*")):
        os.chown(path, uid, uid)


def start_of(pid: int) -> int:
    return parse_stat(ProcFs().read(f"{pid}/stat")).start


def read(*places: str) -> tuple[list[Container], str]:
    """The rows of other users' directories, and what was said of those that could not be read."""
    rows = []
    try:
        for row in own_of_others.containers(places):
            rows.append(row)  # noqa: PERF402  (they end with an error)
    except NsctlError as error:
        return rows, error.sentence
    return rows, ""


def test_another_user_cannot_claim_what_is_not_his(box: Box, tmp_path: Path) -> None:
    victim = box.detach(name="web")
    state = box.state("web")
    rows, failed = read(
        forge(
            tmp_path / "user",
            cgroup=state.cgroup,
            pid=victim.pid,
            start=start_of(victim.pid),
            mnt_ns_id=state.mnt_ns_id,
        )
    )
    assert failed == ""
    (row,) = rows
    assert (row.name, row.pid, row.state) == (f"web@{UID}", 0, "stopped")
    assert (row.cgroups, row.mnt_ns_id) == ((), 0)


def test_of_another_users_processes_only_those_in_his_user_namespaces_are_his_containers(
    tmp_path: Path,
) -> None:
    with (
        subprocess.Popen(("sleep", "100"), user=UID, group=UID, extra_groups=()) as plain,
        subprocess.Popen(
            ("unshare", "-U", "sh", "-c", "echo; exec sleep 100"),
            user=UID,
            group=UID,
            extra_groups=(),
            stdout=subprocess.PIPE,
        ) as inside,
    ):
        try:
            assert inside.stdout is not None
            assert inside.stdout.readline() == b"\n"
            for process, believed in ((plain, 0), (inside, inside.pid)):
                place = forge(
                    tmp_path / str(process.pid), pid=process.pid, start=start_of(process.pid)
                )
                rows, _ = read(place)
                assert [row.pid for row in rows] == [believed]
        finally:
            plain.kill()
            inside.kill()


def test_what_one_user_damages_hides_only_his_own(tmp_path: Path) -> None:
    good = forge(tmp_path / "good")
    damaged = tmp_path / "damaged"
    forge(damaged)
    (damaged / "containers" / f"{1:032x}" / "state.json").write_text("{")
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "containers").symlink_to("/etc")
    give(closed, 0)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    rows, failed = read(str(damaged), str(closed), str(fifo), good)
    assert [row.name for row in rows] == [f"web@{UID}"]
    assert "it is not JSON (and 2 more)" in failed


def test_reading_the_states_of_others_ends_in_time(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    large = list(range(400_000))
    forge(slow, spec={"namespaces": large})
    for number in range(2, 40):
        text = (slow / "containers" / f"{1:032x}" / "state.json").read_text()
        fields = json.loads(text) | {"id": f"{number:032x}"}
        directory = slow / "containers" / f"{number:032x}"
        directory.mkdir()
        (directory / "state.json").write_text(json.dumps(fields))
    give(slow, UID)
    good = forge(tmp_path / "good", uid=UID + 1)
    before = time.monotonic()
    rows, failed = read(str(slow), good)
    assert time.monotonic() - before < 30  # 39 of them take longer than the second it gets
    assert f"web@{UID + 1}" in [row.name for row in rows]
    assert len(rows) == 1 or failed == ""


def test_only_a_directory_that_belongs_to_the_user_in_its_name_is_looked_at() -> None:
    place = Path(f"/tmp/nsctl-{UID}")
    odd = Path(f"/tmp/nsctl-{UID}-x")
    try:
        place.mkdir(0o700)
        odd.mkdir(0o700)
        os.chown(odd, UID, UID)
        assert not {str(place), str(odd)} & set(own_of_others.directories())
        os.chown(place, UID, UID)
        assert str(place) in own_of_others.directories()
        place.rmdir()
        place.symlink_to(odd)
        os.chown(place, UID, UID, follow_symlinks=False)
        assert str(place) not in own_of_others.directories()
    finally:
        if place.is_symlink():
            place.unlink()
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(odd, ignore_errors=True)


def test_root_acts_on_no_directory_of_another_user(box: Box, tmp_path: Path) -> None:
    theirs = box.store._replace(state=forge(tmp_path / "user"))
    for act in (
        lambda: lifecycle.stop("web", theirs),
        lambda: lifecycle.remove("web", theirs, force=True),
        lambda: lifecycle.run(box.spec("true"), theirs, streams=()),
        lambda: garbage.collect(theirs),
    ):
        with pytest.raises(NsctlError, match=f"it belongs to uid {UID}"):
            act()
    storage = tmp_path / "storage-of-another"
    storage.mkdir(0o700)
    os.chown(storage, UID, UID)
    with pytest.raises(NsctlError, match=f"it belongs to uid {UID}"):
        lifecycle.run(box.spec("true"), box.store._replace(storage=str(storage)), streams=())


def test_a_list_of_containers_has_nothing_that_a_killed_command_left() -> None:
    base = Path(tempfile.mkdtemp())
    try:
        forge(base / "nsctl", status="creating")
        give(base, UID)
        environ = {"PATH": os.environ["PATH"], "HOME": str(base), "XDG_RUNTIME_DIR": str(base)}
        done = subprocess.run(
            (sys.executable, "-m", "nsctl", "containers", "--own", "-q"),
            user=UID,
            group=UID,
            extra_groups=(),
            cwd="/",
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert os.listdir(base / "nsctl" / "containers") == []
    finally:
        shutil.rmtree(base)
