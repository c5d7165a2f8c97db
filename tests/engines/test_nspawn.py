"""Containers of systemd-nspawn, named where no systemd-machined runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl import host
from nsctl.model.container import Container
from nsctl.model.part import Part
from support.engines.needs import nsctl, require, rows
from support.engines.nspawn import Nspawn, runs
from support.engines.stage import Stage

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def nspawn() -> Iterator[tuple[Nspawn, dict[str, int]]]:
    require("systemd-nspawn")
    with Stage("nspawn") as stage:
        engine = Nspawn(stage)
        users = ("--private-users=524288:65536", "--private-users-ownership=map")
        yield (
            engine,
            {
                "machine": engine.start("machine"),
                "users": engine.start("users", "--private-network", *users),
                # Its name is that of its directory; the first process only waits for the second.
                "stub": engine.start("stub", "--as-pid2", named=False),
            },
        )


def of_nspawn() -> dict[str, Container]:
    found = host.take_snapshot([Part.CONTAINERS]).containers
    return {row.name: row for row in found if row.engine == "nspawn"}


def test_rows_tell_names_roots_and_first_processes(
    nspawn: tuple[Nspawn, dict[str, int]],
) -> None:
    engine, started = nspawn
    seen = of_nspawn()
    assert seen.keys() == started.keys()
    for name, row in seen.items():
        assert row.image == str(engine.stage.directory / "machines" / name)
        assert row.state == "running"
    assert seen["machine"].pid == started["machine"]
    assert seen["users"].pid == started["users"]
    parent = Path(f"/proc/{started['stub']}/stat").read_text().rpartition(")")[2].split(" ")[2]
    assert seen["stub"].pid == int(parent)


def test_what_was_asked_for_is_told_and_is_so(nspawn: tuple[Nspawn, dict[str, int]]) -> None:
    seen = of_nspawn()
    is_own = {row["name"]: row["namespaces"] for row in rows("containers", "containers")}
    assert nspawn[1].keys() <= is_own.keys()
    for name, row in seen.items():
        for kind, word in row.declared:
            if kind in is_own[name] and kind != "net":
                assert is_own[name][kind]["is"] == word, (name, kind)
    assert dict(seen["users"].declared)["private-users"] == "524288:65536"
    # What nspawn calls the host's network is the one that it was started in.
    assert is_own["users"]["net"]["is"] == "own"
    assert is_own["machine"]["net"]["ns"] == is_own["stub"]["net"]["ns"]


def test_the_one_who_waits_outside_is_no_part_of_the_container(
    nspawn: tuple[Nspawn, dict[str, int]],
) -> None:
    engine, _ = nspawn
    (group,) = [row for row in rows("matrix", "groups") if row["whose"]["name"] == "stub"]
    assert not any(runs(pid, "systemd-nspawn") for pid in group["pids"])
    assert len(group["pids"]) == 2
    assert of_nspawn()["stub"].cgroups == (
        f"{engine.stage.cgroup}/machine.slice/machine-stub.scope/payload",
    )


def test_names_and_addresses_find_a_container(nspawn: tuple[Nspawn, dict[str, int]]) -> None:
    assert nspawn[1]
    for target in ("stub", "nspawn://machine"):
        assert nsctl("show", target).startswith(target.removeprefix("nspawn://") + " ")
