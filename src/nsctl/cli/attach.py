"""`nsctl attach NAME`: the streams of a container of our own in the background."""

from __future__ import annotations

import sys

from nsctl.cli import common
from nsctl.run import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "attach",
        "Attach to a container that nsctl runs in the background, until it ends. What you type "
        "goes to it where it was run with -i or -t; on its terminal Ctrl-P Ctrl-Q leaves it.",
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--no-stdin", action="store_true", help="only look on")
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The container's exit status, 0 where it was left.
    """
    args = arguments().parse_args(words)
    sys.stdout.flush()
    status = attach.attach(args.name, stdin=not args.no_stdin)
    return 0 if status is None else max(status, 0)
