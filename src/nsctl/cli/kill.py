"""`nsctl kill [-s SIGNAL] NAME..`: send a signal to containers of our own."""

from __future__ import annotations

import signal

from nsctl.cli import common
from nsctl.errors import UsageError
from nsctl.run import afterwards

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "kill", "Send a signal to containers that nsctl made; by default the one that kills."
    )
    parser.add_argument("names", metavar="NAME", nargs="+")
    parser.add_argument(
        "-s", "--signal", default="KILL", help="a name or number (%(default)s)", metavar="SIGNAL"
    )
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    number = _signal(args.signal)
    return common.for_each(args.names, lambda name: afterwards.kill(name, number))


def _signal(text: str) -> int:
    """Read a signal as kill(1) does."""
    word = text.upper().removeprefix("SIG")
    if word.isascii() and word.isdecimal() and len(word) < 4:
        if int(word) in signal.valid_signals():
            return int(word)
    elif f"SIG{word}" in signal.Signals.__members__:
        return signal.Signals[f"SIG{word}"].value
    raise UsageError(f"there is no signal {text!r}", "give TERM, SIGHUP, 9 ..")
