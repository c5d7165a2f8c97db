"""Which capabilities the running kernel has (capabilities(7)); their names are in the model."""

from __future__ import annotations

import os

from nsctl.model.capabilities import LAST

_BITS = 64  # capget(2) carries two words of 32


def last(proc: str = "/proc") -> int:
    """Give the highest capability that the running kernel has.

    Args:
        proc: where the proc file system is mounted.

    Returns:
        What /proc/sys/kernel/cap_last_cap says (proc_sys_kernel(5)); `LAST`, the end of the
        table, where that cannot be read or makes no sense.
    """
    try:
        descriptor = os.open(f"{proc}/sys/kernel/cap_last_cap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return LAST
    try:
        return _highest(os.read(descriptor, 16))
    except OSError:
        return LAST
    finally:
        os.close(descriptor)


def _highest(text: bytes) -> int:
    digits = text.removesuffix(b"\n")
    return int(digits) if digits.isdigit() and int(digits) < _BITS else LAST
