"""Which commands there are: name to the module that has it, and one line of help."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command.

    Attributes:
        module: defines ``main(words) -> int``, the exit status.
        help: one line for `nsctl --help`.
    """

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    "ls": Command("nsctl.cli.ls", "namespaces, whose they are and what keeps them alive"),
    "matrix": Command("nsctl.cli.matrix", "containers and groups by the eight namespaces"),
    "show": Command("nsctl.cli.show", "the isolation card of one container, process or namespace"),
    "tree": Command("nsctl.cli.tree", "namespaces by parent or owner"),
    "snapshot": Command("nsctl.cli.snapshot", "save this moment to a file for --from"),
    "tour": Command("nsctl.cli.tour", "a walk through nsctl on groups of its own"),
}
