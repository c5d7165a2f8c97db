"""The one door to system calls that Python has no function for.

Numbers from 424 on are the same on every architecture that nsctl serves; older ones stand in a
table per machine. Wrappers of single calls live in the module of their subject.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# asm/unistd_64.h and asm-generic/unistd.h; arm64, riscv64 and loongarch64 share the latter.
_NUMBERS_X86_64 = {
    "setfsuid": 122,
    "setfsgid": 123,
    "socket": 41,
    "sendmsg": 46,
    "recvmsg": 47,
    "getsockname": 51,
    "getpeername": 52,
    "socketpair": 53,
    "setsockopt": 54,
    "getsockopt": 55,
    "clone": 56,
    "uname": 63,
    "prctl": 157,
    "capget": 125,
    "capset": 126,
    "pivot_root": 155,
    "mount": 165,
    "umount2": 166,
    "sethostname": 170,
    "setdomainname": 171,
    "mq_getsetattr": 245,
    "keyctl": 250,
    "unshare": 272,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "setns": 308,
    "kcmp": 312,
    "seccomp": 317,
    "bpf": 321,
    "execveat": 322,
    "statx": 332,
}
_NUMBERS_GENERIC = {
    "socket": 198,
    "socketpair": 199,
    "getsockname": 204,
    "getpeername": 205,
    "setsockopt": 208,
    "getsockopt": 209,
    "sendmsg": 211,
    "recvmsg": 212,
    "prctl": 167,
    "capget": 90,
    "capset": 91,
    "setfsuid": 151,
    "setfsgid": 152,
    "pivot_root": 41,
    "mount": 40,
    "umount2": 39,
    "clone": 220,
    "uname": 160,
    "mq_getsetattr": 185,
    "sethostname": 161,
    "setdomainname": 162,
    "keyctl": 219,
    "unshare": 97,
    "name_to_handle_at": 264,
    "open_by_handle_at": 265,
    "setns": 268,
    "kcmp": 272,
    "seccomp": 277,
    "bpf": 280,
    "execveat": 281,
    "statx": 291,
}
_NUMBERS_COMMON = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_list_modules": 461,
    "open_tree_attr": 467,
    "listns": 470,
}
_NUMBERS = _NUMBERS_COMMON | {
    "x86_64": _NUMBERS_X86_64,
    "aarch64": _NUMBERS_GENERIC,
    "riscv64": _NUMBERS_GENERIC,
    "loongarch64": _NUMBERS_GENERIC,
}.get(os.uname().machine if sys.maxsize > 1 << 32 else "", {})


def syscall(name: str, *arguments: object) -> int:
    """Call a system call by its name.

    Args:
        name: as in its manual page.
        arguments: integers (passed as 64-bit longs), bytes (passed by pointer, NUL-terminated),
            None (a null pointer), or ctypes pointers and buffers.

    Returns:
        What the call returned, never negative.

    Raises:
        OSError: with the call's errno; ENOSYS where the kernel has no such call, or its number
            on this machine is not known.
    """
    if name in _NUMBERS_GENERIC and name not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"{os.strerror(errno.ENOSYS)}: {name}")
    converted = [
        ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments
    ]
    result: int = _libc.syscall(ctypes.c_long(_NUMBERS[name]), *converted)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
