"""Pods and their containers, as the CRI plugin of containerd keeps them.

A pod is a sandbox, a container with a process that only waits and whose namespaces the others
share, and the containers in it. Which is which, the plugin writes into annotations of their OCI
configurations (``io.kubernetes.cri.*``).
"""

from __future__ import annotations

from nsctl.engines import oci_spec
from nsctl.engines.containerd import Found, found, process_of
from nsctl.engines.fields import number, pairs
from nsctl.engines.shims import KUBERNETES
from nsctl.engines.survey import Survey
from nsctl.model.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINE = "cri"

_PREFIX = "io.kubernetes.cri."
_PLUGIN = "io.containerd.grpc.v1.cri"
_INTERNAL = "io.cri-containerd."
_KINDS = frozenset({"mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"})
_NETNS = ("path:/var/run/netns/", "path:/run/netns/")
_SHORT = 12


def containers(survey: Survey) -> list[Container]:
    """List the pods' containers, and each pod's sandbox under the pod's own name.

    Args:
        survey: the processes that were seen.

    Returns:
        Their rows, a pod's together in the order of creation; what could not be read is noted.
    """
    # The names of pods and containers are in their configurations.
    all_found = [
        each
        for each in found(survey, lambda namespace: namespace == KUBERNETES, ENGINE)
        if each.config
    ]
    names = {each.id: _name(each) for each in all_found}
    first = {each.first.pid: each.id for each in all_found if each.first is not None}
    declared = {
        each.id: dict(oci_spec.of_config(each.config, _directories(each))) for each in all_found
    }
    pods = {each.id: _pod(_annotations(each)) for each in all_found}
    rows = []
    for each in all_found:
        said = _annotations(each)
        row = Container(
            name=names[each.id],
            engine=ENGINE,
            id=each.id,
            image=said.get("image-name") or each.record.image,
            created=each.record.created,
            state="" if each.first is not None else _state(survey, each, said),
            # What joined later, without kubelet, may say no more than whose sandbox it shares.
            pod=pods[each.id] or pods.get(said.get("sandbox-id", ""), ""),
            labels=tuple(
                (key, value) for key, value in each.record.labels if not key.startswith(_INTERNAL)
            ),
            declared=tuple(_named(survey, each, declared, names, first).items()),
        )
        rows.append(survey.row(row, each.by, each.first))
    return sorted(rows, key=lambda row: (row.pod, row.created, row.start))


def _annotations(each: Found) -> dict[str, str]:
    return {
        key.removeprefix(_PREFIX): value
        for key, value in pairs(each.config, "annotations")
        if key.startswith(_PREFIX)
    }


def _directories(each: Found) -> tuple[str, ...]:
    """Where the plugin keeps what it mounts into each container (host names, resolv.conf)."""
    return tuple(f"{top}/{_PLUGIN}" for top in each.directories if top)


def _state(survey: Survey, each: Found, said: Mapping[str, str]) -> str:
    """What the plugin writes of a container without a process, in the words of the CRI.

    ``ROOT/io.containerd.grpc.v1.cri/containers/ID/status`` is for containers alone; a sandbox
    without a process is not ready.
    """
    if said.get("container-type") == "sandbox":
        return "notready"
    path = f"{each.directories[0]}/{_PLUGIN}/containers/{each.id}/status"
    status = survey.read_json(each.view, path, ENGINE) or {}
    if number(status, "FinishedAt") or number(status, "StartedAt"):
        return "exited"
    return "created" if number(status, "CreatedAt") else ""


def _name(each: Found) -> str:
    said = _annotations(each)
    is_sandbox = said.get("container-type") == "sandbox"
    return said.get("sandbox-name" if is_sandbox else "container-name") or each.id[:_SHORT]


def _pod(said: Mapping[str, str]) -> str:
    name = said.get("sandbox-name", "")
    return f"{said.get('sandbox-namespace', 'default')}:{name}" if name else ""


def _named(
    survey: Survey,
    each: Found,
    declared: Mapping[str, dict[str, str]],
    names: Mapping[str, str],
    first: Mapping[int, str],
) -> dict[str, str]:
    """Say of which container a namespace is that the configuration means by a path."""
    sandbox = _annotations(each).get("sandbox-id", "")
    result = {}
    for key, value in declared[each.id].items():
        task = process_of(survey, value, each.by) if key in _KINDS else None
        other = first.get(task.pid) if task is not None else None
        if other is not None and other == sandbox:
            # A pod on the host's network: the sandbox itself has none.
            own = declared[sandbox].get(key, "")
            result[key] = "host" if own == "host" else "pod"
        elif other is not None:
            result[key] = f"container:{names[other]}"
        elif key == "net" and value.startswith(_NETNS) and each.id == sandbox:
            result[key] = "own"
        else:
            result[key] = value
    return result
