"""Which commands there are, and which programs nsctl can be: name to the module that has it."""

from __future__ import annotations

from typing import NamedTuple

from nsctl.errors import EXIT_FAILED, EXIT_REFUSED_BEFORE_START


class Command(NamedTuple):
    """One command.

    Attributes:
        module: defines ``main(words) -> int``, the exit status.
        help: one line for `nsctl --help`.
        refused: exit status of a refusal, where the command's own are those of what it runs.
    """

    module: str
    help: str
    refused: int | None = None


class DropIn(NamedTuple):
    """A program of util-linux that nsctl is when it is called by that name.

    Attributes:
        module: defines ``drop_in(words) -> int``, the exit status.
        refused: exit status of what we say ourselves.
    """

    module: str
    refused: int


DROP_INS: dict[str, DropIn] = {
    "lsns": DropIn("nsctl.cli.ls", EXIT_FAILED),
    "unshare": DropIn("nsctl.cli.unshare", EXIT_FAILED),
}
"""By the name of the link that leads to nsctl."""

COMMANDS: dict[str, Command] = {
    "ls": Command("nsctl.cli.ls", "namespaces, whose they are and what keeps them alive"),
    "matrix": Command("nsctl.cli.matrix", "containers and groups by the eight namespaces"),
    "show": Command("nsctl.cli.show", "the isolation card of one container, process or namespace"),
    "tree": Command("nsctl.cli.tree", "namespaces by parent or owner"),
    "ps": Command("nsctl.cli.ps", "processes with PID and user inside and outside"),
    "pid": Command("nsctl.cli.pid", "translate a PID; whose is it?"),
    "netns": Command("nsctl.cli.netns", "containers' network namespaces for `ip netns`"),
    "unshare": Command(
        "nsctl.cli.unshare",
        "a program in new namespaces; unshare's options",
        EXIT_REFUSED_BEFORE_START,
    ),
    "run": Command(
        "nsctl.cli.run",
        "a container from a directory, in all eight namespaces",
        EXIT_REFUSED_BEFORE_START,
    ),
    "containers": Command("nsctl.cli.containers", "the containers of every engine"),
    "stop": Command("nsctl.cli.stop", "end containers of our own"),
    "rm": Command("nsctl.cli.rm", "remove containers of our own"),
    "snapshot": Command("nsctl.cli.snapshot", "save this moment to a file for --from"),
    "diff": Command("nsctl.cli.diff", "what came, went and changed between two moments"),
    "doctor": Command("nsctl.cli.doctor", "what nsctl can do here, what not, and what would help"),
    "tour": Command("nsctl.cli.tour", "a walk through nsctl on groups of its own"),
    "completion": Command("nsctl.cli.completion", "a script with which a shell completes words"),
}
