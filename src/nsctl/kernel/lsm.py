"""Which security modules the kernel has: lsm_list_modules(2), securityfs."""

from __future__ import annotations

import ctypes
import struct

from nsctl.kernel.libc import syscall

# linux/lsm.h
_NAMES = {
    100: "capability",
    101: "selinux",
    102: "smack",
    103: "tomoyo",
    104: "apparmor",
    105: "yama",
    106: "loadpin",
    107: "safesetid",
    108: "lockdown",
    109: "bpf",
    110: "landlock",
    111: "ima",
    112: "evm",
    113: "ipe",
}
_MOST = 64


def modules(securityfs: str = "/sys/kernel/security") -> tuple[str, ...] | None:
    """List the active security modules, in the kernel's order.

    Args:
        securityfs: where it is mounted, for kernels before 6.8.

    Returns:
        Their names; one that is not known here is called "lsm-NUMBER". None where neither the
        system call nor securityfs is there.
    """
    numbers = ctypes.create_string_buffer(8 * _MOST)
    size = ctypes.c_uint32(8 * _MOST)
    try:
        count = syscall("lsm_list_modules", numbers, ctypes.byref(size), 0)
    except OSError:
        return _of_securityfs(securityfs)
    found = struct.unpack_from(f"={count}Q", numbers.raw)
    return tuple(_NAMES.get(number, f"lsm-{number}") for number in found)


def _of_securityfs(place: str) -> tuple[str, ...] | None:
    try:
        with open(f"{place}/lsm", "rb") as file:
            raw = file.read(4096)
    except OSError:  # not mounted, or not readable
        return None
    return tuple(word.decode("ascii", "replace") for word in raw.strip(b"\n").split(b",") if word)
