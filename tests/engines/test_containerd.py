"""containerd's containers and pods, named without asking the daemon, against what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from nsctl import host
from nsctl.model.container import Container
from nsctl.model.part import Part
from support.engines.containerd import IMAGE, PAUSE, Containerd, Cri, Pod
from support.engines.stage import Stage

pytestmark = pytest.mark.engines


def nsctl(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nsctl", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def seen(*engines: str) -> list[Container]:
    snapshot = host.take_snapshot([Part.CONTAINERS])
    return [row for row in snapshot.containers if row.engine in engines]


class Pods(NamedTuple):
    """Pods, and their containers by name."""

    cri: Cri
    pods: dict[str, Pod]
    containers: dict[str, str]


@pytest.fixture(scope="module")
def plain(containerd: Containerd) -> Containerd:
    for namespace in ("plain", "other"):
        containerd.add_namespace(namespace)
    one = containerd.run("plain", "one", "--label", "app=demo")
    containerd.run("plain", "two", "--net-host")
    containerd.run("plain", "three", "--with-ns", f"pid:/proc/{one}/ns/pid")
    containerd.run("other", "one")
    return containerd


@pytest.fixture(scope="module")
def pods(containerd: Containerd) -> Iterator[Pods]:
    pytest.importorskip("grpc")
    pytest.importorskip("cri_api")
    if not os.path.exists("/usr/lib/cni/bridge"):
        pytest.skip("needs containernetworking-plugins")
    cri = Cri(containerd)
    made = Pods(cri, {}, {})
    try:
        shared = made.pods["shared"] = cri.pod("shared")
        made.containers["a1"] = cri.container(shared, "a1")
        made.containers["a2"] = cri.container(shared, "a2")
        own = made.pods["own"] = cri.pod("own", pid="CONTAINER")
        made.containers["b1"] = cri.container(own, "b1", pid="CONTAINER")
        made.containers["debug"] = cri.container(
            own, "debug", pid="TARGET", target=made.containers["b1"]
        )
        network = made.pods["hostnet"] = cri.pod("hostnet", net="NODE", pid="CONTAINER")
        made.containers["h1"] = cri.container(network, "h1", pid="CONTAINER")
        processes = made.pods["hostpid"] = cri.pod("hostpid", pid="NODE")
        made.containers["n1"] = cri.container(processes, "n1", pid="NODE")
        yield made
    finally:
        cri.close()


def test_containers_of_ctr_are_what_it_says_of_them(plain: Containerd) -> None:
    rows = seen("containerd")
    for namespace in ("plain", "other"):
        mine = {row.name: row for row in rows if row.scope == namespace}
        assert {name: row.pid for name, row in mine.items()} == plain.tasks(namespace)
        for name, row in mine.items():
            told = json.loads(plain.ctr(namespace, "containers", "info", name))
            assert (row.id, row.image) == (told["ID"], told["Image"])
            assert dict(row.labels) == told["Labels"]
            created = datetime.fromisoformat(told["CreatedAt"][:26] + "+00:00").timestamp()
            assert row.created == pytest.approx(created, abs=0.001)
            assert row.state == "running"
    declared = {row.name: dict(row.declared) for row in rows if row.scope == "plain"}
    assert declared["one"]["net"] == "own"
    assert declared["two"]["net"] == "host"
    assert declared["three"]["pid"] == "container:one"


def test_the_same_name_in_two_of_its_namespaces_is_told_apart(plain: Containerd) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nsctl", "show", "one"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "containerd://plain/one" in done.stderr
    assert "containerd://other/one" in done.stderr
    pid = plain.tasks("other")["one"]
    assert f"pid {pid}" in nsctl("show", "containerd://other/one")


def test_containers_of_pods_are_what_the_cri_says_of_them(pods: Pods) -> None:
    rows = {row.id: row for row in seen("cri")}
    for name, container in pods.containers.items():
        status, info = pods.cri.status(container)
        row = rows[container]
        assert (row.name, row.pid, row.state) == (name, info["pid"], "running")
        assert row.image == status.image.image == IMAGE
        assert row.created == pytest.approx(status.created_at / 1e9, abs=1)
        assert {**dict(row.labels), **status.labels} == dict(row.labels)
    for name, pod in pods.pods.items():
        told, info = pods.cri.sandbox_status(pod.id)
        row = rows[pod.id]
        assert (row.name, row.pid, row.pod) == (name, info["pid"], f"default:{name}")
        assert row.image == PAUSE
        assert {**dict(row.labels), **told.labels} == dict(row.labels)
    of_pods = {row.name: row.pod for row in rows.values() if row.id in pods.containers.values()}
    assert of_pods == {
        "a1": "default:shared",
        "a2": "default:shared",
        "b1": "default:own",
        "debug": "default:own",
        "h1": "default:hostnet",
        "n1": "default:hostpid",
    }


def test_what_pods_share_is_declared_in_their_words(pods: Pods) -> None:
    ids = set(pods.containers.values())
    declared = {row.name: dict(row.declared) for row in seen("cri") if row.id in ids}
    assert {name: said["pid"] for name, said in declared.items()} == {
        "a1": "pod",
        "a2": "pod",
        "b1": "own",
        "debug": "container:b1",
        "h1": "own",
        "n1": "host",
    }
    assert {name: said["net"] for name, said in declared.items()} == {
        "a1": "pod",
        "a2": "pod",
        "b1": "pod",
        "debug": "pod",
        "h1": "host",
        "n1": "pod",
    }
    assert {said["ipc"] for said in declared.values()} == {"pod"}


def test_pods_and_their_containers_are_targets(pods: Pods) -> None:
    assert pods.containers["a1"][:12] in nsctl("show", "a1")
    pid = pods.cri.status(pods.containers["a2"])[1]["pid"]
    for target in ("pod/shared/a2", "pod/default:shared/a2", f"cri://{pods.containers['a2'][:10]}"):
        assert f"pid {pid}" in nsctl("show", target)
    groups = json.loads(nsctl("matrix", "-J"))["groups"]
    (debug,) = [row for row in groups if row["whose"]["name"] == "debug"]
    assert debug["whose"]["pod"] == "default:own"
    assert debug["cells"]["pid"]["is"] == "shared"
    assert "b1" in {owner["name"] for owner in debug["cells"]["pid"]["with"]}


def test_an_injected_container_is_found_below_the_pod_it_joined(
    plain: Containerd, pods: Pods
) -> None:
    pid = pods.cri.status(pods.containers["a1"])[1]["pid"]
    options = [
        word
        for kind, link in (("network", "net"), ("ipc", "ipc"))
        for word in ("--with-ns", f"{kind}:/proc/{pid}/ns/{link}")
    ]
    injected = plain.run("plain", "injected", *options)
    try:
        (row,) = [row for row in seen("containerd") if row.name == "injected"]
        # The namespaces are the sandbox's, whichever container's path leads there.
        assert dict(row.declared)["net"] == "container:a1"
        assert (row.pid, row.pod) == (injected, "default:shared")
        assert f"pid {injected}" in nsctl("show", "pod/shared/injected")
        card = nsctl("show", "pod/shared")
        assert "injected  (containerd, injected)" in card
        groups = json.loads(nsctl("matrix", "-J"))["groups"]
        (cells,) = [each["cells"] for each in groups if each["whose"]["name"] == "a1"]
        # It is another engine's: no sharing within the pod alone.
        assert (cells["net"]["in_pod"], cells["pid"]["in_pod"]) == (False, True)
    finally:
        plain.remove("plain", "injected")


def test_what_no_longer_runs_is_told_in_the_words_of_the_cri(pods: Pods) -> None:
    states = ("created", "running", "exited", "unknown")
    gone = pods.cri.pod("gone")
    made = {
        "made": pods.cri.container(gone, "made", start=False),
        "ended": pods.cri.container(gone, "ended", "true"),
        "stopped": pods.cri.container(gone, "stopped"),
    }
    for is_stopped in (False, True):
        if is_stopped:
            pods.cri.stop_pod(gone)
        rows = {row.id: row for row in seen("cri")}
        for name, container in made.items():
            status, _ = pods.cri.status(container)
            row = rows[container]
            assert (row.name, row.state) == (name, states[status.state])
            assert (row.image, row.pod) == (IMAGE, "default:gone")
            assert dict(row.declared)["net"] in {"pod", "own"} or is_stopped
            assert row.created == pytest.approx(status.created_at / 1e9, abs=1)
        assert rows[gone.id].state == ("notready" if is_stopped else "running")
        assert bool(rows[gone.id].pid) is not is_stopped
    assert "no process runs in it" in nsctl("show", "pod/gone/ended")
    pods.cri.remove_pod(gone)


def test_without_any_shim_containerds_own_arguments_lead_to_its_state() -> None:
    with Stage("idle") as stage:
        idle = Containerd(stage)
        idle.add_namespace("plain")
        idle.ctr("plain", "containers", "create", "--label", "a=b", IMAGE, "waits")
        (row,) = [row for row in seen("containerd") if row.name == "waits"]
        assert (row.pid, row.state, row.scope, row.image) == (0, "stopped", "plain", IMAGE)
        assert dict(row.labels)["a"] == "b"
        assert dict(row.declared)["pid"] == "own"


def test_the_same_without_a_daemon_that_answers(
    plain: Containerd, pods: Pods, containerd: Containerd
) -> None:
    before = seen("containerd", "cri")
    assert len(before) == 4 + len(pods.pods) + len(pods.containers)
    containerd.hang()
    try:
        began = time.monotonic()
        assert seen("containerd", "cri") == before
        assert time.monotonic() - began < 1
    finally:
        containerd.resume()
    plain.stop_daemon()
    assert seen("containerd", "cri") == before
    assert Path(f"/proc/{before[0].pid}").exists()
