"""`nsctl doctor`: what nsctl can do here, what not, why, and what would help."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from nsctl import host
from nsctl.cli import common
from nsctl.diagnose import engines, features, rights, sources
from nsctl.diagnose.answer import Answer
from nsctl.errors import EXIT_FAILED, EXIT_OK, NsctlError
from nsctl.model.snapshot import Snapshot
from nsctl.report.escape import escape, width
from nsctl.report.jsonout import FORMAT_VERSION, document, envelope
from nsctl.report.note import note, wrap
from nsctl.report.style import Role, Style

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_ROLES: dict[str, Role] = {
    "ok": "good",
    "partial": "shared",
    "missing": "unknown",
    "refused": "bad",
    "absent": "note",
    "unknown": "unknown",
}
_TITLES = {
    "rights": "Rights",
    "kernel": "Kernel, by trying",
    "sources": "What a snapshot reads",
    "engines": "Engines",
}
_STATE = 8
_NAMED = 30
# Below that, what is said stands under its name.
_LEAST = 40


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "doctor",
        "Show what nsctl can do here, what not and why, and what would help.",
        "Everything is tried, in a process that leaves nothing behind. No daemon is asked.",
    )
    parser.add_argument("-J", "--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colour the output"
    )
    parser.add_argument("--host-proc", metavar="DIR", help="the host's procfs", default="/proc")
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status: 1 only where nsctl cannot work at all.
    """
    args = arguments().parse_args(words)
    fault: NsctlError | None = None
    snapshot: Snapshot | None = None
    try:
        snapshot = host.take_snapshot(proc_root=args.host_proc)
    except NsctlError as error:
        fault = error
    found = [*_rights(snapshot), *features.answers()]
    found += sources.answers(snapshot) if snapshot else [_blind(fault)]
    found += engines.answers(host.engine_names())
    if args.json:
        sys.stdout.write(_json(found, snapshot))
    else:
        common.put(_text(found, snapshot, common.style(args.color)))
    return EXIT_OK if snapshot else EXIT_FAILED


def _rights(snapshot: Snapshot | None) -> list[Answer]:
    try:
        return rights.answers(snapshot)
    except (OSError, ValueError) as error:
        cause = f"/proc does not tell of nsctl itself: {error}"
        return [Answer("rights", "user", "unknown", "user", cause, "mount a procfs on /proc")]


def _blind(fault: NsctlError | None) -> Answer:
    """No snapshot can be taken: the one thing without which nsctl cannot work."""
    cause = fault.sentence if fault else ""
    hint = (fault.hint if fault else "") or "mount a procfs that shows this PID namespace"
    return Answer("sources", "tasks", "refused", "processes", cause, hint)


def _text(found: Sequence[Answer], snapshot: Snapshot | None, style: Style) -> Iterator[str]:
    section = ""
    for answer in found:
        if answer.section != section:
            if section:
                yield ""
            section = answer.section
            yield style.paint(_TITLES[section], "heading")
        yield from _lines(answer, style)
    yield ""
    if snapshot is None:
        yield style.paint("nsctl cannot work here.", "bad")
        return
    said = note(snapshot, style=style)
    if said:
        yield style.paint("What views will say under their tables", "heading")
        yield from said
    else:
        yield "Views lack nothing here: nothing stands under their tables."


def _lines(answer: Answer, style: Style) -> Iterator[str]:
    """One answer: its state, its name, and what is to be said, wrapped behind them."""
    words = "; ".join(filter(None, (answer.cause, answer.remedy)))
    said = style.text(escape(words))
    name = escape(answer.what)
    state = style.paint(answer.state, _ROLES[answer.state]) + " " * (_STATE - len(answer.state))
    left = 1 + _STATE + _NAMED
    room = None if style.width is None else style.width - left
    if width(name) < _NAMED and (room is None or room >= _LEAST):
        lines = wrap(said, room)
        yield f" {state}{name.ljust(_NAMED)}{lines[0]}".rstrip()
        yield from (" " * left + line for line in lines[1:])
        return
    yield f" {state}{name}"
    indent = " " * (1 + _STATE)
    limit = None if style.width is None else max(style.width - len(indent), 1)
    yield from (indent + line for line in wrap(said, limit))


def _json(found: Sequence[Answer], snapshot: Snapshot | None) -> str:
    rows = [_row(answer) for answer in found]
    about = envelope(snapshot) if snapshot else {"version": FORMAT_VERSION}
    return document("answers", rows, {"works": snapshot is not None, **about})


def _row(answer: Answer) -> dict[str, Any]:
    row = answer._asdict()
    for key in ("cause", "remedy", "needs"):
        row[key] = row[key] or None
    return row
