"""`nsctl exec NAME CMD`: a further command in a running container of our own."""

from __future__ import annotations

import contextlib
import sys

from nsctl.cli.getopt import Option, describe, parse
from nsctl.errors import UsageError
from nsctl.report.escape import escape

OPTIONS = (
    Option("interactive", "i", "no", "", "hand your input on (always so)"),
    Option("tty", "t", "no", "", "a terminal of its own (always, where you are on one)"),
    Option("user", "u", "required", "user", "UID[:GID] inside, in place of the container's own"),
    Option("workdir", "w", "required", "dir", "where the command starts"),
    Option("help", "h", "no", "", "display this help"),
)
OPERANDS = ("NAME", "CMD")

_USAGE = """\
Usage:
 nsctl exec [options] NAME CMD [ARG..]

Run CMD in a running container that nsctl made, as `nsctl enter` does in any: in all its namespaces
and control groups, with its user, environment, capabilities and filters.

Options:
{options}

Exit status: the command's own once it started; 125 refused before, 126 not executable,
127 not found.
"""


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status of what was run.
    """
    given = parse(OPTIONS, words, stop_at_operand=True)
    if given.has("help"):
        sys.stdout.write(_USAGE.format(options="\n".join(describe(OPTIONS))))
        return 0
    if len(given.operands) < 2:
        raise UsageError("exec takes NAME and CMD", "`nsctl exec --help` shows how")
    from nsctl.enter.entry import enter
    from nsctl.enter.request import Request, number
    from nsctl.targets.live import resolve

    name, *argv = given.operands
    user, colon, group = (given.last("user") or "").partition(":")
    sys.stdout.flush()
    with contextlib.ExitStack() as stack:
        target = resolve(name if "://" in name else f"nsctl://{name}")
        stack.callback(target.close)
        request = Request(
            target=target,
            argv=tuple(argv),
            powers="target",
            uid=number(user, "uid") if user else None,
            gid=number(group, "gid") if colon else None,
            cwd=given.last("workdir") or "",
        )
        return enter(request, _say)


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # standard error may be closed, or full
        sys.stderr.write(f"nsctl: {escape(sentence)}\n")
        sys.stderr.flush()
