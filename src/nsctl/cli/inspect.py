"""`nsctl inspect NAME..`: everything that is known of containers of our own, as JSON."""

from __future__ import annotations

import json

from nsctl.cli import common
from nsctl.errors import EXIT_OK, NsctlError
from nsctl.run import afterwards

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "inspect", "Print a list with everything that is known of containers that nsctl made."
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
    found = []
    for name in args.names:
        try:
            found.append(afterwards.inspect(name))
        except NsctlError as error:
            common.say(error)
            status = error.exit_status
    # ASCII: what a container's environment holds reaches a terminal as escapes.
    common.put([json.dumps(found, indent=1)])
    return status
