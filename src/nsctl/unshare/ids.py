"""Which ids a new user namespace maps: ranges, as unshare(1) takes them and puts them together.

The order of ranges and the ids that give way are those of util-linux 2.42, so that a script finds
the same uid_map and gid_map.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nsctl.errors import NsctlError, UsageError
from nsctl.model.record import NamedTuple

NO_ID = 0xFFFFFFFF
"""The id that is none ((uid_t) -1); as the ``inside`` of a range: from 0, beside a single id."""

MAP_SIZE = 4096
"""Bytes that a map can have in one write (user_namespaces(7): less than a page)."""

_COLONS = re.compile(r"\s*\+?([0-9]{1,10}):([0-9]{1,10}):([0-9]{1,10})")
_COMMAS = re.compile(r"\s*\+?([0-9]{1,10}),([0-9]{1,10}),([0-9]{1,10})")


class IdRange(NamedTuple):
    """Ids of the outer user namespace that have a number in the new one.

    Attributes:
        inside: first id in the new namespace.
        outside: first id in the one that the caller is in.
        length: number of ids.
    """

    inside: int
    outside: int
    length: int


def parse_range(text: str) -> IdRange:
    """Parse the argument of --map-users and --map-groups.

    Args:
        text: "inside:outside:count", or "outside,inside,count" as before util-linux 2.39.

    Returns:
        The range.

    Raises:
        UsageError: a text of another form, or a number beyond 32 bits.
    """
    if match := _COLONS.fullmatch(text):
        inside, outside, count = map(int, match.groups())
    elif match := _COMMAS.fullmatch(text):
        outside, inside, count = map(int, match.groups())
    else:
        raise UsageError(f"invalid mapping '{text}'", "write INSIDE:OUTSIDE:COUNT")
    if max(inside, outside, count) > NO_ID:
        raise UsageError(f"invalid mapping '{text}'", "an id has 32 bits")
    return IdRange(inside, outside, count)


def first_subordinate(
    raw: bytes, path: str, name: str, uid: int, *, identity: bool = False
) -> IdRange:
    """Find a user's first range of subordinate ids (subuid(5)).

    Args:
        raw: the whole file.
        path: which file, for the error.
        name: the user's name.
        uid: the user's id, by which a line may name them too.
        identity: whether the range has the same numbers inside.

    Returns:
        The range; without ``identity`` its ``inside`` is `NO_ID`: it begins at 0.

    Raises:
        NsctlError: no line is the user's, or it holds no numbers.
    """
    for line in raw.split(b"\n"):
        fields = line.split(b":")
        if len(fields) != 3 or fields[0] not in {name.encode(), str(uid).encode()}:
            continue
        if not fields[1].isdigit() or not fields[2].isdigit():
            raise NsctlError("read", path, f"the line of user {name} has no numbers")
        first, count = int(fields[1]), int(fields[2])
        return IdRange(first if identity else NO_ID, first, count)
    raise NsctlError(
        "map ids", "", f'no line matching user "{name}" in {path}', f"add {name}:100000:65536 to it"
    )


def with_single(ranges: Sequence[IdRange], outside: int, inside: int) -> list[IdRange]:
    """Add one id to ranges, which give way to it.

    A range that has that id on either side is cut so that neither number stands twice; its last id
    is then not mapped.

    Args:
        ranges: in the order in which they are to be written.
        outside: the id in the outer namespace.
        inside: its number in the new one; `NO_ID` to add none.

    Returns:
        Ranges in the order in which they are to be written, the single id first.
    """
    if inside == NO_ID:
        outside = NO_ID
    found: list[IdRange] = []
    for each in ranges:
        # What is prepended last stands first, as the original does it.
        found = [*_split(each, outside, inside), *found]
    return found if inside == NO_ID else [IdRange(inside, outside, 1), *found]


def _split(each: IdRange, outside: int, inside: int) -> list[IdRange]:
    """Cut a range below, between and above the two numbers that it must not have."""
    first, count = each.inside, each.length
    if first == NO_ID:
        first = 0
    elif inside != NO_ID and (
        each.outside <= outside <= each.outside + count or first <= inside <= first + count
    ):
        count = max(count - 1, 0)
    below_outside = min(max(outside - each.outside, 0), count)
    below_inside = min(max(inside - first, 0), count)
    parts = []
    at_inside, at_outside = first, each.outside
    low = min(below_outside, below_inside)
    middle = max(below_outside, below_inside)
    for length in (low, middle - low, count - middle):
        at_outside += at_outside == outside
        at_inside += at_inside == inside
        if length:
            parts.append(IdRange(at_inside, at_outside, length))
        at_inside += length
        at_outside += length
    return parts


def as_text(ranges: Sequence[IdRange]) -> str:
    """Write ranges as uid_map and gid_map take them (user_namespaces(7))."""
    return "".join(f"{each.inside} {each.outside} {each.length}\n" for each in ranges)
