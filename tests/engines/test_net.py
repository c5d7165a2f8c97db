"""`nsctl net` on networks that engines made, against ip(8) and ss(8) inside of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.engines.containerd import Containerd, Cri
from support.engines.docker import Docker
from support.engines.lxc import Lxc
from support.engines.needs import nsctl, require
from support.engines.podman import UID, Podman
from support.engines.stage import Stage

pytestmark = pytest.mark.engines

Row = dict[str, Any]

_LISTEN = ("sh", "-c", "nc -ll -p 80 -e true & nc -ll -p 81 -e true & exec sleep 1000")


_BRIDGE = {"info_kind": "bridge"}


def tell(*words: str, prefix: tuple[str, ...] = ()) -> list[Row]:
    found: list[Row] = json.loads(nsctl("net", "-J", *words, prefix=prefix))["net"]
    return found


def inside(pid: int, *command: str) -> str:
    """Run a host's program in a process's network namespace."""
    done = subprocess.run(
        ("nsenter", "-t", str(pid), "-n", *command), check=True, capture_output=True, text=True
    )
    return done.stdout


def compare(row: Row, pid: int) -> None:
    """A network is what ip and ss say of it."""
    theirs: list[Row] = json.loads(inside(pid, "ip", "-j", "-d", "addr"))
    keys = (
        *("ifindex", "ifname", "flags", "mtu", "qdisc", "operstate", "group", "txqlen"),
        *("link_type", "address", "broadcast", "link_index", "link_netnsid"),
    )
    ours = row["interfaces"]
    assert [[link.get(key) for key in keys] for link in ours] == [
        [link.get(key) for key in keys] for link in theirs
    ]
    addresses = ("family", "local", "prefixlen", "scope", "valid_life_time", "label")
    assert [
        [each.get(key) for key in addresses] for link in ours for each in link["addr_info"]
    ] == [[each.get(key) for key in addresses] for link in theirs for each in link["addr_info"]]
    routes: list[Row] = json.loads(inside(pid, "ip", "-j", "route") or "[]")
    mine = [each for each in row["routes"] if each["family"] == "inet"]
    told = ("dst", "gateway", "dev", "prefsrc")
    assert [[each.get(key) for key in told] for each in mine] == [
        [each.get(key) for key in told] for each in routes
    ]
    lines = inside(pid, "ss", "-Hane", "-A", "tcp,udp").split("\n")
    found = sorted(
        (words[0], words[1], next((w[4:] for w in words if w.startswith("ino:")), "0"))
        for words in map(str.split, lines)
        if words
    )
    seen = sorted(
        (each["netid"], each["state"], str(each["inode"] or 0))
        for each in row["sockets"]
        if each["netid"] in {"tcp", "udp"}
    )
    assert seen == found


def ports(row: Row) -> dict[int, list[tuple[str, str]]]:
    """Of each listening port, command and container of its processes."""
    return {
        each["local_port"]: [(o["comm"], o["whose"]["name"]) for o in each["owners"]]
        for each in row["sockets"]
        if each["netid"] == "tcp" and each["listening"]
    }


def wait_for(stage: Stage, pid: int, count: int) -> None:
    """Wait until so many sockets listen in a process's network."""
    stage.wait(lambda: inside(pid, "ss", "-Hltn").count("LISTEN") >= count, "stage.log")


@pytest.fixture(scope="module")
def web(docker: Docker) -> Docker:
    docker.run("web", "--publish", "127.0.0.1::80", command=_LISTEN)
    docker.run(
        "side", "--network", "container:web", command=("sh", "-c", "exec nc -ll -p 82 -e true")
    )
    docker.run("alone", "--network", "none")
    wait_for(docker.stage, pid_of(docker, "web"), 3)
    return docker


def pid_of(docker: Docker, name: str) -> int:
    return int(docker("inspect", "-f", "{{.State.Pid}}", name))


def test_dockers_networks_are_what_ip_and_ss_say(web: Docker) -> None:
    for name in ("web", "alone"):
        pid = pid_of(web, name)
        (row,) = tell(f"docker://{name}")
        compare(row, pid)
        assert pid in row["processes"]


@pytest.mark.usefixtures("web")
def test_of_a_shared_network_every_socket_names_its_container() -> None:
    (row,) = tell("docker://side")
    assert row == tell("docker://web")[0]
    assert {each["name"] for each in row["members"]} == {"web", "side"}
    listening = ports(row)
    assert listening[80] == [("nc", "web")]
    assert listening[82] == [("nc", "side")]
    shown = nsctl("net", "docker://web")
    assert "shared by " in shown
    assert "side (docker)" in shown


def test_a_bridges_ports_lead_to_containers(web: Docker) -> None:
    daemon = tell(str(web.stage.keeper))[0]
    (bridge,) = [link for link in daemon["interfaces"] if link["ifname"] == "docker0"]
    (port,) = bridge["ports"]
    assert port["peer"]["whose"]["name"] in {"web", "side"}
    assert port["peer"]["ifname"] == "eth0"
    compare(daemon, web.stage.keeper)
    # What the daemon does for a published port, it does in its own network.
    published = [each for each in daemon["sockets"] if each["netid"] == "tcp" and each["listening"]]
    assert [each["owners"][0]["comm"] for each in published] == ["docker-proxy"]


@pytest.fixture(scope="module")
def rootless() -> Iterator[Podman]:
    require("podman", "conmon", "crun", "catatonit", "newuidmap")
    with Stage("rootlessnet") as stage:
        podman = Podman(stage, rootless=True, runtime="crun")
        podman.run("one", "--network", "none", command=_LISTEN)
        podman.pod("pod1", "--share", "net", "--network", "none")
        podman.run("c1", "--pod", "pod1", command=_LISTEN)
        yield podman


def test_an_ordinary_user_sees_the_own_rootless_containers_whole(rootless: Podman) -> None:
    pids = {row["Name"]: row["State"]["Pid"] for row in rootless.inspect()}
    wait_for(rootless.stage, pids["one"], 2)
    wait_for(rootless.stage, pids["c1"], 2)
    user = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
    for name in ("one", "c1"):
        (row,) = tell(str(pids[name]), prefix=user)
        compare(row, pids[name])
        assert row["source"] == "rtnetlink"
        told = {
            each["local_port"]: ([o["comm"] for o in each["owners"]], each["uid"])
            for each in row["sockets"]
            if each["listening"]
        }
        assert told == {80: (["nc"], UID), 81: (["nc"], UID)}
    for name in ("one", "c1"):
        # Two users may have one of the same name: theirs are called after them.
        (row,) = tell(f"podman://{name}@{UID}")
        compare(row, pids[name])
        assert ports(row)[80] == [("nc", f"{name}@{UID}")]


def test_pods_share_what_their_sandbox_has(containerd: Containerd) -> None:
    pytest.importorskip("grpc")
    pytest.importorskip("cri_api")
    if not os.path.exists("/usr/lib/cni/bridge"):
        pytest.skip("needs containernetworking-plugins")
    cri = Cri(containerd)
    try:
        pod = cri.pod("netpod")
        made = cri.container(pod, "server", *_LISTEN)
        cri.container(pod, "idle", "sleep", "1000")
        _, info = cri.status(made)
        pid = int(info["pid"])
        wait_for(containerd.stage, pid, 2)
        (row,) = tell("pod/default:netpod/server")
        compare(row, pid)
        assert {each["name"] for each in row["members"]} == {"netpod", "server", "idle"}
        assert ports(row)[80] == [("nc", "server")]
        (eth0,) = [link for link in row["interfaces"] if link["ifname"] == "eth0"]
        # The bridge is the stage's, where containerd runs.
        there = tell(str(containerd.stage.keeper))[0]
        assert eth0["peer"]["ns"] == there["ns"]
        (bridge,) = [link for link in there["interfaces"] if link["ifname"] == "nsctlcni0"]
        assert eth0["peer"]["ifname"] in {port["ifname"] for port in bridge["ports"]}
        cri.stop_pod(pod)
        cri.remove_pod(pod)
    finally:
        cri.close()


def test_the_veth_of_an_lxc_container_leads_to_its_host() -> None:
    require("lxc-start", "lxc-info", "newuidmap")
    with Stage("lxcnet") as stage:
        lxc = Lxc(stage)
        stage.run("ip", "link", "add", "lxcbr", "type", "bridge")
        stage.run("ip", "link", "set", "lxcbr", "up")
        lines = ("lxc.net.0.type = veth", "lxc.net.0.link = lxcbr", "lxc.net.0.flags = up")
        lxc.start("veth", *lines, "lxc.net.0.ipv4.address = 10.66.0.2/24")
        (row,) = tell("lxc://veth")
        compare(row, int(lxc.info("veth")["pid"]))
        (eth0,) = [link for link in row["interfaces"] if link["ifname"] == "eth0"]
        there = tell(str(stage.keeper))[0]
        (bridge,) = [link for link in there["interfaces"] if link["ifname"] == "lxcbr"]
        (port,) = bridge["ports"]
        assert eth0["peer"]["ifname"] == port["ifname"]
        assert port["peer"]["whose"]["name"] == "veth"


def test_podmans_bridge_as_root_leads_from_a_pods_network_to_its_port() -> None:
    require("podman", "conmon", "catatonit")
    if not os.path.exists("/usr/lib/cni/bridge") and not os.path.exists("/usr/lib/podman/netavark"):
        pytest.skip("needs containernetworking-plugins or netavark")
    with Stage("podmannet") as stage:
        podman = Podman(stage)
        podman.pod("shop", "--share", "net")
        podman.run("till", "--pod", "shop", command=_LISTEN)
        podman.run("desk", "--pod", "shop")
        pids = {row["Name"]: row["State"]["Pid"] for row in podman.inspect()}
        wait_for(stage, pids["till"], 2)
        (row,) = tell("pod/shop/desk")
        compare(row, pids["till"])
        assert {each["pod"] for each in row["members"]} == {"shop"}
        assert {"till", "desk"} < {each["name"] for each in row["members"]}
        assert ports(row)[80] == [("nc", "till")]
        (eth0,) = [link for link in row["interfaces"] if link["ifname"] == "eth0"]
        there = tell(str(stage.keeper))[0]
        assert eth0["peer"]["ns"] == there["ns"]
        (bridge,) = [link for link in there["interfaces"] if link["linkinfo"] == _BRIDGE]
        assert eth0["peer"]["ifname"] in {port["ifname"] for port in bridge["ports"]}
        shown = nsctl("net", "pod/shop").split("  ")[0]
        assert shown.startswith("shared by ")
        assert all(f"{name} (podman, pod shop)" in shown for name in ("till", "desk"))


def test_a_container_with_mapped_ids_owns_its_sockets_by_the_hosts_numbers(
    remapped_docker: Docker,
) -> None:
    remapped_docker.run(
        *("mapped", "--user", "1000:1000"),
        command=("sh", "-c", "exec nc -ll -p 8080 -e true"),
    )
    pid = pid_of(remapped_docker, "mapped")
    wait_for(remapped_docker.stage, pid, 1)
    (row,) = tell("docker://mapped")
    compare(row, pid)
    with open(f"/proc/{pid}/uid_map", encoding="ascii") as file:
        (first,) = [int(line.split()[1]) for line in file]
    (listening,) = [each for each in row["sockets"] if each["listening"]]
    assert listening["uid"] == first + 1000
    assert [each["whose"]["name"] for each in listening["owners"]] == ["mapped"]
    (eth0,) = [link for link in row["interfaces"] if link["ifname"] == "eth0"]
    assert eth0["peer"]["ns"] == tell(str(remapped_docker.stage.keeper))[0]["ns"]
