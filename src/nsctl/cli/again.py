"""Views that repeat: ``--watch[=SECONDS]``, shared by commands that show a list.

On a terminal each time takes the place of the one before and is cut to the screen; elsewhere they
follow each other, so that a program may read them. An interrupt ends it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from nsctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

SECONDS = 2.0
_LONGEST = 86400.0
_HOME = "\x1b[H"
_CLEAR_LINE = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"


def seconds(text: str | None) -> float:
    """How long to wait between two times.

    Args:
        text: the option's argument, None for two seconds.

    Raises:
        UsageError: it is no number above 0 and up to a day.
    """
    if text is None:
        return SECONDS
    try:
        wanted = float(text)
    except ValueError:
        wanted = -1.0
    if not 0 < wanted <= _LONGEST:
        raise UsageError(f"invalid argument of --watch: {text!r}", "it is a number of seconds")
    return wanted


def again(wait: float, draw: Callable[[], int], *, separator: str = "\n") -> int:
    """Draw a view again and again; only an interrupt, or an error, ends it.

    Args:
        wait: seconds between two times.
        draw: prints the view, what it could not read on standard error.
        separator: what stands between two times where standard output is no terminal.

    Returns:
        Never; the type is that of a command's exit status.
    """
    terminal = sys.stdout.isatty()
    first = True
    while True:
        if terminal:
            _on_screen(draw)
        else:
            if not first:
                sys.stdout.write(separator)
            draw()
            sys.stdout.flush()
        first = False
        time.sleep(wait)


def _on_screen(draw: Callable[[], int]) -> None:
    """Put one time over the one before, without a moment at which the screen is empty."""
    screen, told = _Lines(sys.stdout), _Lines(sys.stderr)
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = screen, told
    try:
        draw()
    finally:
        sys.stdout, sys.stderr = out, err
    height = max(_height(out), 2)
    below = told.lines()[: height - 2]
    shown = screen.lines()
    room = height - 1 - len(below)
    if len(shown) > room:
        hidden = len(shown) - room + 1
        shown = [*shown[: room - 1], f".. {hidden} more lines: the screen is too low"]
    text = "".join(f"{line}{_CLEAR_LINE}\n" for line in (*shown, *below))
    out.write(f"{_HOME}{text}{_CLEAR_BELOW}")
    out.flush()


def _height(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).lines
    except OSError:
        return 24


class _Lines:
    """Keeps what is written, and is else the stream that it stands for."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text: list[str] = []
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        self._text.append(text)
        return len(text)

    def flush(self) -> None:
        """Nothing: all of it is written at once."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def lines(self) -> list[str]:
        """What was written, line by line."""
        text = "".join(self._text)
        return text.removesuffix("\n").split("\n") if text else []
