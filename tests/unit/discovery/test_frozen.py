"""Whether a container is frozen: its control groups say so, not who wrote that it is paused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsctl.discovery.take import take
from nsctl.kernel import cgroup
from nsctl.model.container import Container
from nsctl.model.part import Part
from unit.proctree import READER, ProcTree

pytestmark = pytest.mark.unit

V1 = b"4:freezer:/docker/x\n3:memory:/docker/x\n1:name=systemd:/\n"
V2 = b"0::/docker/x\n"
WEB = Container("web", "docker", "a1" * 32, pid=50, start=100, state="running")


class Disk:
    """A process, and both kinds of hierarchies as directories."""

    def __init__(self, root: Path) -> None:
        self.tree = ProcTree(root / "proc")
        self.tree.reader()
        self.tree.add(1, ppid=0)
        self.process = self.tree.add(50)
        self.v1, self.v2 = root / "v1/docker/x", root / "v2/docker/x"
        for place in (self.v1, self.v2):
            place.mkdir(parents=True)
        lines = (
            f"30 1 0:30 / {root}/v1 rw - cgroup cgroup rw,freezer\n"
            # One that another mount covers: nothing is found there.
            f"31 1 0:31 / {root}/covered rw - cgroup2 cgroup2 rw\n"
            f"32 1 0:31 / {root}/v2 rw - cgroup2 cgroup2 rw\n"
        )
        (root / f"proc/{READER}/mountinfo").write_text(lines)

    def state(self, row: Container, groups: bytes) -> str:
        (self.process / "cgroup").write_bytes(groups)
        found = take(
            [Part.CONTAINERS], proc_root=str(self.tree.root), sources={"x": lambda _draft: [row]}
        )
        return found.containers[0].state


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "proc").mkdir()
    return Disk(tmp_path)


@pytest.mark.parametrize(
    ("word", "state"), [("FROZEN", "paused"), ("FREEZING", "paused"), ("THAWED", "running")]
)
def test_the_freezer_of_version_1_tells(disk: Disk, word: str, state: str) -> None:
    (disk.v1 / "freezer.state").write_text(f"{word}\n")
    for said in ("running", "paused"):
        assert disk.state(WEB._replace(state=said), V1) == state


@pytest.mark.parametrize(("flag", "state"), [(1, "paused"), (0, "running")])
def test_version_2_tells(disk: Disk, flag: int, state: str) -> None:
    (disk.v2 / "cgroup.events").write_text(f"populated 1\nfrozen {flag}\n")
    for said in ("running", "paused"):
        assert disk.state(WEB._replace(state=said), V2) == state


def test_one_of_both_is_enough(disk: Disk) -> None:
    (disk.v1 / "freezer.state").write_text("THAWED\n")
    (disk.v2 / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    assert disk.state(WEB, V1 + V2) == "paused"


def test_lxc_has_its_own_word(disk: Disk) -> None:
    (disk.v1 / "freezer.state").write_text("FROZEN\n")
    assert disk.state(WEB._replace(engine="lxc"), V1) == "frozen"


@pytest.mark.parametrize("groups", [b"", b"0::/\n", b"0::/../outside\n", b"damaged", V1, V2])
def test_where_nobody_tells_the_engines_word_stands(disk: Disk, groups: bytes) -> None:
    for said in ("running", "paused"):
        assert disk.state(WEB._replace(state=said), groups) == said


@pytest.mark.parametrize("said", ["created", "restarting", "exited"])
def test_other_states_are_the_engines_to_say(disk: Disk, said: str) -> None:
    (disk.v1 / "freezer.state").write_text("FROZEN\n")
    assert disk.state(WEB._replace(state=said), V1) == said


def test_other_hierarchies_do_not_freeze(disk: Disk) -> None:
    place = cgroup.Place(1, (b"memory",), bytes(disk.v1), bytes(disk.v1), 0)
    (disk.v1 / "freezer.state").write_text("FROZEN\n")
    assert cgroup.is_frozen([place]) is None
