"""A mount table for people: the tree, what is hidden, who else gets its mounts, layers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from nsctl.cli import common
from nsctl.model.mount import Detached, Looked, Mount
from nsctl.model.snapshot import Snapshot
from nsctl.relate.mount_search import Found
from nsctl.relate.mounts import Place, Told, propagation, relatives
from nsctl.report.escape import escape, escape_bytes, width
from nsctl.report.note import wrap
from nsctl.report.style import Role, Style
from nsctl.report.table import Column, Stems, table
from nsctl.report.tree import grow, run_on
from nsctl.report.units import counted, extents

_LABEL = 9
_LEAST_ROOM = 24
_NAMED = 2
_HOLDERS = 4
# Of the options of a mount these say nothing: they are the default.
_USUAL = frozenset({b"relatime"})
_KINDS: dict[str, str] = {"peer": "shared with", "master": "slave of"}
_LEGEND = {
    "hidden": "HIDDEN BY: nothing of it can be reached, because that lies over it",
    "locked": "locked: it cannot be unmounted alone here",
    "slave of": "slave of: mounts made there appear here, not the other way",
    "shared with": "shared with: mounts made there or here appear in both",
    "private": "private where nothing else is said",
    "idmap": "idmap: an owner on disk becomes another one here",
    "from": "a TARGET below another is written from that one's place, . is the same place",
}
# As much of a terminal's width as whole paths may take.
_SHARE = 0.4


def view(
    snapshot: Snapshot,
    told: Told,
    found: Found,
    looked: Looked | None,
    style: Style,
    *,
    all_layers: bool,
) -> Iterator[str]:
    """Draw a mount table.

    Args:
        snapshot: what it is from.
        told: what is known of the table.
        found: the rows that are shown.
        looked: what processes told; None where they were not asked.
        style: how it may look.
        all_layers: of every overlay, not only of the one at the root.

    Yields:
        Lines.
    """
    yield _head(told, found, looked, style)
    used: set[str] = set()
    grown = grow(found.parents, style)
    rest = [_cells(told, found.mounts[index], used) for index, _ in grown]
    roles: list[Role | None] = []
    places = []
    for index, prefix in grown:
        places.append(prefix + escape_bytes(found.mounts[index].point))
        roles.append("bad" if found.mounts[index].id in told.hidden else None)
    if style.width is not None and max(map(width, places), default=0) > style.width * _SHARE:
        places = [prefix + escape_bytes(_from_parent(found, index)) for index, prefix in grown]
        used |= {"from"} if any(parent >= 0 for parent in found.parents) else set()
    rows = [[place, *cells] for place, cells in zip(places, rest, strict=True)]
    columns = [Column("TARGET", shrink=True), Column("TYPE"), Column("SOURCE", shrink=True)]
    columns += [Column("OPTIONS", shrink=True), Column("NOTES", wrap=True)]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    elif style.width is not None:
        for row in rows:
            row[-1] = "\n".join(wrap(row[-1], max(style.width // 3, _LEAST_ROOM)))
    stems = Stems(0, *run_on(grown, found.parents, style))
    yield from table(columns, rows, style, roles={0: roles}, stems=stems)
    said = [*_looked(snapshot, looked, style), *_layers(told, found, style, all_layers=all_layers)]
    if said:
        yield ""
        yield from said
    used.add("private")
    legend = "; ".join(text for word, text in _LEGEND.items() if word in used)
    if legend:
        yield ""
        yield from wrap(style.text(f"{legend[0].upper()}{legend[1:]}."), style.width)


def _from_parent(found: Found, index: int) -> bytes:
    """Where a mount is, from the place of the row that it hangs on; "." where that is the same."""
    point, parent = found.mounts[index].point, found.parents[index]
    if parent < 0:
        return point
    above = found.mounts[parent].point.rstrip(b"/")
    return point[len(above) :] or b"." if point.startswith(above) else point


def _head(told: Told, found: Found, looked: Looked | None, style: Style) -> str:
    """Whose table it is, and what is in it."""
    member = told.members.get(told.ns)
    name = "?" if member is None else common.member_text(member)
    words = [counted(len(told.table), "mount")]
    if len(found.mounts) < len(told.table):
        words.append(f"{len(found.mounts)} shown")
    if told.hidden:
        words.append(f"{len(told.hidden)} hidden")
    here = {mount.id for mount in told.table}
    if told.locked and (count := len(told.locked & here)):
        words.append(f"{count} locked")
    if looked is not None and looked.detached:
        words.append(f"{len(looked.detached)} detached")
    return f"{style.paint(style.text(name), 'heading')}  mnt:[{told.ns}]  {', '.join(words)}"


def _cells(told: Told, mount: Mount, used: set[str]) -> list[str]:
    """All cells of a row but the first."""
    source = mount.source
    if mount.root not in {b"/", b""}:
        source = b"%s[%s]" % (source, mount.root)
    words = [word for word in mount.options.split(b",") if word not in _USUAL]
    if words[:1] == [b"rw"] and mount.read_only:
        words[0] = b"ro"  # the file system is
    return [
        escape(mount.fs_type),
        escape_bytes(source),
        escape_bytes(b",".join(words)),
        "; ".join(_notes(told, mount, used)),
    ]


def _propagation(told: Told, mount: Mount, used: set[str]) -> Iterator[str]:
    """How it propagates, with names in place of numbers; nothing for a private one."""
    how = propagation(mount)
    if how.group:
        used.add("shared with")
        yield _named(told, mount, "peer", f"shared, nobody else in group {how.group}")
    if how.master:
        used.add("slave of")
        yield _named(told, mount, "master", f"slave of group {how.master}, not seen")
        if how.origin:
            yield f"from group {how.origin}"
    if how.unbindable:
        yield "unbindable"


def _named(told: Told, mount: Mount, kind: str, nobody: str) -> str:
    """Name those with whom a mount shares mounts."""
    place = Place(told.ns, mount)
    others = [each.place for each in relatives(place, told.groups) if each.kind == kind]
    if not others:
        return nobody
    names: dict[str, None] = {}
    for other in others:
        if other.ns == told.ns:
            names[f"{escape_bytes(other.mount.point)} here"] = None
        else:
            member = told.members.get(other.ns)
            name = f"mnt:[{other.ns}]" if member is None else common.member_text(member)
            names[name] = None
    more = f" +{len(names) - _NAMED}" if len(names) > _NAMED else ""
    return f"{_KINDS[kind]} {', '.join(list(names)[:_NAMED])}{more}"


def _notes(told: Told, mount: Mount, used: set[str]) -> Iterator[str]:
    cover = told.hidden.get(mount.id)
    if cover is not None:
        used.add("hidden")
        source = escape_bytes(cover.source)
        what = source if source == escape(cover.fs_type) else f"{escape(cover.fs_type)} {source}"
        yield f"HIDDEN BY {what} on {escape_bytes(cover.point)}"
    yield from _propagation(told, mount, used)
    if told.locked is not None and mount.id in told.locked:
        used.add("locked")
        yield "locked"
    if b"idmapped" in mount.options.split(b","):
        used.add("idmap")
        yield _idmap(mount)
    found = told.layers.get(mount.id)
    if found is not None:
        yield f"{counted(len(found.lower) + len(found.data), 'lower layer')}"


def _idmap(mount: Mount) -> str:
    if mount.uid_map is None:
        return "idmap not told"
    text = f"idmap {extents(mount.uid_map)}"
    return (
        text if mount.gid_map == mount.uid_map else f"{text}, gids {extents(mount.gid_map or ())}"
    )


def _looked(snapshot: Snapshot, looked: Looked | None, style: Style) -> Iterator[str]:
    """Root directories, and mounts that are in no table."""
    if looked is None:
        return
    names = {task.pid: task.comm for task in snapshot.tasks}
    for path, pids in looked.roots:
        text = f"{escape_bytes(path)} is the root directory of {_processes(pids, names)}"
        yield from _said("ROOT", text, style, "shared")
    for mount in looked.detached:
        yield from _said("DETACHED", _detached(mount, names), style, "bad")
    if looked.more:
        text = f"{counted(looked.more, 'process', 'processes')} not looked at"
        yield from _said("DETACHED", text, style, "note")


def _processes(pids: Sequence[int], names: dict[int, bytes]) -> str:
    more = f" and {len(pids) - _NAMED} more" if len(pids) > _NAMED else ""
    return ", ".join(_process(pid, names) for pid in pids[:_NAMED]) + more


def _process(pid: int, names: dict[int, bytes]) -> str:
    return f"{escape_bytes(names.get(pid, b'?'))}[{pid}]"


def _detached(mount: Detached, names: dict[int, bytes]) -> str:
    kind = escape(mount.fs_type) or f"device {os.major(mount.dev)}:{os.minor(mount.dev)}"
    held = []
    for pid, what, path in mount.holders[:_HOLDERS]:
        place = f"fd {what}" if what.isdecimal() else what
        held.append(f"{_process(pid, names)} ({place}: {escape_bytes(path)})")
    more = len(mount.holders) - _HOLDERS
    held += [f"{more} more"] if more > 0 else []
    return f"{kind} mount {mount.id}, in no table, held by {', '.join(held)}"


def _layers(told: Told, found: Found, style: Style, *, all_layers: bool) -> Iterator[str]:
    """Directories of overlays, each on a line of its own."""
    for mount in found.mounts:
        known = told.layers.get(mount.id)
        if known is None or not (all_layers or mount.point == b"/"):
            continue
        count = len(known.lower) + len(known.data)
        text = f"of {escape_bytes(mount.point)}, as who mounted it names them: {count} lower"
        yield from _said("LAYERS", text, style, "heading")
        if known.upper:
            yield from _said(" upper", escape_bytes(known.upper), style, None)
        if known.work:
            yield from _said(" work", escape_bytes(known.work), style, None)
        for place, path in enumerate(known.lower, 1):
            yield from _said(f" {place}", escape_bytes(path), style, None)
        for place, path in enumerate(known.data, len(known.lower) + 1):
            yield from _said(f" {place}", f"{escape_bytes(path)} (data only)", style, None)


def _said(label: str, text: str, style: Style, role: Role | None) -> Iterator[str]:
    """A line under a label, wrapped below itself."""
    room = None if style.width is None else max(style.width - _LABEL, _LEAST_ROOM)
    first, *others = wrap(style.text(text), room)
    yield style.paint(label, role) + " " * (_LABEL - len(label)) + first
    yield from (" " * _LABEL + line for line in others)
