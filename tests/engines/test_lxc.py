"""LXC's containers, named from their monitors, against what lxc-info(1) says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl import host
from nsctl.model.container import Container
from nsctl.model.part import Part
from support.engines.lxc import MAPPED, Lxc
from support.engines.needs import nsctl, require, rows
from support.engines.stage import Stage

pytestmark = pytest.mark.engines

_EMPTY = "lxc.net.0.type = empty"


@pytest.fixture(scope="module")
def lxc() -> Iterator[Lxc]:
    require("lxc-start", "lxc-info", "newuidmap")
    with Stage("lxc") as stage:
        engine = Lxc(stage)
        engine.start("plain", _EMPTY)
        engine.start("mapped", _EMPTY, *MAPPED, "lxc.time.offset.boot = 5h")
        engine.start("clock", _EMPTY, "lxc.time.offset.monotonic = 10h")
        engine.start(
            "sharing", "lxc.namespace.share.pid = plain", "lxc.namespace.share.net = plain"
        )
        engine.start("hostnet", "lxc.net.0.type = none")
        engine.create("off", _EMPTY)
        yield engine


def of_scope(path: str) -> list[Container]:
    found = host.take_snapshot([Part.CONTAINERS]).containers
    return [row for row in found if row.engine == "lxc" and row.scope == path]


def of_lxc(lxc: Lxc) -> dict[str, Container]:
    return {row.name: row for row in of_scope(lxc.path)}


def test_rows_are_what_lxc_info_says(lxc: Lxc) -> None:
    seen = of_lxc(lxc)
    assert seen.keys() == {"plain", "mapped", "clock", "sharing", "hostnet", "off"}
    for name, row in seen.items():
        said = lxc.info(name)
        assert (row.id, row.state) == (name, said["state"])
        assert row.pid == int(said.get("pid", 0))
        assert row.image == str(lxc.root)


def test_what_was_asked_for_is_told_and_is_so(lxc: Lxc) -> None:
    seen = {name: dict(row.declared) for name, row in of_lxc(lxc).items()}
    assert seen["mapped"]["idmap"] == "u 0 200000 65536; g 0 200000 65536"
    assert (seen["mapped"]["user"], seen["plain"]["user"]) == ("own", "host")
    assert (seen["mapped"]["time.boot"], seen["clock"]["time.monotonic"]) == ("5h", "10h")
    assert (seen["sharing"]["pid"], seen["sharing"]["net"]) == ("container:plain",) * 2
    assert (seen["hostnet"]["net"], seen["plain"]["net"]) == ("host", "own")
    is_own = {row["name"]: row["namespaces"] for row in rows("containers", "containers")}
    for kind in ("user", "time"):
        for name in ("plain", "mapped", "clock"):
            assert is_own[name][kind]["is"] == seen[name][kind]
    assert is_own["sharing"]["pid"]["is"] == "shared"
    # A monitor makes its containers' network namespaces out of the one that it is in.
    assert is_own["plain"]["net"]["ns"] == is_own["sharing"]["net"]["ns"]


def test_names_and_addresses_find_a_container(lxc: Lxc) -> None:
    for target in ("lxc://mapped", "lxc://plain"):
        shown = nsctl("show", target)
        assert shown.startswith(target.removeprefix("lxc://") + " ")
    assert of_lxc(lxc)["plain"].cgroups == (f"{lxc.stage.cgroup}/plain/lxc.payload.plain",)


def test_in_a_pid_namespace_of_its_own_it_is_heard_for_what_is_in_there() -> None:
    require("lxc-start", "lxc-info", "newuidmap")
    with Stage("nested-lxc", own_pids=True) as stage:
        engine = Lxc(stage)
        engine.start("plain", _EMPTY)
        (row,) = [row for row in of_scope(engine.path) if row.pid]
        assert row.vouched_by
        assert row.name == f"plain@{row.vouched_by}"
        status = Path(f"/proc/{row.pid}/status").read_text()
        (line,) = [line for line in status.split("\n") if line.startswith("NSpid:")]
        assert line.split("\t")[2] == engine.info("plain")["pid"]
