"""CRI-O's pods and their containers, found by their monitors.

Each has a conmon, whose bundle's ``config.json`` says in annotations (``io.kubernetes.cri-o.*``)
what it is. A pod's sandbox, with a process that only waits, may be missing: CRI-O can do without.
Pods are called as those of containerd's CRI plugin are: the sandbox has the pod's name.

No CRI-O was at hand where this was written: the names of the annotations are those of its source.
"""

from __future__ import annotations

from nsctl.engines.conmon import Conmon, conmon_of, first_process
from nsctl.engines.fields import Fields, below, pairs, parse, seconds, text
from nsctl.engines.oci_spec import of_config
from nsctl.engines.state_files import View
from nsctl.engines.survey import Survey
from nsctl.model.container import Container

ENGINE = "cri"

_PREFIX = "io.kubernetes.cri-o."
_SHORT = 12


def containers(survey: Survey) -> list[Container]:
    """List the pods' containers, and each pod's sandbox.

    Args:
        survey: the processes that were seen.

    Returns:
        Their rows, of those that run; what could not be read is noted.
    """
    found = []
    for task in survey.named("conmon"):
        conmon = conmon_of(task, survey.command(task))
        # Podman's call podman when the container has ended.
        if conmon is None or conmon.ends_with.startswith("podman"):
            continue
        view = survey.view_of(task)
        if view is not None and (row := _row(survey, view, conmon)):
            found.append(row)
    return found


def _row(survey: Survey, view: View, conmon: Conmon) -> Container | None:
    config = survey.read_json(view, f"{conmon.bundle}/config.json", ENGINE) or {}
    notes = below(config, "annotations")
    if not text(notes, f"{_PREFIX}ContainerType"):
        return None
    labels = _labels(notes)
    is_sandbox = text(notes, f"{_PREFIX}ContainerType") == "sandbox"
    pod = labels.get("io.kubernetes.pod.name", "") or text(notes, f"{_PREFIX}KubeName")
    container_name = labels.get("io.kubernetes.container.name", "")
    namespace = labels.get("io.kubernetes.pod.namespace", "") or text(notes, f"{_PREFIX}Namespace")
    row = Container(
        name=(pod if is_sandbox else container_name) or conmon.id[:_SHORT],
        engine=ENGINE,
        id=conmon.id,
        image=text(notes, f"{_PREFIX}ImageName") or text(notes, f"{_PREFIX}Image"),
        created=seconds(text(notes, f"{_PREFIX}Created")),
        pod=f"{namespace or 'default'}:{pod}" if pod else "",
        labels=tuple(sorted(labels.items())),
        declared=of_config(config, (conmon.bundle.rpartition("/")[0],)),
    )
    first = first_process(survey, view, conmon.task, conmon.pid_file, conmon.id, ENGINE)
    return survey.row(row, conmon.task, first)


def _labels(notes: Fields) -> dict[str, str]:
    try:
        return dict(pairs({"": parse(text(notes, f"{_PREFIX}Labels").encode())}, ""))
    except ValueError:
        return {}
