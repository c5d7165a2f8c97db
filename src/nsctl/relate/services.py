"""Which systemd unit a control group belongs to (systemd.resource-control(5))."""

from __future__ import annotations

import re

_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")


def paths(cgroup: bytes) -> list[tuple[bytes, bytes]]:
    """Take /proc/PID/cgroup apart (cgroups(7)).

    Args:
        cgroup: the whole file.

    Returns:
        Controllers (empty for version 2) and path of each line; a path keeps its colons.
    """
    found = []
    for line in cgroup.split(b"\n"):
        words = line.split(b":", 2)
        if len(words) == 3:
            found.append((words[1], words[2]))
    return found


def service_of(cgroup: bytes) -> str:
    """Name the systemd service of a process.

    Args:
        cgroup: its /proc/PID/cgroup, whole.

    Returns:
        The innermost ``.service`` of systemd's own hierarchy (version 1's name=systemd, else
        version 2), its escapes undone; "" for sessions, slices and what systemd did not start.
        What stands below a scope was put there by somebody else, such as a container's own
        systemd, and names no service of this host.
    """
    by_controllers = dict(paths(cgroup))
    path = by_controllers.get(b"name=systemd", b"/")
    if path == b"/":
        path = by_controllers.get(b"", b"/")
    service = b""
    for component in path.split(b"/"):
        if component.endswith(b".scope"):
            break
        if component.endswith(b".service"):
            service = component
    name = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), service)
    return name.decode("utf-8", "surrogateescape")
