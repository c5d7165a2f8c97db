"""`nsctl doctor`: what nsctl can do here, what not, why, and what would help.

`nsctl doctor userns`: whether a user namespace can be made here, and what refused it if not.
"""

from __future__ import annotations

import errno
import os
import pwd
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from nsctl import host
from nsctl.cli import common
from nsctl.diagnose import engines, features, rights, sources
from nsctl.diagnose.answer import Answer
from nsctl.diagnose.userns import Examination, Switch, examine
from nsctl.errors import EXIT_FAILED, EXIT_OK, NsctlError, UsageError, translate
from nsctl.model.snapshot import Snapshot
from nsctl.report.escape import escape, width
from nsctl.report.jsonout import FORMAT_VERSION, document, envelope
from nsctl.report.note import note, wrap
from nsctl.report.style import Role, Style
from nsctl.report.table import Column, table

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
_SWITCH_ROLES: dict[str, Role] = {"blocks": "bad", "restricts": "shared", "open": "good"}
_VERDICT_LABEL = 10
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
    parser.add_argument(
        "topic",
        metavar="TOPIC",
        nargs="?",
        choices=("userns",),
        help="userns: what forbids user namespaces here, and what would allow them",
    )
    parser.add_argument("-J", "--json", action="store_true", help="print JSON")
    parser.add_argument("--user", metavar="USER", help="with userns: try it as this user")
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
    if args.topic == "userns":
        return _show_userns(args.user, as_json=args.json, colour=args.color)
    if args.user is not None:
        raise UsageError("--user goes with userns only", "nsctl doctor userns --user USER")
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


# --- User namespaces ------------------------------------------------------------------------------


def _show_userns(user: str | None, *, as_json: bool, colour: str) -> int:
    """Examine and print.

    Args:
        user: the name or number of whom to try it as, None for the caller.
        as_json: print JSON.
        colour: see `nsctl.cli.common.style`.

    Returns:
        The exit status: 0, whatever was found.

    Raises:
        UsageError: there is no such user, or only root can become one.
        KernelRefusal: nothing can be tried here.
    """
    who = None if user is None else _account(user)
    began = time.time()
    try:
        found = examine(who)
    except OSError as error:
        raise translate(error, "try", "to make a user namespace") from error
    if as_json:
        sys.stdout.write(_userns_json(found, began))
    else:
        common.put(_userns_text(found, common.style(colour)))
    return EXIT_OK


def _account(user: str) -> tuple[int, int]:
    try:
        row = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        if not user.isdecimal() or int(user) >= 1 << 32:
            raise UsageError(f"there is no user {user}") from None
        who = (int(user), int(user))
    else:
        who = (row.pw_uid, row.pw_gid)
    if os.geteuid() != 0 and who[0] != os.geteuid():
        raise UsageError("only root can try it as somebody else", "leave --user out")
    return who


def _userns_text(found: Examination, style: Style) -> Iterator[str]:
    yield from _verdict(found, style)
    yield ""
    columns = [
        Column("SWITCH"),
        Column("VALUE", shrink=True),
        Column("STATE"),
        Column("MEANS", shrink=True),
    ]
    roles = {2: [_SWITCH_ROLES.get(row.state) for row in found.switches]}
    yield from table(columns, [_switch_cells(row) for row in found.switches], style, roles=roles)


def _switch_cells(row: Switch) -> list[str]:
    return [row.name, escape(row.value) or "-", row.state, escape(row.words)]


def _verdict(found: Examination, style: Style) -> Iterator[str]:
    who = f"{_user_name(found.facts.uid)} (uid {found.facts.uid})"
    if found.can:
        text = f"{who} can make user namespaces here, and they are of use."
        yield from _painted(text, style, "good")
        return
    said = _error_words(found.error)
    if found.made:
        text = f"{who} can make user namespaces here, but they are of no use: {said}."
    else:
        text = f"{who} can make no user namespace here: {said}."
    yield from _painted(text, style, "bad")
    yield from _userns_line("because", found.cause.words, style)
    if found.cause.allow:
        yield from _userns_line("to allow", found.cause.allow, style)


def _painted(text: str, style: Style, role: Role) -> Iterator[str]:
    yield from (style.paint(line, role) for line in wrap(style.text(text), style.width))


def _userns_line(label: str, text: str, style: Style) -> Iterator[str]:
    room = None if style.width is None else max(style.width - _VERDICT_LABEL, _LEAST)
    first, *others = wrap(style.text(escape(text)), room)
    yield " " + style.paint(label, "heading") + " " * (_VERDICT_LABEL - 1 - len(label)) + first
    yield from (" " * _VERDICT_LABEL + line for line in others)


def _user_name(uid: int) -> str:
    try:
        return escape(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return "this user"


def _error_words(number: int) -> str:
    if number == -3:
        return "a filter kills whoever tries"
    if number < 0:
        return "there was no answer in time"
    return f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"


def _userns_json(found: Examination, began: float) -> str:
    facts = found.facts
    about: dict[str, Any] = {
        "can": found.can,
        "made": found.made,
        "user": {"uid": facts.uid, "gid": facts.gid},
        "error": None
        if not found.error
        else "SIGSYS"
        if found.error == -3
        else errno.errorcode.get(found.error, str(found.error)),
        "cause": None if found.can else found.cause._asdict(),
        "version": FORMAT_VERSION,
        "began": began,
        "ended": time.time(),
        "boot_id": found.boot_id,
        "read_from": ["/proc"],
        "completeness": [],
    }
    rows = [{**row._asdict(), "value": row.value or None} for row in found.switches]
    return document("switches", rows, about)
