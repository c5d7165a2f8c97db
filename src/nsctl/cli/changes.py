"""`nsctl mounts TARGET --changes`: what a container changed in its upper layer."""

from __future__ import annotations

import os
import sys

from nsctl import host
from nsctl.cli import common
from nsctl.errors import EXIT_INCOMPLETE, EXIT_OK, AmbiguousTarget, TargetError, UnknownTarget
from nsctl.model.container import Container
from nsctl.model.part import Part
from nsctl.paths.changes import Changes, find_changes, find_stopped_changes
from nsctl.paths.surroundings import process_of
from nsctl.relate.find import find
from nsctl.relate.groups import owner_of
from nsctl.relate.layers import Change
from nsctl.report.escape import escape_bytes
from nsctl.report.jsonout import Row, document, envelope, put_text, put_texts
from nsctl.report.note import note, wrap
from nsctl.report.style import Role, Style
from nsctl.report.units import counted

_ROLES: dict[str, Role] = {"A": "good", "C": "shared", "D": "bad"}
_WORDS = {"A": "added", "C": "changed", "D": "deleted"}
_TYPES = {
    0o040000: "directory",
    0o100000: "file",
    0o120000: "link",
    0o020000: "character device",
    0o060000: "block device",
    0o010000: "fifo",
    0o140000: "socket",
}
_NAMED = 3
_PARTS = (Part.TASKS, Part.CGROUPS, Part.NAMESPACES, Part.CONTAINERS)
# Whose containers' layers are known where nothing is mounted.
_STOPPED = frozenset({"docker", "podman", "nsctl"})


def run(target: str, *, as_json: bool = False, strict: bool = False, color: str = "auto") -> int:
    """Print what a container changed.

    Args:
        target: TARGET as typed.
        as_json: print JSON.
        strict: exit with 3 where something could not be read.
        color: the option's value.

    Returns:
        The exit status.

    Raises:
        NsctlError: its root is no overlay, or its layers cannot be found.
        TargetError: it leads to nothing, or to what does not run and whose layers nobody vouches for.
    """
    snapshot = common.snapshot_of(None, "/proc", (Part.TASKS,))
    stopped: Container | None = None
    try:
        process = process_of(target, snapshot)
    except TargetError as error:
        stopped = _stopped(target, error)
        snapshot = common.snapshot_of(None, "/proc", (Part.TASKS, Part.CGROUPS))
        found = find_stopped_changes(stopped, host.find_storage(snapshot)[0], snapshot)
    else:
        try:
            if process.container is None:
                process = process._replace(container=_container_of(str(process.pid)))
            found = find_changes(process, snapshot)
        finally:
            process.close()
    # Whose processes could not be read matters where the layers are not found, which is an error.
    snapshot = snapshot._replace(gaps=found.gaps, remarks=())
    if as_json:
        rows = [_json(change) for change in found.changes]
        about = envelope(snapshot)
        about["layers"] = _layers(found)
        put_texts(about, "same", found.same)
        sys.stdout.write(document("changes", rows, about))
    else:
        style = common.style(color)
        common.put(_line(change, style) for change in found.changes)
        # What scripts read is the list alone, as that of docker-diff(1).
        for line in _notes(found, style, stopped):
            sys.stderr.write(f"{line}\n")
        if snapshot.gaps:
            for line in note(snapshot, None, style):
                sys.stderr.write(f"{line}\n")
    return EXIT_INCOMPLETE if strict and snapshot.gaps else EXIT_OK


def _stopped(text: str, error: TargetError) -> Container:
    """The container that a TARGET leads to, which does not run, where its layers may be believed.

    Raises:
        TargetError: the one given, with why it stays.
    """
    if isinstance(error, (UnknownTarget, AmbiguousTarget)):
        raise error
    snapshot = common.snapshot_of(None, "/proc", _PARTS)
    container = find(snapshot, common.target_of(text, None)).container
    if container is None or container.pid or container.engine not in _STOPPED:
        raise error
    if container.engine == "nsctl" and container.user:
        raise error  # its layers belong to ids that no mount maps now
    if container.vouched_by or container.user not in {0, os.geteuid()}:
        # Nothing is mounted that could tell whether they are what he says.
        error.hint = "where its layers are is an ordinary user's word: ask as that user"
        raise error
    return container


def _container_of(text: str) -> Container | None:
    """Whose container a process is in: what its engine says of that is wanted too."""
    snapshot = common.snapshot_of(None, "/proc", _PARTS)
    try:
        found = find(snapshot, common.target_of(text, None))
    except TargetError:
        return None  # it has ended meanwhile, which is told where its root is looked at
    if found.container is not None or found.group is None:
        return found.container
    owner = found.group.owner
    return next((each for each in snapshot.containers if owner_of(each) == owner), None)


def _line(change: Change, style: Style) -> str:
    letter = style.paint(change.kind, _ROLES[change.kind])
    return f"{letter} {style.text(escape_bytes(change.path))}"


def _notes(found: Changes, style: Style, stopped: Container | None) -> list[str]:
    """What the lines cannot say."""
    said = []
    if not found.upper:
        said.append("It has no upper layer: its root cannot be written to.")
    if found.same:
        named = ", ".join(escape_bytes(path) for path in found.same[:_NAMED])
        more = f" and {len(found.same) - _NAMED} more" if len(found.same) > _NAMED else ""
        said.append(
            f"{counted(len(found.same), 'file')} copied up with the same size and time, whose content "
            f"may differ: {named}{more}."
        )
    if stopped is not None:
        said.append(
            f"It does not run ({stopped.state or 'stopped'}): which layers it has is what "
            f"{stopped.engine}'s files say."
        )
    elif found.upper and not found.verified:
        said.append(
            f"Whether {escape_bytes(found.upper)} is the layer that is mounted could not be checked."
        )
    return [line for text in said for line in wrap(style.text(text), style.width)]


def _json(change: Change) -> Row:
    row: Row = {"kind": change.kind, "change": _WORDS[change.kind]}
    put_text(row, "path", change.path)
    new = change.new
    row["type"] = None if new is None else _TYPES.get(new.mode & 0o170000, "?")
    row["mode"] = None if new is None else f"{new.mode & 0o7777:04o}"
    row["size"] = None if new is None else new.size
    row["uid"] = None if new is None else new.uid
    row["gid"] = None if new is None else new.gid
    row["by"] = change.why or None
    return row


def _layers(found: Changes) -> Row:
    row: Row = {}
    put_text(row, "upper", found.upper or None)
    put_texts(row, "lower", found.lower)
    row["seen_from"] = found.mounter or None
    row["verified"] = found.verified
    return row
