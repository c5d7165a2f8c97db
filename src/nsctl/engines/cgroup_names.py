"""Containers named by their control groups alone: pure, from the text of /proc/PID/cgroup.

Engines put a container's id into the path of its group: with the cgroupfs driver as a directory
(``/docker/ID``), with the systemd driver as a scope (``docker-ID.scope``). Kubernetes adds the uid
of the pod. All hierarchies of version 1, of both side by side, and version 2 have the same forms.

An engine that runs in a container makes groups below that container's, so one path can name
several: they are given outermost first. The outermost is what the host's engine wrote; those below
it may have been made by whoever is in the container, and are worth no more than his word.

Sources: cgroups(7), systemd.slice(5), systemd.scope(5), and the engines' documentation.
"""

from __future__ import annotations

import re

from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class CgroupName(NamedTuple):
    """What one component of a path names.

    Attributes:
        engine: "docker", "podman", "cri", "lxc", "nspawn"; "" where only an id is told.
        id: the engine's whole id; for "lxc" and "nspawn" the name, which is all there is.
        pod: for "cri" the pod's uid, for "podman" the pod's id, "" where it is in none.
        path: of the group, from its hierarchy's root.
        user: uid of the user in whose part of the tree it is, 0 where it is in nobody's.
    """

    engine: str
    id: str
    pod: str
    path: str
    user: int = 0


_ID = "[0-9a-f]{64}"
_SCOPES = (
    ("docker", re.compile(rf"docker-({_ID})\.scope")),
    ("podman", re.compile(rf"libpod-({_ID})(?:\.scope)?")),
    ("cri", re.compile(rf"(?:cri-containerd|crio)-({_ID})(?:\.scope)?")),
    # A systemd path given to the cgroupfs driver: slice, prefix and id in one directory.
    ("cri", re.compile(rf".*\.slice:cri-containerd:({_ID})")),
    ("lxc", re.compile(r"lxc\.payload\.(.+)")),
    ("nspawn", re.compile(r"systemd-nspawn@(.+)\.service")),
    # Of virtual machines, machinectl(1) lists these too.
    ("nspawn", re.compile(r"machine-(?!qemu-|lxc-|libpod_)(.+)\.scope")),
)
_BARE = re.compile(_ID)
_POD_UID = re.compile(
    r"(?:.*-)?pod([0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})(?:\.slice.*)?"
)
_PODMAN_POD = re.compile(rf"machine-libpod_pod_({_ID})\.slice")
_USER = re.compile(r"user(?:-([0-9]{1,10})\.slice|@([0-9]{1,10})\.service)")
_ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")
_REMOVED = " (deleted)"
_PARENTS = {"docker": "docker", "lxc": "lxc", "lxc.payload": "lxc"}


def paths(cgroup: bytes) -> list[tuple[str, str]]:
    """Take /proc/PID/cgroup apart (cgroups(7)).

    Args:
        cgroup: the whole file.

    Returns:
        Hierarchy number and path of each line; a path keeps its colons, bytes that are not UTF-8
        are escaped as Python does.
    """
    found = []
    for line in cgroup.split(b"\n"):
        words = line.split(b":", 2)
        if len(words) == 3:
            found.append((_text(words[0]), _text(words[2])))
    return found


def _distinct(cgroup: bytes) -> list[str]:
    """Take the paths, each once: most are the same in all hierarchies."""
    found: dict[bytes, None] = {}
    for line in cgroup.split(b"\n"):
        words = line.split(b":", 2)
        if len(words) == 3:
            found[words[2]] = None
    return [_text(path) for path in found]


def names(cgroup: bytes) -> tuple[CgroupName, ...]:
    """Tell which containers a process is in, by its control groups.

    Args:
        cgroup: its /proc/PID/cgroup, whole.

    Returns:
        Outermost first; of the hierarchies the one that names the most, the first among equals:
        an engine need not use all of them. () where none names one.
    """
    best: tuple[CgroupName, ...] = ()
    for path in _distinct(cgroup):
        found = tuple(_names_in(path))
        if len(found) > len(best):
            best = found
    return best


def _names_in(path: str) -> Iterator[CgroupName]:
    components = path.split("/")
    pod, user, in_pods, parent = "", 0, False, ""
    for index, component in enumerate(components):
        plain = _plain(component)
        if match := _USER.fullmatch(plain):
            user = user or int(match[1] or match[2])
        in_pods = in_pods or "kubepods" in plain
        engine, found = _component(plain, parent, in_pods=in_pods)
        if match := _POD_UID.fullmatch(plain):
            pod = match[1].replace("_", "-")
        elif match := _PODMAN_POD.fullmatch(plain):
            pod = match[1]
        elif _BARE.fullmatch(plain) and _is_podman_pod(parent, components[index + 1 :]):
            pod, found = plain, ""
        end = index + 1
        if engine == "nspawn" and found and components[end : end + 1] == ["supervisor"]:
            found = ""  # systemd-nspawn itself, which is outside
        if found:
            end += engine == "nspawn" and components[end : end + 1] == ["payload"]
            yield CgroupName(engine, found, pod, "/".join(components[:end]), user)
            pod, in_pods = "", False
        parent = plain


def _is_podman_pod(parent: str, further: list[str]) -> bool:
    """Whether a directory named for an id is a pod's: it has its containers and their monitors."""
    inner = further[0] if further else ""
    return parent == "libpod_parent" or inner == "conmon" or inner.startswith("libpod-")


def _component(plain: str, parent: str, *, in_pods: bool) -> tuple[str, str]:
    """What engine and id one component names; ("", "") where none."""
    for engine, pattern in _SCOPES:
        if match := pattern.fullmatch(plain):
            return engine, match[1]
    if _BARE.fullmatch(plain):
        return ("cri" if in_pods else _PARENTS.get(parent, "")), plain
    if parent in {"lxc", "lxc.payload"} and plain:
        return "lxc", plain
    return "", ""


def groups_of(cgroup: bytes, container_id: str, above: bytes = b"") -> tuple[str, ...]:
    """Find the control groups that are a container's own.

    Args:
        cgroup: /proc/PID/cgroup of one of its processes.
        container_id: its id, or its name where that is all it has.
        above: the same of a process that is not in the container, but may say what its id is: its
            groups, and those above them, are not taken for the container's.

    Returns:
        Paths, each once, cut after the component that holds the id; () where none does.
    """
    if not container_id:
        return ()
    others = [path + "/" for path in _distinct(above)]
    found: dict[str, None] = {}
    for path in _distinct(cgroup):
        components = path.split("/")
        for index in range(len(components) - 1, 0, -1):
            if _holds(components[index], container_id):
                own = "/".join(components[: index + 1])
                if not any(other.startswith(own + "/") for other in others):
                    found[own] = None
                break
    return tuple(found)


def _holds(component: str, container_id: str) -> bool:
    """Tell whether a component of a path is named for a container."""
    plain = _plain(component)
    if container_id in {component, plain}:
        return True
    return any(
        (match := pattern.fullmatch(plain)) is not None and match[1] == container_id
        for _, pattern in _SCOPES
    )


def _plain(component: str) -> str:
    """Undo systemd's escapes (systemd-escape(1))."""
    if "\\x" not in component:
        return component
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), component)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
