r"""The one place where hostile text is made safe for a terminal, a log or a page.

Command names, command lines, paths, host names and cgroups come from containers. What cannot be
seen is written as ``\xNN``, one for each byte of its UTF-8 form, as util-linux does; a backslash
that stands before an "x" is itself written ``\x5c``, so that the bytes can be told from the text.
Escaped text keeps its meaning when it is cut, measured or written in ASCII with the functions
below; escaping it a second time does not.

JSON has its own escapes and takes the bytes: see `nsctl.report.jsonout`.
"""

from __future__ import annotations

from nsctl.model.remember import remembered

# Printable to str.isprintable, yet without a visible form: Unicode's default ignorable code points
# (combining grapheme joiner, fillers, variation selectors ..) and the blank Braille pattern. A name
# that holds one looks like another name, or carries text that nobody sees.
_UNSEEN = frozenset(
    map(
        chr,
        (
            0x034F,
            0x115F,
            0x1160,
            0x17B4,
            0x17B5,
            *range(0x180B, 0x1810),
            0x2800,
            0x3164,
            *range(0xFE00, 0xFE10),
            0xFFA0,
            *range(0xE0100, 0xE01F0),
        ),
    )
)
# What nsctl itself draws; taking it out first leaves most columns plain ASCII.
_DRAWN = "├─└│…"


def escape(text: str) -> str:
    r"""Make text safe to print on one line.

    Args:
        text: anything; bytes that were not UTF-8 as os.fsdecode leaves them (PEP 383).

    Returns:
        The text with ``\xNN`` in place of everything in the Unicode categories Cc, Cf, Cs, Co,
        Cn, Zl, Zp and Zs (but the ASCII blank), and of characters without a visible form.
        Printable throughout, and it can be turned back: ``\x`` always begins such an escape.
        A piece that ends with a backslash must not be joined to one that begins with "x".
    """
    if text.isascii() and text.isprintable() and "\\x" not in text:
        return text
    return printable(text.replace("\\x", "\\x5cx"))


def escape_bytes(raw: bytes) -> str:
    r"""Make bytes that should be UTF-8 safe to print on one line.

    Args:
        raw: anything.

    Returns:
        As `escape`, and each byte that is not part of valid UTF-8 as ``\xNN``.
    """
    return escape(raw.decode("utf-8", "surrogateescape"))


def command_bytes(raw: bytes) -> bytes:
    """Join the arguments of a command line by blanks, as lsns does.

    Args:
        raw: /proc/PID/cmdline, arguments ended by NUL (proc_pid_cmdline(5)).

    Returns:
        The arguments, empty ones too. A title that a process wrote over its arguments keeps
        its padding. Unlike lsns's it is never cut.
    """
    return raw.removesuffix(b"\0").replace(b"\0", b" ")


def command_line(raw: bytes) -> str:
    """Write a command line on one line.

    Args:
        raw: see `command_bytes`.

    Returns:
        The arguments joined by blanks, escaped.
    """
    return escape_bytes(command_bytes(raw))


def printable(text: str) -> str:
    r"""Escape what cannot be seen, and leave backslashes alone.

    Args:
        text: text of our own that may have hostile pieces in it.

    Returns:
        Printable text; unlike that of `escape` it cannot be turned back.
    """
    return text if seen(text) else text.translate(_SAFE)


def seen(text: str) -> bool:
    """Tell whether every character has a visible form (or is the ASCII blank)."""
    return text.isprintable() and (text.isascii() or _UNSEEN.isdisjoint(text))


def ascii_only(text: str) -> str:
    r"""Write escaped text in ASCII, for a stream or terminal that has nothing more.

    Args:
        text: from `escape`.

    Returns:
        The text with each byte of every other character as ``\xNN``.
    """
    if text.isascii():
        return text
    return "".join([c if c.isascii() else _hex(c.encode()) for c in text])


def width(text: str) -> int:
    """Measure text on a terminal.

    Args:
        text: printable text.

    Returns:
        Cells: 0 for a combining character, 2 for one that East Asian typography makes wide
        (UAX #11, classes W and F; an ambiguous one takes 1), else 1.
    """
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def narrow(text: str) -> bool:
    """Tell whether every character takes exactly one cell, so that `len` measures it."""
    if text.isascii():
        return True
    for character in _DRAWN:
        text = text.replace(character, "")
    return text.isascii() or all(_cells(character) == 1 for character in set(text))


def clip(text: str, cells: int, *, measured: bool = False) -> str:
    r"""Take from the front of escaped text what fits.

    Args:
        text: from `escape`.
        cells: how many cells there are.
        measured: the text is known to be `narrow`.

    Returns:
        The longest beginning that takes no more cells and cuts through neither a wide
        character nor an escape.
    """
    if measured or text.isascii():
        keep = cells
    else:
        keep = used = 0
        for character in text:
            used += _cells(character)
            if used > cells:
                break
            keep += 1
    if keep >= len(text):
        return text
    keep = max(keep, 0)
    begun = text.rfind("\\x", max(keep - 3, 0), keep + 1)
    return text[: keep if begun < 0 else begun]


@remembered(2048)
def _cells(character: str) -> int:
    if character.isascii():
        return 1
    import unicodedata

    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    if "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7fb":
        # Vowels and finals of Hangul join the wide consonant before them.
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _hex(raw: bytes) -> str:
    return "".join([f"\\x{byte:02x}" for byte in raw])


class _Safe(dict[int, "int | str"]):
    """For str.translate: a code point that can be seen is itself, any other its bytes in hex."""

    def __missing__(self, point: int) -> int | str:
        # Not remembered: a hostile writer could make it hold all of Unicode.
        character = chr(point)
        if seen(character):
            return point
        if 0xDC80 <= point <= 0xDCFF:
            return _hex(bytes([point - 0xDC00]))
        return _hex(character.encode("utf-8", "surrogatepass"))


_SAFE = _Safe((point, point) for point in range(0x20, 0x7F))
