"""The capabilities by number and name, sets of them as bit masks, and words for a set.

What a process holds is read elsewhere (it is part of /proc/PID/status); what applies a set to a
process is elsewhere too. Sources: capabilities(7), linux/capability.h.
"""

from __future__ import annotations

from nsctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES: tuple[str, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""All that linux/capability.h names; the place in the tuple is the number."""

NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}
"""Number of each capability by its full name."""

LAST = len(NAMES) - 1
"""The highest capability that this table names; what the running kernel has, see `nsctl.kernel.capabilities.last`."""

DEFAULT = sum(
    1 << NUMBERS[name]
    for name in (
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    )
)
"""The fourteen that Docker leaves to root in a container when nothing else is asked for."""

_PREFIX = "CAP_"
_BITS = 64  # capget(2) carries two words of 32


def everything(highest: int = LAST) -> int:
    """Give the mask of all capabilities up to one.

    Args:
        highest: the highest number, as `nsctl.kernel.capabilities.last` gives it.

    Returns:
        A bit mask.
    """
    return (1 << (highest + 1)) - 1


def name(number: int) -> str:
    """Name one capability.

    Args:
        number: 0 to 63.

    Returns:
        The full name ("CAP_SYS_ADMIN"); "CAP_63" for one that the table does not know.
    """
    return NAMES[number] if number < len(NAMES) else f"{_PREFIX}{number}"


def short(number: int) -> str:
    """Name one capability for people, without the prefix that all of them share.

    Args:
        number: 0 to 63.

    Returns:
        "SYS_ADMIN"; "CAP_63" for one that the table does not know, since "63" says nothing.
    """
    return NAMES[number].removeprefix(_PREFIX) if number < len(NAMES) else f"{_PREFIX}{number}"


def numbers(mask: int) -> list[int]:
    """List the capabilities in a set by number, in order.

    Args:
        mask: a bit mask.

    Returns:
        The numbers of the bits that are set.
    """
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def names(mask: int) -> list[str]:
    """List the capabilities in a set by full name, in order of their numbers.

    Args:
        mask: a bit mask, as in /proc/PID/status.

    Returns:
        Full names, as engines and JSON write them.
    """
    return [name(number) for number in numbers(mask)]


def mask(words: Iterable[str], highest: int = LAST) -> int:
    """Turn names that a person or a configuration wrote into a set.

    Args:
        words: names with or without CAP_, in any case; "ALL" is all up to ``highest``. One that
            the table does not know is written CAP_ and its number, as `names` writes it.
        highest: what "ALL" reaches to, see `nsctl.kernel.capabilities.last`.

    Returns:
        A bit mask.

    Raises:
        UsageError: a word names no capability; the hint has the nearest names.
    """
    result = 0
    for word in words:
        # str.upper() makes plain letters of some that are none (U+017F becomes "S").
        wanted = word.upper() if word.isascii() else ""
        result |= everything(highest) if wanted == "ALL" else 1 << _number(wanted, word)
    return result


def _number(wanted: str, word: str) -> int:
    full = _PREFIX + wanted.removeprefix(_PREFIX)
    found = NUMBERS.get(full)
    if found is not None:
        return found
    beyond = [number for number in range(LAST + 1, _BITS) if wanted == name(number)]
    if beyond:
        return beyond[0]
    import difflib

    near = difflib.get_close_matches(full, NAMES, n=3, cutoff=0.6)
    hint = "did you mean " + " or ".join(one.removeprefix(_PREFIX) for one in near) + "?"
    raise UsageError(f'no capability is called "{word}"', hint if near else "see capabilities(7)")


def describe(held: int, against: int = DEFAULT, highest: int = LAST) -> str:
    """Say in few words what is in a set.

    Args:
        held: the set, a bit mask.
        against: the set to compare with, by default what engines leave to a container.
        highest: what "all" reaches to, see `nsctl.kernel.capabilities.last`.

    Returns:
        "none", "all", "14 default caps", or the shortest of three: the difference to ``against``
        ("14 default caps +SYS_PTRACE -NET_RAW"), the difference to all ("all -SYS_RESOURCE"), or
        the list ("NET_BIND_SERVICE KILL"). Names without CAP_, in order of their numbers.
    """
    whole = everything(highest)
    if held == 0:
        return "none"
    if held == whole:
        return "all"
    kind = "default caps" if against == DEFAULT else "caps"
    candidates = (
        (against, f"{against.bit_count()} {kind}"),
        (whole, "all"),
    )
    base, word = min(candidates, key=lambda candidate: (held ^ candidate[0]).bit_count())
    if not base or held.bit_count() <= (held ^ base).bit_count():
        return " ".join(short(number) for number in numbers(held))
    more = [f"+{short(number)}" for number in numbers(held & ~base)]
    less = [f"-{short(number)}" for number in numbers(base & ~held)]
    return " ".join((word, *more, *less))
