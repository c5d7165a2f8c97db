"""The entry point: which command is meant, and what becomes of an error.

Called by the name of a program that it can be (`DROP_INS`), nsctl is that program: its options,
its exit statuses, its name before each error.

No traceback reaches a user without ``--debug``. Exit statuses are those of `nsctl.errors`.
"""

from __future__ import annotations

import gc
import io
import os
import sys

from nsctl import __version__
from nsctl.cli.commands import COMMANDS, DROP_INS
from nsctl.errors import (
    EXIT_FAILED,
    EXIT_NOT_EXECUTABLE,
    EXIT_NOT_FOUND,
    EXIT_OK,
    NsctlError,
    UsageError,
    translate,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import TextIO

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
    # A snapshot is hundreds of thousands of objects and no rubbish: looking for some in them, each
    # time that seven hundred were made, takes a tenth of the time of a list of namespaces.
    gc.set_threshold(100_000, 20, 20)
    _open_standard_streams()
    sys.stdout = output = _Output(sys.stdout)
    called = os.path.basename(sys.argv[0])
    if _lists_namespaces(sys.argv[1:], called):
        from nsctl import ahead

        # The kernel works on this while the rest is imported. Two threads take turns then, and the
        # interpreter's usual five milliseconds would be longer than any of their steps.
        sys.setswitchinterval(0.0002)
        ahead.expect_snapshot()
    status = main(sys.argv[1:], called)
    told = output.failed
    try:
        output.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        status = _SIGPIPE_STATUS
        _discard(output)
    except NsctlError as error:
        if not told:
            _say(error, called)
            status = error.exit_status
        _discard(output)
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
    return status


# Options with which a list of namespaces does not read this host.
_ELSEWHERE = ("--f", "--h", "--v", "--list-", "-h", "-H", "-V")


def _lists_namespaces(words: list[str], called: str) -> bool:
    """Tell whether a command line will most likely list the namespaces of this host."""
    is_list = called == "lsns" or words[:1] == ["ls"]
    return is_list and not any(word.startswith(_ELSEWHERE) for word in words)


def _discard(stream: TextIO) -> None:
    """Send what a stream still holds nowhere: the interpreter flushes it on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Output(io.TextIOWrapper):
    """Standard output, whose failures say that they are its own.

    Attributes:
        failed: something was not written, and whoever wrote it was told.
    """

    failed = False

    def __init__(self, stream: TextIO) -> None:
        encoding, terminal = stream.encoding, stream.isatty()
        # Whatever holds the buffer closes it when it is collected.
        super().__init__(
            stream.detach(),  # type: ignore[attr-defined]  # sys.stdout is a TextIOWrapper
            encoding=encoding,
            newline="\n",
            line_buffering=terminal,
        )

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise self._told(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._told(error) from error

    def _told(self, error: OSError) -> Exception:
        self.failed = True
        if isinstance(error, BrokenPipeError):
            return error
        return translate(error, "write", "standard output")


def _open_standard_streams() -> None:
    """Put something in place of a standard stream that the caller closed.

    Otherwise the next file that is opened would have its number, and be written to or handed to
    a child as its output. Output to a closed descriptor fails as it would without us.
    """
    for fd, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  (lives as long as the process)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  (lives as long as the process)


def main(words: list[str], called: str = "nsctl") -> int:
    """Run one command line.

    Args:
        words: everything behind the program's name.
        called: that name, without its directory.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        # What a terminal's encoding lacks is written as an escape, never an error.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if called in DROP_INS:
        debug = bool(os.environ.get("NSCTL_DEBUG"))
        refused: int | None = DROP_INS[called].refused
    else:
        debug, words = _debug(words)
        refused = COMMANDS[words[0]].refused if words and words[0] in COMMANDS else None
    try:
        return _dispatch(words, called)
    except BrokenPipeError:
        return _SIGPIPE_STATUS
    except KeyboardInterrupt:
        return _SIGINT_STATUS
    except SystemExit as error:  # argparse has printed its help, or what is wrong
        return error.code if isinstance(error.code, int) else EXIT_OK
    except Exception as error:  # noqa: BLE001  (the last resort of a command line)
        status = EXIT_FAILED
        if isinstance(error, NsctlError):
            _say(error, called)
            status = error.exit_status
        elif isinstance(error, OSError):
            _say(translate(error, "use", str(error.filename or "the system")), called)
        else:
            kind = type(error).__name__
            report = _REPORT_DROP_IN if called in DROP_INS else _REPORT
            _say(NsctlError("finish", "", f"nsctl has a fault ({kind}: {error})", report), called)
        if debug:
            _print_traceback(error)
        if refused is None or status in {EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND}:
            return status
        return refused


def _debug(words: list[str]) -> tuple[bool, list[str]]:
    """Take ``--debug`` out of a command line.

    Returns:
        Whether tracebacks are wanted, and the other words. A command that runs another takes it
        only as its first word: what comes later may be the other's.
    """
    debug = bool(os.environ.get("NSCTL_DEBUG"))
    while words and words[0] == "--debug":
        debug, words = True, words[1:]
    if words and words[0] in COMMANDS and COMMANDS[words[0]].refused is not None:
        while words[1:2] == ["--debug"]:
            debug, words = True, [words[0], *words[2:]]
        return debug, words
    options = words[: words.index("--")] if "--" in words else words
    left = [word for word in options if word != "--debug"]
    return debug or left != options, left + words[len(options) :]


def _print_traceback(error: Exception) -> None:
    import traceback

    from nsctl.report.escape import escape

    for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
        sys.stderr.write(f"{escape(line)}\n")


_REPORT = "run it again with --debug and report what it prints"
_REPORT_DROP_IN = "run it again with NSCTL_DEBUG=1 and report what it prints"


def _dispatch(words: list[str], called: str) -> int:
    if words and called not in DROP_INS:
        if words[0] in {"-h", "--help"}:
            width = max(map(len, COMMANDS))
            lines = [f" {name.ljust(width)}  {command.help}" for name, command in COMMANDS.items()]
            sys.stdout.write(_USAGE.format(commands="\n".join(lines)))
            return 0
        if words[0] in {"-V", "--version"}:
            sys.stdout.write(f"nsctl {__version__}\n")
            return 0
    if called in DROP_INS:
        return int(_module(DROP_INS[called].module).drop_in(words))
    if not words or words[0].startswith("-"):
        return int(_module(COMMANDS["matrix"].module).glance(words))
    command = COMMANDS.get(words[0])
    if command is None:
        raise _unknown(words[0])
    return int(_module(command.module).main(words[1:]))


def _module(path: str) -> ModuleType:
    """Import a command's module; `importlib` would cost half a millisecond."""
    __import__(path)
    return sys.modules[path]


def _unknown(word: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, 2)
    hint = f"did you mean {' or '.join(near)}?" if near else "`nsctl --help` lists the commands"
    return UsageError(f"there is no command {word!r}", hint)


def _say(error: NsctlError, called: str) -> None:
    from nsctl.cli.common import say

    if called not in DROP_INS:
        say(error)
        return
    if isinstance(error, UsageError):
        # What we would hint at are our own commands; this is what util-linux says.
        error.hint = f"Try '{called} --help' for more information."
    say(error, called)
