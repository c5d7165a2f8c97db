"""`nsctl tour`: a walk through nsctl on four containers of its own, which differ on purpose.

Every stop prints a question, the command that answers it, what the command prints, and a sentence
on what that means. Nothing is left behind, however the tour ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from nsctl import host
from nsctl.cli import common
from nsctl.errors import UnknownTarget
from nsctl.model.container import Container
from nsctl.report.escape import escape
from nsctl.report.note import wrap
from nsctl.report.style import Style
from nsctl.run import lifecycle, sample
from nsctl.run.spec import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_PREFIX = "nsctl-tour-"
_NAMES = "for each in /proc/[0-9]*; do read name <$each/comm; echo $each $name; done"
_GONE = "tour-gone"


class Stop(NamedTuple):
    """One stop of the tour.

    Attributes:
        question: what a person wants to know.
        words: nsctl's words that answer it.
        means: what to see in the answer.
        before: how it was found out without nsctl, "" where it could not be.
    """

    question: str
    words: tuple[str, ...]
    means: str
    before: str = ""


class _Scene(NamedTuple):
    """One container of the tour: its name, options of `nsctl run`, and what they mean."""

    name: str
    options: tuple[str, ...] = ()
    namespaces: dict[str, str] = {}  # noqa: RUF012  (a named tuple's default)
    boottime: int = 0


_SCENES = (
    _Scene("tour-alone"),
    _Scene(
        "tour-nosy",
        ("--pid", "host", "--uts", "host"),
        {"pid": "host", "uts": "host"},
    ),
    _Scene("tour-web"),
    _Scene(
        "tour-late",
        ("--network", "container:tour-web", "--boottime", "2d"),
        {"net": "container:tour-web"},
        2 * 86400 * 1_000_000_000,
    ),
)


_IP_NETNS = (
    Stop(
        "Can ip netns work in tour-web's network?",
        ("netns", "expose", "tour-web", "nsctl-tour"),
        "From now on `ip -n nsctl-tour addr` does. The name goes when the container does; one that "
        "exists is never touched.",
        "ln -s /proc/PID/ns/net /run/netns/NAME, and remembering to remove it",
    ),
    Stop(
        "And is the name gone again?",
        ("netns", "hide", "nsctl-tour"),
        "Taken away by hand, before the container ends.",
    ),
)


def _stops(root: str, before: str, saved: str) -> tuple[Stop, ...]:
    return (
        Stop(
            "Which containers run here, and how isolated is each?",
            (),
            "A dot is a namespace of its own. H is the host's: tour-nosy sees the host's processes "
            "and has its name. tour-web and tour-late have the same letter under net, so each "
            "reaches what the other listens on at 127.0.0.1. tour-late's clock is two days ahead.",
            "lsns, then a table by hand: lsns names no container",
        ),
        Stop(
            "Which namespaces are new since before the tour?",
            ("diff", before),
            "Compared with a snapshot from before the containers were started: what came, with "
            "whom, and what went. A namespace whose number is used again is not the same one.",
            "lsns twice, and the eye",
        ),
        Stop(
            "Whose is each network namespace, and what keeps it alive?",
            ("ls", "net"),
            "One namespace has no process: a descriptor of this tour keeps it, so it outlived its "
            "container. lsns does not list it at all.",
            "lsns -t net; ip netns does not know the namespaces of containers",
        ),
        *(_IP_NETNS if os.geteuid() == 0 else ()),
        Stop(
            "What does sharing the host's PID and UTS namespaces cost?",
            ("show", "tour-nosy"),
            "The line `sees` counts what it can look at. Its root is still nobody outside, because "
            "its user namespace is its own.",
            "docker inspect for the PID, then ls -l /proc/PID/ns and /proc/PID/status",
        ),
        Stop(
            "Who listens in tour-web's network, and whose sockets are these?",
            ("net", "tour-web"),
            "Interfaces, routes and sockets with all their processes, from the host: the image needs "
            "neither ip nor ss, and two containers that share a network are both named.",
            "nsenter -t PID -n ss -tunap, which names no container",
        ),
        Stop(
            "Which processes would a debugger beside tour-web meet?",
            ("debug", "-s", "pid", "tour-web", "sh", "-c", _NAMES),
            "A shell with the host's tools that shares tour-web's PID namespace: both sides' processes "
            "are there, nothing of it is left in tour-web, and `nsctl ps` calls it a debug of "
            "tour-web.",
            "docker run --pid=container:tour-web, with an image that has tools; kubectl debug --target",
        ),
        Stop(
            "And in its network alone?",
            ("debug", "-s", "net", "tour-web", "sh", "-c", f"grep : /proc/net/dev; {_NAMES}"),
            "Its interfaces, and only the shell's own processes: that is why ss in there knows none. "
            "`nsctl net`, above, names them from the host.",
            "docker run --network=container:tour-web; kubectl debug, whose PID column is empty",
        ),
        Stop(
            "How are the files of a container without a shell looked at?",
            ("debug", "-s", "none", "tour-web", "ls", "/target"),
            "They are in /target, read-only; tour-web's own mounts, layers and files are as before.",
            "docker cp, or a new image with a shell",
        ),
        Stop(
            "What was declared to be shared, and what is?",
            ("show", "tour-late"),
            "Beside each namespace stands what it was started with: container:tour-web. Who shares "
            "without that having been declared has joined.",
            "docker inspect -f '{{.HostConfig.NetworkMode}}', and ls -l /proc/PID/ns of all others",
        ),
        Stop(
            "What of the host's tree of control groups can each see?",
            ("cgroup",),
            "Each begins at its own group and sees none but that. tour-nosy sees the host's "
            "processes, and so reads the names of their groups: services that leak are counted.",
            "find /sys/fs/cgroup, inside and outside, and counting",
        ),
        Stop(
            "Whose are shared memory, semaphores and queues?",
            ("ipc",),
            "Each has its own; the host's cannot be reached from any of them. Of what there is, owners "
            "and attached processes are told, and nothing is read or changed.",
            "ipcs, inside each, if the image has it; POSIX queues by mounting their file system",
        ),
        Stop(
            "What is each called, inside?",
            ("uts",),
            "tour-nosy has the host's name because it is in the host's namespace.",
            "hostname, inside each",
        ),
        Stop(
            "Whose clock is wrong?",
            ("time",),
            "tour-late's is two days ahead: uptime inside says so. No mainstream engine sets clocks "
            "off from its command line.",
            "cat /proc/PID/timens_offsets, which shows the offsets for children",
        ),
        Stop(
            "Which user outside is root inside?",
            ("idmap",),
            "Each row is a user namespace; the ruler shows whose ids are whose. Ranges that do not "
            "overlap cannot touch each other's files.",
            "cat /proc/PID/uid_map, once for each container, and /etc/subuid",
        ),
        Stop(
            "Could an ordinary user do this too?",
            ("doctor", "userns"),
            "Every switch that can forbid it, and whether it does. What is not present here is no "
            "finding.",
            "sysctl kernel.unprivileged_userns_clone, which most kernels do not have",
        ),
        Stop(
            "And from inside?",
            (
                "run",
                "--rm",
                root,
                "sh",
                "-c",
                "id; hostname; cat /proc/self/uid_map; echo /proc/[0-9]*",
            ),
            "Root, a host name of its own, one line of map, and only its own processes.",
        ),
        Stop(
            "Can the moment be kept?",
            ("snapshot", saved),
            "Every view takes it with --from, here or on another machine.",
        ),
        Stop(
            "What did it look like?",
            ("matrix", "--from", saved),
            "The same table again, from the file.",
        ),
    )


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "tour", "Start four containers that differ on purpose, look at them, and clean up."
    )
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    style = common.style(args.color)
    signal.signal(signal.SIGTERM, _terminate)
    with contextlib.ExitStack() as stack:
        directory = tempfile.mkdtemp(prefix=_PREFIX)
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        root = f"{directory}/root"
        os.mkdir(root)
        made_of = sample.make(root)
        common.put(_introduction(made_of, style))
        before = f"{directory}/before.nsctl"
        host.save_snapshot(host.take_snapshot(), before)
        _start(stack, root, style)
        stack.enter_context(_held(root))
        for number, stop in enumerate(_stops(root, before, f"{directory}/now.nsctl"), 1):
            _visit(number, stop, style)
        _say("", style)
        _say("The tour is over; its containers are removed.", style)
    return 0


def _terminate(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _introduction(made_of: str, style: Style) -> Iterator[str]:
    yield style.paint("nsctl's tour", "heading")
    yield from wrap(
        f"Four containers are started from a root file system made of {made_of}; they differ on "
        "purpose. All of them, and every namespace they made, are gone when the tour ends.",
        style.width,
    )
    if os.geteuid() != 0:
        yield from wrap(
            "You are not root: each container has one user id, yours, and the host's processes "
            "are not readable, so what is left out is the host's side: namespaces of other "
            "users' processes, and a range of ids for each container. Root sees all of it.",
            style.width,
        )


def _start(stack: contextlib.ExitStack, root: str, style: Style) -> None:
    for scene in _SCENES:
        _remove(scene.name)
    _say("", style)
    for scene in _SCENES:
        words = ("run", "-d", "--name", scene.name, *scene.options, root, "sleep", "600")
        _command(words, style)
        spec = Spec(
            root,
            ("sleep", "600"),
            name=scene.name,
            namespaces=scene.namespaces,
            boottime=scene.boottime,
            detach=True,
        )
        stack.callback(_remove, scene.name)
        lifecycle.run(spec)


@contextlib.contextmanager
def _held(root: str) -> Iterator[None]:
    """Keep the network namespace of a container that is gone, by a descriptor."""
    _remove(_GONE)
    made = lifecycle.run(Spec(root, ("sleep", "600"), name=_GONE, detach=True))
    assert isinstance(made, Container)  # noqa: S101  (a detached one is a row)
    try:
        fd = os.open(f"/proc/{made.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        _remove(_GONE)
    try:
        yield
    finally:
        os.close(fd)


def _remove(name: str) -> None:
    with contextlib.suppress(UnknownTarget):
        lifecycle.remove(name, force=True)


def _visit(number: int, stop: Stop, style: Style) -> None:
    common.put(["", style.paint(f"{number}. {stop.question}", "heading")])
    if stop.before:
        _say(f"Until now: {stop.before}.", style)
    _command(stop.words, style)
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "nsctl", *stop.words], check=True)
    _say(stop.means, style)


def _command(words: tuple[str, ...], style: Style) -> None:
    import shlex

    line = escape(shlex.join(("nsctl", *words)))
    common.put([style.paint(f"$ {line}", "note")])


def _say(text: str, style: Style) -> None:
    common.put(wrap(text, style.width))
