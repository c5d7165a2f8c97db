"""Which systemd unit a control group belongs to (systemd.resource-control(5))."""

from __future__ import annotations

_SERVICE = b".service"
_HEX = frozenset(b"0123456789abcdefABCDEF")


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
        A service of a user's own manager is "NAME@UID": the host may have one of the same name.
        What stands below a scope, or a group that is no unit, was put there by somebody else,
        such as a container's own systemd, and names no service of this host.
    """
    if _SERVICE not in cgroup:
        return ""
    by_controllers = dict(paths(cgroup))
    path = by_controllers.get(b"name=systemd", b"/")
    if path == b"/":
        path = by_controllers.get(b"", b"/")
    service, user = b"", b""
    for component in path.split(b"/"):
        if component.endswith(_SERVICE):
            user = _manages(service) or user
            service = component
        # Above the reader's own control group namespace there are dots.
        elif component not in {b"", b".."} and not component.endswith(b".slice"):
            break
    name = _unescape(service)
    if user:
        name += b"@" + user
    return name.decode("utf-8", "surrogateescape")


def _manages(service: bytes) -> bytes:
    """Whose manager a service is: the user id of ``user@1000.service``, b"" for another one."""
    uid = service.removeprefix(b"user@").removesuffix(_SERVICE)
    is_manager = service == b"user@" + uid + _SERVICE
    return uid if is_manager and uid.isdigit() and len(uid) <= 10 else b""


def _unescape(name: bytes) -> bytes:
    r"""Undo systemd's ``\xNN`` (systemd-escape(1)).

    By hand: a regular expression costs every list of namespaces 2 ms of start-up.
    """
    first, *others = name.split(b"\\x")
    pieces = [first]
    for piece in others:
        digits = piece[:2]
        if len(digits) == 2 and _HEX.issuperset(digits):
            pieces += (bytes.fromhex(digits.decode("ascii")), piece[2:])
        else:
            pieces += (b"\\x", piece)
    return b"".join(pieces)
