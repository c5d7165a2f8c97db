"""Which commands there are, and which programs nsctl can be: name to the module that has it."""

from __future__ import annotations

from nsctl.errors import EXIT_FAILED, EXIT_REFUSED_BEFORE_START
from nsctl.model.record import NamedTuple


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
    "findmnt": DropIn("nsctl.cli.mounts", EXIT_FAILED),
    "nsenter": DropIn("nsctl.cli.enter", EXIT_FAILED),
    "unshare": DropIn("nsctl.cli.unshare", EXIT_FAILED),
}
"""By the name of the link that leads to nsctl."""

COMMANDS: dict[str, Command] = {
    "ls": Command("nsctl.cli.ls", "namespaces, whose they are and what keeps them alive"),
    "matrix": Command("nsctl.cli.matrix", "containers and groups by the eight namespaces"),
    "show": Command("nsctl.cli.show", "the isolation card of one container, process or namespace"),
    "tree": Command("nsctl.cli.tree", "namespaces by parent or owner"),
    "ps": Command("nsctl.cli.ps", "processes with PID and user inside and outside"),
    "mounts": Command("nsctl.cli.mounts", "mount trees, what they hide; findmnt's options"),
    "idmap": Command("nsctl.cli.idmap", "user and group ids outside, and whose else they are"),
    "uts": Command("nsctl.cli.uts", "host and domain names inside"),
    "time": Command("nsctl.cli.time", "clocks and uptime as seen inside"),
    "ipc": Command("nsctl.cli.ipc", "System V and POSIX objects, and who uses them"),
    "cgroup": Command("nsctl.cli.cgroup", "what is seen of the cgroup tree; limits and use"),
    "net": Command("nsctl.cli.net", "interfaces, routes and sockets, with their processes"),
    "pid": Command("nsctl.cli.pid", "translate a PID; whose is it?"),
    "path": Command("nsctl.cli.path", "the same file elsewhere: on the host, in a container"),
    "storage": Command("nsctl.cli.storage", "where containers' files lie, and who reaches them"),
    "enter": Command(
        "nsctl.cli.enter",
        "a command in a container, with the container's own powers",
        EXIT_REFUSED_BEFORE_START,
    ),
    "debug": Command(
        "nsctl.cli.debug",
        "a shell with tools beside a container, sharing what is chosen",
        EXIT_REFUSED_BEFORE_START,
    ),
    "netns": Command("nsctl.cli.netns", "containers' network namespaces for `ip netns`"),
    "unshare": Command(
        "nsctl.cli.unshare",
        "a program in new namespaces; unshare's options",
        EXIT_REFUSED_BEFORE_START,
    ),
    "run": Command(
        "nsctl.cli.run",
        "a container from a directory, archive or image, in all eight namespaces",
        EXIT_REFUSED_BEFORE_START,
    ),
    "exec": Command(
        "nsctl.cli.exec", "a further command in a container of our own", EXIT_REFUSED_BEFORE_START
    ),
    "start": Command(
        "nsctl.cli.start", "run containers of our own again", EXIT_REFUSED_BEFORE_START
    ),
    "logs": Command("nsctl.cli.logs", "what a container of our own has said"),
    "attach": Command(
        "nsctl.cli.attach", "the streams of a container of our own", EXIT_REFUSED_BEFORE_START
    ),
    "wait": Command("nsctl.cli.wait", "wait for containers of our own"),
    "kill": Command("nsctl.cli.kill", "send containers of our own a signal"),
    "inspect": Command("nsctl.cli.inspect", "all that is known of containers of our own"),
    "cp": Command("nsctl.cli.cp", "files from or into a container of our own"),
    "images": Command("nsctl.cli.images", "root file systems to make containers from"),
    "containers": Command("nsctl.cli.containers", "the containers of every engine"),
    "stop": Command("nsctl.cli.stop", "end containers of our own"),
    "rm": Command("nsctl.cli.rm", "remove containers of our own"),
    "snapshot": Command("nsctl.cli.snapshot", "save this moment to a file for --from"),
    "diff": Command("nsctl.cli.diff", "what came, went and changed between two moments"),
    "doctor": Command("nsctl.cli.doctor", "what nsctl can do here, what not, and what would help"),
    "tour": Command("nsctl.cli.tour", "a walk through nsctl on groups of its own"),
    "completion": Command("nsctl.cli.completion", "a script with which a shell completes words"),
}
