"""Which names there can be below /run/netns."""

from __future__ import annotations

from nsctl.errors import UsageError

DIRECTORY = "/run/netns"
"""Where ip-netns(8) looks; /var/run leads there."""

_LONGEST = 200


def check(name: str) -> str:
    """See whether a name can be one for `ip netns`.

    Args:
        name: as typed, or a container's.

    Returns:
        The same.

    Raises:
        UsageError: it leads elsewhere, would be taken for an option, or has bytes that a terminal
            obeys.
    """
    hint = "give another: nsctl netns expose TARGET NAME"
    if not name or name in {".", ".."}:
        raise UsageError(f"{name!r} is no name for a network namespace", hint)
    if "/" in name:
        raise UsageError(f"the name {name!r} has a slash, which would lead elsewhere", hint)
    if name.startswith(("-", ".")):
        raise UsageError(f"the name {name!r} begins with {name[0]!r}", hint)
    if not name.isprintable() or any(0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise UsageError(f"the name {name!r} has bytes that cannot be printed", hint)
    if len(name.encode()) > _LONGEST:
        raise UsageError(f"the name is longer than {_LONGEST} bytes", hint)
    return name
