"""`nsctl inspect NAME..`: everything that is known of containers of our own, as JSON."""

from __future__ import annotations

import time

from nsctl.cli import common, own_json
from nsctl.errors import EXIT_OK, NsctlError, TargetError
from nsctl.run import afterwards
from nsctl.run.garbage import boot_id
from nsctl.run.store import default_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "inspect", "Print everything that is known of containers that nsctl made, as JSON."
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
    found, gaps = [], []
    store, began = default_store(), time.time()
    for name in args.names:
        try:
            found.append(afterwards.inspect(name, store))
        except NsctlError as error:
            common.say(error)
            status = error.exit_status
            if not isinstance(error, TargetError):
                gaps.append(own_json.gap(store.state, name, error.sentence))
    own_json.put_json("containers", found, store.state, began, boot_id(), gaps)
    return status
