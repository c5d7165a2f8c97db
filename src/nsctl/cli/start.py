"""`nsctl start NAME..`: run containers of our own that have ended, or were never started."""

from __future__ import annotations

import sys

from nsctl.cli import common
from nsctl.errors import UsageError
from nsctl.report.escape import escape
from nsctl.run import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "start",
        "Run containers that nsctl made and that have ended, with the changes they made before. "
        "One that was run in the foreground runs there again.",
    )
    parser.add_argument("names", metavar="NAME", nargs="+")
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status; of one container in the foreground its own.
    """
    args = arguments().parse_args(words)
    sys.stdout.flush()
    if len(args.names) > 1:
        return common.for_each(args.names, _in_background)
    made = lifecycle.start(args.names[0], alone=True)
    if isinstance(made, int):
        return made
    common.put([escape(args.names[0])])
    return 0


def _in_background(name: str) -> None:
    if not lifecycle.is_detached(name):
        raise UsageError(f"{name} runs in the foreground", f"start it alone: nsctl start {name}")
    lifecycle.start(name)
