"""`nsctl enter TARGET [CMD]`: nsenter's options, and a container's own powers.

The options are util-linux's letter by letter (nsenter(1) of 2.42); our own have long names only.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.errors import NsctlError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from nsctl.enter.request import Given, Request
    from nsctl.model.namespace import NamespaceType
    from nsctl.targets.live import HeldNamespace, Process

NSENTER_OPTIONS = (
    Option("all", "a", "no", "", "enter all namespaces"),
    Option("target", "t", "required", "PID", "target process to get namespaces from"),
    Option("mount", "m", "optional", "file", "enter mount namespace"),
    Option("uts", "u", "optional", "file", "enter UTS namespace (hostname etc)"),
    Option("ipc", "i", "optional", "file", "enter System V IPC namespace"),
    Option("net", "n", "optional", "file", "enter network namespace"),
    Option("net-socket", "N", "required", "fd", "enter socket's network namespace"),
    Option("pid", "p", "optional", "file", "enter pid namespace"),
    Option("cgroup", "C", "optional", "file", "enter cgroup namespace"),
    Option("user", "U", "optional", "file", "enter user namespace"),
    Option("user-parent", "", "no", "", "enter parent user namespace"),
    Option("time", "T", "optional", "file", "enter time namespace"),
    Option("setuid", "S", "required", "uid", "set uid in entered namespace"),
    Option("setgid", "G", "required", "gid", "set gid in entered namespace"),
    Option("preserve-credentials", "", "no", "", "do not touch uids or gids"),
    Option("keep-caps", "", "no", "", "retain capabilities granted in user namespaces"),
    Option("root", "r", "optional", "dir", "set the root directory"),
    Option("wd", "w", "optional", "dir", "set the working directory"),
    Option("wdns", "W", "optional", "dir", "set the working directory in namespace"),
    Option("env", "e", "no", "", "inherit environment variables from target process"),
    Option("no-fork", "F", "no", "", "do not fork before exec'ing <program>"),
    Option("join-cgroup", "c", "no", "", "join the cgroup of the target process"),
    Option("follow-context", "Z", "no", "", "set security context according to the target"),
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
    from nsctl.enter.entry import enter

    sys.stdout.flush()
    with request_of(given, operands, names_target=names_target) as request:
        return enter(request, _say)


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

    with contextlib.suppress(OSError):  # standard error may be closed, or full
        sys.stderr.write(f"nsctl: {escape(sentence)}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def request_of(
    given: Parsed, operands: tuple[str, ...], *, names_target: bool
) -> Iterator[Request]:
    """Make a request of a command line, and hold everything open that it names.

    Args:
        given: the options.
        operands: the other words.
        names_target: the first of these is the TARGET.

    Yields:
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
    with contextlib.ExitStack() as stack:
        target = None
        if text is not None:
            target = resolve(text)
            stack.callback(target.close)
        process = _process(target)
        namespaces = _given(given, process, stack)
        yield Request(
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
            root=_directory(given, "root", process, stack),
            directory=_directory(given, "wd", process, stack),
            cwd=(given.last("wdns") or "").removeprefix("="),
            environment_of_target=given.has("env"),
            fork=not given.has("no-fork"),
            join_cgroup=given.has("join-cgroup"),
            label=given.has("follow-context"),
        )


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


def _given(given: Parsed, process: Process | None, stack: contextlib.ExitStack) -> list[Given]:
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
            stack.callback(os.close, found[name].fd)
    if given.has("user-parent"):
        found["user"] = options.parent_user_namespace(process, list(found.values()))
        stack.callback(os.close, found["user"].fd)
    socket = given.last("net-socket")
    if socket is not None:
        if process is None:
            raise UsageError("--net-socket needs a process as TARGET")
        found["net"] = options.socket_namespace(process, socket)
        stack.callback(os.close, found["net"].fd)
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


def _directory(
    given: Parsed, name: str, process: Process | None, stack: contextlib.ExitStack
) -> int | None:
    if not given.has(name):
        return None
    from nsctl.enter import options

    text = given.last(name)
    if text is None:
        fd = options.directory_of(process, "root" if name == "root" else "cwd")
    else:
        fd = options.open_directory(text)
    stack.callback(os.close, fd)
    return fd
