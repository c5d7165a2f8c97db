"""`nsctl stop NAME..`: end containers of our own."""

from __future__ import annotations

from nsctl.cli import common
from nsctl.run import lifecycle


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    parser = common.parser(
        "stop", "End containers that nsctl made: SIGTERM, and SIGKILL when the time is up."
    )
    parser.add_argument("names", metavar="NAME", nargs="+")
    parser.add_argument(
        "-t",
        "--time",
        type=float,
        default=lifecycle.GRACE,
        metavar="SECONDS",
        help="seconds between SIGTERM and SIGKILL (%(default)s)",
    )
    args = parser.parse_args(words)
    return common.for_each(args.names, lambda name: lifecycle.stop(name, grace=args.time))
