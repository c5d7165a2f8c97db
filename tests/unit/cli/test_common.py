"""What every view shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsctl.archive import snapshots
from nsctl.cli import common
from nsctl.errors import NsctlError, TargetError, UsageError
from nsctl.model.owner import HOST, Owner
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.target import Target
from unit.factories import snapshot, task

pytestmark = pytest.mark.unit

WEB = Owner("container", "my web", "docker", "3f2a", pid=5)
NGINX = Owner("service", "nginx.service")
SLEEP = Owner("process", "sl\x1beep", pid=7)


def test_an_owner_is_named_for_people_and_escaped() -> None:
    assert common.owner_text(HOST) == "host"
    assert common.owner_text(WEB) == "my web (docker)"
    assert common.owner_text(NGINX) == "nginx.service"
    assert common.owner_text(SLEEP) == "sl\\x1beep[7]"
    assert common.owner_text(WEB._replace(engine="\x1b")) == "my web (\\x1b)"


def test_the_first_of_several_owners_is_named_and_the_others_are_counted() -> None:
    assert common.owners_text([]) == "-"
    assert common.owners_text([WEB]) == "my web (docker)"
    assert common.owners_text([WEB, HOST]) == "my web +1 (docker)"
    assert common.owners_text([SLEEP, HOST, WEB]) == "sl\\x1beep[7] +2"


@pytest.fixture
def saved(tmp_path: Path) -> str:
    taken = snapshot([task(1)], gaps=[Gap(Part.TASKS, "/proc", "x", PartState.PARTIAL, "y")])
    del taken.parts[Part.COMMANDS]
    taken.parts[Part.ID_MAPS] = PartState.NOT_ASKED
    path = str(tmp_path / "a.json")
    snapshots.save(taken, path)
    return path


def test_what_a_saved_snapshot_was_not_asked_for_is_not_read(saved: str) -> None:
    parts = (Part.TASKS, Part.COMMANDS, Part.ID_MAPS)
    gaps = common.snapshot_of(saved, "/proc", parts).gaps
    assert [(gap.part, gap.source) for gap in gaps] == [
        (Part.TASKS, "/proc"),
        (Part.COMMANDS, saved),
        (Part.ID_MAPS, saved),
    ]


def test_a_file_and_a_procfs_exclude_each_other(saved: str) -> None:
    with pytest.raises(UsageError, match="--from and --host-proc"):
        common.snapshot_of(saved, "/mnt/proc", [Part.TASKS])


def test_a_view_is_incomplete_only_where_it_is_strict(saved: str) -> None:
    taken = common.snapshot_of(saved, "/proc", [Part.TASKS])
    assert common.status(taken, strict=False) == 0
    assert common.status(taken, strict=True) == 3
    assert common.status(taken._replace(gaps=()), strict=True) == 0


def test_a_path_is_no_target_in_a_saved_snapshot() -> None:
    assert common.target_of("5", "file") == Target("pid", "5", pid=5)
    assert common.target_of("/proc/self/ns/net", None).kind == "namespace"
    with pytest.raises(TargetError, match="a saved snapshot has no paths of this host"):
        common.target_of("/proc/self/ns/net", "file")


def test_what_fails_does_not_keep_the_others_from_being_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(name: str) -> None:
        if name == "b":
            raise UsageError("not b")

    assert common.for_each(["a", "b", "c"], work) == 2
    assert capsys.readouterr() == ("a\nc\n", "nsctl: not b\n")


def test_an_error_is_told_with_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    common.say(NsctlError("read", "/x", "gone", "look\x1b"))
    assert capsys.readouterr().err == "nsctl: cannot read /x: gone\n       look\\x1b\n"
