"""`nsctl stop NAME..`: end containers of our own."""

from __future__ import annotations

import math

from nsctl.cli import common
from nsctl.errors import UsageError
from nsctl.run import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "stop", "End containers that nsctl made: SIGTERM, and SIGKILL when the time is up."
    )
    parser.add_argument("names", metavar="NAME", nargs="+")
    parser.add_argument(
        "-t",
        "--time",
        type=_seconds,
        default=lifecycle.GRACE,
        metavar="SECONDS",
        help="seconds between SIGTERM and SIGKILL (%(default)s)",
    )
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    return common.for_each(args.names, lambda name: lifecycle.stop(name, grace=args.time))


def _seconds(text: str) -> float:
    """Take a number of seconds that is one, and not for ever."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UsageError(f"--time takes a number of seconds, not {text!r}")
    return seconds
