"""`nsctl enter TARGET [CMD]`: nsenter's options, and a container's own powers.

The options are util-linux's letter by letter (nsenter(1) of 2.42); our own have long names only.
"""

from __future__ import annotations

import os
import sys

from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.errors import NsctlError, Suppressed, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from nsctl.enter.request import Given, Request
    from nsctl.model.namespace import NamespaceType
    from nsctl.targets.live import HeldNamespace, Process

NSENTER_OPTIONS = (
    Option("all", "a", "no", "", "all namespaces of the target"),
    Option("target", "t", "required", "PID", "whose namespaces"),
    Option("mount", "m", "optional", "file", "its mount namespace"),
    Option("uts", "u", "optional", "file", "its UTS namespace"),
    Option("ipc", "i", "optional", "file", "enter System V IPC namespace"),
    Option("net", "n", "optional", "file", "its network namespace"),
    Option("net-socket", "N", "required", "fd", "the network namespace of a socket of it"),
    Option("pid", "p", "optional", "file", "its PID namespace"),
    Option("cgroup", "C", "optional", "file", "its cgroup namespace"),
    Option("user", "U", "optional", "file", "its user namespace"),
    Option("user-parent", "", "no", "", "the user namespace that owns the others"),
    Option("time", "T", "optional", "file", "its time namespace"),
    Option("setuid", "S", "required", "uid", "user id, in the numbers inside"),
    Option("setgid", "G", "required", "gid", "group id, in the numbers inside"),
    Option("preserve-credentials", "", "no", "", "leave user and group ids as they are"),
    Option("keep-caps", "", "no", "", "keep the user namespace's capabilities over exec"),
    Option("root", "r", "optional", "dir", "root directory, by default the target's"),
    Option("wd", "w", "optional", "dir", "working directory, by default the target's"),
    Option("wdns", "W", "optional", "dir", "working directory, looked up inside"),
    Option("env", "e", "no", "", "the target's environment"),
    Option("no-fork", "F", "no", "", "be the command, without a fork"),
    Option("join-cgroup", "c", "no", "", "join the target's control groups"),
    Option("follow-context", "Z", "no", "", "take the target's SELinux label"),
    Option("help", "h", "no", "", "display this help"),
    Option("version", "V", "no", "", "display version"),
)
"""nsenter's own."""

OPTIONS = (
    *(
        option._replace(value="TARGET") if option.name == "target" else option
        for option in NSENTER_OPTIONS
    ),
    Option("powers", "", "required", "whose", "target or caller, see below"),
    Option("filters", "", "required", "from", "seccomp filters: kernel, declared or none"),
    Option("strict", "", "no", "", "refuse where something cannot be taken over"),
)
OPERANDS = ("TARGET", "CMD")

_USAGE = """\
Usage:
 nsctl enter [options] TARGET [options] [CMD [ARG..]]
 nsctl enter [options] -t PID | --net=FILE .. [CMD [ARG..]]

Run CMD, by default a shell, in the namespaces of a container or process: all
of them, or those that are named. It gets what the target has and no more: user,
capabilities, seccomp filters, no_new_privs, control groups, limits, label; its
environment and directory are those of the engine's own exec; and a terminal of
its own.

 nsctl enter web                  a shell in it
 nsctl enter web -n ip addr       the host's ip in its network
 nsctl enter web --powers caller  your own powers in it, as nsenter gives them

Options:
{options}

--powers: "target" where the mount namespace is entered, so that CMD is one of
the target's own programs; else "caller", since CMD is one of the host's.
--filters declared and none do without the instant's stop in which filters are
read. A PID may be PID:INODE, to pin it.

Exit status: the command's own once it started, 128+N killed by signal N; 125
refused before, 126 not executable, 127 not found.
"""

_NSENTER_USAGE = """\

Usage:
 nsenter [options] [<program> [<argument>...]]

Run a program with namespaces of other processes.

Options:
{options}

For more details see nsenter(1).
"""


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status of what was run.
    """
    given, operands, names_target = _parse(words)
    if given.has("help"):
        sys.stdout.write(_USAGE.format(options="\n".join(describe(OPTIONS))))
        return 0
    if given.has("version"):
        from nsctl import __version__

        sys.stdout.write(f"nsctl {__version__}\n")
        return 0
    from nsctl.enter.ahead import expect_move

    expect_move()
    from nsctl.enter.entry import enter

    sys.stdout.flush()
    held = _Held()
    try:
        return enter(request_of(given, operands, held, names_target=names_target), _say)
    finally:
        held.close()


def drop_in(words: list[str]) -> int:
    """Be nsenter.

    Args:
        words: its command line.

    Returns:
        The exit status, where nothing was to be run: else this process becomes what is run.
    """
    given = parse(NSENTER_OPTIONS, words, stop_at_operand=True)
    if given.has("wd") and given.has("wdns"):
        raise NsctlError("", "", "mutually exclusive arguments: --wdns --wd")
    if len(given.all("target")) > 1:
        raise NsctlError("", "", "option --target may be given only once")
    if given.has("help"):
        sys.stdout.write(_NSENTER_USAGE.format(options="\n".join(describe(NSENTER_OPTIONS))))
        return 0
    if given.has("version"):
        from nsctl import __version__

        sys.stdout.write(f"nsenter from nsctl {__version__} (util-linux 2.42 compatible)\n")
        return 0
    return _become_nsenter(given)


def _become_nsenter(given: Parsed) -> NoReturn:
    from nsctl.enter import nsenter

    def directory(name: str) -> str | None:
        return (given.last(name) or "") if given.has(name) else None

    nsenter.become(
        nsenter.Options(
            kinds={
                kind: given.last(name) for name, kind in nsenter.KINDS.items() if given.has(name)
            },
            every=given.has("all"),
            target=given.last("target"),
            net_socket=given.last("net-socket"),
            user_parent=given.has("user-parent"),
            uid=given.last("setuid"),
            gid=given.last("setgid"),
            preserve=given.has("preserve-credentials"),
            keep_caps=given.has("keep-caps"),
            root=directory("root"),
            directory=directory("wd"),
            inside=given.last("wdns"),
            env=given.has("env"),
            no_fork=given.has("no-fork"),
            join_cgroup=given.has("join-cgroup"),
            follow_context=given.has("follow-context"),
            argv=given.operands,
        )
    )


def _parse(words: list[str]) -> tuple[Parsed, tuple[str, ...], bool]:
    """Parse the command line.

    Returns:
        Options, the other words, and whether the first of these is the TARGET.
    """
    first = parse(OPTIONS, words, stop_at_operand=True)
    files = any(first.last(name) is not None for name in _KIND_OPTIONS)
    if first.has("target") or files or first.has("help") or first.has("version"):
        return first, first.operands, False
    if not first.operands:
        return first, (), True
    if "--" in words and words.index("--") == len(words) - len(first.operands) - 1:
        return first, first.operands, True  # what follows a "--" is no option
    rest = parse(OPTIONS, first.operands[1:], stop_at_operand=True)
    return Parsed(first.given + rest.given, ()), (first.operands[0], *rest.operands), True


_KIND_OPTIONS = ("mount", "uts", "ipc", "net", "pid", "cgroup", "user", "time")


def _say(sentence: str) -> None:
    from nsctl.report.escape import escape

    with Suppressed(OSError):  # standard error may be closed, or full
        sys.stderr.write(f"nsctl: {escape(sentence)}\n")
        sys.stderr.flush()


class _Held:
    """Descriptors that a request needs as long as it lives."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def keep(self, *fds: int) -> None:
        """Close these at the end."""
        self._fds += fds

    def close(self) -> None:
        """Close them all."""
        while self._fds:
            os.close(self._fds.pop())


def request_of(
    given: Parsed, operands: tuple[str, ...], held: _Held, *, names_target: bool
) -> Request:
    """Make a request of a command line, and hold everything open that it names.

    Args:
        given: the options.
        operands: the other words.
        held: takes what was opened.
        names_target: the first of the words is the TARGET.

    Returns:
        The request.
    """
    from nsctl.enter.request import Request, number
    from nsctl.targets.live import resolve

    if given.has("wd") and given.has("wdns"):
        raise UsageError("mutually exclusive arguments: --wdns --wd")
    text = given.last("target")
    if names_target:
        if not operands:
            text = _picked()
        else:
            text, *operands_left = operands
            operands = tuple(operands_left)
    target = None
    if text is not None:
        target = resolve(text)
        held.keep(*_descriptors(target))
    process = _process(target)
    namespaces = _given(given, process, held)
    return Request(
        target=target,
        argv=operands,
        kinds=_kinds(given, namespaces, target),
        given=tuple(namespaces),
        powers=_choice(given, "powers", ("target", "caller"), ""),
        filters=_choice(given, "filters", ("kernel", "declared", "none"), "kernel"),
        strict=given.has("strict"),
        uid=number(given.last("setuid"), "uid"),
        gid=number(given.last("setgid"), "gid"),
        preserve_credentials=given.has("preserve-credentials"),
        keep_caps=given.has("keep-caps"),
        root=_directory(given, "root", process, held),
        directory=_directory(given, "wd", process, held),
        cwd=(given.last("wdns") or "").removeprefix("="),
        environment_of_target=given.has("env"),
        fork=not given.has("no-fork"),
        join_cgroup=given.has("join-cgroup"),
        label=given.has("follow-context"),
    )


def _descriptors(target: Process | HeldNamespace) -> tuple[int, ...]:
    from nsctl.targets.live import HeldNamespace

    return (target.fd,) if isinstance(target, HeldNamespace) else (target.pidfd, target.proc)


def _process(target: Process | HeldNamespace | None) -> Process | None:
    from nsctl.targets.live import Process

    return target if isinstance(target, Process) else None


def _picked() -> str:
    from nsctl.cli import pick
    from nsctl.host import take_snapshot

    if not pick.possible():
        raise UsageError("enter what? a TARGET is missing", "`nsctl enter --help` shows how")
    chosen = pick.target(take_snapshot(pick.PARTS))
    if chosen is None:
        raise UsageError("nothing was chosen")
    return chosen


def _choice(given: Parsed, name: str, known: tuple[str, ...], default: str) -> str:
    word = given.last(name)
    if word is None:
        return default
    if word not in known:
        raise UsageError(f"--{name} is {' or '.join(known)}, not {word!r}")
    return word


def _given(given: Parsed, process: Process | None, held: _Held) -> list[Given]:
    """Open the namespaces that were named by themselves; of each type the last counts."""
    named = {"user-parent", "net-socket"} & {name for name, _ in given.given}
    if not named and all(given.last(name) is None for name in _KIND_OPTIONS):
        return []
    from nsctl.enter import options
    from nsctl.enter.request import KINDS

    found: dict[str, Given] = {}
    for name in _KIND_OPTIONS:
        text = given.last(name)
        if text is not None:
            found[name] = options.namespace_file(text, KINDS[name])
            held.keep(found[name].fd)
    if given.has("user-parent"):
        found["user"] = options.parent_user_namespace(process, list(found.values()))
        held.keep(found["user"].fd)
    socket = given.last("net-socket")
    if socket is not None:
        if process is None:
            raise UsageError("--net-socket needs a process as TARGET")
        found["net"] = options.socket_namespace(process, socket)
        held.keep(found["net"].fd)
    return list(found.values())


def _kinds(
    given: Parsed, namespaces: list[Given], target: Process | HeldNamespace | None
) -> frozenset[NamespaceType] | None:
    """Which of the target's: those that were named, all where none was."""
    from nsctl.enter.request import KINDS

    if given.has("all"):
        return None
    named = {KINDS[name] for name in _KIND_OPTIONS if given.has(name)}
    if not named and not namespaces:
        if target is None:
            raise UsageError("no namespace specified")
        return None
    return frozenset(named)


def _directory(given: Parsed, name: str, process: Process | None, held: _Held) -> int | None:
    if not given.has(name):
        return None
    from nsctl.enter import options

    text = given.last(name)
    if text is None:
        fd = options.directory_of(process, "root" if name == "root" else "cwd")
    else:
        fd = options.open_directory(text)
    held.keep(fd)
    return fd
