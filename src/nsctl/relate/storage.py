"""Who may reach a directory, by the modes of all that leads to it: pure."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from nsctl.model.record import NamedTuple
from nsctl.model.storage import AuditRule


class Step(NamedTuple):
    """One directory, or link, on the way to another.

    Attributes:
        path: of it, raw bytes.
        mode: type and permission bits.
        uid: owner.
        gid: group.
        link: where it leads, for a symbolic link, else b"".
        acl: an access control list says more than the mode.
    """

    path: bytes
    mode: int
    uid: int
    gid: int
    link: bytes
    acl: bool


class Layer(NamedTuple):
    """A layer of a container's root.

    Attributes:
        container: its index.
        name: "upper", "lower 1" ..
        path: of its directory, raw bytes.
        mode: type and permission bits.
        uid: owner.
        gid: group.
        pid: through whose root the path leads there, 0 for the caller's own.
    """

    container: int
    name: str
    path: bytes
    mode: int
    uid: int
    gid: int
    pid: int


class Opened(NamedTuple):
    """A container's file that somebody has open.

    Attributes:
        container: its index.
        pid: who has it open.
        how: "fd 5", "cwd", "root", "exe" or "map".
        path: of the file, from the root of the layer, raw bytes.
        layer: "merged", "upper", "lower 1" .., or "root" for a root without layers.
        writable: it is open for writing.
    """

    container: int
    pid: int
    how: str
    path: bytes
    layer: str
    writable: bool


class Finding(NamedTuple):
    """What is worth knowing of the way to a directory.

    Attributes:
        severity: "high", "medium" or "low".
        path: of the directory, raw bytes.
        text: what is so.
    """

    severity: str
    path: bytes
    text: str


def closed_at(steps: Sequence[Step]) -> Step | None:
    """The first directory on the way that others may not enter; None where they reach the end."""
    for step in steps:
        if not step.link and not step.mode & stat.S_IXOTH:
            return step
    return None


def findings(steps: Sequence[Step], owners: Sequence[int] = (0,)) -> list[Finding]:
    """Judge the way to a directory.

    Args:
        steps: from "/" to it.
        owners: user ids that may own what is on the way.

    Returns:
        What is wrong, the way's order.
    """
    found = []
    for step in steps:
        if not step.link:
            found += writers(step, last=step is steps[-1])
            if step.uid not in owners:
                found.append(Finding("medium", step.path, f"it is uid {step.uid}'s"))
    if steps and closed_at(steps) is None:
        text = "everybody may enter, and read what the files' own modes let him"
        found.append(Finding("medium", steps[-1].path, text))
    return found


def writers(step: Step, *, last: bool) -> list[Finding]:
    """Judge who may make, rename and remove what is in a directory.

    Args:
        step: it.
        last: its files matter themselves; else only the one directory that leads on, which a
            sticky bit protects from everybody but its owner.
    """
    found = []
    sticky = step.mode & stat.S_ISVTX and not last
    if step.mode & stat.S_IWOTH:
        text = "everybody may make files here; the sticky bit protects what others made"
        found.append(
            Finding("low", step.path, text)
            if sticky
            else Finding("high", step.path, "everybody may write here")
        )
    elif step.mode & stat.S_IWGRP and step.gid and not sticky:
        found.append(Finding("medium", step.path, f"group {step.gid} may write here"))
    if step.acl:
        found.append(Finding("low", step.path, "an access control list says more: getfacl"))
    return found


def watched_by(path: bytes, rules: Sequence[AuditRule]) -> list[AuditRule]:
    """The rules that watch a directory, one above it, or something in it."""
    found = []
    for rule in rules:
        above = rule.path.rstrip(b"/") + b"/"
        is_above = rule.tree and (path + b"/").startswith(above)
        if rule.path == path or is_above or rule.path.startswith(path.rstrip(b"/") + b"/"):
            found.append(rule)
    return found
