"""A mount table as JSON: findmnt's keys, and what else is known of each mount."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from nsctl.cli import common
from nsctl.cli.findmnt_columns import OUTPUTS, POLLED, SIZED, Context
from nsctl.model.mount import Layers, Looked, Mount
from nsctl.relate.mounts import Place, Told, propagation, relatives
from nsctl.report.jsonout import Row, put_text, put_texts

ORIGINAL = tuple(name for name in OUTPUTS if name not in POLLED)
"""findmnt's own columns that a table can fill."""

OURS = ("hidden", "hidden_by", "locked", "idmap", "layers", "propagates", "peers")
"""Keys of our own, in order."""

_DEFAULT = ("TARGET", "SOURCE", "FSTYPE", "OPTIONS")
# What needs a look at file systems and devices: only on demand.
_ASKED_FOR = frozenset(
    {"SIZE", "AVAIL", "USED", "USE%", "INO.AVAIL", "INO.TOTAL", "INO.USED", "INO.USE%"}
    | {"LABEL", "UUID", "PARTLABEL", "PARTUUID", "SOURCES", "FREQ", "PASSNO", "TID"}
)


def default_names() -> list[str]:
    """Columns that a row has where none were asked for, findmnt's default ones first."""
    others = [name for name in ORIGINAL if name not in _ASKED_FOR and name not in _DEFAULT]
    return [*_DEFAULT, *others]


def row(
    told: Told, mount: Mount, names: Iterable[str], ours: Sequence[str], context: Context
) -> Row:
    """Write one mount.

    Args:
        told: what is known of its table.
        mount: it.
        names: findmnt's columns.
        ours: keys of our own, of `OURS`.
        context: what cells depend on.
    """
    made: Row = {}
    for name in names:
        output = OUTPUTS[name]
        raw = output.value(context, mount) if output.value is not None else None
        if output.cell.array:
            put_texts(made, name.lower(), raw.split(b"\n") if raw else [])
        elif raw and (output.cell.number or (name in SIZED and context.exact)):
            made[name.lower()] = int(raw)
        else:
            put_text(made, name.lower(), raw or None)
    everything = _ours(told, mount)
    made.update({key: everything[key] for key in ours})
    return made


def _ours(told: Told, mount: Mount) -> Row:
    cover = told.hidden.get(mount.id)
    how = propagation(mount)
    return {
        "hidden": cover is not None,
        "hidden_by": None if cover is None else cover.unique_id or cover.id,
        "locked": None if told.locked is None else mount.id in told.locked,
        "idmap": _idmap(mount),
        "layers": _layers(told.layers.get(mount.id)),
        "propagates": {
            "shared": how.group or None,
            "master": how.master or None,
            "propagate_from": how.origin or None,
            "unbindable": how.unbindable,
        },
        "peers": [
            {"is": other.kind, **_place(told, other.place)}
            for other in relatives(Place(told.ns, mount), told.groups)
        ],
    }


def _idmap(mount: Mount) -> Row | None:
    if mount.uid_map is None and b"idmapped" not in mount.options.split(b","):
        return None
    return {
        "uid": None if mount.uid_map is None else common.map_rows(mount.uid_map),
        "gid": None if mount.gid_map is None else common.map_rows(mount.gid_map),
    }


def _layers(found: Layers | None) -> Row | None:
    if found is None:
        return None
    made: Row = {}
    put_texts(made, "lower", found.lower)
    put_texts(made, "data", found.data)
    put_text(made, "upper", found.upper or None)
    put_text(made, "work", found.work or None)
    return made


def _place(told: Told, place: Place) -> Row:
    member = told.members.get(place.ns)
    made: Row = {
        "ns": place.ns,
        "whose": None if member is None else common.whose_row(member),
        "id": place.mount.id,
        "uniq-id": place.mount.unique_id or None,
    }
    put_text(made, "target", place.mount.point)
    return made


def looked(found: Looked | None) -> Row:
    """Write what the processes of a namespace told."""
    if found is None:
        return {"roots": None, "detached": None}
    roots = []
    for path, pids in found.roots:
        entry: Row = {}
        put_text(entry, "path", path)
        entry["pids"] = list(pids)
        roots.append(entry)
    detached = []
    for mount in found.detached:
        holders = []
        for pid, what, path in mount.holders:
            holder: Row = {"pid": pid}
            if what.isdecimal():
                holder["fd"] = int(what)
            else:
                holder["what"] = what
            put_text(holder, "path", path)
            holders.append(holder)
        detached.append(
            {
                "id": mount.id,
                "maj:min": f"{os.major(mount.dev)}:{os.minor(mount.dev)}",
                "fstype": mount.fs_type or None,
                "holders": holders,
            }
        )
    return {"roots": roots, "detached": detached}
