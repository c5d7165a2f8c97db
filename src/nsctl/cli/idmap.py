"""`nsctl idmap [TARGET]`: which ids user namespaces have, in the host's numbers, and whose else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nsctl.cli import common
from nsctl.model.accounts import Account, Grant
from nsctl.model.namespace import IdExtent, NamespaceType
from nsctl.relate import ids as relation
from nsctl.relate.idmap import ALL_IDS, Span, spans, total
from nsctl.relate.ids import Given, Ids, MapRow
from nsctl.report.escape import escape
from nsctl.report.jsonout import document, envelope, whose
from nsctl.report.note import note, wrap
from nsctl.report.ruler import Bar, ruler
from nsctl.report.style import Role, Style
from nsctl.report.table import Column, table
from nsctl.report.units import counted, extents

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from nsctl.model.snapshot import Snapshot

_LABEL = 10
_SHOWN = 3
_NAMED = 6
# Pairs that the overview tells.
_PAIRS = 20
_LEAST_ROOM = 24


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "idmap",
        "Show which user and group ids user namespaces have outside, and which of them are "
        "somebody else's too.",
        "Numbers outside are the host's, through however many user namespaces.",
    )
    parser.add_argument("target", metavar="TARGET", nargs="?", help="only what this leads to")
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    target = None if args.target is None else common.target_of(args.target, args.file)
    snapshot = common.snapshot_of(args.file, args.host_proc, relation.NEEDS)
    snapshot, wanted = common.found_in(snapshot, target, NamespaceType.USER)
    found = relation.ids(snapshot)
    if wanted is not None:
        found = relation.of_target(found, wanted)
    if args.json:
        rows = [_json(row) for row in found.rows]
        sys.stdout.write(document("maps", rows, {**_json_about(found), **envelope(snapshot)}))
    else:
        style = common.style(args.color)
        if target is None:
            common.put(_overview(snapshot, found, style))
        else:
            for row in found.rows:
                common.put(_card(snapshot, row, style))
            common.put(_ruler(found, style))
        common.put(_own(found, style))
        common.put(note(snapshot, len(found.rows), style))
    return common.status(snapshot, strict=args.strict)


def _overview(snapshot: Snapshot, found: Ids, style: Style) -> Iterator[str]:
    columns = [
        Column("WHOSE", shrink=True),
        Column("ROOT INSIDE IS", shrink=True),
        Column("UIDS", right=True),
        Column("MAP", shrink=True),
    ]
    cells = [_cells(snapshot, row) for row in found.rows]
    yield from table(columns, cells, style)
    drawn = _ruler(found, style)
    if drawn:
        yield ""
        yield from drawn
    said = [*_findings(found, style), *_subordinate(found, style)]
    if said:
        yield ""
        yield from said


def _cells(snapshot: Snapshot, row: MapRow) -> list[str]:
    if row.uids is None:
        return [_name(row), "?", "?", "not read"]
    count = total(spans(row.uids))
    # The kernel writes that it maps all ids as one less than there are numbers.
    return [_name(row), _root(snapshot, row), "all" if count == ALL_IDS else str(count), _map(row)]


def _name(row: MapRow) -> str:
    return "  " * row.level + common.member_text(row.member)


def _root(snapshot: Snapshot, row: MapRow) -> str:
    if row.root is None:
        return "nobody"
    return _user(row.root, _users(snapshot))


def _users(snapshot: Snapshot) -> dict[int, str]:
    named = dict(snapshot.users)
    if snapshot.accounts is not None:
        for account in reversed(snapshot.accounts.users):
            named[account.id] = account.name
    return named


def _user(uid: int, names: dict[int, str]) -> str:
    return f"{escape(names[uid])} ({uid})" if uid in names else f"uid {uid}"


def _map(row: MapRow) -> str:
    uids = row.uids or ()
    more = f" and {len(uids) - _SHOWN} more" if len(uids) > _SHOWN else ""
    gids = "" if row.gids == row.uids else ", gids differ"
    return extents(uids[:_SHOWN]) + more + gids


def _range(span: Span) -> str:
    return str(span.first) if span.size == 1 else f"{span.first}-{span.end - 1}"


def _ranges(several: Sequence[Span]) -> str:
    more = f" and {len(several) - _SHOWN} more ranges" if len(several) > _SHOWN else ""
    return ", ".join(map(_range, several[:_SHOWN])) + more


def _ruler(found: Ids, style: Style) -> list[str]:
    """Draw the user ids of all that have not all of them."""
    bars = []
    for row in found.rows:
        ranges = spans(row.uids or ())
        if total(ranges) >= ALL_IDS or not ranges:
            continue
        marked = [(s.first, s.end) for overlap in row.overlaps for s in overlap.uids]
        covered = [(span.first, span.end) for span in ranges]
        bars.append(Bar(_name(row), covered, marked, "own"))
    return ruler(bars, style)


def _said(label: str, text: str, style: Style, role: Role | None) -> Iterator[str]:
    """A line under a label, wrapped below itself."""
    room = None if style.width is None else max(style.width - _LABEL, _LEAST_ROOM)
    first, *others = wrap(style.text(text), room)
    yield style.paint(label, role) + " " * (_LABEL - len(label)) + first
    yield from (" " * _LABEL + line for line in others)


def _findings(found: Ids, style: Style) -> Iterator[str]:
    told: set[frozenset[int]] = set()
    more = 0
    for row in found.rows:
        more += row.more_overlaps
        for overlap in row.overlaps:
            pair = frozenset({row.member.namespace.id.ino, overlap.other.namespace.id.ino})
            if pair not in told:
                told.add(pair)
                if len(told) <= _PAIRS:
                    yield from _said("OVERLAP", _pair(row, overlap), style, "bad")
    hidden = len(told) - _PAIRS
    if hidden > 0 or more:
        text = f"and more pairs: {max(hidden, 0)} at least; `nsctl idmap TARGET` and -J tell them"
        yield from _said("OVERLAP", text, style, "bad")
    for row in found.rows:
        text = _accounts(row)
        if text and not row.host:
            yield from _said(
                "ACCOUNTS", f"{common.member_text(row.member)}: {text}", style, "shared"
            )


def _pair(row: MapRow, overlap: relation.Overlap) -> str:
    return f"{common.member_text(row.member)} and {common.member_text(overlap.other)}: {_common(overlap)}"


def _common(overlap: relation.Overlap) -> str:
    words = []
    if overlap.uids:
        count = counted(total(overlap.uids), "uid")
        words.append(f"{count} ({_ranges(overlap.uids)})")
    if overlap.gids:
        count = counted(total(overlap.gids), "gid")
        same = "" if overlap.gids == overlap.uids else f" ({_ranges(overlap.gids)})"
        words.append(count + same)
    return ", ".join(words)


def _accounts(row: MapRow) -> str:
    words = []
    if row.system:
        root = "root" if row.system[0].id == 0 else ""
        others = len(row.system) - bool(root)
        counts = counted(others, "account of the system", "accounts of the system")
        words.append(" and ".join(filter(None, (root, counts if others else ""))))
    if row.people:
        words.append(f"people: {_names(row.people)}")
    if row.creator is not None:
        words.append(f"{escape(row.creator.name)}, who made it")
    return "; ".join(words)


def _names(accounts: Sequence[Account]) -> str:
    more = f" and {len(accounts) - _NAMED} more" if len(accounts) > _NAMED else ""
    return ", ".join(f"{escape(each.name)} ({each.id})" for each in accounts[:_NAMED]) + more


def _subordinate(found: Ids, style: Style) -> Iterator[str]:
    for label, given in (("SUBUID", found.subuids), ("SUBGID", found.subgids)):
        for each in given:
            text, bad = _of_grant(each)
            yield from _said(label, text, style, "bad" if bad else "note")


def _of_grant(given: Given) -> tuple[str, bool]:
    grant = given.grant
    words = [f"{escape(grant.owner)} {_range(Span(grant.first, grant.size))}:"]
    said = []
    if given.users:
        more = f" and {len(given.users) - _SHOWN} more" if len(given.users) > _SHOWN else ""
        names = ", ".join(map(common.owner_text, given.users[:_SHOWN]))
        said.append(f"used by {names}{more}")
    else:
        said.append("unused")
    if given.twice:
        others = dict.fromkeys(escape(other.owner) for other in given.twice)
        said.append(f"GIVEN TWICE, also to {', '.join(others)}")
    if given.accounts:
        said.append(f"THE IDS OF {_names(given.accounts)}")
    if not given.known:
        said.append("there is no such user")
    return " ".join((*words, "; ".join(said))), bool(given.twice or given.accounts)


def _card(snapshot: Snapshot, row: MapRow, style: Style) -> Iterator[str]:
    namespace = row.member.namespace
    yield (
        style.paint(style.text(common.member_text(row.member)), "heading")
        + f"  user:[{namespace.id.ino}]"
    )
    if row.uids is None or row.gids is None:
        yield from _said(" map", "not read", style, "unknown")
        return
    names = _users(snapshot)
    if namespace.owner_uid is not None and not row.host:
        yield from _said(" creator", _user(namespace.owner_uid, names), style, None)
    group = "nobody" if row.root_group is None else f"gid {row.root_group}"
    text = f"{_root(snapshot, row)} outside, its group {group}"
    yield from _said(" root", f"root inside is {text}", style, None)
    yield from _extents(" uids", row.uids, style)
    yield from _extents(" gids", () if row.gids == row.uids else row.gids, style)
    if row.gids == row.uids:
        yield from _said(" gids", "the same", style, None)
    if row.above:
        yield from _said(" parent", f"in its parent's numbers: {extents(row.above)}", style, None)
    if namespace.maps is not None:
        groups = {"deny": "may not be set inside", "allow": "may be set inside"}
        said = groups.get(namespace.maps.setgroups, "unknown")
        yield from _said(" groups", f"supplementary groups {said}", style, None)
        if namespace.maps.projids:
            yield from _said(" projids", extents(namespace.maps.projids), style, None)
    for overlap in row.overlaps:
        text = f"{common.member_text(overlap.other)}: {_common(overlap)}"
        yield from _said(" OVERLAPS", text, style, "bad")
    if row.more_overlaps:
        yield from _said(" OVERLAPS", f"{row.more_overlaps} more", style, "bad")
    accounts = _accounts(row)
    if accounts and not row.host:
        yield from _said(" has", accounts, style, "shared")
    yield ""


def _extents(label: str, rows: Iterable[IdExtent], style: Style) -> Iterator[str]:
    for place, each in enumerate(rows):
        yield from _said(label if not place else "", extents((each,)), style, None)


def _own(found: Ids, style: Style) -> Iterator[str]:
    if found.own is not None:
        yield from wrap(
            style.text(
                "nsctl runs in a user namespace of its own: numbers outside are those of the one "
                f"around it (its uids: {extents(found.own.uids)}), and what has none here is left "
                "out."
            ),
            style.width,
        )


def _json(row: MapRow) -> dict[str, Any]:
    namespace = row.member.namespace
    maps = namespace.maps
    return {
        "ns": namespace.id.ino,
        "whose": common.whose_row(row.member),
        "members": [whose(owner) for owner in row.member.owners],
        "host": row.host,
        "level": row.level,
        "pns": namespace.parent,
        "owner_uid": namespace.owner_uid,
        "uid": None if row.uids is None else common.map_rows(row.uids),
        "gid": None if row.gids is None else common.map_rows(row.gids),
        "projid": None if maps is None else common.map_rows(maps.projids),
        "in_parent": common.map_rows(row.above),
        "unseen": row.unseen,
        "setgroups": maps.setgroups or None if maps else None,
        "root": row.root,
        "root_group": row.root_group,
        "overlaps": [
            {
                "ns": each.other.namespace.id.ino,
                "whose": common.whose_row(each.other),
                "uid": _json_spans(each.uids),
                "gid": _json_spans(each.gids),
                "uids": total(each.uids),
                "gids": total(each.gids),
            }
            for each in row.overlaps
        ],
        "more_overlaps": row.more_overlaps,
        "people": _json_accounts(row.people),
        "system": _json_accounts(row.system),
        "creator": row.creator.name if row.creator else None,
    }


def _json_spans(several: Iterable[Span]) -> list[dict[str, int]]:
    return [{"first": span.first, "count": span.size} for span in several]


def _json_accounts(accounts: Iterable[Account]) -> list[dict[str, Any]]:
    return [{"name": account.name, "id": account.id} for account in accounts]


def _json_about(found: Ids) -> dict[str, Any]:
    own = found.own
    return {
        "numbers": "host" if own is None else "around-reader",
        "reader": None
        if own is None
        else {"uid": common.map_rows(own.uids), "gid": common.map_rows(own.gids)},
        "subuid": [_json_given(given) for given in found.subuids],
        "subgid": [_json_given(given) for given in found.subgids],
    }


def _json_grant(grant: Grant) -> dict[str, Any]:
    return {"owner": grant.owner, "first": grant.first, "count": grant.size}


def _json_given(given: Given) -> dict[str, Any]:
    return {
        **_json_grant(given.grant),
        "known": given.known,
        "used_by": [whose(owner) for owner in given.users],
        "given_twice": [_json_grant(other) for other in given.twice],
        "accounts": _json_accounts(given.accounts),
    }
