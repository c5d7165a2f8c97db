"""`nsctl logs [-f] NAME`: what a container of our own in the background has said."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator

from nsctl.cli import common
from nsctl.errors import UsageError
from nsctl.run import afterwards
from nsctl.run.log import ERRORS, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "logs",
        "Print what a container that nsctl runs in the background has said: its output to "
        "standard output, its errors to standard error, as they were.",
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it ends")
    parser.add_argument(
        "-n", "--tail", metavar="LINES", default="all", help="the last lines only (%(default)s)"
    )
    parser.add_argument(
        "-t", "--timestamps", action="store_true", help="the time before each line, in UTC"
    )
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    if args.tail != "all" and not (args.tail.isascii() and args.tail.isdecimal()):
        raise UsageError(f"--tail takes a number of lines, or all, not {args.tail!r}")
    lines: Iterator[Record] = afterwards.logs(args.name)
    if args.timestamps or args.tail != "all":
        lines = _lines(lines)
    if args.tail != "all":
        lines = iter(deque(lines, int(args.tail)))
    sys.stdout.flush()
    if not args.follow:
        for record in lines:
            _say(record, stamped=args.timestamps)
        return 0
    if args.tail == "all":
        followed = afterwards.logs(args.name, follow=True)
    else:
        seen = 0
        for record in lines:
            _say(record, stamped=args.timestamps)
            seen = record.time
        followed = (r for r in afterwards.logs(args.name, follow=True) if r.time > seen)
    for record in _lines(followed) if args.timestamps else followed:
        _say(record, stamped=args.timestamps)
    return 0


def _lines(records: Iterator[Record]) -> Iterator[Record]:
    """Put the pieces together again and cut them into lines; what has no end comes last."""
    begun: dict[int, Record] = {}
    for record in records:
        before = begun.pop(record.stream, None)
        data = record.data if before is None else before.data + record.data
        time = record.time if before is None else before.time
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield Record(time, record.stream, line + b"\n")
            time = record.time
        if rest:
            begun[record.stream] = Record(time, record.stream, rest)
    yield from begun.values()


def _say(record: Record, *, stamped: bool) -> None:
    data = record.data
    if stamped:
        data = _stamp(record.time) + data
    view = memoryview(data)
    fd = 2 if record.stream == ERRORS else 1
    while view:
        view = view[os.write(fd, view) :]


def _stamp(nanoseconds: int) -> bytes:
    import time

    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{moment}.{rest:09}Z ".encode("ascii")
