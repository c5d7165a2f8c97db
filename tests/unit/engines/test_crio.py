"""CRI-O's pods; constructed from its source's names of annotations, for want of a CRI-O."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsctl.engines import crio, podman
from unit.engines.machine import ALL, Machine

pytestmark = pytest.mark.unit

SANDBOX, WEB = "a" * 64, "b" * 64
LABELS = {"io.kubernetes.pod.name": "shop", "io.kubernetes.pod.namespace": "prod", "app": "x"}
PREFIX = "io.kubernetes.cri-o."


def add(machine: Machine, pid: int, container_id: str, annotations: dict[str, str] | None) -> None:
    bundle = f"/run/containers/storage/overlay-containers/{container_id}/userdata"
    words = (
        *("/usr/bin/conmon", "-b", bundle, "-c", container_id, "--exit-dir", "/run/crio/exits"),
        *("-l", "/var/log/x.log", "--log-level", "info", "-n", f"k8s_{pid}_shop_prod_uid_0"),
        *("-P", f"{bundle}/conmon-pidfile", "-p", f"{bundle}/pidfile", "-r", "/usr/bin/runc"),
        *("--runtime-arg", "--root=/run/runc", "-u", container_id, "-s"),
    )
    root = machine.add(pid, comm=b"conmon", caps=ALL, words=words) / "root"
    group = f"0::/kubepods.slice/kubepods-pod1.slice/crio-{container_id}.scope\n".encode()
    machine.add(pid + 1, ppid=pid, comm=b"x", cgroup=group)
    place = Path(f"{root}{bundle}")
    place.mkdir(parents=True)
    config = {"annotations": annotations, "linux": {"namespaces": [{"type": "pid"}]}}
    (place / "config.json").write_text(json.dumps(config) if annotations is not None else "{")


def test_pods_and_containers_are_named_by_their_annotations(machine: Machine) -> None:
    add(
        machine,
        50,
        SANDBOX,
        {f"{PREFIX}ContainerType": "sandbox", f"{PREFIX}Labels": json.dumps(LABELS)},
    )
    add(
        machine,
        60,
        WEB,
        {
            f"{PREFIX}ContainerType": "container",
            f"{PREFIX}Labels": json.dumps(LABELS | {"io.kubernetes.container.name": "web"}),
            f"{PREFIX}ImageName": "bb:1",
            f"{PREFIX}Created": "2026-11-24T12:55:46Z",
        },
    )
    survey = machine.survey()
    sandbox, web = crio.containers(survey)
    assert (sandbox.name, sandbox.pod, sandbox.pid) == ("shop", "prod:shop", 51)
    assert (web.name, web.pod, web.pid, web.image) == ("web", "prod:shop", 61, "bb:1")
    assert web.created == 1795524946
    assert dict(web.labels)["app"] == "x"
    assert dict(web.declared)["pid"] == "own"
    assert web.cgroups == (f"/kubepods.slice/kubepods-pod1.slice/crio-{WEB}.scope",)
    assert not survey.gaps
    assert not podman.containers(survey)


def test_half_a_configuration_is_noted(machine: Machine) -> None:
    add(machine, 50, SANDBOX, None)
    add(machine, 60, WEB, {f"{PREFIX}ContainerType": "container", f"{PREFIX}Labels": "{"})
    survey = machine.survey()
    (web,) = crio.containers(survey)
    assert (web.name, web.pod) == (WEB[:12], "")
    assert [SANDBOX in gap.object for gap in survey.gaps] == [True]
