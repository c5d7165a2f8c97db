"""Whatever state files hold: a line in the note, and everything else is shown.

State of every engine that keeps some, constructed as each leaves it, two containers an engine; then
one file after another is damaged in every way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsctl import host
from nsctl.cli.main import main
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from support.boltdb import Writer
from unit.engines.machine import Machine
from unit.factories import ns

pytestmark = pytest.mark.unit

ONE, TWO = "a1" * 32, "b2" * 32
_NSPAWN = "SERVICE=systemd-nspawn\nNAME={0}\nROOT=/m/{0}\nLEADER={1}\nREALTIME=1000000\n"
_BUNDLES = "/run/containerd/io.containerd.runtime.v2.task/plain"
_GRAPH = "/var/lib/containers/storage"
_LATER = 100


class Kept(NamedTuple):
    """One state file.

    Attributes:
        path: below the host's root.
        engine: whose it is.
        content: what is in it.
        costs: ids of the containers that may be missing without it, as "ENGINE://ID".
    """

    path: str
    engine: str
    content: bytes
    costs: frozenset[str]


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _kept() -> list[Kept]:
    found = []
    for number, each in enumerate((ONE, TWO)):
        docker = f"/var/lib/docker/containers/{each}"
        mine = frozenset({f"docker://{each}"})
        state = {"ID": each, "Name": f"/web{number}", "State": {"Pid": 0}}
        found += [
            Kept(f"{docker}/config.v2.json", "docker", _json(state), mine),
            Kept(f"{docker}/hostconfig.json", "docker", b'{"PidMode": "host"}', frozenset()),
        ]
        name = f"r{number}"
        for runtime, file in (("runc", "state.json"), ("crun", "status")):
            said = {"id": name, "init_process_pid": 0, "config": {}, "pid": 0}
            path = f"/run/{runtime}/{name}/{file}"
            found.append(Kept(path, runtime, _json(said), frozenset({f"{runtime}://{name}"})))
        config = b"lxc.rootfs.path = dir:/srv\n"
        lxc = frozenset({f"lxc://c{number}"})
        found.append(Kept(f"/var/lib/lxc/c{number}/config", "lxc", config, lxc))
        bundle = f"{_BUNDLES}/t{number}"
        mine = frozenset({f"containerd://t{number}"})
        found += [
            Kept(f"{bundle}/init.pid", "containerd", b"%d" % (_LATER + number), mine),
            Kept(f"{bundle}/config.json", "containerd", b'{"linux": {}}', frozenset()),
        ]
    stored = [
        {"id": each, "names": ["x"], "metadata": json.dumps({"name": f"p{n}"})}
        for n, each in enumerate((ONE[::-1], TWO[::-1]))
    ]
    of_podman = frozenset(f"podman://{row['id']}" for row in stored)
    path = f"{_GRAPH}/overlay-containers/containers.json"
    found.append(Kept(path, "podman", _json(stored), of_podman))
    found.append(
        Kept(
            "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
            "containerd",
            Writer().file({b"v1": {b"other": {b"containers": {b"late": {b"image": b"i"}}}}}),
            frozenset({"containerd://late"}),
        )
    )
    found.append(Kept("/etc/docker/daemon.json", "docker", b"{}", frozenset()))
    storage = b'[storage]\ngraphroot = "/var/lib/containers/storage"\n'
    found.append(Kept("/etc/containers/storage.conf", "podman", storage, frozenset()))
    found.append(Kept("/etc/lxc/lxc.conf", "lxc", b"lxc.lxcpath = /var/lib/lxc\n", frozenset()))
    leader = _LATER + 11
    content = _NSPAWN.format("box", leader).encode()
    # The name is told by nspawn's own arguments too.
    found.append(Kept("/run/systemd/machines/box", "nspawn", content, frozenset()))
    return found


KEPT = _kept()
EVERYTHING = frozenset(
    {
        *(f"docker://{each}" for each in (ONE, TWO)),
        *(f"podman://{each[::-1]}" for each in (ONE, TWO)),
        *(f"{runtime}://r{number}" for runtime in ("runc", "crun") for number in (0, 1)),
        *("lxc://c0", "lxc://c1", "containerd://t0", "containerd://t1", "containerd://late"),
        "nspawn://box",
    }
)


class Disk:
    """A host with all of that."""

    def __init__(self, root: Path) -> None:
        self.machine = Machine(root)
        self.root = root / "1/root"
        self.root.mkdir()
        for number in (0, 1):
            self.machine.add(
                _LATER + number,
                comm=b"sleep",
                inodes=ns(mnt=900 + number, pid=910 + number),
                cgroup=b"0::/plain/t%d\n" % number,
            )
        words = ("systemd-nspawn", "-M", "box", "-D", "/m/box")
        self.machine.add(_LATER + 10, comm=b"systemd-nspawn", words=words)
        directory = self.machine.tree.root / f"{_LATER + 10}"
        (directory / "root").rmdir()
        (directory / "root").symlink_to(self.root)
        self.machine.add(_LATER + 11, ppid=_LATER + 10, comm=b"init", inodes=ns(mnt=950, pid=951))
        for kept in KEPT:
            path = self.path(kept)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(kept.content)

    def path(self, kept: Kept) -> Path:
        return self.root / kept.path.lstrip("/")

    def read(self) -> Snapshot:
        return host.take_snapshot([Part.CONTAINERS], proc_root=str(self.machine.tree.root))


def ids(snapshot: Snapshot) -> frozenset[str]:
    return frozenset(f"{row.engine}://{row.id}" for row in snapshot.containers)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    root = tmp_path / "proc"
    root.mkdir()
    return Disk(root)


def noted(snapshot: Snapshot) -> set[str]:
    return {gap.object for gap in snapshot.gaps if gap.part is Part.CONTAINERS}


def test_undamaged_all_is_shown(disk: Disk) -> None:
    snapshot = disk.read()
    assert ids(snapshot) == EVERYTHING
    # That Podman's labels are in a database which is not there.
    assert all("only the store's database" in gap.cause for gap in snapshot.gaps)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4] or b"{")


def _deepen(path: Path) -> None:
    path.write_bytes(b'{"a":' * 50_000)


def _lengthen(path: Path) -> None:
    # Sparse: nobody has to write so much.
    os.truncate(path, 1 << 30)


def _replaced(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def _link_out(path: Path) -> None:
    path.symlink_to("/../../../../../../../../../proc/self/environ")


_DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": _truncate,
    "deep": _deepen,
    "huge": _lengthen,
    "pipe": _replaced(os.mkfifo),
    "directory": _replaced(lambda path: path.mkdir()),
    "link": _replaced(_link_out),
    "loop": _replaced(lambda path: path.symlink_to(path.name)),
    "writable": lambda path: path.chmod(0o666),
}
# These have no end by which a whole file is told from half of one.
_ENDLESS = frozenset({"lxc", "nspawn"})
# Of these one setting is looked for; without it the place is the usual one.
_SEARCHED = frozenset({"/etc/lxc/lxc.conf", "/etc/containers/storage.conf"})


@pytest.mark.parametrize("damage", _DAMAGE)
@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.path)
def test_a_damaged_file_is_a_line_and_costs_no_others(disk: Disk, kept: Kept, damage: str) -> None:
    _DAMAGE[damage](disk.path(kept))
    snapshot = disk.read()
    assert ids(snapshot) >= EVERYTHING - kept.costs
    is_whole = damage == "truncated" and kept.engine in _ENDLESS
    if not is_whole and not (damage == "deep" and kept.path in _SEARCHED):
        assert kept.path in noted(snapshot)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["ID", "Name", "State", "Config", "Pid", "Labels", "linux", "namespaces",
                         "mounts", "id", "config", "init_process_pid", "pid", "created", "type"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_VALUES)
def test_values_of_any_type_anywhere_cost_no_others(disk: Disk, value: object) -> None:
    raw = json.dumps(value).encode()
    for kept in KEPT:
        if kept.path.endswith((".json", "status")):
            disk.path(kept).write_bytes(raw)
    found = ids(disk.read())
    assert found >= {
        each for each in EVERYTHING if each.startswith(("lxc", "nspawn", "containerd"))
    }


def test_places_that_a_configuration_moved_are_found_while_nothing_runs(disk: Disk) -> None:
    for old, new in (("var/lib/containers/storage", "srv/graph"), ("var/lib/lxc", "srv/lxc")):
        (disk.root / "srv").mkdir(exist_ok=True)
        (disk.root / old).rename(disk.root / new)
    (disk.root / "etc/containers/storage.conf").write_text('[storage]\ngraphroot = "/srv/graph/"\n')
    (disk.root / "etc/lxc/lxc.conf").write_text("lxc.lxcpath = /srv/lxc\n")
    assert ids(disk.read()) == EVERYTHING


def test_names_with_escapes_reach_no_terminal(
    disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[31mred\r\n\u202e"
    path = disk.root / f"var/lib/docker/containers/{ONE}/config.v2.json"
    labels = {evil: evil}
    config = {"Image": evil, "Labels": labels}
    path.write_text(json.dumps({"ID": ONE, "Name": f"/{evil}", "Config": config}))
    place = disk.root / "var/lib/lxc" / evil.replace("/", "")
    place.mkdir()
    (place / "config").write_bytes(b"lxc.rootfs.path = /\x1b]0;x\x07\xff\n")
    for words in (["containers"], ["containers", "-J"], ["containers", "-q"]):
        assert main([*words, "--host-proc", str(disk.machine.tree.root)]) == 0
        printed = capsys.readouterr().out
        assert "red" in printed
        assert not set("\x1b\x07\r\u202e") & set(printed)
