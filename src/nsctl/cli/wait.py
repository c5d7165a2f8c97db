"""`nsctl wait NAME..`: wait for containers of our own, and print their exit statuses."""

from __future__ import annotations

from nsctl.cli import common
from nsctl.errors import EXIT_OK, NsctlError
from nsctl.run import afterwards

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "wait",
        "Wait until containers that nsctl made have ended, one after the other, and print the "
        "exit status of each on a line.",
    )
    parser.add_argument("names", metavar="NAME", nargs="+")
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status: that of the last failure, or 0.
    """
    args = arguments().parse_args(words)
    status = EXIT_OK
    for name in args.names:
        try:
            common.put([str(afterwards.wait(name))])
        except NsctlError as error:
            common.say(error)
            status = error.exit_status
    return status
