"""What a user named: a TARGET, taken apart but not looked up."""

from __future__ import annotations

from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    TargetKind = Literal["host", "pid", "namespace", "path", "name", "pod"]
else:
    TargetKind = str


class Target(NamedTuple):
    """A TARGET, taken apart.

    Attributes:
        kind: "host", "pid", "namespace", "path", "name" or "pod".
        text: as it was typed.
        pid: for kind "pid", the process id.
        ino: for kind "namespace" its inode; for "pid" the inode that the process's pidfd or one of
            its namespaces must have (``PID:INODE`` pins against reuse of the PID), else 0.
        type: for kind "namespace", its type.
        engine: for kind "name", the engine that was named, else "".
        name: for kind "name", the name or id prefix; for "pod" the container's in it, or "".
        pod: for kind "pod", the pod's name.
        pod_namespace: for kind "pod", the namespace of pods it is in, or "" for any.
    """

    kind: TargetKind
    text: str
    pid: int = 0
    ino: int = 0
    type: NamespaceType | None = None
    engine: str = ""
    name: str = ""
    pod: str = ""
    pod_namespace: str = ""
