"""`nsctl cp SRC DST`: files between the host and a running container of our own."""

from __future__ import annotations

import os
import sys

from nsctl.cli import common
from nsctl.errors import UsageError
from nsctl.report.escape import escape
from nsctl.run import copying

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "cp",
        "Copy a file, or a directory with all below it, between the host and a running container "
        "that nsctl made. One of the two is NAME:PATH. What is copied in belongs to the "
        "container's root, what is copied out to you; links are copied as links.",
        "A directory that exists is copied into. SRC/. is what is in a directory.",
    )
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("target", metavar="DST")
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    done = copying.copy(_place(args.source), _place(args.target))
    for path in done.skipped:
        sys.stderr.write(f"nsctl: left out {escape(path)}: no file, directory or link\n")
    return 0


def _place(text: str) -> copying.Place:
    """Tell NAME:PATH from a path: one with a slash, or that exists, before the colon is none."""
    name, colon, path = text.partition(":")
    if not colon or "/" in name or not name or os.path.lexists(text):
        if not text:
            raise UsageError("an empty path names nothing")
        return copying.Place("", text)
    return copying.Place(name.removeprefix("nsctl:"), path or "/")
