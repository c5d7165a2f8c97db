"""`nsctl rm NAME..`: remove containers of our own."""

from __future__ import annotations

from nsctl.cli import common
from nsctl.run import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "rm", "Remove containers that nsctl made, with everything that they changed."
    )
    parser.add_argument("names", metavar="NAME", nargs="+")
    parser.add_argument("-f", "--force", action="store_true", help="end a running one first")
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    return common.for_each(args.names, lambda name: lifecycle.remove(name, force=args.force))
