"""The entry point: which command is meant, and what becomes of an error.

No traceback reaches a user without ``--debug``. Exit statuses are those of `nsctl.errors`.
"""

from __future__ import annotations

import os
import sys

from nsctl import __version__
from nsctl.cli.commands import COMMANDS
from nsctl.errors import EXIT_FAILED, NsctlError, UsageError, translate

_SIGINT_STATUS = 130
_SIGPIPE_STATUS = 141

_USAGE = """\
Usage:
 nsctl [options]                the host at a glance
 nsctl COMMAND [arguments]      nsctl COMMAND --help tells more

See, enter, share, build and prove Linux container isolation.

Commands:
{commands}

Options:
 -h, --help      display this help
 -V, --version   display version
     --debug     show the traceback of an error

A TARGET is a container's name or id, a PID, PID:INODE, net:[INODE], the path of a
namespace, or @host.
"""


def entry() -> int:
    """Run the process's own command line.

    Returns:
        The exit status.
    """
    status = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell. The interpreter must
        # not try to flush again on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE_STATUS
    except OSError as error:
        _say(translate(error, "write", "standard output"))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return status


def main(words: list[str]) -> int:
    """Run one command line.

    Args:
        words: everything behind the program's name.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        # What a terminal's encoding lacks is written as an escape, never an error.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    debug = bool(os.environ.get("NSCTL_DEBUG"))
    while words and words[0] == "--debug":
        debug, words = True, words[1:]
    if not debug:
        options = words[: words.index("--")] if "--" in words else words
        if "--debug" in options and (not options or options[0] in COMMANDS):
            debug = True
            words = [word for word in options if word != "--debug"] + words[len(options) :]
    try:
        return _dispatch(words)
    except NsctlError as error:
        _say(error)
        status = error.exit_status
    except BrokenPipeError:
        return _SIGPIPE_STATUS
    except KeyboardInterrupt:
        return _SIGINT_STATUS
    except Exception as error:  # noqa: BLE001  (the last resort of a command line)
        if isinstance(error, OSError):
            _say(translate(error, "use", str(error.filename or "the system")))
        else:
            kind = type(error).__name__
            _say(NsctlError("finish", "", f"nsctl has a fault ({kind}: {error})", _REPORT))
        status = EXIT_FAILED
    if debug:
        import traceback

        traceback.print_exc()
    return status


_REPORT = "run it again with --debug and report what it prints"


def _dispatch(words: list[str]) -> int:
    if words and words[0] in {"-h", "--help"}:
        width = max(map(len, COMMANDS))
        lines = [f" {name.ljust(width)}  {command.help}" for name, command in COMMANDS.items()]
        sys.stdout.write(_USAGE.format(commands="\n".join(lines)))
        return 0
    if words and words[0] in {"-V", "--version"}:
        sys.stdout.write(f"nsctl {__version__}\n")
        return 0
    import importlib

    if not words or words[0].startswith("-"):
        module = importlib.import_module(COMMANDS["matrix"].module)
        return int(module.glance(words))
    command = COMMANDS.get(words[0])
    if command is None:
        raise _unknown(words[0])
    return int(importlib.import_module(command.module).main(words[1:]))


def _unknown(word: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, 2)
    hint = f"did you mean {' or '.join(near)}?" if near else "`nsctl --help` lists the commands"
    return UsageError(f"there is no command {word!r}", hint)


def _say(error: NsctlError) -> None:
    from nsctl.report.escape import escape

    sys.stderr.write(f"nsctl: {escape(error.sentence)}\n")
    if error.hint:
        sys.stderr.write(f"       {escape(error.hint)}\n")
