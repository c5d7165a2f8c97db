"""Whose debug shell a process is: told by the name of the control group that nsctl made for it.

A group is /nsctl-debug/PID-START.TARGET in each hierarchy, at its root, where only the host's root
makes any. PID and START are those of the nsctl that made it; the TARGET is written as it was typed,
each byte that a name cannot have as %XX.
"""

from __future__ import annotations

from nsctl.relate.services import paths

TOP = "nsctl-debug"
"""The group above those of all debug shells."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:@+")
_MOST = 200  # of a file's name, which has at most 255 bytes
_PREFIX = b"/" + TOP.encode() + b"/"


def name_of(target: str, pid: int, start: int) -> str:
    """Make the name of a group.

    Args:
        target: the TARGET as it was typed.
        pid: of the nsctl that makes it.
        start: of the same, in clock ticks.
    """
    words = "".join(
        chr(byte) if byte in _PLAIN else f"%{byte:02X}"
        for byte in target.encode("utf-8", "surrogateescape")
    )
    return f"{pid}-{start}.{words[:_MOST]}"


def maker_of(name: str) -> tuple[int, int] | None:
    """Who made a group: PID and start, None where the name is none of ours."""
    pid, dash, start = name.partition(".")[0].partition("-")
    if "." not in name or not dash or not (pid.isdecimal() and start.isdecimal()):
        return None
    return int(pid), int(start)


def debugged_by(cgroup: bytes | None) -> str:
    """Tell what a process is the debug shell of.

    Args:
        cgroup: its /proc/PID/cgroup, whole; None where it was not read.

    Returns:
        The TARGET, "" for any other process.
    """
    if not cgroup or _PREFIX not in cgroup:
        return ""
    for _, path in paths(cgroup):
        if path.startswith(_PREFIX):
            name, _, _ = path.removeprefix(_PREFIX).partition(b"/")
            _, dot, words = name.partition(b".")
            if dot:
                return _plain(words)
    return ""


def _plain(words: bytes) -> str:
    first, *others = words.split(b"%")
    pieces = [first]
    for piece in others:
        try:
            pieces += (bytes.fromhex(piece[:2].decode("ascii")), piece[2:])
        except ValueError:
            pieces += (b"%", piece)
    return b"".join(pieces).decode("utf-8", "surrogateescape")
