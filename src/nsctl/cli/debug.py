"""`nsctl debug TARGET [CMD]`: a shell with tools beside a container that has none."""

from __future__ import annotations

import contextlib
import sys

from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nsctl.debug.request import Request

OPTIONS = (
    Option("share", "s", "required", "list", "namespaces to share: pid,net by default"),
    Option("tools", "t", "required", "what", "host, busybox, a directory, archive or image"),
    Option("profile", "p", "required", "name", "general, baseline, restricted, netadmin, sysadmin"),
    Option("user", "u", "required", "uid[:gid]", "run as this user of the shell's user namespace"),
    Option("env", "e", "required", "name=value", "set a variable"),
    Option("write", "w", "no", "", "let the target's files be changed"),
    Option("trust", "", "no", "", "give powers that the target could take over"),
    Option("help", "h", "no", "", "display this help"),
)
OPERANDS = ("TARGET", "CMD")

_USAGE = """\
Usage:
 nsctl debug [options] TARGET [options] [CMD [ARG..]]

Run CMD, by default a shell, beside a container or process, with tools that it
need not have. It shares the namespaces that are named and nothing else; it has
mounts, a control group and powers of its own, and the target's files are in
/target. In the target nothing changes, and when it ends nothing is left.

 nsctl debug web                       a shell; `ps`, `ss -tnp`, `strace -p 1`
 nsctl debug web -s net tcpdump -i any the host's tcpdump in its network
 nsctl debug pod/shop/cart             one container of a pod
 nsctl debug web -t busybox            with nothing of the host but busybox

Options:
{options}

--share takes pid, net, ipc, uts, user, cgroup, time, all or none. What is not
shared is the shell's own, but for user and time, which are then yours. An
ordinary user's shell shares the user namespace of his container.
--tools host: the host's programs, read-only, and none of its other files.
--profile: what kubectl debug gives under these names. "general" traces; where
the target could trace the shell, that has no power that the target lacks.

Exit status: the command's own once it started, 128+N killed by signal N; 125
refused before, 126 not executable, 127 not found.
"""


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status of what was run.
    """
    given, operands = _parse(words)
    if given.has("help"):
        sys.stdout.write(_USAGE.format(options="\n".join(describe(OPTIONS))))
        return 0
    from nsctl.debug.act import debug

    sys.stdout.flush()
    with request_of(given, operands) as request:
        return debug(request, _say)


def _parse(words: list[str]) -> tuple[Parsed, tuple[str, ...]]:
    """Parse the command line; options may stand before and after TARGET."""
    first = parse(OPTIONS, words, stop_at_operand=True)
    if first.has("help") or not first.operands:
        return first, first.operands
    if "--" in words and words.index("--") == len(words) - len(first.operands) - 1:
        return first, first.operands  # what follows a "--" is no option
    rest = parse(OPTIONS, first.operands[1:], stop_at_operand=True)
    return Parsed(first.given + rest.given, ()), (first.operands[0], *rest.operands)


@contextlib.contextmanager
def request_of(given: Parsed, operands: tuple[str, ...]) -> Iterator[Request]:
    """Make a request of a command line, and hold its target fast.

    Args:
        given: the options.
        operands: the other words.

    Yields:
        The request.
    """
    from nsctl.debug.request import HOST, PROFILES, Request, check_env, parse_share, parse_user
    from nsctl.targets.live import resolve

    share = given.last("share")
    asked = None if share is None else parse_share(share)
    profile = given.last("profile") or ""
    if profile and profile not in PROFILES:
        raise UsageError(f"--profile is {', '.join(PROFILES)}, not {profile!r}")
    user = given.last("user")
    uid, gid = (None, None) if user is None else parse_user(user)
    env = check_env(given.all("env"))
    target = resolve(operands[0] if operands else _picked())
    try:
        yield Request(
            target=target,
            argv=operands[1:],
            share=asked,
            tools=HOST if not given.has("tools") else given.last("tools") or "",
            profile=profile,
            uid=uid,
            gid=gid,
            env=env,
            write=given.has("write"),
            trust=given.has("trust"),
        )
    finally:
        target.close()


def _picked() -> str:
    from nsctl.cli import pick
    from nsctl.host import take_snapshot

    if not pick.possible():
        raise UsageError("debug what? a TARGET is missing", "`nsctl debug --help` shows how")
    chosen = pick.target(take_snapshot(pick.PARTS))
    if chosen is None:
        raise UsageError("nothing was chosen")
    return chosen


def _say(sentence: str) -> None:
    from nsctl.report.escape import escape

    with contextlib.suppress(OSError):  # standard error may be closed, or full
        sys.stderr.write(f"nsctl: {escape(sentence)}\n")
        sys.stderr.flush()
