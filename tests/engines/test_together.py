"""Three engines and LXC at once, with and without their daemons, against what each says itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import jsonschema  # type: ignore[import-untyped]
import pytest

from nsctl.report.schema import load_schema
from support.engines.containerd import IMAGE as CRI_IMAGE
from support.engines.containerd import PAUSE, Containerd, Cri, Pod
from support.engines.docker import IMAGE as DOCKER_IMAGE
from support.engines.docker import Docker
from support.engines.lxc import MAPPED, Lxc
from support.engines.needs import nsctl, require, rows
from support.engines.podman import IMAGE as PODMAN_IMAGE
from support.engines.podman import Podman
from support.engines.stage import Stage

pytestmark = pytest.mark.engines

_KINDS = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")
_EMPTY = "lxc.net.0.type = empty"
_AGREED = ("name", "engine", "id", "image", "pid", "state", "pod", "labels", "scope")


class Host(NamedTuple):
    """All engines of one machine."""

    docker: Docker
    podman: Podman
    containerd: Containerd
    cri: Cri
    lxc: Lxc
    pods: dict[str, Pod]
    in_pods: dict[str, str]


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    require("dockerd", "containerd", "podman", "conmon", "catatonit", "lxc-start", "newuidmap")
    pytest.importorskip("grpc")
    pytest.importorskip("cri_api")
    if not os.path.exists("/usr/lib/cni/bridge"):
        pytest.skip("needs containernetworking-plugins")
    with (
        Stage("all-docker") as first,
        Stage("all-podman") as second,
        Stage("all-containerd") as third,
        Stage("all-lxc") as fourth,
    ):
        docker = Docker(first, data_root=str(first.directory / "data"))
        podman, containerd, lxc = Podman(second), Containerd(third), Lxc(fourth)
        cri = Cri(containerd)
        try:
            pods, in_pods = _start_pods(cri)
            _start_docker(docker)
            _start_podman(podman)
            for namespace in ("plain", "other"):
                containerd.add_namespace(namespace)
                containerd.run(namespace, "one", "--label", f"in={namespace}")
            _start_lxc(lxc)
            yield Host(docker, podman, containerd, cri, lxc, pods, in_pods)
        finally:
            cri.close()


def _start_docker(docker: Docker) -> None:
    docker.run("web", "--network", "none", "--label", "app=demo")
    docker.run("side", "--network", "container:web", "--pid", "container:web")
    docker.run("pidhost", "--pid", "host", "--network", "none", "--ipc", "host")
    docker.run("priv", "--privileged", "--network", "host", "--uts", "host")
    docker.run("31415926", "--network", "none")
    docker.run("net", "--network", "none", "--cgroupns", "private")
    docker.run("paused", "--network", "none")
    docker("pause", "paused")
    docker("create", "--name", "made", DOCKER_IMAGE)
    docker.run("ended", "--network", "none", command=("true",))
    docker("wait", "ended")


def _start_podman(podman: Podman) -> None:
    podman.run("web", "--network", "none", "--label", "app=other")
    podman.run("priv", "--privileged", "--network", "host", "--pid", "host")
    podman.pod("pod1", "--share", "pid,net,ipc,uts", "--network", "none")
    podman.run("c1", "--pod", "pod1")
    podman.run("c2", "--pod", "pod1")
    podman.run("paused", "--network", "none")
    podman("pause", "paused")
    podman("create", "--name", "made", "--network", "none", PODMAN_IMAGE)


def _start_pods(cri: Cri) -> tuple[dict[str, Pod], dict[str, str]]:
    pods = {name: cri.pod(name, pid=pid) for name, pid in (("shop", "POD"), ("own", "CONTAINER"))}
    made = {name: cri.container(pods["shop"], name) for name in ("a1", "a2")}
    made["b1"] = cri.container(pods["own"], "b1", pid="CONTAINER")
    made["debug"] = cri.container(pods["own"], "debug", pid="TARGET", target=made["b1"])
    made["made"] = cri.container(pods["own"], "made", pid="CONTAINER", start=False)
    made["ended"] = cri.container(pods["own"], "ended", "true", pid="CONTAINER")
    return pods, made


def _start_lxc(lxc: Lxc) -> None:
    lxc.start("plain", _EMPTY)
    lxc.start("mapped", _EMPTY, *MAPPED, "lxc.time.offset.boot = 5h")
    lxc.start("sharing", "lxc.namespace.share.pid = plain", "lxc.namespace.share.net = plain")
    lxc.start("cold", _EMPTY)
    lxc.freeze("cold")
    lxc.create("off", _EMPTY)


# --- What the engines say ------------------------------------------------------------------------


def _of_docker(docker: Docker) -> Iterator[dict[str, Any]]:
    for row in docker.inspect():
        yield {
            "name": row["Name"].removeprefix("/"),
            "engine": "docker",
            "id": row["Id"],
            "image": row["Config"]["Image"],
            "pid": row["State"]["Pid"] or None,
            "state": row["State"]["Status"],
            "pod": None,
            "labels": row["Config"]["Labels"] or {},
            "scope": None,
            "created": datetime.fromisoformat(row["Created"][:26] + "+00:00").timestamp(),
        }


def _of_podman(podman: Podman) -> Iterator[dict[str, Any]]:
    pods = podman.pods()
    for row in podman.inspect():
        written = datetime.fromisoformat(row["Created"][:26].rstrip("Z"))
        yield {
            "name": row["Name"],
            "engine": "podman",
            "id": row["Id"],
            "image": row["ImageName"],
            "pid": row["State"]["Pid"] or None,
            "state": row["State"]["Status"],
            "pod": pods[row["Pod"]] if row["Pod"] else None,
            "labels": row["Config"]["Labels"] or {},
            "scope": None,
            "created": written.replace(tzinfo=UTC).timestamp(),
        }


def _of_containerd(containerd: Containerd) -> Iterator[dict[str, Any]]:
    for namespace in ("plain", "other"):
        for name, pid in containerd.tasks(namespace).items():
            told = json.loads(containerd.ctr(namespace, "containers", "info", name))
            yield {
                "name": name,
                "engine": "containerd",
                "id": told["ID"],
                "image": told["Image"],
                "pid": pid,
                "state": "running",
                "pod": None,
                "labels": told["Labels"],
                "scope": namespace,
                "created": datetime.fromisoformat(told["CreatedAt"][:26] + "+00:00").timestamp(),
            }


def _of_cri(host: Host) -> Iterator[dict[str, Any]]:
    states = ("created", "running", "exited", "unknown")
    for name, container in host.in_pods.items():
        status, info = host.cri.status(container)
        pod = "shop" if name in {"a1", "a2"} else "own"
        yield {
            "name": name,
            "engine": "cri",
            "id": container,
            "image": status.image.image,
            "pid": info["pid"] if status.state == 1 else None,
            "state": states[status.state],
            "pod": f"default:{pod}",
            "labels": dict(status.labels),
            "scope": None,
            "created": status.created_at / 1e9,
        }
    for name, pod_made in host.pods.items():
        told, info = host.cri.sandbox_status(pod_made.id)
        yield {
            "name": name,
            "engine": "cri",
            "id": pod_made.id,
            "image": PAUSE,
            "pid": info["pid"],
            "state": "running",
            "pod": f"default:{name}",
            "labels": dict(told.labels),
            "scope": None,
            "created": told.created_at / 1e9,
        }


def _of_lxc(lxc: Lxc) -> Iterator[dict[str, Any]]:
    for name in ("plain", "mapped", "sharing", "cold", "off"):
        told = lxc.info(name)
        yield {
            "name": name,
            "engine": "lxc",
            "id": name,
            "image": str(lxc.root),
            "pid": int(told["pid"]) if "pid" in told else None,
            "state": told["state"],
            "pod": None,
            "labels": {},
            "scope": lxc.path,
            "created": None,
        }


def told_by_engines(host: Host) -> dict[tuple[str, str, str], dict[str, Any]]:
    told = [
        *_of_docker(host.docker),
        *_of_podman(host.podman),
        *_of_containerd(host.containerd),
        *_of_cri(host),
        *_of_lxc(host.lxc),
    ]
    return {(row["engine"], row["scope"] or "", row["id"]): row for row in told}


def seen(told: dict[tuple[str, str, str], Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = {
        (row["engine"], row["scope"] or "", row["id"]): row
        for row in rows("containers", "containers")
    }
    return {key: row for key, row in found.items() if key in told}


def compare(
    told: dict[tuple[str, str, str], dict[str, Any]],
    found: dict[tuple[str, str, str], dict[str, Any]],
) -> None:
    """Compare rows, and the namespaces with what the kernel says of the engines' processes."""
    assert {key: row["name"] for key, row in found.items()} == {
        key: row["name"] for key, row in told.items()
    }
    inodes: dict[tuple[str, str, str], dict[str, int]] = {}
    for key, wanted in told.items():
        row = found[key]
        # The plugin and ctr(8) put labels of their own beside those that were asked for.
        labels = {name: row["labels"].get(name) for name in wanted["labels"]}
        seen_row = {**row, "labels": labels}
        assert {name: seen_row[name] for name in _AGREED} == {
            name: wanted[name] for name in _AGREED
        }
        assert row["created"] == pytest.approx(wanted["created"], abs=1), key
        if wanted["pid"]:
            inodes[key] = {
                kind: os.stat(f"/proc/{wanted['pid']}/ns/{kind}").st_ino for kind in _KINDS
            }
            assert {kind: cell["ns"] for kind, cell in row["namespaces"].items()} == inodes[key]
        else:
            assert row["namespaces"] == {}
    for key, ns in inodes.items():
        for kind, ino in ns.items():
            others = {k for k, each in inodes.items() if k != key and each[kind] == ino}
            cell = found[key]["namespaces"][kind]
            if ino == os.stat(f"/proc/self/ns/{kind}").st_ino:
                assert cell["is"] == "host", (key, kind)
            else:
                names = {told[k]["name"] for k in others}
                # Those of the stages' own processes share LXC's network.
                assert names <= set(cell["with"]), (key, kind)
                assert cell["is"] in ({"shared"} if names else {"own", "shared"}), (key, kind)


def stable(found: dict[tuple[str, str, str], dict[str, Any]]) -> dict[Any, Any]:
    """Rows without whom they share with: somebody may look into a container meanwhile."""
    return {
        key: {**row, "namespaces": {k: cell["ns"] for k, cell in row["namespaces"].items()}}
        for key, row in found.items()
    }


# --- Tests ---------------------------------------------------------------------------------------


def test_all_rows_are_what_the_engines_say_with_their_daemons_and_without(machine: Host) -> None:
    told = told_by_engines(machine)
    assert sum(1 for row in told.values() if row["pid"]) >= 20
    states = {row["state"] for row in told.values()}
    assert states >= {"running", "paused", "frozen", "created", "exited", "stopped"}
    with_daemons = seen(told)
    compare(told, with_daemons)
    machine.docker.hang()
    try:
        document = json.loads(nsctl("containers", "-J"))
        jsonschema.validate(document, load_schema("containers"))
        assert any("did not answer" in row["cause"] for row in document["completeness"])
        hung = {(r["engine"], r["scope"] or "", r["id"]): r for r in document["containers"]}
        assert stable({key: hung[key] for key in told}) == stable(with_daemons)
    finally:
        machine.docker.resume()
    machine.docker.stop_daemon()
    machine.containerd.stop_daemon()
    without = seen(told)
    compare(told, without)
    assert stable(without) == stable(with_daemons)


def test_what_was_declared_is_so(machine: Host) -> None:
    """Of every container, whichever its engine: what it declares is what the kernel tells."""
    found = seen(told_by_ids(machine))
    checked = 0
    for key, row in found.items():
        for kind, cell in row["namespaces"].items():
            said = row["declared"].get(kind)
            if said == "host":
                assert cell["is"] == "host" or kind in {"net", "cgroup"}, (key, kind)
            elif said and said.startswith("container:"):
                assert said.removeprefix("container:") in cell["with"], (key, kind)
            elif said == "pod":
                assert cell["is"] == "shared", (key, kind)
            elif said in {"own", "none", "private"}:
                assert cell["is"] in {"own", "shared"}, (key, kind)
            else:
                continue
            checked += 1
    assert checked > 100


def told_by_ids(machine: Host) -> dict[tuple[str, str, str], Any]:
    """Keys alone, for when daemons may have been stopped."""
    lxc = {("lxc", machine.lxc.path, name): None for name in ("plain", "mapped", "sharing", "cold")}
    tops = [
        machine.docker.stage.cgroup,
        machine.podman.stage.cgroup,
        machine.containerd.stage.cgroup,
    ]
    return {
        **{
            (row["engine"], row["scope"] or "", row["id"]): None
            for row in rows("containers", "containers")
            if row["pid"] and any(top in _cgroup(row["pid"]) for top in tops)
        },
        **lxc,
    }


def _cgroup(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        return file.read()


def test_pods_are_shown_as_pods_in_every_view(machine: Host) -> None:
    assert machine.pods
    card = nsctl("show", "pod/shop")
    assert card.startswith("default:shop  pod (cri)  3 containers\n")
    lines = {line[:9].strip(): line[9:] for line in card.split("\n")}
    assert lines["pid"] == "all one, the pod's own"
    assert lines["mnt"] == "each its own"
    assert lines["user"] == "the HOST's"
    own = nsctl("show", "pod/default:own")
    assert "b1, debug share one; own its own" in own
    shown = nsctl("show", "pod/shop/a1")
    assert "shared within its pod, with " in shown
    in_ps = rows_of_ps("pod/shop")
    assert {row["whose"]["name"] for row in in_ps} == {"a1", "a2", "shop"}
    assert "pod default:shop (cri, 3 containers)" in nsctl("ls", "net")
    assert "pod default:shop (cri, 3 containers)" in nsctl("tree", "-t", "pid")
    assert "pod pod1 (podman, 3 containers)" in nsctl("ls", "pid")
    groups = json.loads(nsctl("matrix", "-J"))["groups"]
    order = [row["whose"]["pod"].rpartition(":")[2] for row in groups if row["whose"]["pod"]]
    assert order == sorted(order)
    whole = nsctl("show", "-J", "pod/own")
    jsonschema.validate(json.loads(whole), load_schema("show"))
    pod = json.loads(whole)["targets"][0]["pod"]
    assert {row["whose"]["name"]: row["state"] for row in pod["containers"]} == {
        "own": "running",
        "b1": "running",
        "debug": "running",
        "made": "created",
        "ended": "exited",
    }
    assert sorted(len(row["inside"]) for row in pod["namespaces"]["pid"]) == [1, 2]


def test_clocks_that_lxc_set_off_are_shown(machine: Host) -> None:
    assert machine.lxc.info("mapped")["state"] == "running"
    groups = json.loads(nsctl("matrix", "-J"))["groups"]
    (mapped,) = [row for row in groups if row["whose"]["name"] == "mapped"]
    assert mapped["whose"]["engine"] == "lxc"
    assert mapped["cells"]["time"]["offset"]["boottime"] == 5 * 3600 * 10**9
    assert "boot time +5h" in nsctl("show", "lxc://mapped")


def rows_of_ps(target: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(nsctl("ps", "-J", target))["processes"]
    return found


def test_names_that_look_like_something_else_need_their_engine(machine: Host) -> None:
    assert machine.docker.socket.exists()
    assert nsctl("show", "docker://31415926").startswith("31415926 ")
    assert nsctl("show", "net").startswith("net ")
    assert nsctl("show", "31415926", status=2) == ""
    # Two engines have a container of this name.
    assert nsctl("show", "web", status=2) == ""
    for target in ("docker://web", "podman://web"):
        assert nsctl("show", target).startswith("web ")
    # Several were made from this image: they are listed, none is taken.
    assert nsctl("show", f"cri://{CRI_IMAGE}", status=2) == ""
