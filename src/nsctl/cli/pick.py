"""A missing TARGET, on a terminal: what there is, to choose from.

fzf(1) asks where it is installed, else a numbered list does. Scripts are never asked.
"""

from __future__ import annotations

import sys

from nsctl.cli import common
from nsctl.errors import UsageError
from nsctl.model.part import Part
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import Group, groups
from nsctl.report.escape import escape

PARTS = (Part.TASKS, Part.CGROUPS, Part.NAMESPACES, Part.CONTAINERS)

# What fzf(1) exits with when somebody chose nothing: no match, and the Escape key.
_NOT_CHOSEN = frozenset({1, 130})


class Choice(NamedTuple):
    """One thing that can be chosen.

    Attributes:
        target: the TARGET that leads to it and to nothing else.
        text: its line for people, escaped.
    """

    target: str
    text: str


def possible() -> bool:
    """Tell whether somebody can be asked: standard input and output are terminals."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def choices(snapshot: Snapshot) -> list[Choice]:
    """List what a TARGET can be.

    Args:
        snapshot: with `PARTS`.

    Returns:
        Containers, services, groups that are led by a process, and last the host.
    """
    found = []
    for container in snapshot.containers:
        scope = f"{container.scope}/" if container.scope else ""
        target = f"{container.engine}://{scope}{container.name}"
        about = "  ".join(escape(text) for text in (container.image, container.state) if text)
        found.append(Choice(target, f"{escape(target)}  {about}".rstrip()))
    found += [
        Choice(_pinned(group), f"{group.leader}  {common.owner_text(group.owner)}")
        for group in groups(snapshot)
        if group.owner.kind in {"service", "process"}
    ]
    return [*found, Choice("@host", "@host")]


def _pinned(group: Group) -> str:
    """Name a group by its leader, whose PID may be another's by the time somebody has chosen.

    Two groups may have one name; a leader is one process.
    """
    inode = next((inode for inode in group.isolation if inode > 0), 0)
    return f"{group.leader}:{inode}" if inode else str(group.leader)


def target(snapshot: Snapshot) -> str | None:
    """Let somebody choose; `possible` must have been asked.

    Args:
        snapshot: with `PARTS`.

    Returns:
        The TARGET, or None where nothing was chosen.

    Raises:
        UsageError: what was typed is no number of the list.
    """
    from shutil import which

    offered = choices(snapshot)
    finder = which("fzf")
    number = _numbered(offered) if finder is None else _found(finder, offered)
    return None if number is None else offered[number - 1].target


def _numbered(offered: list[Choice]) -> int | None:
    width = len(str(len(offered)))
    common.put(f"{number:{width}}  {each.text}" for number, each in enumerate(offered, 1))
    sys.stdout.write(f"TARGET, 1 to {len(offered)}: ")
    sys.stdout.flush()
    # Whatever the terminal's encoding, a number is ASCII.
    line = sys.stdin.buffer.readline().decode("ascii", "backslashreplace")
    if not line.endswith("\n"):
        sys.stdout.write("\n")  # the end of input, which the terminal does not show
    return _number(line.strip(), len(offered))


def _found(finder: str, offered: list[Choice]) -> int | None:
    """Ask fzf(1): it is given numbered lines, shows all but the number, and gives one back."""
    import subprocess

    lines = "".join(f"{number}\t{each.text}\n" for number, each in enumerate(offered, 1))
    done = subprocess.run(
        [finder, "--no-multi", "--delimiter=\t", "--with-nth=2..", "--prompt=TARGET> "],
        input=lines.encode("utf-8", "backslashreplace"),
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode in _NOT_CHOSEN:
        return None
    if done.returncode != 0:
        return _numbered(offered)  # fzf has said why it cannot: a terminal that it does not know
    last = done.stdout.decode("utf-8", "replace").rstrip("\n").rpartition("\n")[2]
    return _number(last.partition("\t")[0], len(offered))


def _number(text: str, count: int) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 0 < int(text) <= count):
        raise UsageError(f"{text!r} is no number from 1 to {count}")
    return int(text)
