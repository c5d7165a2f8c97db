"""`nsctl diff A [B]`: what came, went and changed between two moments."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

from nsctl.cli import common
from nsctl.model.namespace import TYPES, Holder
from nsctl.model.owner import Owner
from nsctl.model.part import CONTENTS, Gap, Part
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Task
from nsctl.relate.diff import Change, Diff, NameChange, Process, diff
from nsctl.report.escape import escape, escape_bytes, width
from nsctl.report.jsonout import document, envelope, put_text, whose
from nsctl.report.note import note, wrap
from nsctl.report.style import Role, Style
from nsctl.report.table import Column, table
from nsctl.report.units import counted, duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

# What says which namespaces there are, who is in them, whose they are and what holds them.
_OTHER_MATTERS = {
    Part.COMMANDS,
    Part.CREDENTIALS,
    Part.ID_MAPS,
    Part.TIME_OFFSETS,
    Part.NETNSIDS,
    Part.MOUNTS,
    *CONTENTS,
}
PARTS = tuple(part for part in Part if part not in _OTHER_MATTERS)

_NOW = "now"
_ROLES: dict[str, Role] = {"new": "good", "gone": "bad", "changed": "note", "unknown": "unknown"}
_NAMED = 8
# A last column that is narrower is cut, not wrapped.
_LEAST = 20


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "diff",
        "Show which namespaces came, went and changed between two moments.",
        "A, B: files of `nsctl snapshot`. Without B, A is compared with this moment.",
    )
    parser.add_argument("before", metavar="A")
    parser.add_argument("after", metavar="B", nargs="?")
    parser.add_argument(
        "-a", "--all", action="store_true", help="also what merely ran in the host's namespaces"
    )
    parser.add_argument(
        "-l", "--list", action="store_true", help="a line for each namespace, with its inode"
    )
    output = parser.add_argument_group("output")
    output.add_argument("-J", "--json", action="store_true", help="print JSON")
    output.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colour the output"
    )
    source = parser.add_argument_group("source")
    source.add_argument("--host-proc", metavar="DIR", help="the host's procfs", default="/proc")
    source.add_argument(
        "--strict", action="store_true", help="exit with 3 when something could not be read"
    )
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status; differences are no failure.
    """
    args = arguments().parse_args(words)
    before = common.snapshot_of(args.before, "/proc", PARTS)
    after = common.snapshot_of(args.after, args.host_proc, PARTS)
    found = diff(before, after)
    if args.json:
        sys.stdout.write(_json(before, after, found))
    else:
        names = (args.before, args.after or _NOW)
        view = _View(before, after, names, common.style(args.color))
        common.put(view.lines(found, everything=args.all, listed=args.list))
    gaps = (*before.gaps, *after.gaps)
    return common.status(after._replace(gaps=gaps), strict=args.strict)


class _View:
    """The text for people."""

    def __init__(
        self, before: Snapshot, after: Snapshot, names: tuple[str, str], style: Style
    ) -> None:
        self._before = before
        self._after = after
        self._names = names
        self._style = style
        self._comms = {
            False: {task.pid: task.comm for task in before.tasks},
            True: {task.pid: task.comm for task in after.tasks},
        }

    def lines(self, found: Diff, *, everything: bool, listed: bool) -> Iterator[str]:
        """All lines."""
        yield from self._head()
        if found.boot == "other":
            yield from self._other_boot(found)
        else:
            yield from self._same_boot(found, everything=everything, listed=listed)
        gaps = _merged(self._before.gaps, self._after.gaps, self._names)
        yield from note(self._after._replace(gaps=gaps), style=self._style)

    def _say(self, sentence: str, role: Role | None = None) -> list[str]:
        text = self._style.text(sentence)
        return [self._style.paint(line, role) for line in wrap(text, self._style.width)]

    def _head(self) -> list[str]:
        passed = self._after.began - self._before.began
        older = "later" if passed >= 0 else "EARLIER"
        first, second = (escape(name) for name in self._names)
        line = f"{first} ({_clock(self._before)}) -> {second} ({_clock(self._after)})"
        return self._say(f"{line}, {duration(int(abs(passed)))} {older}", "heading")

    def _other_boot(self, found: Diff) -> Iterator[str]:
        yield from self._say(
            "They are of different boots, or hosts: no namespace or process of one is in the"
            " other. Isolated containers and services are compared by name:",
            "bad",
        )
        rows = [(change.kind, self._name_cells(change)) for change in found.names]
        if rows:
            columns = [Column("CHANGE"), Column("WHOSE", shrink=True), Column("WHAT", shrink=True)]
            yield from self._table(columns, rows)
        else:
            yield "No difference."

    def _name_cells(self, change: NameChange) -> list[str]:
        what = ", ".join(
            f"{kind} {'/'.join(was)} -> {'/'.join(now)}" for kind, was, now in change.cells
        )
        return [common.owner_text(change.owner), what]

    def _same_boot(self, found: Diff, *, everything: bool, listed: bool) -> Iterator[str]:
        if found.boot == "unknown":
            yield from self._say(
                "One of them does not say of which boot it is: taken for the same."
            )
        if not found.alike:
            yield from self._say(
                "They number processes differently (another PID namespace's /proc): processes are"
                " not compared.",
                "bad",
            )
        told = [change for change in found.changes if everything or _matters(change)]
        columns = [
            Column("CHANGE"),
            Column("WHOSE", shrink=True),
            Column("TYPE"),
            *([Column("NS", right=True)] if listed else []),
            Column("WHAT", shrink=True),
        ]
        rows = [
            (change.kind, self._cells(change, everything=everything, listed=listed))
            for change in told
        ]
        yield from self._table(columns, rows if listed else _folded(rows))
        yield from self._say(" ".join(self._summary(found, told)))

    def _table(self, columns: list[Column], rows: Sequence[tuple[str, list[str]]]) -> list[str]:
        """Lay out rows whose last cell, where there is room, is wrapped and not cut."""
        room = self._room(columns, [cells for _, cells in rows])
        laid: list[list[str]] = []
        roles: list[Role | None] = []
        for kind, cells in rows:
            first, *more = wrap(self._style.text(cells[-1]), room)
            laid.append([kind.upper(), *cells[:-1], first])
            laid += [["", *[""] * len(cells[:-1]), line] for line in more]
            roles += [_ROLES[kind], *[None] * len(more)]
        return table(columns, laid, self._style, roles={0: roles})

    def _room(self, columns: list[Column], rows: Sequence[list[str]]) -> int | None:
        """Cells that are left for the last column; None where nothing limits it, or too few."""
        if self._style.width is None or not rows:
            return None
        taken = len(columns) + max(map(len, _ROLES))
        taken += sum(max(map(width, cells)) for cells in list(zip(*rows, strict=True))[:-1])
        left = self._style.width - taken
        return left if left >= _LEAST else None

    def _cells(self, change: Change, *, everything: bool, listed: bool) -> list[str]:
        owners = "host" if change.host else common.owners_text(change.owners)
        if change.was and change.owners and change.kind != "gone":
            owners = f"was {owners}"
        number = [str(change.namespace.id.ino)] if listed else []
        what = self._what(change, everything=everything)
        return [owners, str(change.namespace.id.type), *number, what]

    def _what(self, change: Change, *, everything: bool) -> str:
        """Say who came and went: containers by name, processes, other holders."""
        if change.kind == "unknown":
            only = self._names[0 if change.seen == "before" else 1]
            return f"seen only in {escape(only)}: {change.why}"
        came, went = _Moving.came_of(change), _Moving.went_of(change)
        if change.host and not everything:
            came, went = came.not_hosts(), went.not_hosts()
        # A new namespace's own process says enough.
        briefly = change.kind != "changed"
        words = [*self._moving("+", came, briefly), *self._moving("-", went, briefly)]
        if change.reused:
            verb = "is" if change.kind == "gone" else "was"
            words.append(f"(its inode {verb} another namespace's)")
        return " ".join(words)

    def _moving(self, sign: str, moving: _Moving, briefly: bool) -> Iterator[str]:
        for owner in moving.owners:
            yield sign + common.owner_text(owner)
        named = [each.task for each in moving.processes if each.owner not in moving.owners]
        for task in named[:_NAMED]:
            yield sign + _process_text(task)
        if len(named) > _NAMED:
            yield f"{sign}{len(named) - _NAMED} more"
        if not (briefly and moving.processes):
            yield from dict.fromkeys(
                sign + self._holder(holder, now=sign == "+") for holder in moving.holders
            )

    def _holder(self, holder: Holder, *, now: bool) -> str:
        if holder.pid:
            comm = self._comms[now].get(holder.pid, b"?")
            return f"{holder.kind} {escape_bytes(comm)}[{holder.pid}]"
        return f"{holder.kind} {escape_bytes(holder.path)}".rstrip()

    def _summary(self, found: Diff, told: list[Change]) -> Iterator[str]:
        counts = {kind: sum(1 for change in told if change.kind == kind) for kind in _ROLES}
        if told:
            words = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
            yield f"{counted(len(told), 'namespace')}: {words}."
        else:
            yield "No namespace came, went or changed hands."
        shown = {
            (process.task.pid, process.task.start)
            for change in told
            for process in (*change.came, *change.went)
            if not change.host
        }
        rest = [
            sum(1 for task in tasks if (task.pid, task.start) not in shown)
            for tasks in (found.came, found.went)
        ]
        if any(rest):
            came = counted(rest[0], "process", "processes")
            yield f"Besides, {came} came and {rest[1]} went, in namespaces that stayed."
        if found.unread:
            count = counted(len(found.unread), "process", "processes")
            yield f"The namespaces of {count} could be read on one side only: not compared."


def _clock(snapshot: Snapshot) -> str:
    return time.strftime("%F %T", time.localtime(snapshot.began))


def _matters(change: Change) -> bool:
    """Tell what is news: not that processes of the host's began and ended where all do."""
    if not change.host or change.kind != "changed":
        return True
    sides = _Moving.came_of(change).not_hosts(), _Moving.went_of(change).not_hosts()
    return any(any(side) for side in sides)


class _Moving(NamedTuple):
    """Who and what came, or went."""

    owners: tuple[Owner, ...]
    processes: tuple[Process, ...]
    holders: tuple[Holder, ...]

    @classmethod
    def came_of(cls, change: Change) -> Self:
        return cls(change.owners_came, change.came, change.held)

    @classmethod
    def went_of(cls, change: Change) -> Self:
        return cls(change.owners_went, change.went, change.released)

    def not_hosts(self) -> Self:
        """Of those in a namespace of the host, what is news: containers, and who moved."""
        return self._replace(
            owners=tuple(owner for owner in self.owners if owner.kind == "container"),
            processes=tuple(
                each
                for each in self.processes
                if each.moved or (each.owner is not None and each.owner.kind == "container")
            ),
        )


def _folded(rows: Iterable[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Put namespaces with the same history on one line, by their types."""
    together: dict[tuple[str, str, str], list[str]] = {}
    for kind, (owners, type_name, what) in rows:
        types = together.setdefault((kind, owners, what), [])
        types.append(type_name)
    folded = []
    for (kind, owners, what), types in together.items():
        each = {name: types.count(name) for name in types}
        words = [name if count == 1 else f"{count} {name}" for name, count in each.items()]
        said = "all eight" if len(words) == len(TYPES) == len(types) else " ".join(words)
        folded.append((kind, [owners, said, what]))
    order = list(_ROLES)
    return sorted(folded, key=lambda row: order.index(row[0]))


def _process_text(task: Task) -> str:
    return f"{escape_bytes(task.comm)}[{task.pid}]"


def _merged(before: Sequence[Gap], after: Sequence[Gap], names: tuple[str, str]) -> tuple[Gap, ...]:
    """What was not read on either side; what only one lacks says which."""
    reasons = [{(gap.object, gap.cause) for gap in gaps} for gaps in (before, after)]
    merged = []
    for side, (gaps, name) in enumerate(zip((before, after), names, strict=True)):
        for gap in gaps:
            if (gap.object, gap.cause) in reasons[1 - side]:
                merged.append(gap)
            else:
                merged.append(gap._replace(object=f"{gap.object} in {name}"))
    return tuple(merged)


def _json(before: Snapshot, after: Snapshot, found: Diff) -> str:
    extra = {
        "names": [_json_name(change) for change in found.names],
        "processes": {
            "came": [_json_task(task) for task in found.came],
            "went": [_json_task(task) for task in found.went],
            "unread": list(found.unread),
            "compared": found.boot != "other" and found.alike,
        },
        "boot": found.boot,
        "before": envelope(before),
    }
    rows = [_json_row(change) for change in found.changes]
    return document("changes", rows, {**extra, **envelope(after)})


def _json_row(change: Change) -> dict[str, Any]:
    return {
        "change": change.kind,
        "seen": change.seen,
        "type": str(change.namespace.id.type),
        "ns": change.namespace.id.ino,
        "ns_id": change.namespace.ns_id,
        "whose": whose(change.owners[0], was=change.was) if change.owners else None,
        "members": [whose(owner, was=change.was) for owner in change.owners],
        "host": change.host,
        "inode_reused": change.reused,
        "came": _json_side(change.owners_came, change.came, change.held),
        "went": _json_side(change.owners_went, change.went, change.released),
        "why": change.why or None,
    }


def _json_side(
    owners: tuple[Owner, ...], processes: tuple[Process, ...], holders: tuple[Holder, ...]
) -> dict[str, Any]:
    return {
        "whose": [whose(owner) for owner in owners],
        "processes": [
            {**_json_task(each.task), "whose": whose(each.owner), "moved": each.moved}
            for each in processes
        ],
        "holders": common.holder_rows(holders),
    }


def _json_task(task: Task) -> dict[str, Any]:
    row: dict[str, Any] = {"pid": task.pid, "start": task.start}
    put_text(row, "comm", task.comm)
    return row


def _json_name(change: NameChange) -> dict[str, Any]:
    return {
        "change": change.kind,
        "whose": whose(change.owner, was=change.kind == "gone"),
        "cells": {
            str(kind): {"before": list(was), "after": list(now)} for kind, was, now in change.cells
        },
    }
