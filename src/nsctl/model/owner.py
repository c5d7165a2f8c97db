"""Whose a process or namespace is: what a person is told in place of a number."""

from __future__ import annotations

from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    OwnerKind = Literal["host", "container", "service", "process"]
else:
    OwnerKind = str


class Owner(NamedTuple):
    """The answer to "whose is it?".

    Attributes:
        kind: the host itself, a container, a service of the host, or the process that leads
            a group which is neither.
        name: container or service name, or the leader's command name.
        engine: "docker", "podman", "nsctl" .. for a container; "bwrap" for processes in a sandbox
            of bubblewrap, which is no engine's container; else "".
        id: the engine's whole id, else "".
        pod: for a container in a pod, the pod's name, else "".
        pid: for kind "process", the leader; for a container its first process; else 0.
    """

    kind: OwnerKind
    name: str
    engine: str = ""
    id: str = ""
    pod: str = ""
    pid: int = 0


HOST = Owner("host", "host")
