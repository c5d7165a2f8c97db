"""Which of the containers a TARGET names; pure, and light enough for the fastest commands."""

from __future__ import annotations

from nsctl.errors import AmbiguousTarget
from nsctl.model.container import Container
from nsctl.model.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def choose(containers: Sequence[Container], target: Target) -> Container | None:
    """Find the container that a name, an id or its beginning, or a pod names.

    Args:
        containers: all that there are.
        target: of kind "name" or "pod".

    Returns:
        It; None where none is called so.

    Raises:
        AmbiguousTarget: more than one is; the cause lists them.
    """
    return (_by_pod if target.kind == "pod" else _by_name)(containers, target)


def _by_name(containers: Sequence[Container], target: Target) -> Container | None:
    candidates = [c for c in containers if target.engine in {"", c.engine}]
    exact = [c for c in candidates if _is_called(c, target)]
    # A prefix is no name that others could not have on purpose.
    ours = [c for c in candidates if not c.vouched_by]
    return _only(exact or [c for c in ours if c.id.startswith(target.name)], target)


def _is_called(container: Container, target: Target) -> bool:
    """Tell whether a container has exactly this name or id.

    An id that is not the host's engines' word may be whatever somebody liked.
    """
    if target.name == container.name or (target.engine and target.name == _scoped(container)):
        return True
    # To its own user a container needs no more than its name; what others call it holds too.
    if container.user and target.name == f"{container.name}@{container.user}":
        return True
    return target.name == container.id and not container.vouched_by


def _scoped(container: Container) -> str:
    return f"{container.scope}/{container.name}" if container.scope else container.name


def in_pod(containers: Sequence[Container], target: Target) -> list[Container]:
    """Find all containers of the pod that a TARGET of kind "pod" names.

    Returns:
        They, its sandbox too; of two pods of one name in different places, those of both.
    """
    rows = []
    for each in containers:
        namespace, colon, name = each.pod.rpartition(":")
        if name == target.pod and target.pod_namespace in {"", namespace if colon else None}:
            rows.append(each)
    return rows


def _by_pod(containers: Sequence[Container], target: Target) -> Container | None:
    """Find a pod's container; without its name the one that the pod's namespaces come from."""
    rows = in_pod(containers, target)
    if target.name:
        return _only([row for row in rows if target.name in _names_in_pod(row)], target)
    # Its sandbox is called like the pod; Podman's is called after the pod's id, and Docker's by
    # whoever made it for a kubelet.
    sandboxes = [
        row
        for row in rows
        if row.name == target.pod or row.name.endswith("-infra") or row.name.startswith("k8s_POD_")
    ]
    return _only(sandboxes or rows, target)


def _names_in_pod(row: Container) -> set[str]:
    """What a container is called in its pod; Docker's name is longer than kubelet's."""
    return {row.name, row.id, dict(row.labels).get("io.kubernetes.container.name", row.name)}


def by_image(containers: Sequence[Container], target: Target) -> Container | None:
    """Find the one container that was made from an image.

    What somebody else's engine says of an image redirects nobody, as with ids.
    """
    return _only(
        [
            container
            for container in containers
            if target.engine in {"", container.engine}
            and not container.vouched_by
            and target.name in _image_names(container.image)
        ],
        target,
    )


def _image_names(image: str) -> set[str]:
    """What an image is called: in full, without its registry, and without its tag or digest.

    The path of a root file system has no shorter names.
    """
    if not image or image.startswith("/"):
        return {image} - {""}
    last = image.rpartition("/")[2]
    bare = last.partition("@")[0]
    return {image, last, bare, bare.partition(":")[0]} - {""}


def _only(matches: list[Container], target: Target) -> Container | None:
    if len(matches) > 1:
        full = ", ".join(f"{c.engine}://{_scoped(c)} ({c.id[:12]})" for c in matches)
        raise AmbiguousTarget(
            "choose",
            f"TARGET {target.text}",
            f"it may be any of {full}",
            "write the engine or more of the id",
        )
    return matches[0] if matches else None
