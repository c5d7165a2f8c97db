"""How a view may look: colour, line-drawing characters, width; decided once from what is passed in.

Colour is never the only carrier of a meaning: each coloured word or letter says the same without.
"""

from __future__ import annotations

from collections.abc import Mapping

from nsctl.errors import UsageError
from nsctl.model.record import NamedTuple
from nsctl.report.escape import ascii_only, escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Role = Literal["own", "host", "shared", "unknown", "heading", "note", "bad", "good"]
    ColourOption = Literal["auto", "always", "never"]
else:
    Role = ColourOption = str

# Select Graphic Rendition codes (console_codes(4)) that read on dark and on light backgrounds:
# no black, white, yellow or dark blue, nothing dimmed.
_SGR: dict[Role, str] = {
    "own": "32",
    "host": "35",
    "shared": "36",
    "unknown": "7",
    "heading": "1",
    "note": "36",
    "bad": "1;31",
    "good": "32",
}
_DEFAULT_WIDTH = 80


class Style(NamedTuple):
    """How views are written.

    Attributes:
        colour: SGR sequences may be used.
        unicode: characters outside ASCII may be used; where not, hostile text has them escaped.
        width: cells that a line may take, or None for as many as it needs.
    """

    colour: bool = False
    unicode: bool = True
    width: int | None = None

    @classmethod
    def for_stream(
        cls,
        *,
        isatty: bool,
        environ: Mapping[str, str],
        columns: int = 0,
        colour_option: str = "auto",
        encoding: str = "utf-8",
    ) -> Style:
        """Decide for one output stream.

        Args:
            isatty: whether it is a terminal.
            environ: NO_COLOR, TERM, COLUMNS, LC_ALL, LC_CTYPE and LANG are read.
            columns: width of the terminal as the kernel says it, 0 where it does not.
            colour_option: "auto", "always" or "never". "auto" colours a terminal, unless
                NO_COLOR is set to anything but the empty text or TERM is unset or "dumb".
            encoding: how the stream encodes text.

        Returns:
            The style. A width only for a terminal: COLUMNS if it is a number, else the
            terminal's own, else 80.

        Raises:
            UsageError: the option is none of the three.
        """
        if colour_option not in {"auto", "always", "never"}:
            raise UsageError(f"colour can be auto, always or never, not {escape(colour_option)}")
        colour = colour_option == "always" or (
            colour_option == "auto"
            and isatty
            and not environ.get("NO_COLOR")
            and environ.get("TERM", "dumb") not in {"", "dumb"}
        )
        return cls(
            colour=colour,
            unicode=_has_unicode(environ, encoding),
            width=_width(environ, columns) if isatty else None,
        )

    def paint(self, text: str, role: Role | None) -> str:
        """Colour text by what it means.

        Args:
            text: printable text.
            role: its meaning, None for none.

        Returns:
            The text between SGR sequences, or as it is without colour, role or text.
        """
        if not (self.colour and role and text):
            return text
        return f"\x1b[{_SGR[role]}m{text}\x1b[0m"

    def text(self, text: str) -> str:
        r"""Write escaped text with the characters that this style may use.

        Args:
            text: from `nsctl.report.escape.escape`.

        Returns:
            The text, in ASCII with ``\xNN`` where the style has no Unicode.
        """
        return text if self.unicode else ascii_only(text)


PLAIN = Style()
"""For a file or a pipe that takes UTF-8."""


def _has_unicode(environ: Mapping[str, str], encoding: str) -> bool:
    if encoding.lower().replace("-", "").replace("_", "") != "utf8":
        return False
    # Python writes UTF-8 in the C locale too (PEP 540); who chose that locale wants ASCII.
    chosen = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or "C"
    return chosen not in {"C", "POSIX"}


def _width(environ: Mapping[str, str], columns: int) -> int:
    wanted = environ.get("COLUMNS", "")
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 and int(wanted) > 0:
        return int(wanted)
    return columns if columns > 0 else _DEFAULT_WIDTH
