r"""Extended regular expressions of POSIX (regex(7)) in Python's terms.

glibc's own additions are known: ``\w \W \s \S \b \B \< \>``, ``\``` and ``\'``, and back references.
A named class such as ``[:alpha:]`` is that of the POSIX locale, ASCII. Python searches by
backtracking: a pattern such as ``(a*)*b`` can take very long on a long text that nearly matches.
It is the user's own pattern, so nothing guards against it.
"""

from __future__ import annotations

import re

_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r" \t\n\r\f\v",
    "blank": r" \t",
    "punct": r"!-/:-@\[-`{-~",
    "print": " -~",
    "graph": "!-~",
    "cntrl": r"\x00-\x1f\x7f",
    "xdigit": "0-9A-Fa-f",
}
_ESCAPES = {
    **{f"\\{letter}": f"\\{letter}" for letter in "wWsSbB123456789"},
    "\\<": r"\b(?=\w)",
    "\\>": r"\b(?<=\w)",
    "\\`": r"\A",
    "\\'": r"\Z",
}
_NOT_REPEATABLE = {r"\b", r"\B", r"\b(?=\w)", r"\b(?<=\w)", r"\A", r"\Z"}
_INTERVAL = re.compile(r"\{(\d*)(,?)(\d*)\}")
_MOST_REPEATS = 0x7FFF  # RE_DUP_MAX of glibc


def compile_ere(pattern: str) -> re.Pattern[str]:
    """Compile an extended regular expression.

    Args:
        pattern: as regcomp(3) with REG_EXTENDED takes it.

    Returns:
        Its equivalent, for `re.Pattern.search`: whether it finds something is what regexec(3)
        would say (what it finds may be shorter, as Python takes the first alternative).

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    try:
        return re.compile(_translate(pattern), re.DOTALL)
    except (re.error, OverflowError) as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _translate(pattern: str) -> str:
    out: list[str] = []  # pieces; the last is what a repetition would repeat
    opened: list[int] = []  # for each group that is open, the place of its beginning in `out`
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character in "*+?{":
            position = _repeat(pattern, position, out)
            continue
        piece, length = character, 1
        if character == "\\":
            piece, length = _escaped(pattern, position)
        elif character == "[":
            piece, length = _bracket(pattern, position)
        elif character in "^$":
            piece = r"\A" if character == "^" else r"\Z"
        elif character == "(":
            opened.append(len(out))
        elif character == ")" and opened:
            start = opened.pop()
            piece = "".join(out[start:]) + ")"
            del out[start:]
        elif character not in ".|":
            piece = re.escape(character)
        out.append(piece)
        position += length
    if opened:
        raise ValueError("unmatched (")
    return "".join(out)


def _repeat(pattern: str, position: int, out: list[str]) -> int:
    """Repeat the last piece; a repetition of a repetition is no lazy or possessive one."""
    if not out or out[-1] in {"(", "|"} or out[-1] in _NOT_REPEATABLE:
        raise ValueError(f"nothing stands before {pattern[position]} that it could repeat")
    times, length = pattern[position], 1
    if times == "{":
        interval = _INTERVAL.match(pattern, position)
        if interval is None or not (interval[1] or interval[2]):
            raise ValueError("{ begins no interval such as {2} or {2,3}")
        least, most = int(interval[1] or 0), int(interval[3] or interval[1] or 0)
        open_end = bool(interval[2]) and not interval[3]
        if max(least, most) > _MOST_REPEATS or (least > most and not open_end):
            raise ValueError(f"{interval[0]} is no interval")
        times = f"{{{least},}}" if open_end else f"{{{least},{most}}}"
        length = len(interval[0])
    out[-1] = f"(?:{out[-1]}{times})"
    return position + length


def _escaped(pattern: str, position: int) -> tuple[str, int]:
    escape = pattern[position : position + 2]
    if len(escape) < 2:
        raise ValueError("a backslash ends it")
    return _ESCAPES.get(escape) or re.escape(escape[1]), 2


def _bracket(pattern: str, start: int) -> tuple[str, int]:
    """Read a bracket expression.

    Returns:
        Python's form of it, and its length.
    """
    position = start + 1
    negated = pattern.startswith("^", position)
    position += negated
    first = position
    members = ""
    while not (pattern.startswith("]", position) and position > first):
        if pattern.startswith("[:", position):
            name, position = _named(pattern, position)
            if name not in _CLASSES:
                raise ValueError(f"there is no class [:{name}:]")
            members += _CLASSES[name]
            continue
        low, position = _member(pattern, position)
        members += re.escape(low)
        if pattern.startswith("-", position) and not pattern.startswith("-]", position):
            high, position = _member(pattern, position + 1)
            if high < low:
                raise ValueError(f"{low}-{high} is no range")
            members += "-" + re.escape(high)
    return f"[{'^' * negated}{members}]", position + 1 - start


def _member(pattern: str, position: int) -> tuple[str, int]:
    """Read one character of a bracket expression; "[.x.]" and "[=x=]" are x."""
    if pattern.startswith(("[.", "[="), position):
        name, position = _named(pattern, position)
        if len(name) != 1:
            raise ValueError(f"{name} is no single character")
        return name, position
    if position >= len(pattern):
        raise ValueError("unmatched [")
    return pattern[position], position + 1


def _named(pattern: str, position: int) -> tuple[str, int]:
    end = pattern.find(pattern[position + 1] + "]", position + 2)
    if end < 0:
        raise ValueError("unmatched [")
    return pattern[position + 2 : end], end + 2
