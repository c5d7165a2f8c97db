"""What a process holds and gives up: capability sets, securebits, keyring, no_new_privs.

One thin wrapper a call. All of them act on the calling thread: they belong into single-threaded
helpers. Sources: capabilities(7), capget(2), prctl(2), keyctl(2), linux/capability.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct

from nsctl.kernel.libc import syscall
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words a set
_HEADER = struct.Struct("=Ii")
_DATA = struct.Struct("=6I")

_PR_SET_KEEPCAPS = 8
_PR_SET_NAME = 15
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_KEYCTL_JOIN_SESSION_KEYRING = 1

SECBIT_NOROOT = 1


class Held(NamedTuple):
    """The three sets of capget(2), each a bit mask."""

    effective: int
    permitted: int
    inheritable: int


def _prctl(option: int, *arguments: int) -> int:
    """Call prctl(2), whose unused arguments must be 0 for many options."""
    return syscall("prctl", option, *(*arguments, 0, 0, 0, 0)[:4])


def capget() -> Held:
    """Read the calling thread's capabilities (capget(2))."""
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION_3, 0))
    data = ctypes.create_string_buffer(_DATA.size)
    syscall("capget", header, data)
    words = _DATA.unpack(data.raw[: _DATA.size])
    return Held(*(words[place] | words[place + 3] << 32 for place in range(3)))


def capset(held: Held) -> None:
    """Set the calling thread's capabilities (capset(2)).

    Raises:
        OSError: EPERM for a permitted set that is not part of the present one, or an inheritable
            one beyond the permitted or, with CAP_SETPCAP, beyond the bounding set.
    """
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION_3, 0))
    words = [one & 0xFFFFFFFF for one in held] + [one >> 32 for one in held]
    syscall("capset", header, ctypes.create_string_buffer(_DATA.pack(*words)))


@contextlib.contextmanager
def file_owner(uid: int, gid: int) -> Iterator[None]:
    """Have what the calling thread makes in file systems belong to somebody else (setfsuid(2)).

    The thread keeps its capabilities, which a change of that id takes from it. For root, and for
    file systems of a user namespace in which root has no number.

    Args:
        uid: who owns what is made.
        gid: its group.
    """
    held = capget()
    before = syscall("setfsgid", gid), syscall("setfsuid", uid)
    try:
        capset(held)
        yield
    finally:
        syscall("setfsgid", before[0])
        syscall("setfsuid", before[1])
        capset(held)


def has_bounding(capability: int) -> bool:
    """Tell whether the bounding set holds a capability (PR_CAPBSET_READ).

    Raises:
        OSError: EINVAL beyond the last that the kernel has.
    """
    return bool(_prctl(_PR_CAPBSET_READ, capability))


def drop_bounding(capability: int) -> None:
    """Remove a capability from the bounding set, for good (PR_CAPBSET_DROP).

    Raises:
        OSError: EPERM without CAP_SETPCAP.
    """
    _prctl(_PR_CAPBSET_DROP, capability)


def clear_ambient() -> None:
    """Empty the ambient set (PR_CAP_AMBIENT)."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def raise_ambient(capability: int) -> None:
    """Add a capability to the ambient set (PR_CAP_AMBIENT).

    Raises:
        OSError: EPERM for one that is not both permitted and inheritable.
    """
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def set_keepcaps(keep: bool) -> None:
    """Keep the permitted set over the next change of uid from 0 (PR_SET_KEEPCAPS)."""
    _prctl(_PR_SET_KEEPCAPS, keep)


def set_securebits(bits: int) -> None:
    """Set the securebits (PR_SET_SECUREBITS).

    Raises:
        OSError: EPERM without CAP_SETPCAP, or for a bit that is locked.
    """
    _prctl(_PR_SET_SECUREBITS, bits)


def set_no_new_privs() -> None:
    """Let no exec give privileges any more, for good (PR_SET_NO_NEW_PRIVS)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_child_subreaper() -> None:
    """Become the new parent of orphaned descendants (PR_SET_CHILD_SUBREAPER)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name: bytes) -> None:
    """Set the calling thread's name, of which 15 bytes count (PR_SET_NAME)."""
    syscall("prctl", _PR_SET_NAME, name, 0, 0, 0)


def join_session_keyring(name: bytes | None) -> None:
    """Replace the session keyring (KEYCTL_JOIN_SESSION_KEYRING, session-keyring(7)).

    Args:
        name: of a keyring to join, made where there is none; None for a new one without a name.

    Raises:
        OSError: ENOSYS in a kernel without keyrings, EDQUOT at the user's limit.
    """
    syscall("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0)


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close all descriptors from one to another, both included (close_range(2), since 5.9)."""
    syscall("close_range", first, last, 0)
