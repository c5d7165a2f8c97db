r"""Typed readers of what engines wrote: JSON objects, times, lists of "key=value".

Files may be half written, of another version, or a hostile user's. What is not of the type that
was asked for counts as not there; a file that is no object at all is the caller's to report. No
text that leaves here holds what UTF-8 cannot (JSON's ``\ud800``).
"""

from __future__ import annotations

import sys

from nsctl.errors import Suppressed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Fields = Mapping[str, object]
    """A JSON object, of which nothing is known."""
else:
    Fields = dict


_TIME = r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,12})?(Z|[+-]\d\d:\d\d)"
_NUMBER_LIMIT = 1 << 63
_ID_SIZE = 64


def parse(raw: bytes) -> Fields:
    """Parse a JSON object.

    Raises:
        ValueError: it is none; in words.
    """
    try:
        found = load(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not JSON, or only half written") from None
    if not isinstance(found, dict):
        raise ValueError("it is JSON, but no object")  # noqa: TRY004  (the text is wrong, not our argument)
    return found


def parse_rows(raw: bytes) -> list[Fields]:
    """Parse a JSON list of objects; what is no object in it is left out.

    Raises:
        ValueError: it is no list; in words.
    """
    try:
        found = load(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not JSON, or only half written") from None
    if not isinstance(found, list):
        raise ValueError("it is JSON, but no list")  # noqa: TRY004  (as above)
    return [row for row in found if isinstance(row, dict)]


class _Settings:
    """What the standard library's scanner in C is told, as json.JSONDecoder does it."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def load(raw: bytes) -> object:
    """Do as json.loads, without that module, whose import takes 3 ms.

    Its scanner is used as it is. What needs more than that, such as another encoding, is left to the
    module, and so are errors: some are lost while that one is not there.

    Args:
        raw: the text.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    # A debugging build of Python makes an end of a lost error.
    is_plain = raw.startswith((b"{", b"[")) and raw[1:2] != b"\0"
    if is_plain and not hasattr(sys, "gettotalrefcount"):
        with Suppressed(ImportError):  # another Python than CPython
            from _json import make_scanner

            text = raw.decode("utf-8", "surrogatepass")
            scan = make_scanner(_Settings)  # type: ignore[arg-type]  # it takes what has these
            with Suppressed(StopIteration, SystemError):
                found, end = scan(text, 0)
                if not text[end:].strip(" \t\n\r"):
                    return found
    import json

    return json.loads(raw)


def parse_toml(raw: bytes) -> Fields:
    """Parse a TOML document.

    Raises:
        ValueError: it is none; in words.
    """
    import tomllib

    try:
        return tomllib.loads(raw.decode("utf-8", "replace"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is no TOML: {error}") from None


def clean(text: str) -> str:
    """Replace what UTF-8 cannot hold by question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def is_id(word: str) -> bool:
    """Whether a word is a container's id as most engines give them: 64 hexadecimal digits."""
    return len(word) == _ID_SIZE and not word.strip("0123456789abcdef")


def text(fields: Fields, key: str) -> str:
    """A text, "" where there is none."""
    value = fields.get(key)
    return clean(value) if isinstance(value, str) else ""


def number(fields: Fields, key: str) -> int:
    """A whole number of 63 bits without sign, 0 where there is none."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value < _NUMBER_LIMIT else 0


def flag(fields: Fields, key: str) -> bool:
    """Whether a value is there and true."""
    return fields.get(key) is True


def below(fields: Fields, *keys: str) -> Fields:
    """An object inside others, {} where there is none."""
    for key in keys:
        value = fields.get(key)
        if not isinstance(value, dict):
            return {}
        fields = value
    return fields


def rows(fields: Fields, key: str) -> list[Fields]:
    """A list's objects, [] where there is none."""
    value = fields.get(key)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def texts(fields: Fields, key: str) -> list[str]:
    """A list's texts, [] where there is none."""
    value = fields.get(key)
    if not isinstance(value, list):
        return []
    return [clean(item) for item in value if isinstance(item, str)]


def pairs(fields: Fields, key: str) -> tuple[tuple[str, str], ...]:
    """An object's texts by their names, sorted, such as labels."""
    value = fields.get(key)
    if not isinstance(value, dict):
        return ()
    found = [(clean(name), clean(item)) for name, item in value.items() if isinstance(item, str)]
    return tuple(sorted(found))


def seconds(written: str) -> float:
    """Turn a time as RFC 3339 writes it into seconds since the epoch.

    Args:
        written: "2026-11-24T12:55:46.312842082Z", or with an offset such as "+01:00".

    Returns:
        The seconds; 0 for what is no such time, and for times before 1970 (engines written in Go
        say 0001-01-01 for "never").
    """
    if not written:
        return 0.0
    import re  # whoever looks for one container by its name needs no times

    match = re.fullmatch(_TIME, written, re.ASCII)
    if match is None:
        return 0.0
    year, month, day, hour, minute, second = (int(match[place]) for place in range(1, 7))
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        return 0.0
    # Days since 1970-01-01 of the Gregorian calendar, counted in years that begin in March.
    years = year - (month < 3)
    days = 365 * years + years // 4 - years // 100 + years // 400 - 719_468
    days += (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    whole = ((days * 24 + hour) * 60 + minute) * 60 + second
    zone = match[8]
    if zone != "Z":
        offset = (int(zone[1:3]) * 60 + int(zone[4:])) * 60
        whole -= offset if zone[0] == "+" else -offset
    return max(whole + float(match[7] or 0), 0.0)
