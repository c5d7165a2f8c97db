"""Options of mounts, as libmount reads them: what stands between commas, quotes keep commas."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nsctl.model.record import NamedTuple

_QUOTE, _COMMA, _EQUALS = b'",='

# The options that are the kernel's for every file system, in libmount's order: name, bit of MS_*,
# and whether the option takes it away.
_RDONLY, _NOEXEC, _NOSUID, _NODEV, _SYNC = 1, 8, 2, 4, 16
_FLAGS: tuple[tuple[bytes, int, bool], ...] = (
    (b"ro", _RDONLY, False),
    (b"rw", _RDONLY, True),
    (b"exec", _NOEXEC, True),
    (b"noexec", _NOEXEC, False),
    (b"suid", _NOSUID, True),
    (b"nosuid", _NOSUID, False),
    (b"dev", _NODEV, True),
    (b"nodev", _NODEV, False),
    (b"sync", _SYNC, False),
    (b"async", _SYNC, True),
    (b"dirsync", 128, False),
    (b"remount", 32, False),
    (b"bind", 4096, False),
    (b"rbind", 4096 | 16384, False),
    (b"silent", 32768, False),
    (b"loud", 32768, True),
    (b"mand", 64, False),
    (b"nomand", 64, True),
    (b"atime", 1024, True),
    (b"noatime", 1024, False),
    (b"iversion", 1 << 23, False),
    (b"noiversion", 1 << 23, True),
    (b"diratime", 2048, True),
    (b"nodiratime", 2048, False),
    (b"relatime", 1 << 21, False),
    (b"norelatime", 1 << 21, True),
    (b"strictatime", 1 << 24, False),
    (b"nostrictatime", 1 << 24, True),
    (b"lazytime", 1 << 25, False),
    (b"nolazytime", 1 << 25, True),
    (b"unbindable", 1 << 17, False),
    (b"runbindable", 1 << 17 | 16384, False),
    (b"private", 1 << 18, False),
    (b"rprivate", 1 << 18 | 16384, False),
    (b"slave", 1 << 19, False),
    (b"rslave", 1 << 19 | 16384, False),
    (b"shared", 1 << 20, False),
    (b"rshared", 1 << 20 | 16384, False),
    (b"symfollow", 256, True),
    (b"nosymfollow", 256, False),
)


_OCTAL = re.compile(rb"\\([0-7]{3})")


def unescaped(text: bytes) -> bytes:
    r"""Undo the kernel's octal escapes (``\040`` for a blank) in options."""
    if b"\\" not in text:
        return text
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), text)


class Option(NamedTuple):
    """One option.

    Attributes:
        name: before the first equals sign.
        value: behind it, None where there is none.
        start: where it begins in the text.
        end: where it ends.
    """

    name: bytes
    value: bytes | None
    start: int
    end: int


def options(text: bytes) -> Iterator[Option]:
    """Take options apart.

    Args:
        text: options with commas between them; a comma between double quotes belongs to a value.

    Yields:
        Each in order; nothing behind a quote that has no end.
    """
    position = 0
    while position < len(text):
        if text[position] == _COMMA:
            position += 1
            continue
        start, quoted, equals = position, False, -1
        while position < len(text) and (quoted or text[position] != _COMMA):
            if text[position] == _QUOTE:
                quoted = not quoted
            elif not quoted and equals < 0 and position > start and text[position] == _EQUALS:
                equals = position
            position += 1
        if quoted:
            return
        name = text[start : equals if equals >= 0 else position]
        value = text[equals + 1 : position] if equals >= 0 else None
        yield Option(name, value, start, position)


def merged(mount: bytes, file_system: bytes) -> bytes:
    """Join the options of a mount and of its file system as libmount does.

    Args:
        mount: the mount's own.
        file_system: the file system's.

    Returns:
        One list that begins with "ro" if either is read-only, else with "rw".
    """
    if mount == file_system:
        return mount
    text = mount + b"," + file_system
    writable = 0
    for _ in range(2):
        text, removed = _without(text, b"rw")
        writable += removed
    read_only = 0
    if writable != 2:
        text, removed = _without(text, b"ro")
        read_only += removed
        if read_only + writable < 2:
            text, removed = _without(text, b"ro")
            read_only += removed
    first = b"ro" if read_only else b"rw"
    return first + b"," + text if text else first


def _without(text: bytes, name: bytes) -> tuple[bytes, bool]:
    """Remove the first option of a name, and the comma that stood beside it."""
    for option in options(text):
        if option.name == name:
            end = option.end
            before = option.start == 0 or text[option.start - 1] == _COMMA
            if before and text[end : end + 1] == b",":
                end += 1
            rest = text[: option.start] + text[end:]
            if end == len(text) and option.start:
                rest = rest.removesuffix(b",")
            return rest, True
    return text, False


def matches(text: bytes, wanted: bytes) -> bool:
    """Tell whether a mount has the options that ``--options`` asks for.

    Args:
        text: the mount's options.
        wanted: a list; "no" before a name means that it must not be there, "+" that its name
            begins with "no"; "name=value" asks for that value.
    """
    found: dict[bytes, bytes] = {}
    for option in options(text):
        found.setdefault(option.name, option.value or b"")
    for option in options(wanted):
        name, absent = option.name, False
        if name.startswith(b"+"):
            name = name[1:]
        elif name.startswith(b"no"):
            name, absent = name[2:], True
        there = name in found and (not option.value or found[name] == option.value)
        if there == absent:
            return False
    return True


def matches_type(kind: bytes, wanted: bytes) -> bool:
    """Tell whether a file system is of one of the types that ``--types`` asks for.

    Args:
        kind: its type.
        wanted: a list; "no" at its beginning turns all of it round, "no" before a later name
            that one.
    """
    negated = wanted.startswith(b"no")
    kind = kind.lower()
    for name in wanted[2 if negated else 0 :].split(b","):
        if name.startswith(b"no") and name[2:].lower() == kind:
            return False
        if name.lower() == kind:
            return not negated
    return negated


def every_flag(text: bytes) -> bytes:
    """Spell out all options that the kernel has for every file system, also those not given.

    Args:
        text: a mount's options.

    Returns:
        What is set, and in place of what is not the option that takes it away.
    """
    bits = {name: (bit, inverted) for name, bit, inverted in _FLAGS}
    flags = 0
    for option in options(text):
        bit, inverted = bits.get(option.name, (0, False))
        if not option.value:
            flags = flags & ~bit if inverted else flags | bit
    return b",".join([name for name, bit, inverted in _FLAGS if bool(flags & bit) != inverted])
